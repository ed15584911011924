//! The clock of polls. Each poll reads it twice, so it must be cheap.

use std::{sync::OnceLock, time::Instant};

use crate::util::time::clock_nanos;

/// Returns the nanoseconds from a fixed moment to `at`. The result is never 0.
#[inline]
pub(super) fn monotonic_nanos(at: Instant) -> u64 {
    let nanos = clock_nanos(&at).unwrap_or_else(|| nanos_since_first_call(at));
    // The sum is 0 only 584 years after the moment.
    nanos.wrapping_add(1)
}

/// Returns the nanoseconds from the first call to `at`.
#[cold]
fn nanos_since_first_call(at: Instant) -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = at.saturating_duration_since(*ORIGIN.get_or_init(|| at));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_as_far_apart_as_their_numbers() {
        let first = Instant::now();
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 86_400_000_000_001] {
            let later = first + Duration::from_nanos(nanos);
            assert_eq!(monotonic_nanos(later) - monotonic_nanos(first), nanos);
        }
        assert!(monotonic_nanos(first) > 0);
    }
}
