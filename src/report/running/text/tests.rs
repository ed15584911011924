//! The text of the report of running spans.

use super::*;
use crate::{
    report::{
        running::{
            collect::ReportCounts,
            span_now::{SpanNowBuilder, age_of},
            tree,
        },
        trace_events::ReportEvent,
    },
    trace::index::open_now::OpenSpanEntry,
    util::time::Timestamp,
};

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_nanos(1_767_225_600_000_000_000 + milliseconds * 1_000_000)
}

/// One minute after the start.
const NOW: u64 = 60_000;

/// Returns an open span with these events: the name of each, its time, and its fields as JSON.
fn span(id: u8, parent: Option<u8>, events: &[(&str, u64, &str)]) -> SpanNow {
    let mut builder = SpanNowBuilder::default();
    for (name, time, fields) in events {
        let time = at(*time).text();
        let payload = format!(r#"{{"type":"{name}",{fields},"timestamp":"{time}"}}"#);
        builder.add(&ReportEvent {
            sequence: 1,
            name,
            payload: payload.as_bytes(),
        });
    }
    let open = OpenSpanEntry {
        id: [id; 8],
        parent: parent.map(|parent| [parent; 8]),
        start: at(events.first().map_or(0, |(_, time, _)| *time)),
        waits: false,
    };
    builder.finish(&open, at(NOW))
}

fn started(id: u8, parent: Option<u8>, time: u64, name: &str) -> SpanNow {
    let fields = format!(r#""name":"{name}","service":"shop""#);
    span(id, parent, &[("started", time, &fields)])
}

fn report(traces: Vec<Vec<SpanNow>>) -> RunningReport {
    let mut number = 0xa0_u8;
    let traces: Vec<RunningTrace> = traces
        .into_iter()
        .map(|spans| {
            number = number.wrapping_add(1).max(1);
            let trace = RunningTrace {
                trace_id: crate::util::hex::encode(&[number; 16]),
                name: spans[0].name.clone().unwrap_or_default(),
                service: "shop".to_owned(),
                state: TraceState::Running,
                start_timestamp: spans[0].start_timestamp.clone(),
                age_ms: 0.0,
                spans_total: spans.len() as u64 + 3,
                spans_open: spans.len() as u64,
                errors: 0,
                evicted: None,
                incomplete: false,
                age: age_of(at(0), at(NOW)),
                spans: Vec::new(),
            };
            RunningTrace {
                spans: tree::in_tree_order(spans),
                ..trace
            }
        })
        .collect();
    RunningReport {
        now: at(NOW).text(),
        cursor: String::new(),
        open: ReportCounts {
            traces: traces.len() as u64,
            spans: traces.iter().map(|trace| trace.spans.len() as u64).sum(),
        },
        left_out: None,
        only_followed: false,
        traces,
    }
}

fn text(report: &RunningReport, bytes_max: usize) -> String {
    report.text(TextOptions {
        bytes_max,
        how_to_narrow: "ask for less",
    })
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one tree with every kind of line, and its whole text"
)]
fn each_span_says_what_it_does_and_what_it_waits_for() {
    let awaits = span(
        2,
        Some(1),
        &[
            ("started", 12_000, r#""name":"reserve","service":"stock""#),
            (
                "updated",
                12_500,
                r#""task":{"polls":31,"busyNanos":20,"idleNanos":980,"longestPollNanos":9,"polling":null},"awaiting":{"name":"redis get","since":"2026-01-01T00:00:12.400000000Z"}"#,
            ),
            (
                "log",
                48_100,
                r#""severityNumber":13,"severityText":"WARN","target":"shop::stock","body":"retrying in a moment""#,
            ),
        ],
    );
    let blocks = span(
        3,
        Some(1),
        &[
            ("started", 55_000, r#""name":"resize","service":"shop""#),
            (
                "updated",
                55_900,
                r#""task":{"polls":1,"busyNanos":0,"idleNanos":0,"longestPollNanos":0,"polling":{"since":"2026-01-01T00:00:55.900000000Z","thread":"tokio-worker-3"}}"#,
            ),
        ],
    );
    let mut progresses = span(
        4,
        None,
        &[
            (
                "started",
                0,
                r#""name":"import","service":"shop","attributes":{"progress.total":270}"#,
            ),
            (
                "updated",
                40_000,
                r#""attributes":{"progress.current":150,"progress.units":"pages"}"#,
            ),
            (
                "updated",
                50_000,
                r#""attributes":{"progress.current":170}"#,
            ),
            (
                "updated",
                60_000,
                r#""attributes":{"progress.current":190,"progress.message":"page 190 of \"a\""}"#,
            ),
        ],
    );
    progresses.compare_with(1204, Some(210_000_000));
    let panics = span(
        5,
        Some(9),
        &[
            (
                "started",
                59_000,
                r#""name":"notify","service":"shop","durable":true"#,
            ),
            (
                "updated",
                59_900,
                r#""panic":{"message":"out of luck","location":"src/main.rs:12:5","thread":"main"}"#,
            ),
        ],
    );
    let fails = span(
        6,
        None,
        &[
            ("started", 59_000, r#""name":"pay","service":"shop""#),
            (
                "updated",
                59_900,
                r#""status":{"code":"ERROR","message":"no card"},"name":"pay again","awaiting":null"#,
            ),
        ],
    );
    let report = report(vec![
        vec![started(1, None, 0, "checkout"), awaits, blocks],
        vec![progresses],
        vec![panics, fails],
    ]);
    assert_eq!(
        text(&report, 8192),
        "\
6 open spans in 3 traces, oldest first · 2026-01-01 00:01:00 UTC

trace a1a1a1a1 checkout · shop · open for 1 m 00 s · 3 of 6 spans open
  checkout 1 m 00 s [01010101]
    reserve 48.0 s [02020202] · stock · awaits \"redis get\" for 47.6 s · idle, worked 0 % in 31 polls
      log 11.9 s ago: WARN shop::stock \"retrying in a moment\"
    resize 5.0 s [03030303] · BLOCKS thread tokio-worker-3: in one poll for 4.1 s

trace a2a2a2a2 import · shop · open for 1 m 00 s · 1 of 4 spans open
  import 1 m 00 s [04040404] · 190 of 270 pages · 70 % · 2/s · about 40.0 s left · \"page 190 of \\\"a\\\"\" (reported 0.0 s ago) · slower than usual (p95 210 ms of 1,204)

trace a3a3a3a3 notify · shop · open for 1 m 00 s · 2 of 5 spans open
  notify 1.0 s [05050505] · its parent is not open · durable · PANICKED
    panic \"out of luck\" at src/main.rs:12:5 on thread main
  \"pay again\" 1.0 s [06060606] · FAILING \"no card\"
"
    );
}

#[test]
fn a_program_without_open_spans_is_reported() {
    let text = text(&report(Vec::new()), 8192);
    assert_eq!(text, "Nothing is open · 2026-01-01 00:01:00 UTC\n");
}

#[test]
fn of_many_siblings_the_first_are_shown_and_those_that_hang() {
    let mut spans = vec![started(1, None, 0, "crawl")];
    for number in 2..100 {
        spans.push(started(number, Some(1), u64::from(number) * 100, "fetch"));
    }
    let hangs = r#""awaiting":{"name":"lock","since":"2026-01-01T00:00:20.000000000Z"}"#;
    let fields = r#""name":"fetch","service":"shop""#;
    spans.push(span(
        100,
        Some(1),
        &[("started", 20_000, fields), ("updated", 20_000, hangs)],
    ));
    spans.push(started(101, Some(100), 21_000, "inside"));
    spans.push(started(102, Some(50), 22_000, "inside"));
    assert_eq!(
        text(&report(vec![spans]), 8192),
        "\
102 open spans in 1 trace, oldest first · 2026-01-01 00:01:00 UTC

trace a1a1a1a1 crawl · shop · open for 1 m 00 s · 102 of 105 spans open
  crawl 1 m 00 s [01010101]
    fetch 59.8 s [02020202]
    fetch 59.7 s [03030303]
    fetch 59.6 s [04040404]
    fetch 40.0 s [64646464] · awaits lock for 40.0 s
      … 1 more inside, open for 39.0 s to 39.0 s
    … 96 more (95 fetch), open for 59.5 s to 38.0 s

Left out: 97 open spans: ask for less.
"
    );
}

#[test]
fn a_text_keeps_its_bound_whatever_it_reports() {
    let many = |traces: u8, spans: u8| {
        let of_trace = |_| {
            let name = |id: u8| {
                format!("a name of number {id} \u{1b}\"{}\"", "x".repeat(200))
                    .replace('"', "'")
                    .replace('\u{1b}', "\\u001b")
            };
            (1..=spans)
                .map(|id| started(id, (id > 1).then_some(1), u64::from(id), &name(id)))
                .collect()
        };
        report((0..traces).map(of_trace).collect())
    };
    for (traces, spans) in [(1, 250), (200, 1), (60, 60)] {
        let report = many(traces, spans);
        for bytes_max in [2_000, 8_000, 60_000] {
            let text = text(&report, bytes_max);
            assert!(text.len() <= bytes_max, "{} {bytes_max}", text.len());
            let is_plain = |line: &str| !line.contains(char::is_control);
            assert!(text.lines().all(is_plain));
            let shown = text.lines().filter(|line| line.starts_with("  \"a name"));
            assert!(shown.count() > 0, "{text}");
        }
    }
}
