//! Prepares a log that is the only writer of its store. Loads the newest events of the store into memory, and rebuilds
//! the state of their streams, so lists show earlier traces. It runs on the thread that opens the log, before the
//! worker starts. A store that cannot be read never prevents the start.

use std::collections::HashSet;

use crate::{
    engine::{
        encoder::{IndexRebuild, SharedObserver, Writers},
        log::Log,
    },
    error::Error,
    log::{batch::StoredEvent, event::StreamKey},
    store::PageLimit,
    util::{block_on::block_on, sync::Instant},
    wire::id::Sequence,
};

/// Upper bound on the streams that are checked for events before those in memory.
pub(crate) const STREAMS_MAX: usize = 1_000;
/// After this many earlier events of these streams, no further page is read.
const EARLIER_EVENTS_MAX: usize = 10_000;

/// Loads the newest events up to the head at open into memory. If the store cannot be read, readers are informed and
/// later read those events from the store.
pub(crate) fn warm_up(log: &Log, observer: &SharedObserver) {
    let from = log.tail.next();
    let mut rebuild = observer.begin_rebuild(from, Writers::Own);
    if let Err(error) = fill(log, from, &mut *rebuild) {
        log.fail(error.with_causes());
    }
    rebuild.commit();
    observe_evicted(log, observer);
    log.tail.skip_to(log.opened_at() + 1);
    log.tail.publish();
    drop(log.tail.take_evictions());
}

/// Reports how many events retention removed from the [`STREAMS_MAX`] oldest streams that are known now. If the store
/// cannot count them, the number stays unknown.
fn observe_evicted(log: &Log, observer: &SharedObserver) {
    let keys = observer.oldest_streams(STREAMS_MAX);
    if keys.is_empty() || log.store.oldest().get() <= 1 {
        return;
    }
    let evicted = block_on(log.evicted_of(&keys));
    let known = keys.into_iter().zip(evicted);
    let known: Vec<_> = known
        .filter_map(|(key, evicted)| Some((key, evicted?)))
        .collect();
    observer.observe_evicted(&known);
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

/// Observes the events before `from` of these open streams, and of the streams that continue after `from`. Reads about
/// `EARLIER_EVENTS_MAX` events at most.
pub(crate) fn read_earlier(
    log: &Log,
    from: u64,
    open: &[StreamKey],
    rebuild: &mut dyn IndexRebuild,
) -> Result<(), Error> {
    let before = log.store.streams_before(Sequence::new(from), STREAMS_MAX);
    let mut streams = block_on(before)?;
    streams.retain(|stream| stream.last.get() >= from);
    let continued: HashSet<StreamKey> = streams.iter().map(|stream| stream.key).collect();
    let places = streams
        .iter()
        .map(|stream| (stream.key, stream.first.get() - 1));
    let others = open.iter().filter(|key| !continued.contains(key));
    // The first sequence of these streams is not known here, so they are read from the start of the log.
    let places = places.chain(others.map(|key| (*key, 0)));
    let mut left = EARLIER_EVENTS_MAX;
    'streams: for (key, place) in places {
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
                _ => continue 'streams,
            }
        }
        rebuild.leave_out_rest(&key);
    }
    Ok(())
}

fn of_stream_before(page: &[StoredEvent], key: StreamKey, from: u64) -> Vec<StoredEvent> {
    let earlier = page
        .iter()
        .filter(|event| event.key == Some(key) && event.sequence.get() < from);
    earlier.cloned().collect()
}
