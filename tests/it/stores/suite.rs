//! The suite against a store that keeps every promise, and against stores that each break one. The
//! suite must report exactly that promise.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use livespan_conformance::{Check, Suite, conformance};

use super::reference::{Bug, StoreRegistry, Writers};

fn suite(writers: Writers, bug: Bug) -> Suite {
    let registry = StoreRegistry::default();
    let faults = registry.clone();
    Suite::new(move |location| registry.open(location, writers, bug))
        .faults(move |location, fault| faults.inject(location, fault))
}

/// The time limit of a check whose store is broken. It is short, because some broken stores always
/// reach it.
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_store_that_keeps_every_promise_passes() {
    let registry = StoreRegistry::default();
    conformance(move |location| registry.open(location, Writers::One, Bug::None));
    suite(Writers::One, Bug::None).run();
    suite(Writers::Many, Bug::None).run();
}

#[test]
fn a_broken_promise_is_noticed_by_the_check_of_its_name() {
    for (writers, bug, check) in BROKEN {
        let report = broken(&suite(*writers, *bug).timeout(SHORT), check);
        let report = report.unwrap_or_else(|| panic!("{bug:?} is not noticed by {check}"));
        let (_, named) = report.split_once("\n\n").unwrap();
        assert!(
            named.starts_with(&format!("{check}: ")),
            "{bug:?}: {report}"
        );
        for part in [
            "promise: ",
            "expected: ",
            "came: ",
            "history:",
            "seed 20261122",
        ] {
            assert!(report.contains(part), "{bug:?}: {part} in {report}");
        }
    }
}

#[rustfmt::skip]
const BROKEN: &[(Writers, Bug, &str)] = &[
    (Writers::One, Bug::SkipsAnEvent, "keeps_order"),
    (Writers::One, Bug::GivesAnEventTwice, "keeps_order"),
    (Writers::One, Bug::IncludesThePlace, "pages_at_every_cut"),
    (Writers::One, Bug::OverfillsPages, "pages_within_limits"),
    (Writers::One, Bug::IgnoresBytes, "pages_within_limits"),
    (Writers::One, Bug::GivesNoEventLargerThanAPage, "pages_within_limits"),
    (Writers::One, Bug::ForgetsKeylessEvents, "reads_streams"),
    (Writers::One, Bug::ReordersAcrossStreams, "reads_streams"),
    (Writers::One, Bug::ListsStreamsOldestFirst, "lists_streams"),
    (Writers::One, Bug::CorruptsZero, "keeps_payloads"),
    (Writers::One, Bug::Corrupts255, "keeps_payloads"),
    (Writers::One, Bug::CutsNames, "keeps_names"),
    (Writers::One, Bug::ConfusesKeys, "keeps_names"),
    (Writers::One, Bug::ClosesRanks, "leaves_out_numbers"),
    (Writers::One, Bug::HidesEviction, "retains_by_events"),
    (Writers::One, Bug::HidesEviction, "trims_under_readers"),
    (Writers::One, Bug::KeepsEverything, "retains_by_events"),
    (Writers::One, Bug::IgnoresRetentionOfBytes, "retains_by_bytes"),
    (Writers::One, Bug::IgnoresRetentionOfAge, "retains_by_age"),
    (Writers::One, Bug::MiscountsEvicted, "counts_evicted_events"),
    (Writers::One, Bug::LosesPins, "keeps_open_events"),
    (Writers::One, Bug::NeverReleases, "keeps_open_events"),
    (Writers::One, Bug::LosesStates, "keeps_states"),
    (Writers::One, Bug::SharesTokens, "keeps_open_events"),
    (Writers::One, Bug::PinsWithoutBound, "bounds_open_events"),
    (Writers::One, Bug::LetsRunningStreamsGo, "keeps_open_streams_whole"),
    (Writers::One, Bug::LetsKeptStreamsGo, "keeps_streams_on_request"),
    (Writers::One, Bug::ForgetsKeptStreamsAtOpening, "keeps_streams_on_request_after_reopening"),
    (Writers::One, Bug::OpenGlobalWithClosed, "lists_open_global_events"),
    (Writers::One, Bug::ReusesNumbers, "survives_reopening"),
    (Writers::One, Bug::KeepsItsPlaceWhenClosed, "gives_back_when_closed"),
    (Writers::One, Bug::ReusesEpochs, "tells_epochs_apart"),
    (Writers::One, Bug::ForgetsLives, "tells_epochs_apart"),
    (Writers::One, Bug::AbandonsTooMuch, "hands_out_abandoned_events"),
    (Writers::One, Bug::AbandonsAgain, "hands_out_abandoned_events"),
    (Writers::One, Bug::KeepsHalfABatch, "refuses_batches_whole"),
    (Writers::One, Bug::KeepsHalfABatch, "keeps_refused_events_out_after_reopening"),
    (Writers::One, Bug::ShowsHalfABatch, "serves_readers_beside_a_writer"),
    (Writers::One, Bug::DropsEqualBatches, "keeps_equal_batches"),
    (Writers::One, Bug::KeepsRepeats, "keeps_once"),
    (Writers::One, Bug::RemembersOnceForEver, "keeps_once_as_long_as_retained"),
    (Writers::One, Bug::ForgetsOnceAtOpening, "keeps_once_after_reopening"),
    (Writers::Many, Bug::KeepsRepeatsOfOthers, "keeps_once_for_all_writers"),
    (Writers::Many, Bug::KeepsRetriesTwice, "numbers_retried_batches_once"),
    (Writers::Many, Bug::GivesAnEventTwice, "shares_one_log"),
    (Writers::Many, Bug::SleepsThroughAppends, "wakes_followers"),
    (Writers::Many, Bug::WakesForEveryStream, "wakes_followers_of_streams"),
];

fn broken(suite: &Suite, check: &str) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| suite.run_only(check)));
    Some(*run.err()?.downcast::<String>().unwrap())
}

#[test]
fn random_histories_find_bugs_and_report_a_short_history() {
    let bugs = [
        Bug::IncludesThePlace,
        Bug::ForgetsKeylessEvents,
        Bug::ReordersAcrossStreams,
        Bug::IgnoresBytes,
        Bug::HidesEviction,
        Bug::LosesPins,
        Bug::NeverReleases,
        Bug::SharesTokens,
        Bug::ReusesNumbers,
        Bug::AbandonsTooMuch,
        Bug::ClosesRanks,
    ];
    for bug in bugs {
        let report = broken(&suite(Writers::One, bug), "agrees_with_the_model");
        let report = report.unwrap_or_else(|| panic!("{bug:?} is not found"));
        let (_, history) = report.split_once("history:\n").unwrap();
        let appended = history
            .lines()
            .filter(|line| line.contains(". append"))
            .count();
        assert!(
            appended <= 4,
            "{bug:?} is reported with {appended} appends: {report}"
        );
    }
}

#[test]
fn another_seed_draws_other_histories_and_the_same_seed_the_same_histories() {
    let report_of = |seed| {
        let suite = suite(Writers::One, Bug::LosesPins).seed(seed);
        let report = broken(&suite, "agrees_with_the_model").unwrap();
        // Epochs are random, so their lines differ in any case.
        let lines = report.lines().filter(|line| !line.contains("epochs"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(report_of(1), report_of(1));
    assert_ne!(report_of(1), report_of(2));
}

#[test]
fn a_check_can_be_skipped_by_its_name() {
    let suite = || suite(Writers::One, Bug::KeepsEverything).timeout(SHORT);
    assert!(broken(&suite(), "retains_by_events").is_some());
    suite()
        .skip_check("retains_by_events", "it keeps everything")
        .skip_check("retains_by_bytes", "it keeps everything")
        .skip_check("retains_by_age", "it keeps everything")
        .skip_check("keeps_once_as_long_as_retained", "it keeps everything")
        .skip_check("keeps_streams_on_request", "it keeps everything")
        .run();
}

#[test]
fn an_unknown_name_of_a_check_is_refused() {
    let report = broken(&suite(Writers::One, Bug::None), "keeps_ordr").unwrap();
    assert!(
        report.starts_with("there is no check keeps_ordr, but opens_empty, "),
        "{report}"
    );
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let mut names: Vec<&str> = Suite::checks().iter().map(Check::name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
