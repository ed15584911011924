//! One whole trace, as it stands: the same read as its stream, up to the head at the time of asking, so that the
//! stream goes on from the snapshot's cursor without a hole.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use serde::Serialize;

use crate::{
    access::projection,
    http::{
        auth::authorize::Authorization, blocking, error::HttpError, query_params::QueryParams,
        response, routes::otlp_json,
    },
    live_spans::LiveSpans,
    reader::{ReadItem, subscription::Subscribe},
    span::event::TraceId,
    trace::{parse, stored::StoredTrace, summary::Summary},
    util::time::Timestamp,
};

/// Events that are made into an answer at once; more of them are handed to a thread for such work.
const INLINE_EVENTS_MAX: usize = 1000;

/// The events of a trace in log order, and the place after which its stream goes on.
struct Read {
    events: Vec<(String, Bytes)>,
    cursor: u64,
    /// What they say of the trace as a whole, where the index may not know it.
    fold: StoredTrace,
}

/// Whether the index knows all of the trace that is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsIndexed {
    Yes,
    No,
}

pub(crate) async fn answer(
    live: &LiveSpans,
    trace: TraceId,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    authorization.require_trace(trace)?;
    let format = params.one("format")?.unwrap_or("json");
    if !matches!(format, "json" | "jsonl" | "otlp") {
        let message = format!("the format {format:?} is not one of json, jsonl, otlp");
        return Err(HttpError::new(http::StatusCode::BAD_REQUEST, message));
    }
    let log = live.log();
    let unknown = || HttpError::not_found(format!("the trace {trace} is not in the log"));
    // Where others append, too, the index knows what was followed only.
    let is_indexed = if log.knows(&trace.stream_key()) && !log.is_shared() {
        IsIndexed::Yes
    } else if log.is_in_memory() {
        return Err(unknown());
    } else {
        IsIndexed::No
    };
    let mut events = read(live, trace, is_indexed).await;
    if let Some(traces) = authorization.traces() {
        events.events = only_of(traces, events.events);
    }
    if is_indexed == IsIndexed::No && events.fold.trace().is_none() {
        return Err(unknown());
    }
    match format {
        "jsonl" => Ok(lines(events)),
        "otlp" => {
            let size = events.events.len();
            let pieces = run_blocking(size, move || otlp_json::export(&events.events)).await?;
            Ok(response::pieces(pieces, "application/json"))
        }
        _ => {
            let id = trace.to_bytes();
            let summary = match is_indexed {
                IsIndexed::Yes => live.shared.index.summary(id, |at| log.id(at)),
                IsIndexed::No => {
                    let trace = events.fold.trace();
                    trace.map(|trace| trace.summary(id, |at| log.id(at)))
                }
            };
            let summary = summary.ok_or_else(unknown)?;
            let head = head(live, trace, &summary, events.cursor);
            let pieces =
                run_blocking(events.events.len(), move || whole(head, &events.events)).await?;
            Ok(response::pieces(pieces, "application/json"))
        }
    }
}

/// Does work whose time grows with the trace.
async fn run_blocking<T: Send + 'static>(
    events: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    if events <= INLINE_EVENTS_MAX {
        return Ok(work());
    }
    blocking::run_blocking(work).await
}

async fn read(live: &LiveSpans, trace: TraceId, is_indexed: IsIndexed) -> Read {
    let log = live.log();
    let head = log.tail.published();
    let mut reader = Subscribe::to(trace.stream_key()).reader(log);
    let mut events = Vec::new();
    let mut fold = StoredTrace::default();
    while let Some(item) = reader.next_below(head).await {
        // Everything may be in memory, and then nothing else here lets other tasks run.
        tokio::task::yield_now().await;
        if let ReadItem::Events(slice) | ReadItem::OpenGlobal(slice) = item {
            for event in slice.events() {
                let payload = event.payload();
                if is_indexed == IsIndexed::No {
                    fold.add(event.sequence(), &payload, trace.to_bytes());
                }
                events.push((event.name().to_owned(), payload));
            }
        }
    }
    Read {
        events,
        cursor: reader.after(),
        fold,
    }
}

/// The events as a reader of these traces may see them: without links to others, and with the processes that worked on
/// this one.
fn only_of(traces: &HashSet<TraceId>, events: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let own = |(name, payload): &(String, Bytes)| {
        let process = projection::process(payload).filter(|_| name != "process");
        process.map(Cow::into_owned)
    };
    let processes: HashSet<String> = events.iter().filter_map(own).collect();
    let is_seen = |name: &str, payload: &Bytes| {
        let is_own =
            || projection::process(payload).is_some_and(|process| processes.contains(&*process));
        name != "process" || is_own()
    };
    let seen = events
        .into_iter()
        .filter(|(name, payload)| is_seen(name, payload));
    seen.map(|(name, payload)| {
        let narrowed = projection::without_foreign_links(&payload, traces);
        (name, narrowed.map_or(payload, Bytes::from))
    })
    .collect()
}

fn lines(events: Read) -> Response<Body> {
    let newline = Bytes::from_static(b"\n");
    let pieces = events
        .events
        .into_iter()
        .flat_map(|(_, payload)| [payload, newline.clone()]);
    response::pieces(pieces.collect(), "application/x-ndjson")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotHead<'a> {
    trace_id: String,
    cursor: String,
    now: String,
    summary: &'a Summary,
}

/// The answer up to its lists, which follow within the same object.
fn head(live: &LiveSpans, trace: TraceId, summary: &Summary, cursor: u64) -> Vec<u8> {
    let head = SnapshotHead {
        trace_id: trace.to_string(),
        cursor: live.log().id(cursor).to_string(),
        now: Timestamp::now().text(),
        summary,
    };
    let mut head = serde_json::to_vec(&head).unwrap_or_default();
    head.pop();
    head
}

fn whole(head: Vec<u8>, events: &[(String, Bytes)]) -> VecDeque<Bytes> {
    let sorted = Sorted::new(events);
    let mut pieces = VecDeque::from([Bytes::from(head)]);
    list(&mut pieces, b",\"processes\":[", &sorted.processes);
    list(&mut pieces, b",\"spans\":[", &sorted.spans);
    list(&mut pieces, b",\"updates\":[", &sorted.updates);
    list(&mut pieces, b",\"logs\":[", &sorted.logs);
    pieces.push_back(Bytes::from_static(b"}"));
    pieces
}

fn list(pieces: &mut VecDeque<Bytes>, open: &'static [u8], items: &[Bytes]) {
    pieces.push_back(Bytes::from_static(open));
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pieces.push_back(Bytes::from_static(b","));
        }
        pieces.push_back(item.clone());
    }
    pieces.push_back(Bytes::from_static(b"]"));
}

/// The events by what they are; of each span only what says most: its newest end, a real one before a lost one, else
/// its start, also when that comes again after a lost end.
#[derive(Default)]
struct Sorted {
    processes: Vec<Bytes>,
    spans: Vec<Bytes>,
    updates: Vec<Bytes>,
    logs: Vec<Bytes>,
}

impl Sorted {
    fn new(events: &[(String, Bytes)]) -> Self {
        let mut sorted = Self::default();
        let mut places: HashMap<Bytes, (usize, bool)> = HashMap::new();
        for (name, payload) in events {
            let span = || parse::span_of(payload).unwrap_or_default();
            match name.as_str() {
                "process" => sorted.processes.push(payload.clone()),
                "started" | "ended" => {
                    let ended = name == "ended";
                    if let Some((place, was_ended)) = places.get_mut(&span()) {
                        let Some(slot) = sorted.spans.get_mut(*place) else {
                            continue;
                        };
                        let replaces = if ended {
                            !*was_ended || parse::replaces(payload, slot)
                        } else {
                            !*was_ended || parse::is_lost(slot)
                        };
                        if replaces {
                            *was_ended = ended;
                            *slot = payload.clone();
                        }
                    } else {
                        places.insert(span(), (sorted.spans.len(), ended));
                        sorted.spans.push(payload.clone());
                    }
                }
                "updated" => sorted.updates.push(payload.clone()),
                "log" => sorted.logs.push(payload.clone()),
                _ => {}
            }
        }
        // What an ended span said last is in its end.
        sorted.updates.retain(|payload| {
            parse::span_of(payload)
                .is_none_or(|span| places.get(&span).is_none_or(|(_, ended)| !ended))
        });
        sorted
    }
}
