//! The rate of a span's progress, and the estimated time left. Both are computed from the last
//! updates, in the same way as on the page (`dashboard/assets/model/progress.mjs`). Pure: every
//! "now" is an argument.

use std::collections::VecDeque;

use crate::{span::progress::SpanProgress, util::time::Timestamp};

/// A rate covers the updates of the last 10 seconds, but at least 20 and at most [`STEPS_MAX`].
const WINDOW_NANOS: u64 = 10_000_000_000;
const WINDOW_STEPS: usize = 20;
/// Upper bound on the stored updates, even if they come fast.
const STEPS_MAX: usize = 200;
/// With fewer updates, the time left is unknown.
const ETA_STEPS_MIN: usize = 3;
/// An estimate of more than 100 days is not reported.
const LEFT_SECONDS_MAX: f64 = 100.0 * 86_400.0;

/// The last updates of the progress of one span.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressRate {
    steps: VecDeque<(Timestamp, f64)>,
    total: Option<f64>,
    units: Box<str>,
}

impl ProgressRate {
    /// Adds the progress that the span reported at this time.
    pub(crate) fn add(&mut self, progress: &SpanProgress, at: Timestamp) {
        let Some(current) = progress.current() else {
            return;
        };
        let last = self.steps.back().copied();
        let is_another = (progress.total(), progress.units()) != (self.total, &*self.units);
        // The rate starts anew if the progress starts again, or has another total or other units.
        if is_another || last.is_some_and(|(_, before)| current < before) {
            self.steps.clear();
            self.total = progress.total();
            self.units = progress.units().into();
        }
        if self.steps.back().is_some_and(|(last, _)| at <= *last) {
            return;
        }
        self.steps.push_back((at, current));
        let is_old = |steps: &VecDeque<(Timestamp, f64)>| {
            let first = steps.front().map_or(at, |(first, _)| *first);
            steps.len() > WINDOW_STEPS && nanos_between(first, at) > WINDOW_NANOS
        };
        while self.steps.len() > STEPS_MAX || is_old(&self.steps) {
            self.steps.pop_front();
        }
    }

    /// Returns the units per second, or 0 if the rate is unknown. If the last update is longer ago
    /// than the usual time between two updates, the rate falls.
    pub(crate) fn per_second(&self, now: Timestamp) -> f64 {
        let (Some((first, from)), Some((last, to))) = (self.steps.front(), self.steps.back())
        else {
            return 0.0;
        };
        let Some(usual) = self.usual_seconds() else {
            return 0.0;
        };
        let silence = (seconds(nanos_between(*last, now)) - usual).max(0.0);
        (to - from) / (seconds(nanos_between(*first, *last)) + silence)
    }

    /// Returns the seconds left at the current rate, or `None` if they cannot be estimated.
    pub(crate) fn seconds_left(&self, now: Timestamp) -> Option<f64> {
        let rate = self.per_second(now);
        let (last, current) = *self.steps.back()?;
        let total = self.total.filter(|total| current < *total)?;
        if self.steps.len() < ETA_STEPS_MIN || rate <= 0.0 {
            return None;
        }
        let silence = seconds(nanos_between(last, now)).min(self.usual_seconds()?);
        let left = (total - current) / rate - silence;
        (left <= LEFT_SECONDS_MAX).then(|| left.max(0.0))
    }

    /// Returns the usual time between two updates.
    fn usual_seconds(&self) -> Option<f64> {
        let (first, last) = (self.steps.front()?.0, self.steps.back()?.0);
        #[expect(clippy::cast_precision_loss, reason = "at most 200 steps")]
        let pauses = self
            .steps
            .len()
            .checked_sub(1)
            .filter(|pauses| *pauses > 0)? as f64;
        Some(seconds(nanos_between(first, last)) / pauses)
    }
}

fn nanos_between(from: Timestamp, to: Timestamp) -> u64 {
    to.nanos().saturating_sub(from.nanos())
}

#[expect(clippy::cast_precision_loss, reason = "a rate has few digits")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::span::indexed_attributes::IndexedAttributes;

    fn progress_of(current: u64, total: u64) -> SpanProgress {
        let text = json!({"progress.current": current, "progress.total": total}).to_string();
        let read: IndexedAttributes = serde_json::from_str(&text).unwrap();
        *read.progress.unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_time_left_is_known_from_three_updates_on_and_follows_the_last_updates() {
        let mut rate = ProgressRate::default();
        let mut seen = Vec::new();
        for second in 1..=4 {
            rate.add(&progress_of(second * 10, 100), at(second));
            let now = at(second);
            seen.push((rate.per_second(now), rate.seconds_left(now)));
        }
        assert_eq!(
            seen,
            [
                (0.0, None),
                (10.0, None),
                (10.0, Some(7.0)),
                (10.0, Some(6.0))
            ]
        );
        // After one usual pause the next update is due. From then on, the silence lowers the rate.
        assert_eq!(rate.seconds_left(at(5)), Some(5.0));
        assert_eq!(
            (rate.per_second(at(8)), rate.seconds_left(at(8))),
            (5.0, Some(11.0))
        );
        rate.add(&progress_of(5, 100), at(9));
        assert_eq!(
            (rate.per_second(at(9)), rate.seconds_left(at(9))),
            (0.0, None)
        );
    }

    #[test]
    fn the_rate_covers_ten_seconds_of_updates_and_stores_a_bounded_number() {
        let mut rate = ProgressRate::default();
        for step in 0..1000 {
            rate.add(
                &progress_of(step, 2000),
                Timestamp::from_nanos(1 + step * 100_000_000),
            );
        }
        assert_eq!(rate.steps.len(), 101);
        for step in 1000..3000 {
            rate.add(
                &progress_of(step, 9000),
                Timestamp::from_nanos(99_900_000_001 + step),
            );
        }
        assert_eq!(rate.steps.len(), STEPS_MAX);
    }
}
