//! Checks that livespan allocates nothing on the host's threads. The only exception is the copy of
//! a starting span, which the SDK makes and `LiveSampler` avoids. It is a separate binary, because
//! it replaces the allocator with a counting one.

#[path = "../../benches/measure/providers.rs"]
mod providers;
#[path = "../../benches/measure/spans.rs"]
mod spans;

use providers::Case;
use spans::Api;

const SPANS: u32 = 1000;

/// Returns the number of allocations for 1,000 spans on the thread that makes them.
fn allocations(api: Api, case: Case) -> u64 {
    let provider = case.provider();
    api.with(&provider, |make| {
        // The first spans allocate threads, buffers and thread-locals, so they are not counted.
        make(SPANS);
        provider.force_flush().unwrap();
        allocation_counter::measure(|| make(SPANS)).count_total
    })
}

#[test]
fn the_host_allocates_nothing_because_of_us() {
    for api in Api::ALL {
        let count = |case| allocations(api, case);
        let (none, snapshot) = (count(Case::None), count(Case::Snapshot));
        assert!(
            snapshot > none,
            "the SDK's copies of starting spans were not counted"
        );
        assert_eq!(count(Case::Plain), snapshot, "{api:?}");
        assert_eq!(count(Case::Wrapping), snapshot, "{api:?}");
        assert_eq!(count(Case::Sampler), none, "{api:?}");
        assert_eq!(count(Case::WrappingSampler), none, "{api:?}");
    }
}
