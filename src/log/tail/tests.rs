//! Tests of the tail.

use std::{sync::atomic::AtomicBool, thread, time::Duration};

use super::{merge::RUN_BLOCKS_MAX, *};

const EPOCH: Epoch = Epoch::NONE;
const MINUTE: Duration = Duration::from_secs(60);

/// A tail and the moment of its first event.
struct Fixture {
    tail: Tail,
    begun: Instant,
}

impl Fixture {
    fn new(retention: Retention) -> Self {
        Self {
            tail: Tail::carrying(1, retention),
            begun: Instant::now(),
        }
    }

    /// Appends events on these streams (`-` means every stream) in one batch, and publishes them.
    fn put(&self, streams: &[&str], after: Duration) {
        self.pin(
            &streams
                .iter()
                .map(|stream| (*stream, Pinning::None))
                .collect::<Vec<_>>(),
            after,
        );
    }

    fn pin(&self, events: &[(&str, Pinning)], after: Duration) {
        let mut batch = Batch::default();
        for (stream, pin) in events {
            let key = (*stream != "-").then(|| StreamKey::new(stream).unwrap());
            batch.push("note", key, *pin, |out| out.extend_from_slice(b"x"));
        }
        self.tail
            .append(EPOCH, self.tail.next(), &batch, self.begun + after);
        self.tail.publish();
    }

    /// Returns the oldest sequence and the numbers of events and blocks.
    fn held(&self) -> (u64, usize, usize) {
        let TailStats { oldest, events, .. } = self.tail.stats();
        (oldest, events, read(&self.tail.state).blocks.len())
    }
}

fn keys(streams: &[&str]) -> Vec<StreamKey> {
    let keys = streams.iter().map(StreamKey::new);
    keys.map(Result::unwrap).collect()
}

fn sequences(read: &TailRead) -> Vec<u64> {
    let TailRead::Events(slices) = read else {
        panic!("{read:?}")
    };
    slices
        .iter()
        .flat_map(Slice::events)
        .map(|event| event.sequence())
        .collect()
}

#[test]
fn events_are_evicted_once_they_exceed_the_age() {
    let log = Fixture::new(Retention::default().age(MINUTE));
    for second in [0, 10, 20] {
        log.put(&["a"], Duration::from_secs(second));
    }
    assert_eq!(
        log.tail.expire(log.begun + MINUTE),
        Some(log.begun + MINUTE)
    );
    assert_eq!(log.held().1, 3);
    let past = Duration::from_nanos(1);
    let next = log.begun + MINUTE + Duration::from_secs(10);
    assert_eq!(log.tail.expire(log.begun + MINUTE + past), Some(next));
    assert_eq!((log.held().0, log.held().1), (2, 2));
    assert_eq!(log.tail.expire(next + MINUTE), None);
    assert_eq!(
        (log.held(), log.tail.stats().bytes, log.tail.stats().streams),
        ((4, 0, 0), 0, 0)
    );
    assert_eq!(
        log.tail.take_evictions().streams,
        [StreamKey::new("a").unwrap()]
    );
}

#[test]
fn events_that_come_one_at_a_time_share_blocks() {
    let log = Fixture::new(Retention::default());
    for _ in 0..10_000 {
        log.put(&["a"], Duration::ZERO);
    }
    let (oldest, events, blocks) = log.held();
    assert_eq!((oldest, events), (1, 10_000));
    assert!(
        blocks <= RUN_BLOCKS_MAX + 10_000 / RUN_BLOCKS_MAX,
        "{blocks} blocks"
    );
    let mut place = 0;
    while let TailRead::Events(slices) = log.tail.read_after(place) {
        for event in slices.iter().flat_map(Slice::events) {
            place += 1;
            let frame = format!("event: note\nid: {EPOCH}-{place}\ndata: x\n\n");
            assert_eq!(
                (event.sequence(), &event.frame()[..]),
                (place, frame.as_bytes())
            );
        }
    }
    assert_eq!(place, 10_000);
}

#[test]
fn retention_is_exact_while_blocks_are_merged() {
    let log = Fixture::new(Retention::default().events(300));
    for number in 1..=3000_u64 {
        log.put(&[if number % 3 == 0 { "-" } else { "a" }], Duration::ZERO);
        let held = usize::try_from(number).unwrap().min(300);
        assert_eq!(
            (log.held().0, log.held().1),
            (number - held as u64 + 1, held)
        );
        let state = read(&log.tail.state);
        let bytes: usize = state.blocks.iter().map(|block| block.size()).sum();
        let skipped: usize = (0..state.front_evicted)
            .filter_map(|index| state.blocks[0].event(index))
            .map(|event| event.size())
            .sum();
        assert_eq!(state.bytes, bytes - skipped);
        assert!(state.run <= state.blocks.len());
    }
    let state = read(&log.tail.state);
    let sequences = state.streams.sequences(&keys(&["a"])[0], 0, u64::MAX, 1000);
    assert_eq!((sequences.len(), state.global.len()), (200, 100));
}

#[test]
fn merging_does_not_keep_old_events_much_longer() {
    let log = Fixture::new(Retention::default().age(MINUTE * 16));
    for minute in 0..512 {
        log.put(&["a"], MINUTE / 64 * minute);
    }
    // The first run spans four minutes: too long to be merged into one block.
    assert_eq!(
        log.tail.expire(log.begun + MINUTE * 17),
        Some(log.begun + MINUTE * 17)
    );
    assert_eq!(log.held().0, 65);
}

#[test]
fn readers_see_nothing_that_is_not_published() {
    let log = Fixture::new(Retention::default().events(2));
    log.put(&["a"], Duration::ZERO);
    let mut batch = Batch::default();
    for _ in 0..4 {
        batch.push(
            "note",
            Some(StreamKey::new("a").unwrap()),
            Pinning::None,
            |out| out.push(b'x'),
        );
    }
    log.tail.append(EPOCH, 2, &batch, log.begun);
    let a = keys(&["a"]);
    assert!(matches!(log.tail.read_after(1), TailRead::Nothing(1)));
    assert!(matches!(
        log.tail.read_streams_after(&a, 1),
        TailRead::Nothing(1)
    ));
    // If retention evicts an event before it was published, readers do not move beyond the head.
    assert!(matches!(log.tail.read_after(0), TailRead::Evicted(2)));
    assert_eq!(log.tail.skip_evicted(&[], 0, u64::MAX).to, 1);
    log.tail.publish();
    assert!(matches!(log.tail.read_after(1), TailRead::Evicted(4)));
    assert_eq!(sequences(&log.tail.read_streams_after(&a, 3)), [4, 5]);
}

#[test]
fn a_reader_of_streams_gets_one_block_at_a_time() {
    let log = Fixture::new(Retention::default());
    for _ in 0..5 {
        log.put(&["a", "b", "a", "-", "c"], Duration::ZERO);
    }
    let streams = keys(&["a", "c"]);
    let mut all = Vec::new();
    while let TailRead::Events(slices) = log
        .tail
        .read_streams_after(&streams, all.last().copied().unwrap_or(0))
    {
        assert!(
            slices
                .iter()
                .all(|slice| Arc::ptr_eq(&slice.block, &slices[0].block))
        );
        all.extend(
            slices
                .iter()
                .flat_map(Slice::events)
                .map(|event| event.sequence()),
        );
    }
    assert_eq!(
        all,
        (1..=25)
            .filter(|sequence| sequence % 5 != 2)
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_loss_is_counted_only_for_the_requested_streams() {
    let log = Fixture::new(Retention::default().events(1));
    log.put(&["a", "-", "b", "b", "a", "b"], Duration::ZERO);
    let lost =
        |streams: &[&str], after| log.tail.skip_evicted(&keys(streams), after, u64::MAX).lost;
    assert_eq!((lost(&[], 0), lost(&["b"], 2)), (Some(5), Some(2)));
    // The entry of "a" was removed with its last event, so the number of its evicted events is unknown.
    assert_eq!(read(&log.tail.state).streams.find(&keys(&["a"])[0]), None);
    assert_eq!(
        lost(&["b"], 0),
        None,
        "it is unknown whether b had events before its entry was made"
    );
}

#[test]
fn an_event_never_lands_in_an_entry_that_is_being_forgotten() {
    let log = Fixture::new(Retention::default().events(1));
    let streams = keys(&["a"]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let wake_flag = Arc::new(WakeFlag::default());
            while !done.load(Ordering::Relaxed) {
                log.tail.join_stream(&streams[0], &wake_flag);
                log.tail.leave_stream(&streams[0], &wake_flag);
            }
        });
        let lost = (1..=10_000_u64).find(|number| {
            log.put(&["a"], Duration::ZERO);
            let found = match log.tail.read_streams_after(&streams, 2 * number - 2) {
                TailRead::Events(slices) => slices.iter().flat_map(Slice::events).count(),
                TailRead::Evicted(_) | TailRead::Nothing(_) => 0,
            };
            log.put(&["b"], Duration::ZERO);
            found != 1
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(lost, None);
    });
    assert_eq!(read(&log.tail.state).streams.find(&streams[0]), None);
}

#[test]
fn only_open_events_are_kept_beyond_retention() {
    let log = Fixture::new(Retention::default().events(1));
    let open = [1, 2, 3].map(|token| ("a", Pinning::Open(token)));
    log.pin(&open, Duration::ZERO);
    log.pin(
        &[("a", Pinning::Close(2)), ("a", Pinning::Open(3))],
        Duration::ZERO,
    );
    log.put(&["b"], Duration::ZERO);
    let standing = |sequence| read(&log.tail.state).retained(sequence).is_some();
    // The third token was opened twice; its later opening event counts.
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(standing),
        [true, false, false, false, true, true]
    );
    assert_eq!(log.tail.stats().open, 2);
    log.pin(
        &[("a", Pinning::Close(1)), ("a", Pinning::Close(3))],
        Duration::ZERO,
    );
    log.put(&["b"], Duration::ZERO);
    let state = read(&log.tail.state);
    assert!(state.open.is_empty() && state.pinned.is_empty());
    assert_eq!((state.open_in_streams, state.pinned_bytes), (0, 0));
    assert_eq!(state.streams.find(&keys(&["a"])[0]), None);
}

#[test]
fn events_kept_beyond_retention_are_returned_in_pages() {
    let log = Fixture::new(Retention::default().events(1));
    let events: Vec<(&str, Pinning)> = (0..600)
        .flat_map(|token| [("a", Pinning::Open(token)), ("b", Pinning::None)])
        .collect();
    log.pin(&events, Duration::ZERO);
    let (mut after, mut pages) = (0, Vec::new());
    while after < 1199 {
        let passed = log.tail.skip_evicted(&[], after, u64::MAX);
        pages.push((passed.to, passed.lost, passed.kept.len()));
        after = passed.to;
    }
    assert_eq!(
        pages,
        [
            (511, Some(255), 256),
            (1023, Some(256), 256),
            (1199, Some(88), 88)
        ]
    );
}

#[test]
fn events_on_both_sides_of_skipped_sequences_do_not_count_as_consecutive() {
    let log = Fixture::new(Retention::default());
    log.put(&["a", "a"], Duration::ZERO);
    let mut batch = Batch::default();
    batch.push(
        "note",
        Some(StreamKey::new("a").unwrap()),
        Pinning::None,
        |out| out.push(b'x'),
    );
    log.tail.append(EPOCH, 10, &batch, log.begun);
    log.tail.publish();
    assert_eq!((log.tail.published(), log.held()), (10, (10, 1, 1)));
    assert!(matches!(log.tail.read_after(2), TailRead::Evicted(10)));
    assert_eq!(
        log.tail.skip_evicted(&keys(&["a"]), 2, u64::MAX).lost,
        None,
        "the streams of events 3 to 9 are unknown, because other processes wrote them"
    );
    assert_eq!(sequences(&log.tail.read_after(9)), [10]);
}
