//! Counts of durations in buckets whose width grows with the duration. Pure.
//!
//! Each power of two is divided into sixteen buckets, so a quantile is within 3.2 % of the true
//! value. Empty buckets take no memory, and most operations use a handful of buckets.

const SUB_BUCKETS: u32 = 16;

/// Counts of durations, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DurationHistogram {
    count: u64,
    /// Ascending by duration.
    buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    number: u32,
    errors: u32,
    count: u64,
}

/// The spans whose duration is in a range, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistogramRange {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) count: u64,
    pub(crate) errors: u64,
}

impl DurationHistogram {
    /// Upper bound on the ranges that [`ranges`](Self::ranges) returns.
    pub(crate) const RANGES_MAX: usize = 64;
    /// With fewer spans than this, the usual duration is unknown.
    #[cfg(feature = "http")]
    pub(crate) const USUAL_SPANS_MIN: u64 = 20;

    pub(crate) fn record(&mut self, nanos: u64, is_error: bool) {
        self.add(Bucket {
            number: bucket_of(nanos),
            errors: is_error.into(),
            count: 1,
        });
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for bucket in &other.buckets {
            self.add(*bucket);
        }
    }

    fn add(&mut self, added: Bucket) {
        self.count += added.count;
        let place = self
            .buckets
            .binary_search_by_key(&added.number, |bucket| bucket.number);
        match place {
            Ok(at) => {
                if let Some(bucket) = self.buckets.get_mut(at) {
                    bucket.count += added.count;
                    bucket.errors = bucket.errors.saturating_add(added.errors);
                }
            }
            Err(at) => self.buckets.insert(at, added),
        }
    }

    /// Returns the middle of the bucket that contains the nearest rank, or `None` if the histogram
    /// is empty.
    pub(crate) fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|bucket| {
            seen += bucket.count;
            (seen >= rank).then(|| middle_of(bucket.number))
        })
    }

    /// Returns the counts in at most [`RANGES_MAX`](Self::RANGES_MAX) adjoining ranges, from the
    /// shortest duration to the longest. Each range joins 1, 2, 4, 8 or 16 buckets, as few as the
    /// bound allows.
    pub(crate) fn ranges(&self) -> Vec<HistogramRange> {
        let (Some(first), Some(last)) = (self.buckets.first(), self.buckets.last()) else {
            return Vec::new();
        };
        let mut joined = 1;
        let ranges = |joined: u32| (last.number / joined - first.number / joined) as usize + 1;
        while joined < SUB_BUCKETS && ranges(joined) > Self::RANGES_MAX {
            joined *= 2;
        }
        let begin = first.number / joined;
        let mut out: Vec<HistogramRange> = (begin..=last.number / joined)
            .map(|range| HistogramRange {
                from: low_of(range * joined),
                to: low_of((range + 1) * joined),
                count: 0,
                errors: 0,
            })
            .collect();
        for bucket in &self.buckets {
            let place = (bucket.number / joined - begin) as usize;
            if let Some(range) = out.get_mut(place) {
                range.count += bucket.count;
                range.errors += u64::from(bucket.errors);
            }
        }
        out
    }
}

fn bucket_of(nanos: u64) -> u32 {
    if nanos < u64::from(SUB_BUCKETS) {
        return u32::try_from(nanos).unwrap_or_default();
    }
    let log = nanos.ilog2();
    let sub = u32::try_from((nanos >> (log - 4)) & 15).unwrap_or_default();
    (log - 3) * SUB_BUCKETS + sub
}

/// Returns the shortest duration of a bucket.
fn low_of(bucket: u32) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket.into();
    }
    let log = bucket / SUB_BUCKETS + 3;
    let low = (16 + u64::from(bucket % SUB_BUCKETS)).checked_shl(log - 4);
    // The end of the last bucket does not fit into 64 bits.
    low.filter(|_| log < u64::BITS).unwrap_or(u64::MAX)
}

fn middle_of(bucket: u32) -> u64 {
    let low = low_of(bucket);
    low + (low_of(bucket + 1) - low) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(nanos: impl IntoIterator<Item = u64>) -> DurationHistogram {
        let mut histogram = DurationHistogram::default();
        for nanos in nanos {
            histogram.record(nanos, false);
        }
        histogram
    }

    #[test]
    fn quantiles_are_right_within_their_bound() {
        let counted = histogram((1..=10_000_u64).map(|nanos| nanos * 1000));
        assert_eq!(counted.count, 10_000);
        for (percent, exact) in [(50, 5_000_000_u64), (95, 9_500_000), (99, 9_900_000)] {
            let value = counted.quantile(percent).unwrap();
            assert!(
                value.abs_diff(exact) * 1000 <= exact * 32,
                "{value} for {exact}"
            );
        }
        assert_eq!(DurationHistogram::default().quantile(50), None);
    }

    #[test]
    fn every_duration_has_a_bucket_whose_middle_is_near() {
        for nanos in [
            0,
            1,
            15,
            16,
            17,
            1000,
            u64::from(u32::MAX),
            u64::MAX / 2,
            u64::MAX,
        ] {
            let middle = middle_of(bucket_of(nanos));
            assert!(middle.abs_diff(nanos) <= nanos / 16, "{nanos} {middle}");
        }
    }

    #[test]
    fn merged_histograms_count_what_both_counted() {
        let mut merged = histogram([5, 100, 7_000]);
        merged.merge(&histogram([100, 1, 90_000]));
        assert_eq!(merged, histogram([5, 100, 7_000, 100, 1, 90_000]));
    }

    #[test]
    fn ranges_adjoin_and_hold_every_count_once() {
        let narrow = {
            let mut narrow = histogram([100, 101, 120]);
            narrow.record(130, true);
            narrow
        };
        let range = |from, to, count, errors| HistogramRange {
            from,
            to,
            count,
            errors,
        };
        assert_eq!(
            narrow.ranges(),
            [
                range(100, 104, 2, 0),
                range(104, 108, 0, 0),
                range(108, 112, 0, 0),
                range(112, 116, 0, 0),
                range(116, 120, 0, 0),
                range(120, 124, 1, 0),
                range(124, 128, 0, 0),
                range(128, 136, 1, 1),
            ]
        );
        let wide = histogram((0..64).map(|log| 1_u64 << log).chain([0, u64::MAX]));
        let ranges = wide.ranges();
        assert!(ranges.len() <= DurationHistogram::RANGES_MAX, "{ranges:?}");
        assert_eq!(ranges.iter().map(|range| range.count).sum::<u64>(), 66);
        assert!(
            ranges
                .array_windows()
                .all(|[one, next]| one.to == next.from)
        );
        assert_eq!((ranges[0].from, ranges[ranges.len() - 1].to), (0, u64::MAX));
        assert_eq!(DurationHistogram::default().ranges(), []);
    }
}
