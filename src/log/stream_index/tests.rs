//! Tests of the stream index.

use super::*;

fn id(text: &str) -> StreamKey {
    StreamKey::new(text).unwrap()
}

impl StreamIndex {
    /// Returns the number of streams that have an entry, counted in the table and in the slab.
    fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.entries.count)
    }
}

#[test]
fn an_unknown_stream_is_forgotten_with_its_last_reader() {
    let mut keys = StreamIndex::new(0);
    let (one, two) = (Arc::new(WakeFlag::default()), Arc::new(WakeFlag::default()));
    keys.join(&id("a"), &one, 0);
    keys.join(&id("a"), &two, 0);
    assert!(!keys.knows(&id("a")));
    keys.leave(&id("a"), &one);
    assert_eq!(keys.counts(), (1, 1));
    keys.leave(&id("a"), &two);
    assert_eq!(keys.counts(), (0, 0));
}

#[test]
fn a_stream_with_events_outlives_its_readers_and_is_removed_with_its_last_event() {
    let mut keys = StreamIndex::new(0);
    let wake_flag = Arc::new(WakeFlag::default());
    keys.join(&id("a"), &wake_flag, 0);
    let slot = keys.push(&id("a"), 1, StreamSlot::NONE);
    assert_eq!((keys.find(&id("a")), keys.held()), (Some(slot), 1));
    keys.leave(&id("a"), &wake_flag);
    assert_eq!(keys.counts(), (1, 1));
    assert!(keys.evict(slot, 1));
    assert_eq!((keys.counts(), keys.held()), ((0, 0), 0));
}

#[test]
fn a_reader_that_joins_before_an_event_is_published_is_woken_by_the_publication() {
    let mut keys = StreamIndex::new(0);
    let (early, late) = (Arc::new(WakeFlag::default()), Arc::new(WakeFlag::default()));
    keys.join(&id("a"), &early, 0);
    keys.push(&id("a"), 1, StreamSlot::NONE);
    keys.push(&id("b"), 2, StreamSlot::NONE);
    keys.join(&id("b"), &late, 0);
    let dirty = keys.take_dirty();
    assert_eq!(dirty.len(), 2);
    assert!(Arc::ptr_eq(&dirty[0], &early) && Arc::ptr_eq(&dirty[1], &late));
    keys.join(&id("b"), &early, 2);
    assert_eq!(
        keys.take_dirty().len(),
        0,
        "a reader is woken for an event that was published before it came"
    );
}

#[test]
fn streams_are_found_by_their_keys_while_others_come_and_go() {
    let mut keys = StreamIndex::new(0);
    let name = |number: u64| {
        // Makes both short names and long ones.
        let length = usize::try_from(number % 5).unwrap() * 12 + 1;
        id(&format!("{number:0length$}"))
    };
    let held = 1000;
    for number in 1..=5 * held {
        keys.push(&name(number), number, StreamSlot::NONE);
        if let Some(gone @ 1..) = number.checked_sub(held) {
            let slot = keys.find(&name(gone)).unwrap();
            assert!(keys.evict(slot, gone));
            assert_eq!(keys.find(&name(gone)), None);
        }
    }
    for number in 4 * held + 1..=5 * held {
        assert_eq!(keys.sequences(&name(number), 0, u64::MAX, 2), [number]);
    }
    let chunks = keys.entries.chunks.len();
    assert!(chunks <= 5, "{chunks}");
    for number in 4 * held + 1..=5 * held {
        let slot = keys.find(&name(number)).unwrap();
        assert!(keys.evict(slot, number));
    }
    assert_eq!((keys.counts(), keys.entries.chunks.len()), ((0, 0), 1));
}

#[test]
fn losses_before_an_entry_was_made_are_unknown() {
    let mut keys = StreamIndex::new(0);
    let wake_flag = Arc::new(WakeFlag::default());
    let slot = keys.push(&id("a"), 5, StreamSlot::NONE);
    keys.join(&id("a"), &wake_flag, 0);
    let lost = |keys: &StreamIndex, name, after| keys.lost(&id(name), after, 9);
    assert_eq!((lost(&keys, "a", 3), lost(&keys, "a", 4)), (None, Some(0)));
    assert!(keys.evict(slot, 5));
    assert_eq!(
        [3, 4, 5].map(|after| lost(&keys, "a", after)),
        [None, Some(1), Some(0)]
    );
    keys.join(&id("b"), &wake_flag, 0);
    assert_eq!((lost(&keys, "b", 4), lost(&keys, "b", 5)), (None, Some(0)));
    assert_eq!(lost(&keys, "c", 5), None);
}
