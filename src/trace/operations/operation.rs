//! The figures of one operation: all spans of one service with one name. The worker thread writes them. Bounded. Pure.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    span::event::SpanKind,
    trace::{
        operations::{histogram::DurationHistogram, rate::RateBuckets},
        span_change::{SpanChange, SpanOutcome, SpanStart},
    },
    util::time::Timestamp,
};

/// One ended span of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedSpan {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) start: Timestamp,
    pub(crate) nanos: u64,
    pub(crate) outcome: SpanOutcome,
}

impl EndedSpan {
    pub(crate) fn of(ended: &SpanChange, start: &SpanStart, outcome: SpanOutcome) -> Self {
        let nanos = ended.time.nanos();
        Self {
            trace_id: ended.trace_id,
            span_id: ended.span_id,
            start: start.start_time,
            nanos: nanos.saturating_sub(start.start_time.nanos()),
            outcome,
        }
    }

    fn end(&self) -> Timestamp {
        Timestamp::from_nanos(self.start.nanos().saturating_add(self.nanos))
    }
}

/// The figures of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) service: Arc<str>,
    pub(crate) name: Arc<str>,
    /// The kind of the span that ended last.
    pub(crate) kind: SpanKind,
    /// Open spans that started with this name.
    pub(crate) running: u64,
    pub(crate) errors: u64,
    /// The sum of all durations.
    pub(crate) total_nanos: u64,
    /// The end of the first counted span.
    pub(crate) first: Timestamp,
    /// The longest counted span; of equally long ones the first.
    pub(crate) slowest: Option<EndedSpan>,
    /// Whether the name was used since the table's clock hand last passed the operation.
    pub(super) is_used: bool,
    pub(crate) rate: RateBuckets,
    /// The last runs, including lost ones, in the order in which their ends arrived.
    pub(crate) last: VecDeque<EndedSpan>,
    /// The durations of spans that ended before the recent periods.
    before: DurationHistogram,
    /// The durations of the two newest periods, the current one first.
    recent: [DurationHistogram; 2],
    /// The number of the current period, counted from 1970.
    period: u64,
}

impl Operation {
    /// Upper bound on the last runs that are remembered.
    pub(crate) const RUNS_MAX: usize = 50;
    /// Length of one period. The current and the previous period count as recent: 2.5 to 5 minutes.
    pub(crate) const PERIOD_NANOS: u64 = 150_000_000_000;

    pub(super) fn new(service: &Arc<str>, name: &Arc<str>) -> Self {
        Self {
            service: Arc::clone(service),
            name: Arc::clone(name),
            kind: SpanKind::Internal,
            running: 0,
            errors: 0,
            total_nanos: 0,
            first: Timestamp::default(),
            slowest: None,
            is_used: false,
            rate: RateBuckets::default(),
            last: VecDeque::new(),
            before: DurationHistogram::default(),
            recent: Default::default(),
            period: 0,
        }
    }

    /// Counts an ended span. A lost span is only added to the last runs, because its end time is
    /// unknown.
    pub(super) fn record(&mut self, run: EndedSpan, kind: SpanKind) {
        if self.last.len() == Self::RUNS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(run);
        self.kind = kind;
        if run.outcome == SpanOutcome::Lost {
            return;
        }
        let count = self.count();
        self.is_used = count > 0;
        if count == 0 {
            self.first = run.end();
        }
        if self.slowest.is_none_or(|slowest| run.nanos > slowest.nanos) {
            self.slowest = Some(run);
        }
        let is_error = matches!(run.outcome, SpanOutcome::Error | SpanOutcome::Panicked);
        self.errors += u64::from(is_error);
        self.total_nanos = self.total_nanos.saturating_add(run.nanos);
        self.rate.record(run.end(), is_error);
        self.durations_at(run.end()).record(run.nanos, is_error);
    }

    /// Returns the histogram for spans that ended at this time. A new period begins with the first end in it.
    fn durations_at(&mut self, end: Timestamp) -> &mut DurationHistogram {
        let period = end.nanos() / Self::PERIOD_NANOS;
        self.begin_period(period);
        let [current, previous] = &mut self.recent;
        match self.period - period {
            0 => current,
            1 => previous,
            _ => &mut self.before,
        }
    }

    /// Moves to this period, if it is later than the current one.
    fn begin_period(&mut self, period: u64) {
        for _ in 0..period.saturating_sub(self.period).min(2) {
            let [current, previous] = &mut self.recent;
            self.before.merge(previous);
            *previous = std::mem::take(current);
        }
        self.period = self.period.max(period);
    }

    /// Returns the number of ended spans, without lost ones.
    pub(crate) fn count(&self) -> u64 {
        let [current, previous] = &self.recent;
        self.before.count() + current.count() + previous.count()
    }

    /// Returns the durations of all ended spans, without lost ones.
    pub(crate) fn durations(&self) -> DurationHistogram {
        let mut all = self.before.clone();
        for recent in &self.recent {
            all.merge(recent);
        }
        all
    }

    /// Returns the medians of the spans that ended recently, and of those that ended earlier.
    pub(crate) fn medians(&mut self, now: Timestamp) -> (Option<u64>, Option<u64>) {
        self.begin_period(now.nanos() / Self::PERIOD_NANOS);
        let [current, previous] = &self.recent;
        let mut recent = current.clone();
        recent.merge(previous);
        (recent.quantile(50), self.before.quantile(50))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(span: u8, start: u64, seconds: u64, outcome: SpanOutcome) -> EndedSpan {
        EndedSpan {
            trace_id: [1; 16],
            span_id: [span; 8],
            start: Timestamp::from_nanos(start * 1_000_000_000),
            nanos: seconds * 1_000_000_000,
            outcome,
        }
    }

    fn operation() -> Operation {
        Operation::new(&"shop".into(), &"checkout".into())
    }

    #[test]
    fn the_trend_compares_the_last_minutes_with_all_before() {
        let mut operation = operation();
        let begin = 150 * 12_000_000;
        let mut add = |end: u64, seconds: u64| {
            let run = run(1, begin + end - seconds, seconds, SpanOutcome::Ok);
            operation.record(run, SpanKind::Server);
        };
        add(10, 2);
        add(160, 2);
        add(170, 2);
        // Two periods after the first span, that span is no longer recent.
        add(310, 8);
        // A span whose end arrives late counts in the period of its end.
        add(20, 2);
        let mut at = |seconds: u64| {
            let now = Timestamp::from_nanos((begin + seconds) * 1_000_000_000);
            let whole =
                |nanos: Option<u64>| nanos.map(|nanos| (nanos + 500_000_000) / 1_000_000_000);
            let (recent, before) = operation.medians(now);
            (whole(recent), whole(before))
        };
        assert_eq!(at(311), (Some(2), Some(2)));
        assert_eq!(at(450), (Some(8), Some(2)));
        assert_eq!(at(10_000), (None, Some(2)));
        assert_eq!(operation.count(), 5);
        assert_eq!(operation.durations().count(), 5);
    }

    #[test]
    fn the_slowest_run_is_the_longest_that_counts() {
        let mut operation = operation();
        assert_eq!(operation.slowest, None);
        let slow = run(2, 5, 7, SpanOutcome::Error);
        for run in [
            run(1, 1, 3, SpanOutcome::Ok),
            slow,
            run(3, 6, 7, SpanOutcome::Ok),
            run(4, 1, 90, SpanOutcome::Lost),
        ] {
            operation.record(run, SpanKind::Client);
        }
        for span in 5..=80 {
            operation.record(run(span, 9, 1, SpanOutcome::Ok), SpanKind::Client);
        }
        assert_eq!(operation.slowest, Some(slow));
    }

    #[test]
    fn the_last_runs_are_bounded_and_lost_ones_count_nowhere_else() {
        let mut operation = operation();
        operation.record(run(1, 1, 1, SpanOutcome::Lost), SpanKind::Client);
        assert_eq!((operation.count(), operation.errors), (0, 0));
        for span in 2..=60 {
            let outcome = match span % 3 {
                0 => SpanOutcome::Error,
                1 => SpanOutcome::Panicked,
                _ => SpanOutcome::Cancelled,
            };
            operation.record(run(span, u64::from(span), 1, outcome), SpanKind::Client);
        }
        let spans: Vec<u8> = operation.last.iter().map(|run| run.span_id[0]).collect();
        assert_eq!(spans, (11..=60).collect::<Vec<u8>>());
        assert_eq!((operation.count(), operation.errors), (59, 39));
        assert_eq!(operation.total_nanos, 59_000_000_000);
    }
}
