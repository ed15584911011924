//! The checks, one function for each promise, and the table of their names. A check uses only the methods of the trait.
//! It runs on the thread of the test.

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
        "a new log has no events, one epoch, and 1 for its next number"),
    check("keeps_nothing", Requires::NothingStored, order::keeps_nothing,
        "a store that keeps nothing takes every batch and calls the next number its oldest"),
    check("keeps_order", Requires::Events, order::keeps_order,
        "events come back whole and in the order of their batches, numbered without holes"),
    check("leaves_out_numbers", Requires::OneWriter, order::leaves_out_numbers,
        "numbers that the log leaves out stay left out, and later events keep theirs"),
    check("pages_at_every_cut", Requires::Events, paging::pages_at_every_cut,
        "reading after any place gives what is after it, in pages of any size"),
    check("pages_within_limits", Requires::Events, paging::pages_within_limits,
        "a page holds no more events and bytes than asked for, but always one event"),
    check("reads_streams", Requires::Events, streams::reads_streams,
        "a read of streams gives their events and those of every stream, in order"),
    check("lists_streams", Requires::Events, streams::lists_streams,
        "listed streams come newest first by their first kept event, before the place, with their first and last"),
    check("keeps_payloads", Requires::Events, payloads::keeps_payloads,
        "payloads of 0 bytes to 256 KiB come back byte for byte, whatever is in them"),
    check("keeps_names", Requires::Events, payloads::keeps_names,
        "names of 1 to 64 characters and stream keys of 1 to 63 bytes come back exactly and are never confused"),
    check("retains_by_events", Requires::Events, retention::retains_by_events,
        "no more events are kept than retention allows, give or take as many again, and the newest always"),
    check("retains_by_bytes", Requires::Events, retention::retains_by_bytes,
        "no more bytes are kept than retention allows, give or take as many again, and the newest event always"),
    check("retains_by_age", Requires::Events, retention::retains_by_age,
        "events older than retention allows go, at the latest with a later append"),
    check("trims_under_readers", Requires::Events, retention::trims_under_readers,
        "a reader that pages while retention runs gets an ordered run and can tell every hole from oldest()"),
    check("keeps_open_events", Requires::Events, pins::keeps_open_events,
        "an opening event outlives retention and is read first, until an event of its stream closes its token"),
    check("bounds_open_events", Requires::Events, pins::bounds_open_events,
        "no more opening events and bytes are kept beyond retention than the bounds allow"),
    check("lists_open_global_events", Requires::Events, pins::lists_open_global_events,
        "read_open_global_events() gives the open events of every stream, oldest first, or none at all times"),
    check("keeps_once", Requires::Events, dedup::keeps_once,
        "of what must be kept only once, the first opening and the first closing of a token are kept, and no opening after its closing"),
    check("keeps_once_as_long_as_retained", Requires::Events, dedup::keeps_once_as_long_as_retained,
        "what must be kept only once is left out as long as the first is kept, beyond retention while it is open"),
    check("survives_reopening", Requires::Persistence, epochs::survives_reopening,
        "a log that is opened again has its events and goes on numbering where it was"),
    check("gives_back_when_closed", Requires::Persistence, epochs::gives_back_when_closed,
        "after close() reads go on, and the store can be opened for writing again though the closed handle lives"),
    check("keeps_once_after_reopening", Requires::Persistence, dedup::keeps_once_after_reopening,
        "what must be kept only once, and was kept in an earlier epoch, is left out"),
    check("tells_epochs_apart", Requires::Persistence, epochs::tells_epochs_apart,
        "epochs are told apart after reopening, and a new one was never there before"),
    check("hands_out_abandoned_events", Requires::Persistence, epochs::hands_out_abandoned_events,
        "recover_open_events() hands out what a writer that is gone left open, once, and only that"),
    check("serves_readers_beside_a_writer", Requires::Events, concurrency::serves_readers_beside_a_writer,
        "readers beside a writer see whole batches, in order, from when append() returned"),
    check("refuses_batches_whole", Requires::Faults, faults::refuses_batches_whole,
        "a failed append changes nothing that can be read, and later appends work"),
    check("keeps_refused_events_out_after_reopening", Requires::Faults, faults::keeps_refused_events_out_after_reopening,
        "what was refused is not there after reopening, and no number of a kept event is given again"),
    check("numbers_retried_batches_once", Requires::Faults, faults::numbers_retried_batches_once,
        "a batch whose append failed after it was kept is not kept again, and its retry returns its numbers"),
    check("keeps_equal_batches", Requires::Events, faults::keeps_equal_batches,
        "equal batches that were appended one after the other are all kept"),
    check("shares_one_log", Requires::ManyWriters, follow::shares_one_log,
        "all handles read one sequence, and each batch of each stands in it whole, once"),
    check("keeps_once_for_all_writers", Requires::ManyWriters, dedup::keeps_once_for_all_writers,
        "what must be kept only once is left out whoever kept it, and a retried batch is told the same again"),
    check("wakes_followers", Requires::Followers, follow::wakes_followers,
        "wait_after() and head() tell of what another handle appends; a wait ends at its timeout or when interrupted"),
    check("wakes_followers_of_streams", Requires::Followers, follow::wakes_followers_of_streams,
        "wait_streams() tells of these streams and of events of every stream, and of no other"),
    check("agrees_with_the_model", Requires::Events, histories::agrees_with_the_model,
        "after any history of appends, closings, retention and reopenings, every read agrees with the naive model"),
];
