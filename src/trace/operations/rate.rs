//! Counts of recently ended spans, in buckets of time. Bounded. Pure.

use crate::util::time::Timestamp;

/// The counts of spans that ended within one period of [`RateBuckets::SECONDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateBucket {
    /// The number of the bucket, counted from 1970.
    number: u32,
    pub(crate) count: u32,
    pub(crate) errors: u32,
}

/// The newest buckets. A bucket's number determines its slot.
#[derive(Clone, Debug)]
pub(crate) struct RateBuckets([RateBucket; Self::BUCKETS]);

impl Default for RateBuckets {
    fn default() -> Self {
        Self([RateBucket::default(); Self::BUCKETS])
    }
}

impl RateBuckets {
    /// Number of buckets. Together they cover 10 minutes.
    pub(crate) const BUCKETS: usize = 40;
    /// Seconds of one bucket.
    pub(crate) const SECONDS: u64 = 15;
    /// Number of buckets from which the current rate is computed, including the current one.
    const NOW_BUCKETS: usize = 4;

    /// Counts a span that ended at this time. Ignores ends before the covered time.
    pub(crate) fn record(&mut self, end: Timestamp, is_error: bool) {
        let number = number_of(end);
        let Some(bucket) = self.0.get_mut(number as usize % Self::BUCKETS) else {
            return;
        };
        if bucket.number < number {
            *bucket = RateBucket {
                number,
                ..RateBucket::default()
            };
        }
        if bucket.number == number {
            bucket.count = bucket.count.saturating_add(1);
            bucket.errors = bucket.errors.saturating_add(is_error.into());
        }
    }

    /// Returns all buckets until now, oldest first.
    pub(crate) fn until(&self, now: Timestamp) -> [RateBucket; Self::BUCKETS] {
        let last = number_of(now);
        std::array::from_fn(|at| {
            let age = u32::try_from(Self::BUCKETS - 1 - at).unwrap_or_default();
            let number = last.saturating_sub(age);
            let bucket = self.0.get(number as usize % Self::BUCKETS);
            let bucket = bucket.filter(|bucket| bucket.number == number);
            bucket.copied().unwrap_or_default()
        })
    }

    /// Returns how many spans now end per second: the mean of the last 45 to 60 seconds, or of the
    /// time since `first` if that is shorter.
    pub(crate) fn per_second(&self, now: Timestamp, first: Timestamp) -> f64 {
        const SECOND: u64 = 1_000_000_000;
        let newest = self.until(now);
        let newest = newest.iter().rev().take(Self::NOW_BUCKETS);
        let count: u64 = newest.map(|bucket| u64::from(bucket.count)).sum();
        let whole = (Self::NOW_BUCKETS as u64 - 1) * Self::SECONDS * SECOND;
        let covered = whole + now.nanos() % (Self::SECONDS * SECOND);
        let known = now.nanos().saturating_sub(first.nanos()).max(SECOND);
        let nanos = covered.min(known);
        #[expect(clippy::cast_precision_loss, reason = "a rate of 2^53 is out of reach")]
        let (count, nanos) = (count as f64, nanos as f64);
        count * 1e9 / nanos
    }
}

fn number_of(time: Timestamp) -> u32 {
    let seconds = time.nanos() / 1_000_000_000;
    u32::try_from(seconds / RateBuckets::SECONDS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn counts(buckets: &RateBuckets, now: u64) -> Vec<(u32, u32)> {
        let until = buckets.until(at(now));
        until.map(|bucket| (bucket.count, bucket.errors)).to_vec()
    }

    #[test]
    fn buckets_count_the_spans_that_ended_in_the_last_ten_minutes() {
        let mut buckets = RateBuckets::default();
        let begin = 1_800_000_000;
        for (second, is_error) in [(0, false), (14, true), (15, false), (599, false)] {
            buckets.record(at(begin + second), is_error);
        }
        let mut expected = vec![(0, 0); 40];
        expected[0] = (2, 1);
        expected[1] = (1, 0);
        expected[39] = (1, 0);
        assert_eq!(counts(&buckets, begin + 599), expected);
        // The first bucket is replaced. A span that ended in that bucket's time now arrives too
        // late.
        buckets.record(at(begin + 600), false);
        buckets.record(at(begin), false);
        let mut expected = vec![(0, 0); 40];
        expected[0] = (1, 0);
        expected[38] = (1, 0);
        expected[39] = (1, 0);
        assert_eq!(counts(&buckets, begin + 600), expected);
        assert_eq!(counts(&buckets, begin + 10_000), vec![(0, 0); 40]);
    }

    #[test]
    fn the_current_rate_is_the_mean_of_the_last_minute() {
        let mut buckets = RateBuckets::default();
        let begin = 1_800_000_000;
        for second in 0..600 {
            for _ in 0..7 {
                buckets.record(at(begin + second), false);
            }
        }
        let rate = |now| buckets.per_second(at(begin + now), at(begin));
        assert!((rate(600) - 7.0).abs() < 1e-9, "{}", rate(600));
        assert!((rate(614) - 5.338_983_050_8).abs() < 1e-6, "{}", rate(614));
        assert!(rate(10_000).abs() < 1e-9);
        let mut young = RateBuckets::default();
        for _ in 0..20 {
            young.record(at(begin + 3), false);
        }
        let rate = young.per_second(at(begin + 5), at(begin + 3));
        assert!((rate - 10.0).abs() < 1e-9, "{rate}");
    }
}
