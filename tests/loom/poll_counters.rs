//! Models a span that two threads enter and exit. The end of one poll may come at the same moment as
//! the beginning of the next.

use loom::{sync::Arc, thread};

use crate::{
    span::updates::poll_counters::PollCounters,
    util::sync::atomic::{AtomicU64, Ordering},
};

/// The time on the clock when the model begins. All polls of the model are shorter than this.
const BEGIN: u64 = 1000;

pub(crate) fn no_poll_counts_more_time_than_it_took() {
    let counters = Arc::new(PollCounters::default());
    let clock = Arc::new(AtomicU64::new(BEGIN));
    let threads = [0, 1].map(|number| {
        let (counters, clock) = (Arc::clone(&counters), Arc::clone(&clock));
        thread::spawn(move || {
            let now = || clock.fetch_add(1, Ordering::AcqRel);
            let began = now();
            counters.note_first(began);
            assert!(counters.begin(began, number));
            counters.end(now());
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(counters.current_poll(), None);
    let state = counters.take_changed().expect("the span was polled");
    let longest = clock.load(Ordering::Relaxed) - BEGIN;
    assert!(state.longest_poll_nanos <= longest, "{state:?}");
    assert!(state.busy_nanos <= state.polls * longest, "{state:?}");
}
