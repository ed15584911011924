//! Collects past and current problems:
//!
//! - failed, panicked, lost and slow spans, and ERROR logs, since a given event;
//! - open spans that fail or panic, block a thread, wait or are silent for long, or take longer than
//!   usual;
//! - events that the log lost.
//!
//! It runs on the task of a request.

use crate::{
    engine::log::Log,
    live_spans::LiveSpans,
    report::{
        problems::{
            ended_spans::EndedSpans,
            error_logs::error_logs,
            lost_events::LostEvents,
            report::{Problem, ProblemKind, ProblemsReport},
        },
        running::{
            collect::{self, RunningTrace},
            span_now::{SpanNow, SpanNowState, age_of},
        },
        trace_events::ReadResult,
    },
    trace::filter::TraceFilter,
    util::{hash::Set, time::Timestamp},
};

/// Upper bound on the traces whose failed spans are read.
const TRACES_MAX: usize = 50;
/// Upper bound on the further traces whose slow spans are read.
const SLOW_TRACES_MAX: usize = 20;
/// Upper bound on the problems of one answer.
const PROBLEMS_MAX: usize = 300;

/// The problems to collect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemsQuery<'a> {
    pub(crate) filter: &'a TraceFilter,
    /// Ended spans and log records count only after this event. Open spans always count.
    pub(crate) after: u64,
    /// The time after which a waiting or silent open span counts as a problem.
    pub(crate) nanos_min: u64,
}

/// Collects the problems.
pub(crate) async fn problems(live: &LiveSpans, query: ProblemsQuery<'_>) -> ProblemsReport {
    let now = Timestamp::now();
    let running = collect::running(live, query.filter, now).await;
    let mut problems = Vec::new();
    for trace in &running.traces {
        problems.extend(open_problems(trace, query.nanos_min, now));
    }
    let short_waits = count_short_waits(&running.traces, query.nanos_min);
    let is_restricted = query.filter.within.is_some();
    let index = &live.shared.index;
    let (mut traces, mut count) = index.failed(query.filter, query.after, TRACES_MAX);
    // Usual durations come from all traces, so only a reader of all traces gets slow spans.
    if !is_restricted {
        let (slow, slow_count) = index.slow(query.filter, query.after, SLOW_TRACES_MAX);
        let only_slow: Vec<_> = slow.iter().filter(|id| !traces.contains(id)).collect();
        count += slow_count - (slow.len() - only_slow.len());
        traces.extend(only_slow);
    }
    let mut ended = EndedSpans::new(live, query.after, now);
    let (mut read, mut traces_read_in_part) = (0, 0);
    for id in traces {
        if ended.is_spent() {
            break;
        }
        let (found, result) = ended.read(id, !is_restricted).await;
        problems.extend(found);
        read += 1;
        traces_read_in_part += u64::from(result != ReadResult::Whole);
    }
    let logs = error_logs(live, query.filter, query.after, now).await;
    problems.extend(logs.problems);
    problems.sort_by_key(|problem| (problem.kind, problem.age));
    let left_out = problems.len().saturating_sub(PROBLEMS_MAX) as u64 + logs.left_out;
    problems.truncate(PROBLEMS_MAX);
    let log = live.log();
    ProblemsReport {
        now: now.text(),
        problems,
        short_waits,
        nanos_min: query.nanos_min,
        left_out,
        traces_left_out: (count - read) as u64,
        traces_read_in_part,
        logs_unreadable: logs.unreadable,
        lost: (!is_restricted).then(|| LostEvents::of(log, query.after)),
        only_followed: log.is_shared(),
        only_in_memory: !log.is_shared() && is_older_stored(log, query.after),
        store_fails: !is_restricted && log.is_degraded(),
    }
}

/// Returns whether the store has events after `after` that have left memory.
fn is_older_stored(log: &Log, after: u64) -> bool {
    let in_memory = log.tail.stats().oldest;
    !log.is_in_memory() && after.max(log.oldest().saturating_sub(1)) + 1 < in_memory
}

/// Returns how many spans await something that does not take long enough to be a problem.
fn count_short_waits(traces: &[RunningTrace], nanos_min: u64) -> u64 {
    let spans = traces.iter().flat_map(|trace| &trace.spans);
    let is_short = |span: &&SpanNow| {
        let point = span.awaiting.as_ref();
        span.state == SpanNowState::Running && point.is_some_and(|point| point.age < nanos_min)
    };
    spans.filter(is_short).count() as u64
}

/// Returns the problems of a trace's open spans, at most one per span.
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
            duration_ms: None,
            usual: None,
            records: None,
            age: span.age,
            took: 0,
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
    } else if is_inner && !span.is_command() && age_of(last, now) >= nanos_min {
        Some(ProblemKind::Quiet)
    } else {
        None
    }
}
