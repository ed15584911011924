//! What the worker learns of a sender from its requests: whether it sends open spans, how often it sends them again, and
//! when its silence means that it has died. Pure; the worker uses it.

use std::time::Duration;

use crate::{
    otlp::{config::OtlpReceiver, senders::Sender},
    util::{sync::Instant, time::Timestamp},
};

/// A sender whose span of this length was first heard of at its end sends only ended spans.
const LONG: Duration = Duration::from_secs(1);
/// How many intervals a process may be silent before it counts as dead.
const INTERVALS: u32 = 5;

/// What the worker knows of one sender.
#[derive(Clone, Debug)]
pub(super) struct SenderActivity {
    pub(super) source: u32,
    is_dotnet: bool,
    /// When it was last heard of.
    at: Instant,
    pub(super) time: Timestamp,
    /// The usual time between two reports of one open span.
    interval: Option<Duration>,
    /// Its open spans.
    pub(super) open: usize,
    has_sent_open: bool,
    pub(super) ended_only: bool,
    /// By how much its clock is ahead of ours, at least.
    pub(super) ahead: Duration,
}

impl SenderActivity {
    pub(super) fn new(sender: Option<&Sender>, at: Instant, time: Timestamp) -> Self {
        Self {
            source: sender.map_or(u32::MAX, |sender| sender.source),
            is_dotnet: sender.is_some_and(Sender::is_dotnet),
            at,
            time,
            interval: None,
            open: 0,
            has_sent_open: false,
            ended_only: false,
            ahead: Duration::ZERO,
        }
    }

    /// It has sent a request.
    pub(super) fn hear(&mut self, at: Instant, time: Timestamp) {
        (self.at, self.time) = (at, time);
    }

    /// Returns whether its spans of length zero are open. .NET reports them so, unless it is known to send only ended
    /// spans.
    pub(super) fn sends_open_as_empty(&self) -> bool {
        self.is_dotnet && !self.ended_only
    }

    /// It has sent an open span for the first time.
    pub(super) fn opened(&mut self) {
        self.open += 1;
        self.has_sent_open = true;
        self.ended_only = false;
    }

    /// It has sent an open span again, this long after the last time.
    pub(super) fn resent(&mut self, gap: Duration) {
        if !gap.is_zero() {
            let usual = self.interval.unwrap_or(gap);
            self.interval = Some((usual * 3 + gap) / 4);
        }
    }

    /// It has sent the end of a span of this length.
    pub(super) fn ended(&mut self, was_open: bool, length: Duration) {
        if was_open {
            self.open = self.open.saturating_sub(1);
        } else if !self.has_sent_open && length >= LONG {
            self.ended_only = true;
        }
    }

    /// Returns when it counts as dead, if it has open spans and used to send them again.
    pub(super) fn dead_at(&self) -> Option<Instant> {
        let silence = (self.interval? * INTERVALS).max(OtlpReceiver::SILENCE_MIN);
        (self.open > 0).then(|| self.at + silence)
    }

    /// Its open spans have ended as lost.
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
                has_sent_open: true,
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
