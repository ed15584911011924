//! Prints a trace as an indented tree, within a number of bytes. If not all spans fit, failed, open
//! and critical ones are chosen before others. Omitted spans are counted where they would be. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    report::{
        outline::{Outline, OutlineSpan},
        running::{span_now::SpanNow, text::SpanStateText},
        text::{OpenFor, Plural, SpanText, Took, short_id},
        trace::{
            critical_path::critical_path,
            spans::{SPANS_MAX, ShownState, TraceSpan, TraceSpans},
        },
        trace_events::ReadResult,
    },
    trace::summary::milliseconds,
    util::hex,
};

/// Upper bounds on the printed spans. The next one is tried if the text is too long.
const LINES: [usize; 7] = [400, 120, 80, 50, 30, 15, 5];
/// Upper bound on the spans in the JSON.
pub(crate) const JSON_SPANS_MAX: usize = 2_000;
/// Deeper spans are not indented further.
const DEPTH_SHOWN_MAX: usize = 20;
/// Failed and open spans are chosen first, for at most half of the lines. Critical spans follow, for at most as many
/// lines, then the others in order.
const FIRST_SHARE: usize = 2;

/// A trace in tree order, ready to be printed.
#[derive(Debug)]
pub(crate) struct TraceTree {
    trace: TraceSpans,
    /// The index and depth of each span, in tree order.
    order: Vec<(usize, usize)>,
    is_critical: Vec<bool>,
}

/// A trace as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceJson {
    trace_id: String,
    name: String,
    service: String,
    start_timestamp: String,
    /// The point in time that is shown.
    at: String,
    duration_ms: f64,
    spans_total: u64,
    spans_open: usize,
    errors: usize,
    log_records: u64,
    evicted_events: u64,
    /// Whether all events of the trace could be read.
    complete: bool,
    /// The number of spans that are not listed.
    left_out: u64,
    /// The spans in tree order.
    spans: Vec<SpanJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson {
    depth: usize,
    span_id: String,
    parent_span_id: Option<String>,
    name: String,
    service: String,
    start_timestamp: String,
    duration_ms: f64,
    state: ShownState,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    log_records: u32,
    /// Whether the span is on the critical path.
    critical: bool,
    /// The current state of the span, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<SpanNow>,
}

impl TraceTree {
    pub(crate) fn of(trace: TraceSpans) -> Self {
        Self {
            order: trace.in_tree_order(),
            is_critical: critical_path(&trace),
            trace,
        }
    }

    /// Returns the trace as text of at most this many bytes. If the text is too long, prints fewer spans, but at
    /// least five. If even these do not fit, the last lines are cut and counted.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = String::new();
        for lines in LINES {
            text = self.text_of(lines);
            if text.len() <= bytes_max {
                return text;
            }
        }
        without_last_lines(&text, bytes_max)
    }

    fn text_of(&self, lines: usize) -> String {
        let outline = self.outline(lines);
        let mut text = self.headline();
        for (place, (index, depth)) in self.order.iter().enumerate() {
            if outline.is_shown(place) {
                let indent = "  ".repeat(*depth.min(&DEPTH_SHOWN_MAX) + 1);
                let _fits = writeln!(text, "{indent}{}", self.line(*index));
            }
            for hidden in outline.hidden_after(place) {
                let indent = "  ".repeat(hidden.depth.min(DEPTH_SHOWN_MAX) + 1);
                let (longest, shortest) = (Took(hidden.longest), Took(hidden.shortest));
                let what = hidden.what();
                let _fits = writeln!(text, "{indent}… {what}, {longest} to {shortest}");
            }
        }
        text
    }

    fn outline(&self, max: usize) -> Outline {
        let at = self.trace.at;
        let spans = self.order.iter().filter_map(|(index, depth)| {
            let span = self.trace.spans.get(*index)?;
            Some(OutlineSpan {
                depth: *depth,
                name: &span.name,
                nanos: span.nanos(at),
            })
        });
        let spans: Vec<OutlineSpan<'_>> = spans.collect();
        let places = |is_wanted: &dyn Fn(&TraceSpan, usize) -> bool| -> Vec<usize> {
            let all = self.order.iter().enumerate();
            let wanted = all.filter(|(_, (index, _))| {
                let span = self.trace.spans.get(*index);
                span.is_some_and(|span| is_wanted(span, *index))
            });
            wanted.map(|(place, _)| place).collect()
        };
        let fails = places(&|span, _| span.outcome.is_error() || span.outcome == ShownState::Open);
        let mut critical = places(&|_, index| self.is_critical.get(index) == Some(&true));
        // The longest come first, because they explain the most.
        critical.sort_by_key(|place| std::cmp::Reverse(spans.get(*place).map(|span| span.nanos)));
        let first = fails.into_iter().take(max / FIRST_SHARE);
        let first = first.chain(critical.into_iter().take(max / FIRST_SHARE));
        Outline::of(&spans, first, max)
    }

    fn headline(&self) -> String {
        let trace = &self.trace;
        let root = trace.root();
        let name = root.map_or("", |root| &root.name);
        let service = root.map_or("", |root| &root.service);
        let nanos = trace.end().nanos().saturating_sub(trace.start().nanos());
        let total = trace.spans.len() as u64 + trace.left_out;
        let mut text = format!(
            "trace {} {} · {} · {} · began {} UTC\n{}, {} open, {}, {}. * is on the critical path.\n",
            trace.id,
            SpanText(name),
            SpanText(service),
            if trace.open() > 0 {
                format!("open for {}", OpenFor(nanos))
            } else {
                Took(nanos).to_string()
            },
            trace
                .start()
                .text()
                .get(..23)
                .unwrap_or_default()
                .replace('T', " "),
            Plural(total, "span"),
            trace.open(),
            Plural(trace.errors() as u64, "error"),
            Plural(trace.logs, "log record"),
        );
        if trace.left_out > 0 {
            let _fits = writeln!(
                text,
                "Only the first {} are looked at.",
                Plural(SPANS_MAX as u64, "span")
            );
        }
        if trace.evicted > 0 {
            let evicted = Plural(trace.evicted, "event");
            let _fits = writeln!(
                text,
                "Retention has removed {evicted} of it: this is a part."
            );
        }
        match trace.result {
            ReadResult::Whole => {}
            ReadResult::Damaged => {
                text.push_str("Some of its events could not be read: this is a part.\n");
            }
            ReadResult::Stopped => {
                text.push_str("It is too long to be read to its end: this is its beginning.\n");
            }
        }
        text
    }

    fn line(&self, index: usize) -> String {
        let trace = &self.trace;
        let Some(span) = trace.spans.get(index) else {
            return String::new();
        };
        let mark = if self.is_critical.get(index) == Some(&true) {
            "* "
        } else {
            ""
        };
        let offset = span.start.nanos().saturating_sub(trace.start().nanos());
        let mut line = format!("{mark}{} +{} ", SpanText(&span.name), Took(offset));
        let nanos = span.nanos(trace.at);
        let _fits = match span.outcome {
            ShownState::Open => write!(line, "open for {}", OpenFor(nanos)),
            _ => write!(line, "{}", Took(nanos)),
        };
        let _fits = write!(line, " [{}]", short_id(&hex::encode(&span.id)));
        if trace
            .root()
            .is_some_and(|root| root.service != span.service)
        {
            let _fits = write!(line, " · {}", SpanText(&span.service));
        }
        if !span.outcome.word().is_empty() {
            let _fits = write!(line, " · {}", span.outcome.word());
        }
        if let Some(message) = &span.message {
            let _fits = write!(line, " {}", SpanText(message));
        }
        if let Some(now) = trace.now_of(index) {
            let _fits = write!(line, "{}", SpanStateText(&now));
        }
        if span.logs > 0 {
            let _fits = write!(line, " · {}", Plural(span.logs.into(), "log record"));
        }
        line
    }

    /// Returns the trace as JSON.
    pub(crate) fn json(&self) -> TraceJson {
        let outline = self.outline(JSON_SPANS_MAX);
        let shown = self.order.iter().enumerate();
        let shown = shown
            .filter(|(place, _)| self.order.len() <= JSON_SPANS_MAX || outline.is_shown(*place));
        let spans = shown.filter_map(|(_, (index, depth))| self.span_json(*index, *depth));
        let spans: Vec<SpanJson> = spans.collect();
        let trace = &self.trace;
        let total = trace.spans.len() as u64 + trace.left_out;
        TraceJson {
            trace_id: trace.id.to_string(),
            name: trace
                .root()
                .map_or_else(String::new, |root| root.name.to_string()),
            service: trace
                .root()
                .map_or_else(String::new, |root| root.service.to_string()),
            start_timestamp: trace.start().text(),
            at: trace.at.text(),
            duration_ms: milliseconds(trace.end().nanos().saturating_sub(trace.start().nanos())),
            spans_total: total,
            spans_open: trace.open(),
            errors: trace.errors(),
            log_records: trace.logs,
            evicted_events: trace.evicted,
            complete: trace.result == ReadResult::Whole,
            left_out: total.saturating_sub(spans.len() as u64),
            spans,
        }
    }

    fn span_json(&self, index: usize, depth: usize) -> Option<SpanJson> {
        let trace = &self.trace;
        let span = trace.spans.get(index)?;
        Some(SpanJson {
            depth,
            span_id: hex::encode(&span.id),
            parent_span_id: span.parent.map(|parent| hex::encode(&parent)),
            name: span.name.to_string(),
            service: span.service.to_string(),
            start_timestamp: span.start.text(),
            duration_ms: milliseconds(span.nanos(trace.at)),
            state: span.outcome,
            message: span.message.as_ref().map(ToString::to_string),
            log_records: span.logs,
            critical: self.is_critical.get(index) == Some(&true),
            now: trace.now_of(index),
        })
    }
}

/// Returns the first lines of a text, and a line with the number of those that do not fit.
fn without_last_lines(text: &str, bytes_max: usize) -> String {
    const NOTE_BYTES: usize = 80;
    let mut kept = String::new();
    let mut lines = text.split_inclusive('\n');
    let mut cut = 0;
    for line in lines.by_ref() {
        if kept.len() + line.len() + NOTE_BYTES > bytes_max {
            cut = 1;
            break;
        }
        kept.push_str(line);
    }
    let cut = cut + lines.count() as u64;
    let _fits = writeln!(
        kept,
        "… {} cut: `span` prints spans in full.",
        Plural(cut, "line")
    );
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_cut_and_counted() {
        let lines = format!("{}\n", "é".repeat(50)).repeat(5);
        for (bytes_max, kept, cut) in [(0, 0, "5 lines"), (400, 3, "2 lines"), (484, 4, "1 line")] {
            let kept = format!("{}\n", "é".repeat(50)).repeat(kept);
            let expected = format!("{kept}… {cut} cut: `span` prints spans in full.\n");
            assert_eq!(without_last_lines(&lines, bytes_max), expected);
        }
    }
}
