//! The worker's knowledge of a sender: whether it sends open spans, how often it sends them again,
//! and when its silence means that it has died. Pure; the worker uses it.

use std::time::Duration;

use crate::{
    otlp::{config::OtlpReceiver, senders::Sender},
    util::{sync::Instant, time::Timestamp},
};

/// A sender that has never sent an open span counts as sending only ended spans as soon as it first
/// reports a span of at least this length after the span's end.
const LONG_SPAN: Duration = Duration::from_secs(1);
/// The number of intervals for which a process may be silent before it counts as dead.
const INTERVALS: u32 = 5;

/// The way in which a sender reports open spans, as far as its spans have shown. The receiver and
/// the import of files share this rule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenSpanReporting {
    is_dotnet: bool,
    has_sent_open: bool,
    ended_only: bool,
}

impl OpenSpanReporting {
    pub(super) fn new(is_dotnet: bool) -> Self {
        Self {
            is_dotnet,
            ..Self::default()
        }
    }

    /// Returns whether the sender's spans of length zero are open. .NET reports open spans in this
    /// way, unless this sender is known to send only ended spans.
    pub(super) fn sends_open_as_empty(self) -> bool {
        self.is_dotnet && !self.ended_only
    }

    /// Returns whether the sender has sent a long span, and never an open one.
    pub(super) fn is_ended_only(self) -> bool {
        self.ended_only
    }

    /// Records that the sender has sent an open span.
    pub(super) fn opened(&mut self) {
        self.has_sent_open = true;
        self.ended_only = false;
    }

    /// Records that the sender first reported a span of this length when it had ended.
    pub(super) fn ended_unseen(&mut self, length: Duration) {
        self.ended_only |= !self.has_sent_open && length >= LONG_SPAN;
    }
}

/// The worker's knowledge of one sender.
#[derive(Clone, Debug)]
pub(super) struct SenderActivity {
    pub(super) source: u32,
    pub(super) reporting: OpenSpanReporting,
    /// The time of its last request.
    at: Instant,
    pub(super) time: Timestamp,
    /// The usual time between two reports of one open span.
    interval: Option<Duration>,
    /// The number of its open spans.
    pub(super) open: usize,
    /// Ended spans and log records that were received again.
    pub(super) repeated: u64,
    /// The least time by which its clock is ahead of ours.
    pub(super) ahead: Duration,
}

impl SenderActivity {
    pub(super) fn new(sender: Option<&Sender>, at: Instant, time: Timestamp) -> Self {
        Self {
            source: sender.map_or(u32::MAX, |sender| sender.source),
            reporting: OpenSpanReporting::new(sender.is_some_and(Sender::is_dotnet)),
            at,
            time,
            interval: None,
            open: 0,
            repeated: 0,
            ahead: Duration::ZERO,
        }
    }

    /// Records a request.
    pub(super) fn record_request(&mut self, at: Instant, time: Timestamp) {
        (self.at, self.time) = (at, time);
    }

    /// Records that an open span was sent for the first time.
    pub(super) fn opened(&mut self) {
        self.open += 1;
        self.reporting.opened();
    }

    /// Records that an open span was sent again, this long after the last time.
    pub(super) fn resent(&mut self, gap: Duration) {
        if !gap.is_zero() {
            let usual = self.interval.unwrap_or(gap);
            self.interval = Some((usual * 3 + gap) / 4);
        }
    }

    /// Records the end of a span of this length.
    pub(super) fn ended(&mut self, was_open: bool, length: Duration) {
        if was_open {
            self.open = self.open.saturating_sub(1);
        } else {
            self.reporting.ended_unseen(length);
        }
    }

    /// Returns the time at which it counts as dead, if it has open spans and has sent open spans
    /// again.
    pub(super) fn dead_at(&self) -> Option<Instant> {
        let silence = (self.interval? * INTERVALS).max(OtlpReceiver::SILENCE_MIN);
        (self.open > 0).then(|| self.at + silence)
    }

    /// Records that its open spans have ended as lost.
    pub(super) fn died(&mut self) {
        self.open = 0;
        self.interval = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_used_to_send_its_open_spans_again_dies_of_silence() {
        let now = Instant::now();
        let silence = |interval: Option<u64>, open| {
            let activity = SenderActivity {
                interval: interval.map(Duration::from_secs),
                open,
                ..SenderActivity::new(None, now, Timestamp::default())
            };
            let dead_at = activity.dead_at();
            dead_at.map(|at| at.saturating_duration_since(now).as_secs())
        };
        assert_eq!(silence(None, 1), None);
        assert_eq!(silence(Some(60), 0), None);
        assert_eq!(silence(Some(1), 1), Some(30));
        assert_eq!(silence(Some(60), 1), Some(300));
    }
}
