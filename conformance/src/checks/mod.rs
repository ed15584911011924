//! The checks, one function for each promise, and the table of their names. A check runs on the thread of the test;
//! some checks start further threads.

mod concurrency;
mod dedup;
mod epochs;
mod faults;
mod follow;
mod order;
mod paging;
mod payloads;
mod pins;
mod retention;
mod streams;

use crate::{
    context::{Check, CheckContext, Requires},
    histories,
    report::Outcome,
};

const fn check(
    name: &'static str,
    requires: Requires,
    run: fn(&CheckContext<'_>) -> Outcome,
    promise: &'static str,
) -> Check {
    Check {
        name,
        promise,
        requires,
        run,
    }
}

/// Every check, the most basic first: when one fails, later ones often fail because of it.
#[rustfmt::skip]
pub(crate) const CHECKS: &[Check] = &[
    check("opens_empty", Requires::Nothing, order::opens_empty,
        "a new log has no events, one epoch, and 1 as its next number"),
    check("keeps_nothing", Requires::NothingStored, order::keeps_nothing,
        "a store that keeps nothing accepts every batch, and oldest() returns the next number"),
    check("keeps_order", Requires::Events, order::keeps_order,
        "events come back whole and in the order of their batches, numbered without holes"),
    check("leaves_out_numbers", Requires::OneWriter, order::leaves_out_numbers,
        "numbers that the log skips stay unused, and later events keep their numbers"),
    check("pages_at_every_cut", Requires::Events, paging::pages_at_every_cut,
        "a read after any sequence returns the events after it, in pages of any size"),
    check("pages_within_limits", Requires::Events, paging::pages_within_limits,
        "a page exceeds neither limit, in events or bytes, but always has at least one event"),
    check("reads_streams", Requires::Events, streams::reads_streams,
        "a read of streams returns their events and those that belong to every stream, in order"),
    check("lists_streams", Requires::Events, streams::lists_streams,
        "streams_before() lists the streams whose first kept event is before a sequence, newest first, with both ends"),
    check("keeps_payloads", Requires::Events, payloads::keeps_payloads,
        "payloads of 0 bytes to 256 KiB come back byte for byte, whatever they contain"),
    check("keeps_names", Requires::Events, payloads::keeps_names,
        "names of 1 to 64 characters and stream keys of 1 to 63 bytes come back exactly and are never confused"),
    check("retains_by_events", Requires::Events, retention::retains_by_events,
        "no more events can be read than retention allows, nor less than half as many, and always the newest event"),
    check("retains_by_bytes", Requires::Events, retention::retains_by_bytes,
        "no more payload bytes can be read than retention allows, and always the newest event"),
    check("retains_by_age", Requires::Events, retention::retains_by_age,
        "events older than retention allows are evicted, at the latest by a later append"),
    check("counts_evicted_events", Requires::Events, retention::counts_evicted_events,
        "evicted() returns for each stream how many of its events can no longer be read, or that this is unknown"),
    check("trims_under_readers", Requires::Events, retention::trims_under_readers,
        "a reader that pages while retention runs gets events in order, and every hole is before oldest()"),
    check("keeps_open_events", Requires::Events, pins::keeps_open_events,
        "an opening event outlives retention and is read first, until an event of its stream closes its token"),
    check("keeps_states", Requires::Events, pins::keeps_states,
        "the newest state of an open token outlives retention, until its token is closed, opened again or has a newer state"),
    check("bounds_open_events", Requires::Events, pins::bounds_open_events,
        "no more opening events and bytes are kept beyond retention than the bounds allow"),
    check("keeps_open_streams_whole", Requires::Events, pins::keeps_open_streams_whole,
        "no event of an open stream is evicted while the open streams need a quarter of the bounds; ended streams go first"),
    check("keeps_streams_on_request", Requires::Events, pins::keeps_streams_on_request,
        "a stream that is kept on request stays whole until stop_keeping() is called or the kept streams outgrow their share"),
    check("lists_open_global_events", Requires::Events, pins::lists_open_global_events,
        "read_open_global_events() returns the open events of every stream, oldest first, or always returns none"),
    check("keeps_once", Requires::Events, dedup::keeps_once,
        "of a token's deduplicated events, only the first opening and the first closing are kept, and no opening after a closing"),
    check("keeps_once_as_long_as_retained", Requires::Events, dedup::keeps_once_as_long_as_retained,
        "a duplicate is left out while the first event is kept, also beyond retention while its token is open"),
    check("survives_reopening", Requires::Persistence, epochs::survives_reopening,
        "a log that is opened again has its events and continues its numbers"),
    check("keeps_streams_on_request_after_reopening", Requires::Persistence,
        pins::keeps_streams_on_request_after_reopening,
        "a stream that is kept on request is still kept when the log is opened again"),
    check("gives_back_when_closed", Requires::Persistence, epochs::gives_back_when_closed,
        "after close(), reads still work, and the store can be opened for writing while the closed handle exists"),
    check("keeps_once_after_reopening", Requires::Persistence, dedup::keeps_once_after_reopening,
        "a duplicate of an event that an earlier epoch kept is left out"),
    check("tells_epochs_apart", Requires::Persistence, epochs::tells_epochs_apart,
        "epochs are still distinct after reopening, and a new epoch has a name that was never used"),
    check("hands_out_abandoned_events", Requires::Persistence, epochs::hands_out_abandoned_events,
        "recover_open_events() returns exactly the events that a gone writer left open, each once"),
    check("serves_readers_beside_a_writer", Requires::Events, concurrency::serves_readers_beside_a_writer,
        "readers beside a writer see whole batches, in order, as soon as append() has returned"),
    check("refuses_batches_whole", Requires::Faults, faults::refuses_batches_whole,
        "a failed append changes nothing that can be read, and later appends succeed"),
    check("keeps_refused_events_out_after_reopening", Requires::Faults, faults::keeps_refused_events_out_after_reopening,
        "rejected events are absent after reopening, and no number of a kept event is used again"),
    check("numbers_retried_batches_once", Requires::Faults, faults::numbers_retried_batches_once,
        "a batch whose append failed after it was kept is not kept again, and its retry returns its numbers"),
    check("keeps_equal_batches", Requires::Events, faults::keeps_equal_batches,
        "equal batches that are appended one after another are all kept"),
    check("shares_one_log", Requires::ManyWriters, follow::shares_one_log,
        "all handles read one sequence, and it contains each batch of each handle whole and once"),
    check("keeps_once_for_all_writers", Requires::ManyWriters, dedup::keeps_once_for_all_writers,
        "a duplicate is left out whichever handle appended the first, and a retry reports the same duplicates"),
    check("wakes_followers", Requires::Followers, follow::wakes_followers,
        "wait_after() and head() report the appends of other handles; a wait ends at its timeout or when interrupted"),
    check("wakes_followers_of_streams", Requires::Followers, follow::wakes_followers_of_streams,
        "wait_streams() reports news of these streams and of every stream, and of no others"),
    check("agrees_with_the_model", Requires::Events, histories::agrees_with_the_model,
        "after any history of appends, closings, retention and reopenings, every read agrees with the naive model"),
];
