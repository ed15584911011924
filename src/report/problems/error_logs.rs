//! The newest log records of severity ERROR and above. Equal records are combined into one. The
//! index has their positions, so only these records are read. It runs on the task of a request.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    engine::log::Log,
    live_spans::LiveSpans,
    log::{block::Slice, tail::TailRead},
    report::{
        event_fields::EventText,
        problems::report::{Problem, ProblemKind},
        running::span_now::age_of,
    },
    span::json::clip,
    store::PageLimit,
    trace::{filter::TraceFilter, summary::milliseconds},
    util::time::Timestamp,
    wire::id::Sequence,
};

/// Upper bound on the records that one answer reads.
const RECORDS_MAX: usize = 200;
/// Upper bound on the records that are counted.
const COUNTED_MAX: usize = 10_000;
/// The severity ERROR.
const SEVERITY_MIN: u8 = 17;
/// Upper bound on the bytes of one text.
const TEXT_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorLogFields<'a> {
    #[serde(borrow, default)]
    trace_id: Option<EventText<'a>>,
    #[serde(borrow, default)]
    span_id: Option<EventText<'a>>,
    #[serde(borrow)]
    timestamp: EventText<'a>,
    #[serde(borrow, default)]
    service: Option<EventText<'a>>,
    #[serde(borrow, default)]
    target: Option<EventText<'a>>,
    #[serde(borrow, default)]
    scope: Option<EventText<'a>>,
    #[serde(default)]
    body: Json,
}

/// The error logs of a report.
pub(super) struct ErrorLogs {
    /// The records, newest first.
    pub(super) problems: Vec<Problem>,
    /// The number of records that were not read, among the newest [`COUNTED_MAX`].
    pub(super) left_out: u64,
    /// The number of records that could not be read.
    pub(super) unreadable: u64,
}

/// Returns the records after this event.
pub(super) async fn error_logs(
    live: &LiveSpans,
    filter: &TraceFilter,
    after: u64,
    now: Timestamp,
) -> ErrorLogs {
    let (log, index) = (live.log(), &live.shared.index);
    let range = after.saturating_add(1)..log.head().saturating_add(1);
    let positions = index.positions_of_logs(SEVERITY_MIN, filter, range, COUNTED_MAX);
    let left_out = positions.len().saturating_sub(RECORDS_MAX) as u64;
    let mut problems: Vec<Problem> = Vec::new();
    let mut unreadable = 0;
    let mut alike = HashMap::new();
    for sequence in positions.into_iter().take(RECORDS_MAX) {
        let payload = payload_at(log, sequence).await.unwrap_or_default();
        let Ok(fields) = serde_json::from_slice::<ErrorLogFields<'_>>(&payload) else {
            unreadable += 1;
            continue;
        };
        let problem = problem_of(&fields, now);
        let key = (
            problem.name.clone(),
            problem.service.clone(),
            problem.message.clone(),
        );
        let at = *alike.entry(key).or_insert(problems.len());
        match problems.get_mut(at) {
            Some(newest) => newest.records = newest.records.map(|records| records + 1),
            None => problems.push(problem),
        }
    }
    ErrorLogs {
        problems,
        left_out,
        unreadable,
    }
}

/// Returns the payload of one event. Returns `None` if the log no longer has the event, or if the
/// store fails.
async fn payload_at(log: &Log, sequence: u64) -> Option<Bytes> {
    let before = sequence.saturating_sub(1);
    if let TailRead::Events(slices) = log.tail.read_after(before) {
        let mut events = slices.iter().flat_map(Slice::events);
        let event = events.next().filter(|event| event.sequence() == sequence);
        return event.map(|event| event.payload());
    }
    let page = log
        .store
        .read_after(Sequence::new(before), PageLimit::UNBOUNDED.events(1))
        .await;
    let event = page.ok()?.into_iter().next()?;
    (event.sequence.get() == sequence).then_some(event.payload)
}

fn problem_of(fields: &ErrorLogFields<'_>, now: Timestamp) -> Problem {
    let time = fields.timestamp.time().unwrap_or(now);
    let age = age_of(time, now);
    let body = match &fields.body {
        Json::String(body) => body.clone(),
        other => other.to_string(),
    };
    Problem {
        kind: ProblemKind::Log,
        trace_id: text(fields.trace_id.as_ref()),
        trace_name: String::new(),
        span_id: text(fields.span_id.as_ref()),
        name: text(fields.target.as_ref().or(fields.scope.as_ref())),
        service: text(fields.service.as_ref()),
        timestamp: time.text(),
        age_ms: milliseconds(age),
        open: false,
        message: Some(clip(&body, TEXT_BYTES_MAX).0.to_owned()),
        failed_above: 0,
        now: None,
        duration_ms: None,
        usual: None,
        records: Some(1),
        age,
        took: 0,
    }
}

fn text(value: Option<&EventText<'_>>) -> String {
    value.map_or_else(String::new, |value| {
        clip(&value.0, TEXT_BYTES_MAX).0.to_owned()
    })
}
