//! What the host's thread allocates because of us: nothing, beyond the copy of a starting span that only the SDK can
//! make, and that `LiveSampler` makes needless. In a binary of its own, whose allocator counts.

#[path = "../../benches/measure/providers.rs"]
mod providers;
#[path = "../../benches/measure/spans.rs"]
mod spans;

use providers::Case;
use spans::Api;

const SPANS: u32 = 1000;

/// Allocations of so many spans on the thread that makes them.
fn allocations(api: Api, case: Case) -> u64 {
    let provider = case.provider();
    api.with(&provider, |make| {
        // Threads, buffers and thread locals come to be with the first spans.
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
        assert!(snapshot > none, "the copy is counted");
        assert_eq!(count(Case::Plain), snapshot, "{api:?}");
        assert_eq!(count(Case::Wrapping), snapshot, "{api:?}");
        assert_eq!(count(Case::Sampler), none, "{api:?}");
        assert_eq!(count(Case::WrappingSampler), none, "{api:?}");
    }
}
