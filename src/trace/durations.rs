//! Typical durations of spans by service and name: one small histogram each, bounded in number. At the bound, a new
//! name replaces one that was not used lately (the clock algorithm).
//!
//! Each power of two is divided into sixteen buckets, so a quantile is within 3.2 % of the true value.

use std::sync::Arc;

use crate::util::hash::Map;

/// Upper bound on the names, over all services, with a histogram.
pub(crate) const DURATION_NAMES_MAX: usize = 4096;

const SUB_BUCKETS: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// The indices of the histograms.
    by_service: Map<Arc<str>, Map<Arc<str>, usize>>,
    histograms: Vec<Histogram>,
    /// The clock's hand: the histogram that is examined next when a new name needs a place.
    hand: usize,
    recent: Recent,
}

/// Indices of histograms that were used lately, by the address of the name. Names are shared, so most ends find theirs
/// here without comparing texts.
#[derive(Debug, Default)]
struct Recent(Vec<Option<Found>>);

/// A service, a name, and the index of its histogram.
type Found = (Arc<str>, Arc<str>, usize);

impl Recent {
    const SLOTS: usize = 64;

    fn find(&self, service: &Arc<str>, name: &Arc<str>) -> Option<usize> {
        let (known_service, known_name, at) = self.0.get(Self::place(name))?.as_ref()?;
        let is_it = Arc::ptr_eq(known_service, service) && Arc::ptr_eq(known_name, name);
        is_it.then_some(*at)
    }

    fn keep(&mut self, service: &Arc<str>, name: &Arc<str>, at: usize) {
        self.0.resize(Self::SLOTS, None);
        if let Some(place) = self.0.get_mut(Self::place(name)) {
            *place = Some((Arc::clone(service), Arc::clone(name), at));
        }
    }

    /// Forgets the names that were found with this index.
    fn forget(&mut self, at: usize) {
        for found in &mut self.0 {
            found.take_if(|(_, _, place)| *place == at);
        }
    }

    fn place(name: &Arc<str>) -> usize {
        name.as_ptr() as usize / 32 % Self::SLOTS
    }
}

/// Counts of durations, in nanoseconds.
#[derive(Debug)]
struct Histogram {
    service: Arc<str>,
    name: Arc<str>,
    /// Whether the name was used since the hand last passed it.
    is_used: bool,
    count: u64,
    /// Bucket and count, ascending; most names use a handful.
    buckets: Vec<(u32, u64)>,
}

/// The quantiles of the durations of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: Option<u64>,
    pub(crate) p95: Option<u64>,
}

impl Durations {
    pub(crate) fn record(&mut self, service: &Arc<str>, name: &Arc<str>, nanos: u64) {
        let at = self.recent.find(service, name);
        let at = at.or_else(|| self.place(service, name));
        if let Some(histogram) = at.and_then(|at| self.histograms.get_mut(at)) {
            histogram.record(nanos);
        }
    }

    /// Returns the index of the name's histogram. Creates the histogram if needed.
    fn place(&mut self, service: &Arc<str>, name: &Arc<str>) -> Option<usize> {
        let names = self.by_service.get(service);
        let at = if let Some(at) = names.and_then(|names| names.get(name)) {
            *at
        } else {
            let histogram = Histogram::new(service, name);
            let at = if self.histograms.len() < DURATION_NAMES_MAX {
                self.histograms.push(histogram);
                self.histograms.len() - 1
            } else {
                let at = self.free_place();
                *self.histograms.get_mut(at)? = histogram;
                at
            };
            let names = self.by_service.entry(Arc::clone(service)).or_default();
            names.insert(Arc::clone(name), at);
            at
        };
        self.recent.keep(service, name, at);
        Some(at)
    }

    /// Forgets a name that was not used since the hand last passed it, and returns its index. So a name that is used
    /// once is replaced before one that is used repeatedly. The hand passes each histogram at most twice.
    fn free_place(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (at + 1) % DURATION_NAMES_MAX;
            let Some(histogram) = self.histograms.get_mut(at) else {
                return at;
            };
            if std::mem::take(&mut histogram.is_used) {
                continue;
            }
            if let Some(names) = self.by_service.get_mut(&histogram.service) {
                names.remove(&histogram.name);
                if names.is_empty() {
                    self.by_service.remove(&histogram.service);
                }
            }
            self.recent.forget(at);
            return at;
        }
    }

    pub(crate) fn quantiles(&self, service: &str, name: &str) -> Quantiles {
        self.by_service
            .get(service)
            .and_then(|names| self.histograms.get(*names.get(name)?))
            .map_or(Quantiles::default(), |histogram| Quantiles {
                count: histogram.count,
                p50: histogram.quantile(50),
                p95: histogram.quantile(95),
            })
    }
}

impl Histogram {
    fn new(service: &Arc<str>, name: &Arc<str>) -> Self {
        Self {
            service: Arc::clone(service),
            name: Arc::clone(name),
            is_used: false,
            count: 0,
            buckets: Vec::new(),
        }
    }

    fn record(&mut self, nanos: u64) {
        self.is_used = self.count > 0;
        self.count += 1;
        let bucket = bucket_of(nanos);
        match self
            .buckets
            .binary_search_by_key(&bucket, |(bucket, _)| *bucket)
        {
            Ok(at) => {
                if let Some((_, count)) = self.buckets.get_mut(at) {
                    *count += 1;
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
    }

    /// Returns the middle of the bucket that contains the nearest rank.
    fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| middle_of(*bucket))
        })
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

fn middle_of(bucket: u32) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket.into();
    }
    let log = bucket / SUB_BUCKETS + 3;
    let low = (16 + u64::from(bucket % SUB_BUCKETS)) << (log - 4);
    low + (1_u64 << (log - 4)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_their_bound() {
        let mut durations = Durations::default();
        for nanos in 1..=10_000_u64 {
            durations.record(&"shop".into(), &"checkout".into(), nanos * 1000);
        }
        let quantiles = durations.quantiles("shop", "checkout");
        assert_eq!(quantiles.count, 10_000);
        for (value, exact) in [(quantiles.p50, 5_000_000_u64), (quantiles.p95, 9_500_000)] {
            let error = value.unwrap().abs_diff(exact);
            assert!(error * 1000 <= exact * 32, "{value:?} for {exact}");
        }
        assert_eq!(durations.quantiles("shop", "other"), Quantiles::default());
    }

    #[test]
    fn every_duration_has_a_bucket_whose_middle_is_near() {
        for nanos in [0, 1, 15, 16, 17, 1000, u64::from(u32::MAX), u64::MAX / 2] {
            let middle = middle_of(bucket_of(nanos));
            assert!(middle.abs_diff(nanos) <= nanos / 16, "{nanos} {middle}");
        }
    }

    #[test]
    fn names_beyond_the_bound_take_the_place_of_those_that_do_not_come_again() {
        let mut durations = Durations::default();
        let (service, usual) = ("shop".into(), "usual".into());
        for round in 1..=3 * DURATION_NAMES_MAX {
            durations.record(&service, &usual, 1);
            durations.record(
                &format!("service{round}").into(),
                &round.to_string().into(),
                1,
            );
            let newest = durations.quantiles(&format!("service{round}"), &round.to_string());
            assert_eq!(newest.count, 1, "a new name is counted at once");
        }
        let usual = durations.quantiles("shop", "usual").count;
        assert_eq!(usual, 3 * DURATION_NAMES_MAX as u64);
        assert_eq!(durations.quantiles("service1", "1").count, 0);
        let names: usize = durations.by_service.values().map(Map::len).sum();
        assert_eq!(
            (names, durations.histograms.len()),
            (DURATION_NAMES_MAX, DURATION_NAMES_MAX)
        );
    }

    #[test]
    fn a_name_that_was_forgotten_is_not_counted_as_the_one_in_its_place() {
        let mut durations = Durations::default();
        let (service, first): (Arc<str>, Arc<str>) = ("shop".into(), "first".into());
        durations.record(&service, &first, 1);
        for number in 0..DURATION_NAMES_MAX {
            durations.record(&service, &number.to_string().into(), 1);
        }
        assert_eq!(durations.quantiles("shop", "first").count, 0);
        durations.record(&service, &first, 1);
        assert_eq!(durations.quantiles("shop", "first").count, 1);
    }
}
