//! What went wrong, as text and as JSON. Pure.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::report::{
    problems::lost_events::LostEvents,
    running::{
        span_now::{SpanNow, UsualDuration},
        text::Said,
    },
    text::{Count, OpenFor, Plural, SpanText, Took, short_id},
};

/// Room for the lines behind the problems.
const TAIL_BYTES: usize = 900;

/// What kind of problem it is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProblemKind {
    Panicked,
    Error,
    Lost,
    /// Open, with status ERROR.
    Failing,
    /// A log record of severity ERROR or above.
    Log,
    /// Open, in a poll that keeps its thread from all other tasks.
    Blocked,
    /// Open, and awaits something for long.
    Waiting,
    /// Takes longer than spans of its name usually do, or took far longer.
    Slow,
    /// Open, innermost, and not heard of for long.
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
    /// The name of the span; for a log record, its target.
    pub(super) name: String,
    pub(super) service: String,
    /// When it ended, or began while it is open. For log records, when the newest was written.
    pub(super) timestamp: String,
    pub(super) age_ms: f64,
    pub(super) open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// Spans above this one that failed, or took long, with it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) failed_above: u64,
    /// What it says, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) now: Option<SpanNow>,
    /// How long it took, if it took far longer than usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usual: Option<UsualDuration>,
    /// Log records that say the same, with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) records: Option<u64>,
    #[serde(skip)]
    pub(super) age: u64,
    #[serde(skip)]
    pub(super) took: u64,
}

/// What went wrong.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemsReport {
    pub(super) now: String,
    /// The most urgent kind first, the newest of a kind first.
    pub(super) problems: Vec<Problem>,
    /// Problems that are not listed.
    pub(super) left_out: u64,
    /// Traces with failed or slow spans that were not read.
    pub(super) traces_left_out: u64,
    /// What the log no longer has, or never had; `None` for a reader of some traces.
    #[serde(flatten)]
    pub(super) lost: Option<LostEvents>,
    /// Whether the store fails now.
    pub(super) store_fails: bool,
}

impl ProblemsReport {
    /// Returns the problems as text of at most so many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = self.headline();
        let mut shown = 0;
        for problem in &self.problems {
            let line = problem.line();
            if text.len() + line.len() + TAIL_BYTES > bytes_max {
                break;
            }
            text.push_str(&line);
            shown += 1;
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
            let _fits = write!(line, "{}", Said(now));
            if self.kind == ProblemKind::Quiet {
                line.push_str(" · nothing was heard of it since");
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
