//! Pages, live changes and forgotten traces of an index that the tests fill by hand.

use super::*;
use crate::{
    trace::{
        live_list::ViewerState,
        span_change::SpanOutcome,
        state::{TraceState, tests::TraceChanges},
    },
    wire::id::Sequence,
};

fn id(sequence: u64) -> EventId {
    EventId::new("k3x9q2a7".parse().unwrap(), Sequence::new(sequence))
}

fn start(index: &TraceIndex, trace: u8, sequence: u64) {
    let time = sequence;
    index.apply([(sequence, TraceChanges { trace }.started(1, None, time))].into_iter());
}

fn end(index: &TraceIndex, trace: u8, sequence: u64) {
    let times = [sequence, sequence + 1];
    index.apply(
        [(
            sequence,
            TraceChanges { trace }.ended(1, None, times, SpanOutcome::Ok),
        )]
        .into_iter(),
    );
}

fn forget(index: &TraceIndex, trace: u8) {
    index.forget(&[StreamKey::new([trace; 16]).unwrap()]);
}

/// Returns the traces, each as the byte that its id repeats.
fn traces(summaries: &[Summary]) -> Vec<u8> {
    let first_byte = |summary: &Summary| {
        let summary = serde_json::to_value(summary).unwrap();
        u8::from_str_radix(summary["traceId"].as_str()?.get(..2)?, 16).ok()
    };
    summaries
        .iter()
        .map(|summary| first_byte(summary).unwrap())
        .collect()
}

fn page(
    index: &TraceIndex,
    filter: &TraceFilter,
    before: u64,
    limit: usize,
) -> (Vec<u8>, Option<u64>) {
    let page = index.page(filter, before, limit, id);
    let summaries: Vec<Summary> = page.traces.into_iter().map(|(_, one)| one).collect();
    (traces(&summaries), page.next)
}

/// Returns what a viewer of the newest two traces gets: the updates, sorted, and the removals.
fn viewer_changes(
    index: &TraceIndex,
    viewed: &mut ViewerState,
    filter: &TraceFilter,
) -> (Vec<u8>, Vec<u8>) {
    let changes = index.changes(viewed, filter, 2, id);
    let mut updated = traces(&changes.traces);
    updated.sort_unstable();
    let mut removed: Vec<u8> = changes.removed.iter().map(|id| id[0]).collect();
    removed.sort_unstable();
    (updated, removed)
}

#[test]
fn pages_hold_every_trace_once_newest_first() {
    let index = TraceIndex::default();
    for trace in 1..=7 {
        start(&index, trace, u64::from(trace) * 10);
    }
    // A later event of a trace does not move it in the list.
    end(&index, 2, 80);
    let all = TraceFilter::default();
    assert_eq!(page(&index, &all, u64::MAX, 3), (vec![7, 6, 5], Some(41)));
    assert_eq!(page(&index, &all, 41, 3), (vec![4, 3, 2], Some(11)));
    assert_eq!(page(&index, &all, 11, 3), (vec![1], None));
    assert_eq!(
        page(&index, &all, u64::MAX, 7),
        (vec![7, 6, 5, 4, 3, 2, 1], None)
    );
    let ended = TraceFilter {
        states: vec![TraceState::Ok],
        ..TraceFilter::default()
    };
    assert_eq!(page(&index, &ended, u64::MAX, 3), (vec![2], None));
}

#[test]
fn a_trace_is_complete_only_for_a_reader_of_all_its_events() {
    let index = TraceIndex::default();
    start(&index, 1, 10);
    assert!(
        !index.is_complete([1; 16], 10),
        "a running trace counts as complete"
    );
    end(&index, 1, 12);
    assert!(
        !index.is_complete([1; 16], 11),
        "a trace counts as complete although the reader has not read its end"
    );
    assert!(index.is_complete([1; 16], 12));
    assert!(
        !index.is_complete([9; 16], 12),
        "an unknown trace counts as complete"
    );
}

#[test]
fn a_forgotten_trace_leaves_nothing_behind() {
    let index = TraceIndex::default();
    for trace in 1..=4 {
        start(&index, trace, u64::from(trace));
    }
    end(&index, 1, 5);
    for trace in 1..=4 {
        forget(&index, trace);
    }
    forget(&index, 4);
    let state = read(&index.state);
    assert!(
        state.traces.is_empty() && state.order.is_empty() && state.open.is_empty(),
        "{state:?}"
    );
}

#[test]
fn a_reused_entry_has_nothing_of_its_former_trace() {
    let index = TraceIndex::default();
    start(&index, 1, 1);
    start(&index, 2, 2);
    forget(&index, 2);
    assert_eq!(read(&index.state).spare.len(), 1);
    end(&index, 3, 5);
    let fresh = TraceIndex::default();
    end(&fresh, 3, 5);
    let summary_json =
        |index: &TraceIndex| serde_json::to_value(index.summary([3; 16], id)).unwrap();
    assert_eq!(summary_json(&index), summary_json(&fresh));
    assert!(index.is_complete([3; 16], 5));
    forget(&index, 1);
    forget(&index, 3);
    assert_eq!(
        read(&index.state).spare.len(),
        0,
        "the empty index still has spare entries"
    );
}

#[test]
fn a_viewer_gets_each_change_once() {
    let index = TraceIndex::default();
    let mut viewed = ViewerState::default();
    let all = TraceFilter::default();
    start(&index, 1, 1);
    start(&index, 2, 2);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &all),
        (vec![1, 2], vec![])
    );
    assert_eq!(viewer_changes(&index, &mut viewed, &all), (vec![], vec![]));
    end(&index, 2, 3);
    assert_eq!(viewer_changes(&index, &mut viewed, &all), (vec![2], vec![]));
    assert_eq!(viewer_changes(&index, &mut viewed, &all), (vec![], vec![]));
}

#[test]
fn a_viewer_learns_the_end_of_a_trace_that_left_the_newest() {
    let index = TraceIndex::default();
    let mut viewed = ViewerState::default();
    let all = TraceFilter::default();
    start(&index, 1, 1);
    assert_eq!(viewer_changes(&index, &mut viewed, &all), (vec![1], vec![]));
    // Traces 1 and 2 fill the viewer's list of the oldest open traces. The viewer still follows
    // all open traces that it was sent.
    for trace in 2..=9 {
        start(&index, trace, u64::from(trace));
        viewer_changes(&index, &mut viewed, &all);
    }
    end(&index, 5, 20);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &all),
        (vec![5], vec![]),
        "the viewer did not get the change of trace 5, which it was sent before"
    );
    end(&index, 5, 21);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &all),
        (vec![], vec![]),
        "the viewer still follows an old trace that has ended"
    );
    assert_eq!(viewed.sent.len(), 8);
}

#[test]
fn a_viewer_gets_the_removal_of_traces_that_are_forgotten_or_leave_its_filter() {
    let index = TraceIndex::default();
    let mut viewed = ViewerState::default();
    let running = TraceFilter {
        states: vec![TraceState::Running],
        ..TraceFilter::default()
    };
    start(&index, 1, 1);
    start(&index, 2, 2);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![1, 2], vec![])
    );
    end(&index, 1, 3);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![], vec![1])
    );
    forget(&index, 2);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![], vec![2])
    );
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![], vec![])
    );
    assert!(viewed.sent.is_empty());
}

#[test]
fn a_poisoned_lock_is_entered() {
    let index = TraceIndex::default();
    let poisoning = || {
        let _guard = index.state.write();
        panic!("a test poisons the lock");
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(poisoning)).unwrap_err();
    start(&index, 1, 1);
    assert_eq!(
        page(&index, &TraceFilter::default(), u64::MAX, 3),
        (vec![1], None)
    );
}

#[test]
fn lost_ends_do_not_count_as_durations() {
    let index = TraceIndex::default();
    let changes = TraceChanges { trace: 1 };
    let lost = changes.ended(1, None, [1, 9], SpanOutcome::Lost);
    let real = changes.ended(1, None, [1, 2], SpanOutcome::Ok);
    index.apply([(1, changes.started(1, None, 1)), (2, lost), (3, real)].into_iter());
    assert_eq!(index.operation("shop", "span1").unwrap().count(), 1);
}

#[test]
fn a_filter_that_matches_nothing_costs_no_more_than_the_changed_traces() {
    const TRACES: u64 = 20_000;
    let index = TraceIndex::default();
    let trace = |number: u64, sequence: u64| {
        let mut change = TraceChanges { trace: 1 }.started(1, None, sequence);
        change.trace_id = u128::from(number).to_be_bytes();
        (sequence, change)
    };
    index.apply((1..=TRACES).map(|number| trace(number, number)));
    let nothing = TraceFilter {
        names: vec!["nothing".to_owned()],
        ..TraceFilter::default()
    };
    let mut viewed = ViewerState::default();
    assert_eq!(
        viewer_changes(&index, &mut viewed, &nothing),
        (vec![], vec![])
    );
    assert!(viewed.comparisons >= TRACES, "{}", viewed.comparisons);
    for round in 0..100 {
        let before = viewed.comparisons;
        // Ten traces get new events, each in two batches, and one new trace starts.
        for _ in 0..2 {
            let first = TRACES + 100 * (round + 1);
            index.apply((1..=10).map(|number| trace(number, first + number)));
        }
        index.apply([trace(TRACES + 1 + round, TRACES + 100 * round + 99)].into_iter());
        assert_eq!(
            viewer_changes(&index, &mut viewed, &nothing),
            (vec![], vec![])
        );
        let compared = viewed.comparisons - before;
        assert!(compared <= 21, "{compared}");
    }
    let log = read(&index.state).changed.0.len() as u64;
    assert!(log <= 3 * TRACES + ChangeLog::SLACK as u64, "{log}");
}

#[test]
fn the_log_of_changes_stays_short_if_few_traces_change() {
    let index = TraceIndex::default();
    for sequence in 1..=100_000 {
        start(&index, 1, sequence);
    }
    let log = read(&index.state).changed.0.len();
    assert!(log <= 2 + ChangeLog::SLACK, "{log}");
}

#[test]
fn a_list_that_becomes_shorter_is_filled_with_older_traces() {
    let index = TraceIndex::default();
    let mut viewed = ViewerState::default();
    let running = TraceFilter {
        states: vec![TraceState::Running],
        ..TraceFilter::default()
    };
    for trace in 1..=200 {
        start(&index, trace, u64::from(trace));
    }
    // The newest two and the oldest two of the open traces.
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![1, 2, 199, 200], vec![])
    );
    for trace in [1, 199, 200] {
        end(&index, trace, 1000 + u64::from(trace));
    }
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![3, 197, 198], vec![1, 199, 200])
    );
    // A trace that starts is the newest. A trace with a new span after its end is open again.
    start(&index, 201, 2000);
    start(&index, 199, 2001);
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![199, 201], vec![])
    );
    assert_eq!(
        viewer_changes(&index, &mut viewed, &running),
        (vec![], vec![])
    );
}

#[test]
fn a_running_trace_passes_a_filter_by_duration_once_it_lasts_long_enough() {
    let index = TraceIndex::default();
    let mut viewed = ViewerState::default();
    let now = Timestamp::now();
    let mut change = TraceChanges { trace: 1 }.started(1, None, 1);
    if let ChangeKind::Started(start) = &mut change.kind {
        start.start_time = now;
    }
    index.apply([(1, change)].into_iter());
    let lasting = |nanos| TraceFilter {
        duration_nanos_min: Some(nanos),
        ..TraceFilter::default()
    };
    let hour = 3_600_000_000_000;
    assert_eq!(
        viewer_changes(&index, &mut viewed, &lasting(hour)),
        (vec![], vec![])
    );
    // A minimum of 0 has the same effect as a later update, at which the trace has lasted long
    // enough.
    assert_eq!(
        viewer_changes(&index, &mut viewed, &lasting(0)),
        (vec![1], vec![])
    );
}

#[test]
fn spans_open_before_an_omitted_part_count_as_ended() {
    let trace = TraceChanges { trace: 1 };
    let key = StreamKey::new([1; 16]).unwrap();
    let rebuilt = |requires_ended_root, root_end: Option<u64>| {
        let mut pending = PendingIndex::new(100);
        let before = [
            (1, trace.started(1, None, 1)),
            (2, trace.started(2, Some(1), 2)),
            (3, trace.started(3, Some(1), 3)),
        ];
        pending.apply(before.into_iter());
        pending.leave_out_rest(&key);
        let after = [(100, trace.started(4, Some(1), 100))].into_iter();
        let root = root_end.map(|at| (at, trace.ended(1, None, [1, at], SpanOutcome::Ok)));
        pending.apply(after.chain(root));
        pending.assume_ended(requires_ended_root, |span| span != [3; 8]);
        let index = TraceIndex::default();
        index.commit(pending);
        index
    };
    let counts = |index: &TraceIndex| {
        let spans = index.summary([1; 16], id).unwrap().spans;
        (spans.total, spans.open)
    };
    // Span 3 outlives its process, and span 4 started after the part that was left out.
    let index = rebuilt(false, Some(101));
    assert_eq!(counts(&index), (4, 2));
    let ends = [4, 3, 2].map(|span| {
        let end = trace.ended(span, Some(1), [4, 110], SpanOutcome::Ok);
        (110 + u64::from(span), end)
    });
    index.apply(ends.into_iter());
    assert_eq!(counts(&index), (4, 0));
    assert_eq!(index.open_traces(u64::MAX, 10), Vec::<[u8; 16]>::new());
    // In a log with other writers, the spans count as ended only if the root has ended.
    assert_eq!(counts(&rebuilt(true, None)), (4, 4));
    assert_eq!(counts(&rebuilt(true, Some(101))), (4, 2));
}
