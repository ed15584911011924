//! What went wrong, and what goes wrong now: failed, panicked and lost spans since a moment, open spans that fail, block a
//! thread, wait for long or take longer than usual, and what the log itself lost. It runs on the task of a request.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    live_spans::LiveSpans,
    report::{
        event_fields::{EventText, ReportFields},
        running::{
            collect::{self, RunningTrace},
            span_now::{SpanNow, SpanNowState, age_of},
            text::Said,
        },
        text::{Count, OpenFor, Plural, SpanText, short_id},
        trace::spans::ShownState,
        trace_events::{ReadBudget, ReadResult, read_trace},
    },
    span::json::clip,
    trace::{filter::TraceFilter, summary::milliseconds},
    util::{hash::Set, hex, time::Timestamp},
    wire::control::Dropped,
};

/// Upper bound on the traces whose failed spans are read.
const FAILED_TRACES_MAX: usize = 50;
/// Upper bound on the problems of one answer.
const PROBLEMS_MAX: usize = 300;
/// Upper bound on the bytes of a message.
const MESSAGE_BYTES_MAX: usize = 512;
/// Room for the lines behind the problems.
const TAIL_BYTES: usize = 500;

/// What kind of problem it is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProblemKind {
    Panicked,
    Error,
    Lost,
    /// Open, with status ERROR.
    Failing,
    /// Open, in a poll that keeps its thread from all other tasks.
    Blocked,
    /// Open, and awaits something for long.
    Waiting,
    /// Open, and takes longer than spans of its name usually do.
    Slow,
    /// Open, innermost, and not heard of for long.
    Quiet,
}

/// One problem.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    kind: ProblemKind,
    trace_id: String,
    trace_name: String,
    span_id: String,
    name: String,
    service: String,
    /// When it ended, or began while it is open.
    timestamp: String,
    age_ms: f64,
    open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Failed spans above this one, to which the failure was handed on.
    #[serde(skip_serializing_if = "is_zero")]
    failed_above: u64,
    /// What it says, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<SpanNow>,
    #[serde(skip)]
    age: u64,
}

/// What went wrong.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemsReport {
    now: String,
    /// The most urgent kind first, the newest of a kind first.
    problems: Vec<Problem>,
    /// Problems that are not listed.
    left_out: u64,
    /// Traces with failed spans that were not read.
    traces_left_out: u64,
    /// Events that the log lost since it was opened; `None` for a reader of some traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<Dropped>,
    /// Whether the store fails now.
    store_fails: bool,
}

/// Which problems are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemsQuery<'a> {
    pub(crate) filter: &'a TraceFilter,
    /// Only what ended after this event. What is open is told in any case.
    pub(crate) after: u64,
    /// How long an open span must wait, or be quiet.
    pub(crate) nanos_min: u64,
}

/// Returns what went wrong.
pub(crate) async fn problems(live: &LiveSpans, query: ProblemsQuery<'_>) -> ProblemsReport {
    let now = Timestamp::now();
    let running = collect::running(live, query.filter, now).await;
    let mut problems = Vec::new();
    for trace in &running.traces {
        problems.extend(open_problems(trace, query.nanos_min, now));
    }
    let index = &live.shared.index;
    let (failed, count) = index.failed(query.filter, query.after, FAILED_TRACES_MAX);
    let mut budget = ReadBudget::new();
    let mut read = 0;
    for id in failed {
        if budget.is_spent() {
            break;
        }
        let (found, _result) = failed_spans(live, id, query.after, (now, &mut budget)).await;
        problems.extend(found);
        read += 1;
    }
    problems.sort_by_key(|problem| (problem.kind, problem.age));
    let left_out = problems.len().saturating_sub(PROBLEMS_MAX) as u64;
    problems.truncate(PROBLEMS_MAX);
    let log = live.log();
    let is_restricted = query.filter.within.is_some();
    ProblemsReport {
        now: now.text(),
        problems,
        left_out,
        traces_left_out: (count - read) as u64,
        dropped: (!is_restricted).then(|| log.dropped()),
        store_fails: !is_restricted && log.is_degraded(),
    }
}

/// Returns the problems of a trace's open spans, at most one for each.
fn open_problems(
    trace: &RunningTrace,
    nanos_min: u64,
    now: Timestamp,
) -> impl Iterator<Item = Problem> {
    let parents: Set<&str> = trace
        .spans
        .iter()
        .filter_map(|span| span.parent_span_id.as_deref())
        .collect();
    trace.spans.iter().filter_map(move |span| {
        let is_inner = !parents.contains(span.span_id.as_str());
        let kind = kind_of_open(span, is_inner, (nanos_min, now))?;
        let message = span.panic.as_ref().and_then(|panic| panic.message.clone());
        Some(Problem {
            kind,
            trace_id: trace.trace_id.clone(),
            trace_name: trace.name.clone(),
            span_id: span.span_id.clone(),
            name: span.name.clone().unwrap_or_default(),
            service: span.service.clone().unwrap_or_default(),
            timestamp: span.start_timestamp.clone(),
            age_ms: span.age_ms,
            open: true,
            message,
            failed_above: 0,
            now: Some(span.clone()),
            age: span.age,
        })
    })
}

fn kind_of_open(
    span: &SpanNow,
    is_inner: bool,
    (nanos_min, now): (u64, Timestamp),
) -> Option<ProblemKind> {
    let polling = span.task.as_ref().and_then(|task| task.polling.as_ref());
    let last = Timestamp::parse(&span.last_timestamp).unwrap_or(now);
    match span.state {
        SpanNowState::Panicked => return Some(ProblemKind::Panicked),
        SpanNowState::Failing => return Some(ProblemKind::Failing),
        SpanNowState::Waiting => return None,
        SpanNowState::Running => {}
    }
    if polling.is_some_and(|poll| poll.is_blocked) {
        Some(ProblemKind::Blocked)
    } else if span
        .awaiting
        .as_ref()
        .is_some_and(|point| point.age >= nanos_min)
    {
        Some(ProblemKind::Waiting)
    } else if span.usual.as_ref().is_some_and(|usual| usual.is_slower) {
        Some(ProblemKind::Slow)
    } else if is_inner && age_of(last, now) >= nanos_min {
        Some(ProblemKind::Quiet)
    } else {
        None
    }
}

/// Reads the failed spans of a trace. Of a failure that was handed on to the spans above, only the innermost span is a
/// problem.
async fn failed_spans(
    live: &LiveSpans,
    id: [u8; 16],
    after: u64,
    (now, budget): (Timestamp, &mut ReadBudget),
) -> (Vec<Problem>, ReadResult) {
    let mut failed: BTreeMap<String, (Option<String>, Problem)> = BTreeMap::new();
    let mut root = String::new();
    let result = read_trace(live.log(), id, live.log().head(), budget, |event| {
        if event.name != "ended" {
            return;
        }
        let Some(fields) = ReportFields::of(event.payload) else {
            return;
        };
        let name = text(fields.name.as_ref());
        let parent = fields
            .parent_span_id
            .as_ref()
            .map(|parent| parent.0.to_string());
        if parent.is_none() {
            root.clone_from(&name);
        }
        let outcome = ShownState::of(&fields);
        let span_id = text(fields.span_id.as_ref());
        // A real end replaces one that said that the span was lost.
        failed.remove(&span_id);
        let kind = match outcome {
            ShownState::Error => ProblemKind::Error,
            ShownState::Panicked => ProblemKind::Panicked,
            ShownState::Lost => ProblemKind::Lost,
            ShownState::Open | ShownState::Ok | ShownState::Cancelled => return,
        };
        if event.sequence <= after {
            return;
        }
        let time = fields.time().unwrap_or_default();
        let message = fields
            .status
            .as_ref()
            .and_then(|status| status.message.as_ref());
        let age = age_of(time, now);
        let problem = Problem {
            kind,
            trace_id: hex::encode(&id),
            trace_name: String::new(),
            span_id: span_id.clone(),
            name,
            service: text(fields.service.as_ref()),
            timestamp: time.text(),
            age_ms: milliseconds(age),
            open: false,
            message: message.map(|message| text(Some(message))),
            failed_above: 0,
            now: None,
            age,
        };
        failed.insert(span_id, (parent, problem));
    })
    .await;
    (innermost(failed, &root), result)
}

/// Returns the failed spans that have no failed span below, each with the number of failed spans above it.
fn innermost(mut failed: BTreeMap<String, (Option<String>, Problem)>, root: &str) -> Vec<Problem> {
    let parents: BTreeMap<String, Option<String>> = failed
        .iter()
        .map(|(id, (parent, _))| (id.clone(), parent.clone()))
        .collect();
    let outer: Set<&String> = parents.values().flatten().collect();
    let mut problems = Vec::new();
    for id in parents.keys().filter(|id| !outer.contains(id)) {
        let mut above = Set::default();
        let mut next = parents.get(id).and_then(Option::as_ref);
        while let Some(parent) = next.filter(|parent| above.insert(*parent)) {
            next = parents.get(parent).and_then(Option::as_ref);
        }
        let failed_above = above
            .iter()
            .filter(|parent| parents.contains_key(**parent))
            .count();
        if let Some((_, mut problem)) = failed.remove(id) {
            problem.failed_above = failed_above as u64;
            root.clone_into(&mut problem.trace_name);
            problems.push(problem);
        }
    }
    problems
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
            let _fits = writeln!(text, "Not looked at: {traces} with failed spans.");
        }
        if let Some(dropped) = self.dropped.filter(|dropped| dropped.total() > 0) {
            let _fits = writeln!(
                text,
                "The log has dropped {} starts, {} ends and {} other events since it was opened: what is told here may \
                 lack something.",
                Count(dropped.starts),
                Count(dropped.ends),
                Count(dropped.other)
            );
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
        let mut line = format!(
            "{}: {} [{}]",
            self.kind.word(),
            SpanText(&self.name),
            short_id(&self.span_id)
        );
        if !self.service.is_empty() {
            let _fits = write!(line, " · {}", SpanText(&self.service));
        }
        let age = OpenFor(self.age);
        let _fits = if self.open {
            write!(line, " · open for {age}")
        } else {
            write!(line, " · {age} ago")
        };
        if let Some(message) = &self.message {
            let _fits = write!(line, " · {}", SpanText(message));
        }
        if self.failed_above > 0 {
            let above = Plural(self.failed_above, "span");
            let _fits = write!(line, " · failed with it: {above} above");
        }
        if let Some(now) = &self.now {
            let _fits = write!(line, "{}", Said(now));
            if self.kind == ProblemKind::Quiet {
                line.push_str(" · nothing was heard of it since");
            }
        }
        let _fits = write!(line, " · in trace {}", short_id(&self.trace_id));
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
            Self::Blocked => "blocks its thread",
            Self::Waiting => "waits long",
            Self::Slow => "slower than usual",
            Self::Quiet => "quiet",
        }
    }
}

fn text(value: Option<&EventText<'_>>) -> String {
    value.map_or_else(String::new, |value| {
        clip(&value.0, MESSAGE_BYTES_MAX).0.to_owned()
    })
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes it like this"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
