//! Compares two traces: finds spans that only one of them has, and spans that take longer in one.
//! Two spans correspond if they and the spans above them have the same names, at most [`PATH_MAX`]
//! of them. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    report::{
        text::{Count, SpanText, Took},
        trace::spans::TraceSpans,
    },
    trace::summary::milliseconds,
};

/// Upper bound on the differences that a comparison lists. Further ones are only counted.
const JSON_DIFFERENCES_MAX: usize = 500;
/// Upper bound on the names of a path that are compared: the span's own and those nearest above it.
const PATH_MAX: usize = 32;

/// The comparison of two traces.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    one: ComparedTrace,
    other: ComparedTrace,
    /// The number of groups of spans that are alike in both traces.
    alike: usize,
    /// The differences. Differences in the number of errors come first, then the largest
    /// differences in duration.
    differences: Vec<Difference>,
    /// The number of differences that are not listed.
    left_out: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ComparedTrace {
    trace_id: String,
    name: String,
    service: String,
    duration_ms: f64,
    spans: usize,
    spans_open: usize,
    errors: usize,
    #[serde(skip)]
    nanos: u64,
}

/// All spans of a trace with the same path of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SpanGroup {
    count: u64,
    nanos: u64,
    errors: u64,
    open: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    /// The names from the root down to the span, or the last [`PATH_MAX`] of them.
    path: Vec<String>,
    count: [u64; 2],
    total_ms: [f64; 2],
    errors: [u64; 2],
    open: [u64; 2],
    #[serde(skip)]
    groups: [SpanGroup; 2],
}

impl Comparison {
    pub(crate) fn of(one: &TraceSpans, other: &TraceSpans) -> Self {
        let mut groups: BTreeMap<Vec<String>, [SpanGroup; 2]> = BTreeMap::new();
        for (side, trace) in [one, other].into_iter().enumerate() {
            let mut path: Vec<String> = Vec::new();
            for (index, depth) in trace.in_tree_order() {
                let Some(span) = trace.spans.get(index) else {
                    continue;
                };
                path.truncate(depth);
                path.push(span.name.to_string());
                let key = path
                    .get(path.len().saturating_sub(PATH_MAX)..)
                    .unwrap_or_default();
                let group = groups.entry(key.to_vec()).or_default().get_mut(side);
                if let Some(group) = group {
                    group.count += 1;
                    group.nanos = group.nanos.saturating_add(span.nanos(trace.at));
                    group.errors += u64::from(span.outcome.is_error());
                    group.open += u64::from(span.end.is_none());
                }
            }
        }
        let all = groups.len();
        let differences = groups
            .into_iter()
            .filter(|(_, groups)| is_different(groups));
        let differences = differences.map(|(path, groups)| Difference::of(path, groups));
        let mut differences: Vec<Difference> = differences.collect();
        differences.sort_by_key(|difference| std::cmp::Reverse(difference.rank()));
        let alike = all - differences.len();
        let left_out = differences.len().saturating_sub(JSON_DIFFERENCES_MAX);
        differences.truncate(JSON_DIFFERENCES_MAX);
        Self {
            one: ComparedTrace::of(one),
            other: ComparedTrace::of(other),
            alike,
            differences,
            left_out,
        }
    }

    /// Returns the comparison as text of at most this many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = format!("A {}\nB {}\n", self.one.line(), self.other.line());
        let _fits = writeln!(
            text,
            "{} of the names are alike in both. Where they differ, A → B, the largest difference first:",
            Count(self.alike as u64)
        );
        let mut shown = 0;
        for difference in &self.differences {
            let line = difference.line();
            if text.len() + line.len() + 100 > bytes_max {
                break;
            }
            text.push_str(&line);
            shown += 1;
        }
        if self.differences.is_empty() {
            text.push_str("  nowhere\n");
        }
        let hidden = self.differences.len() - shown + self.left_out;
        if hidden > 0 {
            let _fits = writeln!(
                text,
                "… {} smaller differences are left out.",
                Count(hidden as u64)
            );
        }
        text
    }
}

/// Returns whether two groups differ in number, in errors or in open spans, or in duration by at
/// least a quarter and a millisecond.
fn is_different([one, other]: &[SpanGroup; 2]) -> bool {
    let by = one.nanos.abs_diff(other.nanos);
    (one.count, one.errors, one.open) != (other.count, other.errors, other.open)
        || by >= 1_000_000 && by * 4 >= one.nanos.max(other.nanos)
}

impl ComparedTrace {
    fn of(trace: &TraceSpans) -> Self {
        let root = trace.root();
        let nanos = trace.end().nanos().saturating_sub(trace.start().nanos());
        Self {
            trace_id: trace.id.to_string(),
            name: root.map_or_else(String::new, |root| root.name.to_string()),
            service: root.map_or_else(String::new, |root| root.service.to_string()),
            duration_ms: milliseconds(nanos),
            spans: trace.spans.len(),
            spans_open: trace.open(),
            errors: trace.errors(),
            nanos,
        }
    }

    fn line(&self) -> String {
        format!(
            "trace {} {} · {} · {} · {} spans, {} open, {} errors",
            self.trace_id,
            SpanText(&self.name),
            SpanText(&self.service),
            Took(self.nanos),
            self.spans,
            self.spans_open,
            self.errors,
        )
    }
}

impl Difference {
    fn of(path: Vec<String>, groups: [SpanGroup; 2]) -> Self {
        Self {
            path,
            count: groups.map(|group| group.count),
            total_ms: groups.map(|group| milliseconds(group.nanos)),
            errors: groups.map(|group| group.errors),
            open: groups.map(|group| group.open),
            groups,
        }
    }

    fn rank(&self) -> (bool, u64) {
        let [one, other] = self.groups;
        (one.errors != other.errors, one.nanos.abs_diff(other.nanos))
    }

    fn line(&self) -> String {
        let names: Vec<String> = self
            .path
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|name| SpanText(name).to_string())
            .collect();
        let more = if self.path.len() > 3 { "… › " } else { "" };
        let mut line = format!("  {more}{}:", names.join(" › "));
        let [one, other] = self.groups;
        let _fits = match (one.count, other.count) {
            (0, count) => write!(
                line,
                " only in B, {} in {}",
                Count(count),
                Took(other.nanos)
            ),
            (count, 0) => write!(line, " only in A, {} in {}", Count(count), Took(one.nanos)),
            (first, second) if first == second => {
                write!(line, " {} → {}", Took(one.nanos), Took(other.nanos))
            }
            (first, second) => write!(
                line,
                " {} in {} → {} in {}",
                Count(first),
                Took(one.nanos),
                Count(second),
                Took(other.nanos)
            ),
        };
        for (word, counts) in [("errors", self.errors), ("open", self.open)] {
            let [one, other] = counts;
            if one != other {
                let _fits = write!(line, " · {word} {one} → {other}");
            }
        }
        line.push('\n');
        line
    }
}
