//! Prints the report of running spans as a tree for a terminal, within a number of bytes. If not all
//! spans fit, hanging and failing ones are chosen before others. Omitted spans are counted where they
//! would be. Pure.

use std::fmt::{self, Write as _};

use crate::{
    report::{
        outline::{Outline, OutlineSpan},
        running::{
            collect::{RunningReport, RunningTrace},
            span_now::{ParentState, ProgressNow, SpanNow, SpanNowState, TaskNow},
        },
        text::{Count, OpenFor, Plural, SpanText, Took, short_id},
    },
    trace::state::TraceState,
};

/// Upper bounds on the printed spans of each trace. The next one is tried if the report is too long.
const LINES_OF_TRACE: [usize; 4] = [200, 40, 12, 4];
/// Bytes reserved for the lines about omitted spans.
const TAIL_BYTES: usize = 400;

/// The options for printing a report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextOptions<'a> {
    /// Upper bound on the length of the text, in bytes.
    pub(crate) bytes_max: usize,
    /// A hint about narrower queries, such as `narrow by ?q=`.
    pub(crate) how_to_narrow: &'a str,
}

/// The line of a report from the index of a shared log.
pub(crate) const ONLY_FOLLOWED: &str =
    "The store is shared: only traces that this process has read are known here.\n";

impl RunningReport {
    /// Returns the report as text.
    pub(crate) fn text(&self, options: TextOptions<'_>) -> String {
        let time = self.now.get(..19).unwrap_or(&self.now).replace('T', " ");
        let mut head = if self.open.spans == 0 {
            format!("Nothing is open · {time} UTC\n")
        } else {
            format!(
                "{} in {}, oldest first · {time} UTC\n",
                Plural(self.open.spans, "open span"),
                Plural(self.open.traces, "trace"),
            )
        };
        if self.only_followed {
            head.push_str(ONLY_FOLLOWED);
        }
        let room = options.bytes_max.saturating_sub(head.len() + TAIL_BYTES);
        let (blocks, shown) = self.blocks_within(room);
        let mut text = head + &blocks;
        let hidden_traces = self.open.traces.saturating_sub(shown.0);
        let hidden_spans = self.open.spans.saturating_sub(shown.1);
        if hidden_spans > 0 {
            let traces = if hidden_traces > 0 {
                format!(", {} of them whole", Plural(hidden_traces, "trace"))
            } else {
                String::new()
            };
            let spans = Plural(hidden_spans, "open span");
            let _fits = write!(
                text,
                "\nLeft out: {spans}{traces}: {}.\n",
                options.how_to_narrow
            );
        }
        text
    }

    /// Returns the texts of as many traces as fit. Also returns the numbers of these traces and of
    /// their printed spans.
    fn blocks_within(&self, room: usize) -> (String, (u64, u64)) {
        let mut printed = (String::new(), (0, 0));
        for lines in LINES_OF_TRACE {
            printed = (String::new(), (0, 0));
            let mut is_whole = true;
            for trace in &self.traces {
                let (block, spans) = trace.block(lines);
                if printed.0.len() + block.len() > room {
                    is_whole = false;
                    break;
                }
                printed.0.push_str(&block);
                printed.1.0 += 1;
                printed.1.1 += spans;
            }
            if is_whole {
                break;
            }
        }
        printed
    }
}

impl RunningTrace {
    /// Returns the trace as text with at most `lines` spans. Also returns the number of printed
    /// spans.
    fn block(&self, lines: usize) -> (String, u64) {
        let outline = self.outline(lines);
        let mut block = format!("\n{}\n", self.headline());
        for (index, span) in self.spans.iter().enumerate() {
            if outline.is_shown(index) {
                let indent = "  ".repeat(span.depth.min(DEPTH_SHOWN_MAX) + 1);
                let _fits = writeln!(block, "{indent}{}", SpanLine(span, &self.service));
                for detail in details(span) {
                    let _fits = writeln!(block, "{indent}  {detail}");
                }
            }
            for hidden in outline.hidden_after(index) {
                let indent = "  ".repeat(hidden.depth.min(DEPTH_SHOWN_MAX) + 1);
                let (oldest, newest) = (OpenFor(hidden.longest), OpenFor(hidden.shortest));
                let _fits = writeln!(
                    block,
                    "{indent}… {}, open for {oldest} to {newest}",
                    hidden.what(),
                );
            }
        }
        let beyond = self.spans_open.saturating_sub(self.spans.len() as u64);
        if beyond > 0 {
            let _fits = writeln!(
                block,
                "  … {} that began later",
                Plural(beyond, "open span")
            );
        }
        (block, outline.shown())
    }

    fn outline(&self, max: usize) -> Outline {
        let spans = self.spans.iter().map(|span| OutlineSpan {
            depth: span.depth,
            name: span.name.as_deref().unwrap_or_default(),
            nanos: span.age,
        });
        let spans: Vec<OutlineSpan<'_>> = spans.collect();
        let notable = self.spans.iter().enumerate();
        let notable = notable.filter(|(_, span)| span.is_notable());
        Outline::of(&spans, notable.map(|(index, _)| index), max)
    }

    fn headline(&self) -> String {
        let mut line = format!("trace {} ", short_id(&self.trace_id));
        if self.name.is_empty() {
            line.push_str("(its root was not seen)");
        } else {
            let _fits = write!(line, "{}", SpanText(&self.name));
        }
        if !self.service.is_empty() {
            let _fits = write!(line, " · {}", SpanText(&self.service));
        }
        let _fits = write!(
            line,
            " · open for {} · {} of {} open",
            OpenFor(self.age),
            Count(self.spans_open),
            Plural(self.spans_total, "span"),
        );
        if self.state == TraceState::Waiting {
            line.push_str(" · waits");
        }
        if self.errors > 0 {
            let _fits = write!(line, " · {}", Plural(self.errors, "error"));
        }
        if let Some(evicted) = self.evicted {
            let _fits = write!(line, " · {} evicted", Plural(evicted.events, "event"));
        }
        if self.incomplete {
            line.push_str(" · could not be read to its end");
        }
        line
    }
}

/// Deeper spans are not indented further.
const DEPTH_SHOWN_MAX: usize = 20;

/// One span, with the service of its trace.
struct SpanLine<'a>(&'a SpanNow, &'a str);

impl fmt::Display for SpanLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(span, service) = *self;
        match &span.name {
            Some(name) => write!(f, "{}", SpanText(name))?,
            None => f.write_str("(its start is not in the log)")?,
        }
        write!(f, " {} [{}]", OpenFor(span.age), short_id(&span.span_id))?;
        if let Some(own) = span.service.as_deref().filter(|own| *own != service) {
            write!(f, " · {}", SpanText(own))?;
        }
        if span.parent_state == Some(ParentState::Closed) {
            f.write_str(" · its parent is not open")?;
        }
        if span.durable {
            f.write_str(" · durable")?;
        }
        SpanStateText(span).fmt(f)
    }
}

/// The reported state of a span, each part after a middle dot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanStateText<'a>(pub(crate) &'a SpanNow);

impl fmt::Display for SpanStateText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(span) = *self;
        write_state(f, span)?;
        if let Some(point) = &span.awaiting {
            let (name, age) = (SpanText(&point.name), OpenFor(point.age));
            write!(f, " · awaits {name} for {age}")?;
        }
        if let Some(task) = &span.task {
            write_task(f, task)?;
        }
        if let Some(progress) = &span.progress {
            write_progress(f, progress)?;
        }
        if let Some(usual) = span.usual.as_ref().filter(|usual| usual.is_slower) {
            let (p95, count) = (Took(usual.p95), Count(usual.count));
            write!(f, " · slower than usual (p95 {p95} of {count})")?;
        }
        Ok(())
    }
}

fn write_state(f: &mut fmt::Formatter<'_>, span: &SpanNow) -> fmt::Result {
    match span.state {
        SpanNowState::Running => Ok(()),
        SpanNowState::Waiting => f.write_str(" · waits"),
        SpanNowState::Panicked => f.write_str(" · PANICKED"),
        SpanNowState::Failing => {
            f.write_str(" · FAILING")?;
            let message = span
                .status
                .as_ref()
                .and_then(|status| status.message.as_deref());
            message.map_or(Ok(()), |message| write!(f, " {}", SpanText(message)))
        }
    }
}

fn write_task(f: &mut fmt::Formatter<'_>, task: &TaskNow) -> fmt::Result {
    match &task.polling {
        Some(poll) if poll.is_blocked => {
            let (thread, age) = (SpanText(&poll.thread), OpenFor(poll.age));
            write!(f, " · BLOCKS thread {thread}: in one poll for {age}")
        }
        Some(poll) => write!(f, " · is being polled on thread {}", SpanText(&poll.thread)),
        None => {
            f.write_str(" · idle")?;
            let all = task.busy_nanos.saturating_add(task.idle_nanos);
            if let Some(share) = task.busy_nanos.saturating_mul(100).checked_div(all) {
                write!(f, ", worked {share} %")?;
            }
            write!(f, " in {}", Plural(task.polls, "poll"))
        }
    }
}

fn write_progress(f: &mut fmt::Formatter<'_>, progress: &ProgressNow) -> fmt::Result {
    let reported = &progress.reported;
    if let Some(current) = reported.current() {
        write!(f, " · {}", Number(current))?;
        if let Some(total) = reported.total() {
            write!(f, " of {}", Number(total))?;
        }
        if !reported.units().is_empty() {
            write!(f, " {}", SpanText(reported.units()))?;
        }
        if let Some(total) = reported.total() {
            write!(
                f,
                " · {:.0} %",
                (current / total * 100.0).clamp(0.0, 100.0).floor()
            )?;
        }
        if let Some(rate) = progress.per_second {
            write!(f, " · {}/s", Number((rate * 10.0).round() / 10.0))?;
        }
        if let Some(left) = progress.left_ms {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is bounded and not negative"
            )]
            let left = (left * 1e6) as u64;
            write!(f, " · about {} left", OpenFor(left))?;
        }
    }
    if !reported.message().is_empty() {
        write!(f, " · {}", SpanText(reported.message()))?;
    }
    write!(f, " (reported {} ago)", OpenFor(progress.age))
}

/// A number without needless decimals, and with commas if it is whole.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked"
        )]
        if self.0.fract() == 0.0 && (0.0..9e15).contains(&self.0) {
            write!(f, "{}", Count(self.0 as u64))
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Returns the lines below a span: its panic and its last log record.
fn details(span: &SpanNow) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(panic) = &span.panic {
        let mut line = "panic".to_owned();
        for (word, value) in [
            ("", &panic.message),
            (" at", &panic.location),
            (" on thread", &panic.thread),
        ] {
            if let Some(value) = value {
                let _fits = write!(line, "{word} {}", SpanText(value));
            }
        }
        lines.push(line);
    }
    if let Some(log) = &span.log {
        let mut line = format!(
            "log {} ago: {}",
            OpenFor(log.age),
            SpanText(&log.severity_text)
        );
        if let Some(target) = &log.target {
            let _fits = write!(line, " {}", SpanText(target));
        }
        let _fits = write!(line, " {}", SpanText(&log.body));
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests;
