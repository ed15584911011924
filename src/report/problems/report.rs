//! The report on problems, as text and as JSON. Pure.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::report::{
    problems::lost_events::LostEvents,
    running::{
        span_now::{SpanNow, UsualDuration},
        text::{ONLY_FOLLOWED, SpanStateText},
    },
    text::{Count, OpenFor, Plural, SpanText, Took, short_id},
};

/// Bytes reserved for the lines after the problems.
const TAIL_BYTES: usize = 900;

/// The kind of a problem, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProblemKind {
    Panicked,
    Error,
    Lost,
    /// An open span with status ERROR.
    Failing,
    /// A log record of severity ERROR or above.
    Log,
    /// An open span whose current poll keeps its thread from all other tasks.
    Blocked,
    /// An open span that has waited for long.
    Waiting,
    /// An open span that takes longer than spans of its name usually do, or an ended span that took far longer.
    Slow,
    /// An open span without open children that has been silent for long.
    Quiet,
}

/// One problem.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    pub(super) kind: ProblemKind,
    /// Empty for a log record outside of traces.
    pub(super) trace_id: String,
    pub(super) trace_name: String,
    /// Empty for a log record outside of spans.
    pub(super) span_id: String,
    /// The name of the span, or the target of the log record.
    pub(super) name: String,
    pub(super) service: String,
    /// The end of an ended span, the start of an open one, or the time of the newest log record.
    pub(super) timestamp: String,
    pub(super) age_ms: f64,
    pub(super) open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// The number of spans above this one that failed, or took long, with it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) failed_above: u64,
    /// The current state of the span, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) now: Option<SpanNow>,
    /// The duration of the span, if it was far longer than usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usual: Option<UsualDuration>,
    /// The number of equal log records, including this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) records: Option<u64>,
    #[serde(skip)]
    pub(super) age: u64,
    #[serde(skip)]
    pub(super) took: u64,
}

/// The report on problems.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemsReport {
    pub(super) now: String,
    /// The problems, by urgency of the kind, then newest first.
    pub(super) problems: Vec<Problem>,
    /// The number of open spans that await something for less than `nanos_min`, which is no problem
    /// yet.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) short_waits: u64,
    #[serde(skip)]
    pub(super) nanos_min: u64,
    /// The number of problems that are not listed.
    pub(super) left_out: u64,
    /// The number of traces with failed or slow spans that were not read.
    pub(super) traces_left_out: u64,
    /// The number of traces with failed or slow spans of which only a part was read.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) traces_read_in_part: u64,
    /// The number of error logs that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) logs_unreadable: u64,
    /// The events that the log has removed or dropped; `None` if the reader may read only some
    /// traces.
    #[serde(flatten)]
    pub(super) lost: Option<LostEvents>,
    /// Whether the store is shared, so that only the traces that this process has read are known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) only_followed: bool,
    /// Whether the store has events that the report should cover, but only traces with an event in memory are known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) only_in_memory: bool,
    /// Whether the store is failing now.
    pub(super) store_fails: bool,
}

/// The line of a report that does not cover all stored traces.
const ONLY_IN_MEMORY: &str = "Traces whose events have all left memory are not covered: `find_traces` with q status:error searches them, too.\n";

impl ProblemsReport {
    /// Returns the report as text. Problems are left out if the text would be longer than about this many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = self.headline();
        if self.only_followed {
            text.push_str(ONLY_FOLLOWED);
        }
        if self.only_in_memory {
            text.push_str(ONLY_IN_MEMORY);
        }
        let mut shown = 0;
        for problem in &self.problems {
            let line = problem.line();
            if text.len() + line.len() + TAIL_BYTES > bytes_max {
                break;
            }
            text.push_str(&line);
            shown += 1;
        }
        if self.short_waits > 0 {
            let spans = Plural(self.short_waits, "open span");
            let time = Took(self.nanos_min);
            let _fits = writeln!(
                text,
                "Left out: {spans} with an await of less than {time}; `running` shows them."
            );
        }
        let hidden = (self.problems.len() - shown) as u64 + self.left_out;
        if hidden > 0 {
            let _fits = writeln!(
                text,
                "Left out: {}: narrow by q, or ask since a cursor.",
                Plural(hidden, "problem")
            );
        }
        if self.traces_left_out > 0 {
            let traces = Plural(self.traces_left_out, "older trace");
            let _fits = writeln!(text, "Not looked at: {traces} with failed or slow spans.");
        }
        if self.traces_read_in_part > 0 {
            let traces = Plural(self.traces_read_in_part, "trace");
            let _fits = writeln!(
                text,
                "Read only in part: {traces} with failed or slow spans."
            );
        }
        if self.logs_unreadable > 0 {
            let logs = Plural(self.logs_unreadable, "error log");
            let _fits = writeln!(text, "Could not be read: {logs}.");
        }
        if let Some(lost) = &self.lost {
            text.push_str(&lost.text());
        }
        if self.store_fails {
            text.push_str("The store fails now: what happens meanwhile cannot be replayed.\n");
        }
        text
    }

    fn headline(&self) -> String {
        if self.problems.is_empty() {
            return "No problem is known.\n".to_owned();
        }
        let mut kinds: BTreeMap<ProblemKind, u64> = BTreeMap::new();
        for problem in &self.problems {
            *kinds.entry(problem.kind).or_default() += 1;
        }
        let mut counts: Vec<(ProblemKind, u64)> = kinds.into_iter().collect();
        counts.sort_by_key(|(kind, count)| (Reverse(*count), *kind));
        let counts: Vec<String> = counts
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.word()))
            .collect();
        let all = Plural(self.problems.len() as u64 + self.left_out, "problem");
        format!("{all}: {}\n", counts.join(", "))
    }
}

impl Problem {
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.kind.word(), SpanText(&self.name));
        if !self.span_id.is_empty() {
            let _fits = write!(line, " [{}]", short_id(&self.span_id));
        }
        if !self.service.is_empty() {
            let _fits = write!(line, " · {}", SpanText(&self.service));
        }
        let age = OpenFor(self.age);
        if let Some(records) = self.records.filter(|records| *records > 1) {
            let _fits = write!(line, " · {} alike", Plural(records, "record"));
        }
        let _fits = if self.open {
            write!(line, " · open for {age}")
        } else {
            write!(line, " · {age} ago")
        };
        if let Some(message) = &self.message {
            let _fits = write!(line, " · {}", SpanText(message));
        }
        if let Some(usual) = &self.usual {
            let (took, p95) = (Took(self.took), Took(usual.p95));
            let count = Count(usual.count);
            let _fits = write!(line, " · took {took} (p95 {p95} of {count})");
        }
        if self.failed_above > 0 {
            let above = Plural(self.failed_above, "span");
            let how = if self.usual.is_some() {
                "took long"
            } else {
                "failed"
            };
            let _fits = write!(line, " · {how} with it: {above} above");
        }
        if let Some(now) = &self.now {
            let _fits = write!(line, "{}", SpanStateText(now));
            if self.kind == ProblemKind::Quiet {
                line.push_str(" · no event of it since");
            }
        }
        if !self.trace_id.is_empty() {
            let _fits = write!(line, " · in trace {}", short_id(&self.trace_id));
        }
        if !self.trace_name.is_empty() && self.trace_name != self.name {
            let _fits = write!(line, " {}", SpanText(&self.trace_name));
        }
        line.push('\n');
        line
    }
}

impl ProblemKind {
    fn word(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Error => "error",
            Self::Lost => "lost",
            Self::Failing => "failing",
            Self::Log => "error log",
            Self::Blocked => "blocks its thread",
            Self::Waiting => "waits long",
            Self::Slow => "slower than usual",
            Self::Quiet => "quiet",
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes it like this"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
