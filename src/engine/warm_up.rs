//! Opens a log where its last life ended: the newest events of the store are taken into memory, and what is known of
//! their streams is learnt again, so that lists show what was there before.

use std::collections::HashSet;

use crate::{
    engine::{
        encoder::{IndexRebuild, SharedObserver},
        log::Log,
    },
    error::Error,
    log::{batch::StoredEvent, event::StreamKey},
    store::PageLimit,
    util::{block_on::block_on, sync::Instant},
    wire::id::Sequence,
};

/// Streams that are looked at because they may have begun before those events.
pub(crate) const STREAMS_MAX: usize = 1_000;
/// Earlier events of such streams that are read.
const EARLIER_EVENTS_MAX: usize = 10_000;

/// Fills the log's memory up to where the log was opened. Where the store cannot be read, readers are told, and get the
/// rest from the store when they ask.
pub(crate) fn warm_up(log: &Log, observer: &SharedObserver) {
    let from = log.tail.next();
    let mut rebuild = observer.begin_rebuild(from);
    if let Err(error) = fill(log, from, &mut *rebuild) {
        log.fail(error.with_causes());
    }
    rebuild.commit();
    log.tail.skip_to(log.opened_at() + 1);
    log.tail.publish();
    drop(log.tail.take_evicted_keys());
}

fn fill(log: &Log, from: u64, rebuild: &mut dyn IndexRebuild) -> Result<(), Error> {
    if from > 1 {
        read_earlier(log, from, &[], rebuild)?;
    }
    let mut after = from - 1;
    while after < log.opened_at() {
        let page = block_on(log.store.read_after(Sequence::new(after), PageLimit::LARGE))?;
        let Some(last) = page.last().map(|event| event.sequence.get()) else {
            break;
        };
        rebuild.observe(&page);
        log.tail
            .append_stored(|sequence| log.id(sequence).epoch(), &page, Instant::now());
        after = last;
    }
    Ok(())
}

/// Learns what was said before the event `from` in the streams that go on from there, and in these open ones.
pub(crate) fn read_earlier(
    log: &Log,
    from: u64,
    open: &[StreamKey],
    rebuild: &mut dyn IndexRebuild,
) -> Result<(), Error> {
    let before = log.store.streams_before(Sequence::new(from), STREAMS_MAX);
    let mut streams = block_on(before)?;
    streams.retain(|stream| stream.last.get() >= from);
    let going_on: HashSet<StreamKey> = streams.iter().map(|stream| stream.key).collect();
    let places = streams
        .iter()
        .map(|stream| (stream.key, stream.first.get() - 1));
    let others = open.iter().filter(|key| !going_on.contains(key));
    // Where these begin, only the store knows.
    let places = places.chain(others.map(|key| (*key, 0)));
    let mut left = EARLIER_EVENTS_MAX;
    for (key, place) in places {
        let mut after = Sequence::new(place);
        while left > 0 {
            let page = block_on(
                log.store
                    .read_streams_after(&[key], after, PageLimit::LARGE),
            )?;
            let earlier = of_stream_before(&page, key, from);
            rebuild.observe(&earlier);
            left = left.saturating_sub(earlier.len());
            match page.last() {
                Some(last) if last.sequence.get() < from => after = last.sequence,
                _ => break,
            }
        }
    }
    Ok(())
}

fn of_stream_before(page: &[StoredEvent], key: StreamKey, from: u64) -> Vec<StoredEvent> {
    let earlier = page
        .iter()
        .filter(|event| event.key == Some(key) && event.sequence.get() < from);
    earlier.cloned().collect()
}
