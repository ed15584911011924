//! Checks the protocols that use no lock, or more than one, with loom. Loom runs the interleavings of
//! a few threads under its memory model, up to a number of preemptions. `tests/simulation` runs the
//! whole log in random interleavings.
//!
//! There is no test harness, because the modules' own tests do not run in a model.

#![expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the modules are the crate's; their tests are compiled but not called"
)]

mod handover;
mod ingest;
mod log;
mod poll_counters;
mod span;
mod start_slots;
mod update_slots;
mod util;
mod wake_flag;
mod wire;

#[path = "../../src/error.rs"]
mod error;

/// Checks a model with at most this many preemptions, which bounds the number of interleavings.
fn check(preemptions: usize, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn main() {
    loom::model(start_slots::an_end_delta_finds_its_own_start);
    check(
        2,
        start_slots::an_end_delta_finds_its_own_start_in_the_other_table,
    );
    check(3, start_slots::an_end_delta_never_finds_the_start_of_a_twin);
    check(2, handover::the_worker_never_sleeps_over_a_record);
    check(2, handover::the_last_record_of_a_batch_wakes);
    check(2, handover::accepted_records_are_drained_before_the_end);
    check(2, handover::records_left_by_an_abort_are_counted);
    check(2, handover::a_flush_is_answered);
    check(
        2,
        update_slots::each_change_is_reported_once_and_before_the_end,
    );
    check(2, update_slots::the_worker_does_not_sleep_over_a_change);
    check(
        3,
        update_slots::changes_lost_at_a_concurrent_end_are_counted,
    );
    loom::model(wake_flag::no_wake_up_is_lost);
    check(2, wake_flag::no_wake_up_of_a_group_is_lost);
    check(3, poll_counters::no_poll_counts_more_time_than_it_took);
}
