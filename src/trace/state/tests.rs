//! Tests of a trace's summary after hand-made changes.

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    span::{
        event::SpanKind, indexed_attributes::IndexedAttributes, root_attributes::RootAttributes,
    },
    trace::span_change::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX},
    wire::id::{EventId, Sequence},
};

/// Changes of one trace, made by hand: spans are numbered, times are seconds.
pub(crate) struct TraceChanges {
    pub(crate) trace: u8,
}

impl TraceChanges {
    fn change(&self, span: u8, time: u64, kind: ChangeKind) -> SpanChange {
        let time = Timestamp::from_nanos(time * 1_000_000_000);
        SpanChange {
            trace_id: [self.trace; 16],
            span_id: [span; 8],
            time,
            kind,
        }
    }

    fn span_start(span: u8, parent: Option<u8>, start: u64) -> SpanStart {
        SpanStart {
            parent: parent.map(|parent| [parent; 8]),
            parent_remote: false,
            name: format!("span{span}").into(),
            service: "shop".into(),
            kind: SpanKind::Internal,
            start_time: Timestamp::from_nanos(start * 1_000_000_000),
            links: Box::default(),
            progress: None,
            of_root: None,
        }
    }

    pub(crate) fn started(&self, span: u8, parent: Option<u8>, time: u64) -> SpanChange {
        self.change(
            span,
            time,
            ChangeKind::Started(Self::span_start(span, parent, time)),
        )
    }

    pub(crate) fn ended(
        &self,
        span: u8,
        parent: Option<u8>,
        times: [u64; 2],
        outcome: SpanOutcome,
    ) -> SpanChange {
        let [start, end] = times;
        let start = Self::span_start(span, parent, start);
        let kind = ChangeKind::Ended {
            start,
            outcome,
            message: None,
        };
        self.change(span, end, kind)
    }

    fn updated(&self, span: u8, time: u64, update: SpanUpdate) -> SpanChange {
        self.change(span, time, ChangeKind::of_update(update))
    }

    fn waiting(&self, span: u8, time: u64, waits: bool) -> SpanChange {
        let waits = Some(waits);
        self.updated(
            span,
            time,
            SpanUpdate {
                waits,
                ..SpanUpdate::default()
            },
        )
    }
}

const CHANGE: TraceChanges = TraceChanges { trace: 1 };

fn remote(mut change: SpanChange) -> SpanChange {
    match &mut change.kind {
        ChangeKind::Started(start) | ChangeKind::Ended { start, .. } => {
            start.parent_remote = true;
        }
        ChangeKind::Updated(_) | ChangeKind::Log(_) | ChangeKind::Other => {}
    }
    change
}

fn trace(changes: impl IntoIterator<Item = SpanChange>) -> Trace {
    let mut trace = Trace::new(1);
    for (change, sequence) in changes.into_iter().zip(1..) {
        trace.apply(&change, sequence);
    }
    trace
}

fn summary(trace: &Trace) -> Json {
    let id = |sequence| EventId::new("k3x9q2a7".parse().unwrap(), Sequence::new(sequence));
    serde_json::to_value(trace.summary([1; 16], id)).unwrap()
}

#[test]
fn a_trace_runs_until_its_last_span_ends_and_then_has_the_state_of_its_root() {
    use SpanOutcome::{Cancelled, Error, Lost, Ok, Panicked};
    let open = [CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)];
    let cases = [
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Ok),
                CHANGE.ended(1, None, [10, 13], Ok),
            ],
            TraceState::Ok,
        ),
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Error),
                CHANGE.ended(1, None, [10, 13], Ok),
            ],
            TraceState::Ok,
        ),
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Ok),
                CHANGE.ended(1, None, [10, 13], Error),
            ],
            TraceState::Error,
        ),
        (
            [
                CHANGE.ended(1, None, [10, 12], Error),
                CHANGE.ended(2, Some(1), [11, 13], Ok),
            ],
            TraceState::Error,
        ),
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Ok),
                CHANGE.ended(1, None, [10, 13], Lost),
            ],
            TraceState::Lost,
        ),
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Panicked),
                CHANGE.ended(1, None, [10, 13], Error),
            ],
            TraceState::Error,
        ),
        (
            [
                CHANGE.ended(2, Some(1), [11, 12], Cancelled),
                CHANGE.ended(1, None, [10, 13], Panicked),
            ],
            TraceState::Panicked,
        ),
    ];
    for (ends, expected) in cases {
        let mut trace = trace(open.clone());
        assert_eq!(
            (trace.state(), trace.is_complete()),
            (TraceState::Running, false)
        );
        for (end, sequence) in ends.iter().zip(3..) {
            assert!(!trace.is_complete());
            assert_eq!(trace.state(), TraceState::Running);
            trace.apply(end, sequence);
        }
        assert_eq!(
            (trace.state(), trace.is_complete(), trace.is_open()),
            (expected, true, false)
        );
    }
}

#[test]
fn a_trace_waits_when_all_its_open_spans_wait() {
    let mut trace = trace([CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)]);
    assert_eq!(trace.state(), TraceState::Running);
    // The root is open only because its child is.
    trace.apply(&CHANGE.waiting(2, 12, true), 3);
    assert_eq!(trace.state(), TraceState::Waiting);
    trace.apply(&CHANGE.started(3, Some(1), 13), 4);
    assert_eq!(
        trace.state(),
        TraceState::Running,
        "the trace waits although another child is running"
    );
    trace.apply(&CHANGE.ended(3, Some(1), [13, 14], SpanOutcome::Ok), 5);
    trace.apply(&CHANGE.waiting(2, 14, false), 6);
    assert_eq!(trace.state(), TraceState::Running);
    trace.apply(&CHANGE.waiting(1, 15, true), 7);
    trace.apply(&CHANGE.ended(2, Some(1), [11, 15], SpanOutcome::Ok), 8);
    assert_eq!(trace.state(), TraceState::Waiting);
    trace.apply(&CHANGE.ended(1, None, [10, 16], SpanOutcome::Ok), 9);
    assert_eq!(trace.state(), TraceState::Ok);
    assert!(
        trace.waiting.is_empty() && trace.open.is_empty(),
        "{trace:?}"
    );
}

#[test]
fn a_state_of_a_span_that_is_not_open_has_no_effect() {
    let ended = CHANGE.ended(1, None, [10, 11], SpanOutcome::Ok);
    let trace = trace([
        CHANGE.waiting(9, 9, true),
        CHANGE.started(1, None, 10),
        ended,
        CHANGE.waiting(1, 12, true),
    ]);
    assert_eq!(trace.state(), TraceState::Ok);
    assert!(
        trace.waiting.is_empty(),
        "an ended span is still in the set of waiting spans"
    );
}

#[test]
fn a_real_end_replaces_a_lost_one() {
    let lost = [
        CHANGE.started(1, None, 10),
        CHANGE.ended(1, None, [10, 11], SpanOutcome::Lost),
    ];
    let mut one = trace(lost.clone());
    assert_eq!(one.state(), TraceState::Lost);
    assert_eq!(
        summary(&one)["spans"],
        json!({"total": 1, "open": 0, "errors": 1, "lost": 1})
    );
    one.apply(&CHANGE.ended(1, None, [10, 12], SpanOutcome::Ok), 3);
    assert_eq!((one.state(), one.ended), (TraceState::Ok, 1));
    assert_eq!(
        summary(&one)["spans"],
        json!({"total": 1, "open": 0, "errors": 0, "lost": 0})
    );
    assert_eq!(
        summary(&one)["services"],
        json!([{"name": "shop", "spans": 1, "errors": 0}])
    );
    let failed = [CHANGE.ended(1, None, [10, 12], SpanOutcome::Error)];
    let other = trace(lost.into_iter().chain(failed));
    assert_eq!((other.state(), other.errors()), (TraceState::Error, 1));
}

#[test]
fn a_panicked_span_counts_as_an_error_and_a_cancelled_one_does_not() {
    use SpanOutcome::{Cancelled, Panicked};
    let counted = trace([
        CHANGE.ended(2, Some(1), [11, 12], Panicked),
        CHANGE.ended(3, Some(1), [11, 12], Cancelled),
        CHANGE.ended(1, None, [10, 13], Panicked),
    ]);
    assert_eq!(
        (summary(&counted)["state"].clone(), counted.errors()),
        (json!("panicked"), 2)
    );
}

#[test]
fn a_repeated_start_counts_once() {
    let trace = trace([
        CHANGE.started(1, None, 10),
        CHANGE.started(1, None, 10),
        CHANGE.ended(1, None, [10, 11], SpanOutcome::Ok),
    ]);
    assert_eq!(
        summary(&trace)["spans"],
        json!({"total": 1, "open": 0, "errors": 0, "lost": 0})
    );
    assert_eq!(trace.ended, 1);
}

#[test]
fn an_end_whose_start_was_dropped_is_a_whole_span() {
    let trace = trace([
        CHANGE.ended(2, Some(1), [11, 12], SpanOutcome::Ok),
        CHANGE.ended(1, None, [10, 13], SpanOutcome::Ok),
    ]);
    assert_eq!(
        (trace.name(), trace.state(), trace.is_complete()),
        ("span1", TraceState::Ok, true)
    );
    assert_eq!(trace.duration_nanos(Timestamp::default()), 3_000_000_000);
}

#[test]
fn the_root_is_the_span_without_a_parent_whatever_comes_first() {
    let child = || CHANGE.started(2, Some(1), 11);
    let from_afar = || remote(CHANGE.started(3, Some(9), 9));
    let root = || CHANGE.started(1, None, 10);
    let cases = [
        (vec![child()], "span2", Json::Null),
        (
            vec![child(), from_afar()],
            "span3",
            json!("0303030303030303"),
        ),
        (
            vec![child(), from_afar(), root()],
            "span1",
            json!("0101010101010101"),
        ),
        // The clock of another process is behind ours, so its span seems to start before its parent.
        (
            vec![root(), from_afar(), child()],
            "span1",
            json!("0101010101010101"),
        ),
        (
            vec![CHANGE.started(4, None, 12), root()],
            "span1",
            json!("0101010101010101"),
        ),
        (
            vec![root(), CHANGE.started(4, None, 12)],
            "span1",
            json!("0101010101010101"),
        ),
    ];
    for (changes, name, root) in cases {
        let trace = trace(changes);
        assert_eq!(
            (trace.name(), &summary(&trace)["rootSpanId"]),
            (name, &root)
        );
    }
}

#[test]
fn a_summary_has_every_field() {
    let mut whole = trace([CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)]);
    let mut expected = json!({
        "traceId": "01010101010101010101010101010101", "name": "span1", "service": "shop", "kind": "INTERNAL", "state": "running",
        "rootSpanId": "0101010101010101", "startTimestamp": "1970-01-01T00:00:10.000000000Z",
        "endTimestamp": null, "lastTimestamp": "1970-01-01T00:00:11.000000000Z", "durationMs": null,
        "spans": {"total": 2, "open": 2, "errors": 0, "lost": 0},
        "services": [{"name": "shop", "spans": 2, "errors": 0}],
        "firstId": "k3x9q2a7-1", "lastId": "k3x9q2a7-2",
    });
    assert_eq!(summary(&whole), expected);
    whole.apply(&CHANGE.ended(2, Some(1), [11, 12], SpanOutcome::Error), 5);
    whole.apply(&CHANGE.ended(1, None, [10, 14], SpanOutcome::Ok), 9);
    for (key, value) in [
        ("state", json!("ok")),
        ("endTimestamp", json!("1970-01-01T00:00:14.000000000Z")),
        ("lastTimestamp", json!("1970-01-01T00:00:14.000000000Z")),
        ("durationMs", json!(4000.0)),
        (
            "spans",
            json!({"total": 2, "open": 0, "errors": 1, "lost": 0}),
        ),
        (
            "services",
            json!([{"name": "shop", "spans": 2, "errors": 1}]),
        ),
        ("lastId", json!("k3x9q2a7-9")),
    ] {
        expected[key] = value;
    }
    assert_eq!(summary(&whole), expected);
}

#[test]
fn a_link_that_only_the_end_has_is_known() {
    let mut trace = Trace::new(1);
    trace.apply(&CHANGE.started(1, None, 10), 1);
    let mut ended = CHANGE.ended(1, None, [10, 11], SpanOutcome::Ok);
    if let ChangeKind::Ended { start, .. } = &mut ended.kind {
        start.links = Box::new([[7; 16], [8; 16]]);
    }
    for sequence in 2..=3 {
        trace.apply(&ended, sequence);
    }
    let links = trace.extras.as_ref().map(|more| more.links.clone());
    assert_eq!(links, Some(vec![[7; 16], [8; 16]]));
}

#[test]
fn the_data_that_a_trace_stores_is_bounded() {
    let mut trace = Trace::new(1);
    for number in 0..100_000_u64 {
        let mut start = TraceChanges::span_start(1, Some(1), 10);
        start.service = format!("service{number}").into();
        start.links = Box::new([u128::from(number).to_be_bytes()]);
        let kind = ChangeKind::Ended {
            start,
            outcome: SpanOutcome::Lost,
            message: None,
        };
        let change = SpanChange {
            span_id: number.to_be_bytes(),
            ..CHANGE.change(1, 11, kind)
        };
        trace.apply(&change, number + 1);
    }
    assert_eq!(
        (trace.total, trace.ended, trace.errors()),
        (100_000, 100_000, 100_000)
    );
    let links = trace.extras.as_ref().map_or(0, |more| more.links.len());
    let remembered = (trace.services().count(), links, trace.lost.len());
    assert_eq!(remembered, (SERVICES_MAX, LINKS_MAX, LOST_MAX));
    assert_eq!(
        SpanStart::text(&"é".repeat(10_000)),
        "é".repeat(TEXT_BYTES_MAX / 2)
    );
}

#[test]
fn clocks_that_go_back_cause_no_overflow() {
    let trace = trace([
        CHANGE.started(1, None, 100),
        CHANGE.ended(1, None, [100, 50], SpanOutcome::Ok),
    ]);
    assert_eq!(trace.duration_nanos(Timestamp::default()), 0);
    assert_eq!(
        summary(&trace)["endTimestamp"],
        json!("1970-01-01T00:01:40.000000000Z")
    );
}

/// The same change of a span of another kind.
fn of_kind(kind: SpanKind, mut change: SpanChange) -> SpanChange {
    match &mut change.kind {
        ChangeKind::Started(start) | ChangeKind::Ended { start, .. } => start.kind = kind,
        ChangeKind::Updated(_) | ChangeKind::Log(_) | ChangeKind::Other => {}
    }
    change
}

#[test]
fn spans_that_share_an_id_are_counted_one_by_one_and_open_until_the_last_has_ended() {
    use SpanOutcome::{Error, Ok};
    let server = |change| of_kind(SpanKind::Server, change);
    let client = |change| of_kind(SpanKind::Client, change);
    let mut trace = trace([
        server(CHANGE.started(1, None, 10)),
        client(CHANGE.started(1, None, 11)),
        // Repeated start: no further span.
        server(CHANGE.started(1, None, 10)),
        client(CHANGE.started(1, None, 11)),
        client(CHANGE.ended(1, None, [11, 12], Error)),
    ]);
    assert_eq!((trace.is_open(), trace.is_complete()), (true, false));
    assert_eq!(
        summary(&trace)["spans"],
        json!({"total": 2, "open": 1, "errors": 1, "lost": 0})
    );
    trace.apply(&server(CHANGE.ended(1, None, [10, 14], Ok)), 6);
    assert_eq!((trace.is_open(), trace.is_complete()), (false, true));
    assert_eq!(
        (trace.state(), trace.kind(), trace.ended),
        (TraceState::Ok, SpanKind::Server, 2)
    );
    assert_eq!(
        summary(&trace)["spans"],
        json!({"total": 2, "open": 0, "errors": 1, "lost": 0})
    );
}

#[test]
fn open_spans_with_one_id_end_in_any_order() {
    let kinds = [SpanKind::Server, SpanKind::Client, SpanKind::Consumer];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        // Every order is tested with these spans alone and after another open span, because the
        // spans are then stored in another place.
        for before in [None, Some(9)] {
            let first = before.map(|span| CHANGE.started(span, None, 1));
            let starts = kinds.map(|kind| of_kind(kind, CHANGE.started(1, Some(9), 10)));
            let mut trace = trace(first.into_iter().chain(starts));
            let others = u64::from(before.is_some());
            for (left, place) in [2_u64, 1, 0].into_iter().zip(order) {
                let ended = CHANGE.ended(1, Some(9), [10, 11], SpanOutcome::Ok);
                trace.apply(&of_kind(kinds[place], ended), 9);
                let open: Vec<SpanKind> = trace.open.iter().map(|(_, span)| span.kind).collect();
                assert_eq!(open.len() as u64, left + others, "{order:?}");
                assert!(others > 0 || !open.contains(&kinds[place]), "{order:?}");
            }
            assert_eq!(trace.total, 3 + others);
        }
    }
}

#[test]
fn twins_are_bounded_and_are_forgotten_when_their_ends_may_be_missed() {
    let mut trace = Trace::new(1);
    for parent in 0..10_000_u64 {
        let mut change = CHANGE.started(1, None, 10);
        if let ChangeKind::Started(start) = &mut change.kind {
            start.parent = Some(parent.to_be_bytes());
        }
        trace.apply(&change, parent + 1);
    }
    assert_eq!(trace.open.len(), open_spans::TWINS_MAX + 1);
    trace.forget_twins().for_each(drop);
    assert_eq!(trace.open.len(), 1);
}

#[test]
fn the_start_in_an_end_replaces_the_earlier_start() {
    use SpanOutcome::Ok;
    let text = |second: u64| format!("1970-01-01T00:00:{second:02}.000000000Z");
    // The start event has too late a start time. The end event corrects it.
    let mut late = trace([CHANGE.started(1, None, 50)]);
    late.apply(&CHANGE.ended(1, None, [10, 50], Ok), 2);
    assert_eq!(late.duration_nanos(Timestamp::default()), 40_000_000_000);
    assert_eq!(summary(&late)["startTimestamp"], json!(text(10)));
    assert_eq!(summary(&late)["durationMs"], json!(40_000.0));
    // A child began later than its start event said, so the trace began later, too.
    let mut early = trace([
        CHANGE.started(2, Some(1), 10),
        CHANGE.started(1, None, 20),
        CHANGE.started(3, Some(1), 15),
    ]);
    early.apply(&CHANGE.ended(2, Some(1), [30, 31], Ok), 4);
    assert_eq!(summary(&early)["startTimestamp"], json!(text(15)));
    early.apply(&CHANGE.ended(3, Some(1), [25, 32], Ok), 5);
    assert_eq!(summary(&early)["startTimestamp"], json!(text(20)));
    early.apply(&CHANGE.ended(1, None, [22, 33], Ok), 6);
    assert_eq!(summary(&early)["startTimestamp"], json!(text(22)));
    // The end of the second span shows that it began first, so it becomes the root.
    let mut roots = trace([CHANGE.started(1, None, 10), CHANGE.started(2, None, 20)]);
    assert_eq!(roots.name(), "span1");
    roots.apply(&CHANGE.ended(2, None, [5, 21], Ok), 3);
    assert_eq!((roots.name(), roots.is_open()), ("span2", true));
    roots.apply(&CHANGE.ended(1, None, [10, 22], SpanOutcome::Error), 4);
    assert_eq!((roots.state(), roots.is_complete()), (TraceState::Ok, true));
}

#[test]
fn the_name_is_that_of_the_earliest_span_whose_parent_is_not_known() {
    let cases = [
        // The first span's parent is missing at first and comes later.
        (vec![(2, 1, 11), (1, 9, 10)], "span1"),
        // This span is seen first, but another one began before it.
        (vec![(2, 8, 12), (3, 9, 11)], "span3"),
        (vec![(3, 9, 11), (2, 8, 12)], "span3"),
        // Two spans began at once; the one that is first in the log wins.
        (vec![(2, 8, 11), (3, 9, 11)], "span2"),
        // The span's clock is behind, but its parent is known.
        (vec![(1, 9, 10), (2, 1, 5)], "span1"),
        // Cycles of parents, in any order.
        (vec![(1, 3, 10), (2, 1, 11), (3, 2, 12)], "span1"),
        (vec![(3, 2, 12), (2, 1, 11), (1, 3, 10)], "span1"),
        (vec![(2, 1, 11), (1, 3, 10), (3, 2, 12)], "span1"),
        (vec![(1, 2, 10), (2, 1, 11)], "span1"),
        (vec![(2, 1, 11), (1, 2, 10)], "span1"),
        (vec![(1, 1, 10)], "span1"),
    ];
    for (starts, name) in cases {
        let changes = starts
            .iter()
            .map(|&(span, parent, time)| CHANGE.started(span, Some(parent), time));
        let mut trace = trace(changes);
        assert_eq!(trace.name(), name, "{starts:?}");
        for &(span, parent, time) in &starts {
            let ended = CHANGE.ended(span, Some(parent), [time, 20], SpanOutcome::Ok);
            trace.apply(&ended, 9);
        }
        assert_eq!(trace.name(), name, "{starts:?} after their ends");
    }
}

/// Returns the progress that attributes report.
fn progress(current: u64, total: Option<u64>) -> Option<Box<SpanProgress>> {
    let mut attributes = json!({"progress.current": current});
    if let Some(total) = total {
        attributes["progress.total"] = total.into();
    }
    let text = attributes.to_string();
    serde_json::from_str::<IndexedAttributes>(&text)
        .unwrap()
        .progress
}

fn progress_update(span: u8, time: u64, progress: Option<Box<SpanProgress>>) -> SpanChange {
    let update = SpanUpdate {
        progress,
        ..SpanUpdate::default()
    };
    CHANGE.updated(span, time, update)
}

fn shown(trace: &Trace) -> Json {
    let progress = &summary(trace)["progress"];
    json!([progress["current"], progress["total"]])
}

#[test]
fn the_progress_is_that_of_the_root_else_of_the_span_that_reported_last() {
    let mut one = trace([
        CHANGE.started(1, None, 10),
        CHANGE.started(2, Some(1), 11),
        CHANGE.started(3, Some(1), 11),
    ]);
    assert_eq!(summary(&one)["progress"], Json::Null);
    let mut next = 4;
    let mut then = |one: &mut Trace, change: SpanChange| {
        next += 1;
        one.apply(&change, next);
        shown(one)
    };
    assert_eq!(
        then(&mut one, progress_update(2, 12, progress(1, Some(9)))),
        json!([1, 9])
    );
    assert_eq!(
        then(&mut one, progress_update(3, 13, progress(5, None))),
        json!([5, null])
    );
    // A field that is not reported again stays.
    assert_eq!(
        then(&mut one, progress_update(2, 14, progress(2, None))),
        json!([2, 9])
    );
    let ended = |span, parent| CHANGE.ended(span, parent, [11, 15], SpanOutcome::Ok);
    assert_eq!(then(&mut one, ended(2, Some(1))), json!([5, null]));
    assert_eq!(
        then(&mut one, progress_update(1, 16, progress(7, Some(8)))),
        json!([7, 8])
    );
    assert_eq!(
        then(&mut one, progress_update(3, 17, progress(6, None))),
        json!([7, 8])
    );
    assert_eq!(then(&mut one, ended(3, Some(1))), json!([7, 8]));
    // The root's last progress stays after its end.
    let mut root = ended(1, None);
    if let ChangeKind::Ended { start, .. } = &mut root.kind {
        start.progress = progress(8, Some(8));
    }
    assert_eq!(then(&mut one, root), json!([8, 8]));
    // An update of a span that is not open changes nothing.
    assert_eq!(
        then(&mut one, progress_update(1, 20, progress(1, None))),
        json!([8, 8])
    );
    assert_eq!(
        then(&mut one, progress_update(9, 20, progress(1, None))),
        json!([8, 8])
    );
}

#[test]
fn a_lost_end_keeps_the_earlier_progress() {
    let mut start = CHANGE.started(1, None, 10);
    let mut lost = CHANGE.ended(1, None, [10, 13], SpanOutcome::Lost);
    for change in [&mut start, &mut lost] {
        if let ChangeKind::Started(start) | ChangeKind::Ended { start, .. } = &mut change.kind {
            start.progress = progress(0, Some(9));
        }
    }
    let one = trace([start, progress_update(1, 11, progress(4, None)), lost]);
    assert_eq!(shown(&one), json!([4, 9]));
}

#[test]
fn the_name_of_a_running_root_is_the_newest() {
    let renamed = |span, name: &str| {
        let name = Some(name.into());
        CHANGE.updated(
            span,
            12,
            SpanUpdate {
                name,
                ..SpanUpdate::default()
            },
        )
    };
    let mut one = trace([
        CHANGE.started(1, None, 10),
        CHANGE.started(2, Some(1), 11),
        renamed(1, "GET /carts/{id}"),
        renamed(2, "other"),
    ]);
    assert_eq!(one.name(), "GET /carts/{id}");
    one.apply(&CHANGE.ended(1, None, [10, 13], SpanOutcome::Ok), 5);
    assert_eq!(one.name(), "span1");
}

#[test]
fn an_open_span_that_fails_counts_as_an_error_once() {
    let status = |span, fails| {
        let fails = Some(fails);
        CHANGE.updated(
            span,
            12,
            SpanUpdate {
                fails,
                ..SpanUpdate::default()
            },
        )
    };
    let mut one = trace([CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)]);
    let mut next = 2;
    let mut errors_after = |one: &mut Trace, change: SpanChange| {
        next += 1;
        one.apply(&change, next);
        summary(one)["spans"]["errors"].as_u64().unwrap()
    };
    assert_eq!(errors_after(&mut one, status(2, true)), 1);
    assert_eq!(errors_after(&mut one, status(2, true)), 1);
    assert_eq!(errors_after(&mut one, status(1, true)), 2);
    assert_eq!(errors_after(&mut one, status(1, false)), 1);
    let ended = |span, parent, outcome| CHANGE.ended(span, parent, [11, 13], outcome);
    assert_eq!(
        errors_after(&mut one, ended(2, Some(1), SpanOutcome::Error)),
        1
    );
    assert_eq!(errors_after(&mut one, status(1, true)), 2);
    // The program sets the status to OK in the end.
    assert_eq!(errors_after(&mut one, ended(1, None, SpanOutcome::Ok)), 1);
    assert_eq!(errors_after(&mut one, status(1, true)), 1);
}

#[test]
fn a_running_trace_shows_its_longest_await() {
    let awaits = |span, name: Option<(&str, u64)>| {
        let point = name.map(|(name, since)| AwaitPoint {
            name: name.into(),
            since: Timestamp::from_nanos(since * 1_000_000_000),
        });
        let awaiting = point.map_or(Awaiting::Nothing, Awaiting::On);
        CHANGE.updated(
            span,
            20,
            SpanUpdate {
                awaiting,
                ..SpanUpdate::default()
            },
        )
    };
    let mut one = trace([
        CHANGE.started(1, None, 10),
        CHANGE.started(2, Some(1), 11),
        awaits(2, Some(("redis get", 13))),
        awaits(1, Some(("reply", 12))),
    ]);
    let awaiting = |one: &Trace| summary(one)["awaiting"].clone();
    assert_eq!(
        awaiting(&one),
        json!({"name": "reply", "since": "1970-01-01T00:00:12.000000000Z"})
    );
    one.apply(&awaits(1, None), 5);
    assert_eq!(awaiting(&one)["name"], json!("redis get"));
    one.apply(&CHANGE.ended(2, Some(1), [11, 30], SpanOutcome::Ok), 6);
    assert_eq!(awaiting(&one), Json::Null);
    one.apply(&awaits(1, Some(("reply", 31))), 7);
    one.apply(&CHANGE.ended(1, None, [10, 32], SpanOutcome::Ok), 8);
    assert_eq!(awaiting(&one), Json::Null);
}

#[test]
fn the_stored_updates_of_open_spans_are_bounded_and_those_of_the_root_are_kept() {
    let mut one = trace([CHANGE.started(1, None, 10)]);
    one.apply(&progress_update(1, 11, progress(7, None)), 2);
    for span in 2..=255 {
        one.apply(&CHANGE.started(span, Some(1), 12), span.into());
        one.apply(
            &progress_update(span, 12, progress(span.into(), None)),
            span.into(),
        );
    }
    assert_eq!(shown(&one), json!([7, null]));
    let remembered = one.extras.as_ref().unwrap().inside.len();
    assert_eq!(remembered, inside::SPANS_MAX);
}

fn of_root(attributes: &Json) -> Option<RootAttributes> {
    let text = attributes.to_string();
    serde_json::from_str::<IndexedAttributes>(&text)
        .unwrap()
        .of_root
}

#[test]
fn the_attributes_are_those_of_the_root_with_its_updates_and_after_its_end_those_of_the_end() {
    let with = |mut change: SpanChange, attributes: Json| {
        match &mut change.kind {
            ChangeKind::Started(start) | ChangeKind::Ended { start, .. } => {
                start.of_root = of_root(&attributes);
            }
            ChangeKind::Updated(update) => update.of_root = of_root(&attributes),
            ChangeKind::Log(_) | ChangeKind::Other => {}
        }
        change
    };
    let update = |span, time, attributes: Json| {
        let update = SpanUpdate {
            of_root: of_root(&attributes),
            ..SpanUpdate::default()
        };
        CHANGE.updated(span, time, update)
    };
    let root = with(CHANGE.started(1, None, 10), json!({"page": 1}));
    let mut one = trace([CHANGE.started(2, Some(1), 9), root]);
    assert_eq!(summary(&one)["rootAttributes"], json!({"page": 1}));
    one.apply(&update(2, 11, json!({"page": 9})), 3);
    one.apply(
        &update(1, 12, json!({"http.route": "/a", "code.line": 7})),
        4,
    );
    let both = json!({"page": 1, "http.route": "/a"});
    assert_eq!(summary(&one)["rootAttributes"], both);
    let mut lost = one.clone();
    let end = |outcome| CHANGE.ended(1, None, [10, 13], outcome);
    lost.apply(&with(end(SpanOutcome::Lost), json!({"page": 1})), 5);
    assert_eq!(summary(&lost)["rootAttributes"], both);
    one.apply(&with(end(SpanOutcome::Ok), json!({"page": 3})), 5);
    assert_eq!(summary(&one)["rootAttributes"], json!({"page": 3}));
}

#[test]
fn the_error_is_the_first_with_a_message_unless_a_later_end_of_its_span_removes_it() {
    let failed = |span, parent, text: &str| {
        let mut change = CHANGE.ended(span, parent, [11, 12], SpanOutcome::Error);
        if let ChangeKind::Ended { message, .. } = &mut change.kind {
            *message = SpanStart::message(text);
        }
        change
    };
    let mut one = trace([
        CHANGE.started(1, None, 10),
        failed(2, Some(1), ""),
        failed(3, Some(1), "card declined"),
        failed(4, Some(1), "no answer"),
    ]);
    let first = json!({"spanId": "0303030303030303", "name": "span3", "message": "card declined"});
    assert_eq!(summary(&one)["error"], first);
    one.apply(&failed(1, None, "checkout failed"), 5);
    assert_eq!(summary(&one)["error"], first);
    // Another end of the same span, which did not fail, removes the error.
    one.apply(&CHANGE.ended(3, Some(1), [11, 14], SpanOutcome::Ok), 6);
    assert_eq!(summary(&one).get("error"), None);
    let long = "\u{e4}".repeat(MESSAGE_BYTES_MAX);
    one.apply(&failed(5, Some(1), &long), 7);
    assert_eq!(
        summary(&one)["error"]["message"],
        "\u{e4}".repeat(MESSAGE_BYTES_MAX / 2)
    );
}
