//! Opens a log where its last life ended: the newest events of the store are taken into memory, and what is known of
//! their streams is learnt again, so that lists show what was there before.

use std::time::Instant;

use crate::{
    error::Error,
    sse::{
        batch::StoredEvent, event::StreamKey, id::Sequence, log::Log, store::PageLimit,
        translate::Observer, wait::block_on,
    },
};

/// Streams that are looked at because they may have begun before those events.
pub(crate) const STREAMS_MAX: usize = 1_000;
/// Earlier events of such streams that are read.
const EARLIER_EVENTS_MAX: usize = 10_000;

/// Fills the log's memory up to where the log was opened. Where the store cannot be read, readers are told, and get the
/// rest from the store when they ask.
pub(crate) fn prime(log: &Log, observer: &Observer) {
    if let Err(error) = fill(log, observer) {
        log.fail(error.to_string());
    }
    log.tail.skip_to(log.opened_at() + 1);
    log.tail.publish();
    drop(log.tail.take_evicted_keys());
}

fn fill(log: &Log, observer: &Observer) -> Result<(), Error> {
    let from = log.tail.next();
    observer.begin(from);
    if from > 1 {
        read_earlier(log, from, &[], &mut |events| observer.observe(events))?;
    }
    let mut after = from - 1;
    while after < log.opened_at() {
        let page = block_on(log.store.read_after(Sequence::new(after), PageLimit::LARGE))?;
        let Some(last) = page.last().map(|event| event.sequence.get()) else {
            break;
        };
        observer.observe(&page);
        log.tail
            .append_stored(|sequence| log.id(sequence).epoch(), &page, Instant::now());
        after = last;
    }
    Ok(())
}

/// Reads what was said before the event `from` in the streams that go on from there, and in these open ones.
pub(crate) fn read_earlier(
    log: &Log,
    from: u64,
    open: &[StreamKey],
    observe: &mut dyn FnMut(&[StoredEvent]),
) -> Result<(), Error> {
    let before = log.store.streams_before(Sequence::new(from), STREAMS_MAX);
    let streams = block_on(before)?;
    let going_on = streams.iter().filter(|stream| stream.last.get() >= from);
    let mut keys: Vec<StreamKey> = going_on.map(|stream| stream.key).collect();
    let others = open.iter().filter(|open| !keys.contains(open));
    keys.extend(others.copied().collect::<Vec<_>>());
    let mut left = EARLIER_EVENTS_MAX;
    for key in keys {
        let mut after = Sequence::START;
        while left > 0 {
            let page = block_on(
                log.store
                    .read_streams_after(&[key], after, PageLimit::LARGE),
            )?;
            let earlier = of_stream_before(&page, key, from);
            observe(&earlier);
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
