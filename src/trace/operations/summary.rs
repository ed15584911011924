//! One operation as `GET /operations` shows it. Pure; it runs on the task of the request.

use serde::Serialize;

use crate::{
    span::json,
    trace::{
        operations::{
            histogram::HistogramRange,
            operation::{EndedSpan, Operation},
            rate::RateBucket,
        },
        span_change::SpanOutcome,
        summary::milliseconds,
    },
    util::{hex, time::Timestamp},
};

/// The figures of an operation. Durations are milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationSummary {
    service: String,
    name: String,
    kind: &'static str,
    count: u64,
    /// The end of the first counted span.
    since: Option<String>,
    per_second: f64,
    rate: Vec<RateFigures>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    /// The sum of all durations.
    total: f64,
    errors: u64,
    error_share: f64,
    running: u64,
    histogram: Vec<RangeFigures>,
    /// The longest counted span. Its trace may be gone.
    slowest: Option<RunFigures>,
    last: Vec<RunFigures>,
    /// The median of the spans that ended in the last minutes.
    p50_recent: Option<f64>,
    /// The median of the spans that ended before them.
    p50_before: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct RateFigures {
    count: u32,
    errors: u32,
}

impl RateFigures {
    fn of(bucket: RateBucket) -> Self {
        let RateBucket { count, errors, .. } = bucket;
        Self { count, errors }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct RangeFigures {
    from: f64,
    to: f64,
    count: u64,
    errors: u64,
}

impl RangeFigures {
    fn of(range: HistogramRange) -> Self {
        Self {
            from: milliseconds(range.from),
            to: milliseconds(range.to),
            count: range.count,
            errors: range.errors,
        }
    }
}

/// One span of an operation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunFigures {
    trace_id: String,
    span_id: String,
    start: String,
    duration: f64,
    state: RunState,
}

impl RunFigures {
    fn of(run: &EndedSpan) -> Self {
        Self {
            trace_id: hex::encode(&run.trace_id),
            span_id: hex::encode(&run.span_id),
            start: run.start.text(),
            duration: milliseconds(run.nanos),
            state: RunState::of(run.outcome),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum RunState {
    Ok,
    Error,
    Panicked,
    Cancelled,
    Lost,
    Running,
}

impl RunState {
    fn of(outcome: SpanOutcome) -> Self {
        match outcome {
            SpanOutcome::Ok => Self::Ok,
            SpanOutcome::Error => Self::Error,
            SpanOutcome::Panicked => Self::Panicked,
            SpanOutcome::Cancelled => Self::Cancelled,
            SpanOutcome::Lost => Self::Lost,
        }
    }
}

/// An open span of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningSpan {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) start: Timestamp,
}

impl OperationSummary {
    /// Upper bound on the open spans among the last runs: 10.
    pub(crate) const RUNNING_MAX: usize = 10;

    /// Summarizes an operation and some of its open spans. `running` begins with the newest ones.
    pub(crate) fn of(mut operation: Operation, running: &[RunningSpan], now: Timestamp) -> Self {
        let durations = operation.durations();
        let (recent, before) = operation.medians(now);
        // A quantile is the middle of a bucket, which may exceed the longest duration.
        let most = operation.slowest.map_or(u64::MAX, |run| run.nanos);
        let quantile = |percent| Some(milliseconds(durations.quantile(percent)?.min(most)));
        let count = operation.count();
        Self {
            service: operation.service.as_ref().to_owned(),
            name: operation.name.as_ref().to_owned(),
            kind: json::kind_name(operation.kind),
            count,
            since: (count > 0).then(|| operation.first.text()),
            per_second: operation.rate.per_second(now, operation.first),
            rate: operation.rate.until(now).map(RateFigures::of).to_vec(),
            p50: quantile(50),
            p95: quantile(95),
            p99: quantile(99),
            total: milliseconds(operation.total_nanos),
            errors: operation.errors,
            error_share: share(operation.errors, count),
            running: operation.running,
            histogram: durations
                .ranges()
                .into_iter()
                .map(RangeFigures::of)
                .collect(),
            slowest: operation.slowest.as_ref().map(RunFigures::of),
            last: last_runs(&operation, running, now),
            p50_recent: recent.map(milliseconds),
            p50_before: before.map(milliseconds),
        }
    }
}

/// Returns the ended runs in the order in which their ends arrived, then the open ones in the order of their starts.
fn last_runs(operation: &Operation, running: &[RunningSpan], now: Timestamp) -> Vec<RunFigures> {
    let running = running.iter().take(OperationSummary::RUNNING_MAX).rev();
    let running = running.map(|span| RunFigures {
        trace_id: hex::encode(&span.trace_id),
        span_id: hex::encode(&span.span_id),
        start: span.start.text(),
        duration: milliseconds(now.nanos().saturating_sub(span.start.nanos())),
        state: RunState::Running,
    });
    let running: Vec<RunFigures> = running.collect();
    // A lost end is provisional: the real end may replace it.
    let is_replaced = |at: usize, run: &EndedSpan| {
        let later = operation.last.iter().skip(at + 1);
        let ids = (run.trace_id, run.span_id);
        run.outcome == SpanOutcome::Lost
            && later
                .map(|later| (later.trace_id, later.span_id))
                .any(|later| later == ids)
    };
    let ended = operation.last.iter().enumerate();
    let ended = ended.filter(|(at, run)| !is_replaced(*at, run));
    let ended: Vec<RunFigures> = ended.map(|(_, run)| RunFigures::of(run)).collect();
    let surplus = (ended.len() + running.len()).saturating_sub(Operation::RUNS_MAX);
    ended.into_iter().skip(surplus).chain(running).collect()
}

/// Returns a share between 0 and 1, or 0 if the whole is 0.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more precision"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}
