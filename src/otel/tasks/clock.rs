//! The clock of polls. Each poll reads it twice, so it must be cheap.

use std::{sync::OnceLock, time::Instant};

use crate::util::time::clock_nanos;

/// Returns the nanoseconds from a fixed moment to `at`. The result is not 0. On systems whose clock
/// can be read directly, the fixed moment is the boot of the machine.
#[inline]
pub(super) fn monotonic_nanos(at: Instant) -> u64 {
    clock_nanos(&at).unwrap_or_else(|| nanos_since_first_call(at))
}

/// Returns one more than the nanoseconds from the first call to `at`.
#[cold]
fn nanos_since_first_call(at: Instant) -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = at.saturating_duration_since(*ORIGIN.get_or_init(|| at));
    u64::try_from(since.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn differences_of_the_numbers_equal_the_elapsed_times() {
        let first = Instant::now();
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 86_400_000_000_001] {
            let later = first + Duration::from_nanos(nanos);
            assert_eq!(monotonic_nanos(later) - monotonic_nanos(first), nanos);
        }
        assert!(monotonic_nanos(first) > 0);
        assert_eq!(nanos_since_first_call(first), 1);
        assert_eq!(nanos_since_first_call(first + Duration::from_nanos(7)), 8);
    }
}
