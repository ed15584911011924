//! Every order in which a few threads can take their steps, by loom's model of memory, for the protocols that use no lock
//! or more than one. Where the whole log takes turns at random is `tests/simulation`.
//!
//! There is no test harness, because the tests of the modules themselves do not run in a model.

#![expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the modules are the crate's, and the tests in them are compiled and not called"
)]

mod bell;
mod handover;
mod ingest;
mod log;
mod span;
mod start_slots;
mod util;
mod wire;

#[path = "../../src/error.rs"]
mod error;

/// Checks with so many forced switches from one thread to another at most, which bounds the number of orders.
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
    check(2, handover::nothing_is_slept_over);
    check(2, handover::what_is_taken_is_drained_before_the_end);
    check(2, handover::what_is_broken_off_is_counted);
    check(2, handover::a_flush_is_answered);
    loom::model(bell::no_ring_is_lost);
}
