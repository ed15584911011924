//! Opens a log where its last life ended: the newest events of the store are taken into memory, and what is known of
//! their streams is learnt again, so that lists show what was there before.

use std::time::Instant;

use crate::{
    error::Error,
    sse::{
        batch::StoredEvent,
        event::StreamKey,
        id::Sequence,
        log::Log,
        store::{PageLimit, StoredStream},
        translate::Observer,
        wait::block_on,
    },
};

/// Streams that are looked at because they may have begun before those events.
const STREAMS_MAX: usize = 1_000;
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
    if from > 1 {
        observe_earlier(log, from, observer)?;
    }
    let mut after = from - 1;
    while after < log.opened_at() {
        let page = block_on(log.store.read_after(Sequence::new(after), PageLimit::LARGE))?;
        let Some(last) = page.last().map(|event| event.sequence.get()) else {
            break;
        };
        observer(&page);
        log.tail
            .append_stored(|sequence| log.id(sequence).epoch(), &page, Instant::now());
        after = last;
    }
    Ok(())
}

/// Learns what the streams of the primed events said before them.
fn observe_earlier(log: &Log, from: u64, observer: &Observer) -> Result<(), Error> {
    let before = log.store.streams_before(Sequence::new(from), STREAMS_MAX);
    let mut left = EARLIER_EVENTS_MAX;
    for StoredStream { key, first, last } in block_on(before)? {
        if last.get() >= from && left > 0 {
            let mut after = Sequence::new(first.get() - 1);
            loop {
                let page = block_on(
                    log.store
                        .read_streams_after(&[key], after, PageLimit::LARGE),
                )?;
                let earlier = of_stream_before(&page, key, from);
                observer(&earlier);
                left = left.saturating_sub(earlier.len());
                match page.last() {
                    Some(last) if last.sequence.get() < from && left > 0 => after = last.sequence,
                    _ => break,
                }
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
