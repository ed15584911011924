//! Parses events in the format that `span/json/` writes. Used for events that an app dispatches
//! itself, for stored events, for reports and other forms of a trace, and for filters. Pure.

pub(crate) mod plain_span;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value as Json;

use crate::{
    span::{
        event::{SpanId, SpanKind, TraceId},
        indexed_attributes::IndexedAttributes,
        json,
        updates::Awaiting,
    },
    trace::{
        search,
        span_change::{AwaitPoint, ChangeKind, SpanChange, SpanOutcome, SpanStart, SpanUpdate},
    },
    util::time::Timestamp,
};

/// A stored event, reduced to the fields that this crate reads.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the wire format has these flags"
)]
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parsed {
    pub(crate) trace_id: Option<String>,
    pub(crate) span_id: Option<String>,
    #[serde(default)]
    pub(crate) parent_span_id: Option<String>,
    #[serde(default)]
    pub(crate) parent_remote: bool,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) process: String,
    #[serde(default)]
    pub(crate) service: String,
    #[serde(default)]
    pub(crate) scope: String,
    #[serde(default)]
    pub(crate) scope_version: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<ParsedStatus>,
    #[serde(default)]
    pub(crate) attributes: serde_json::Map<String, Json>,
    #[serde(default)]
    pub(crate) attribute_types: serde_json::Map<String, Json>,
    #[serde(default)]
    pub(crate) resource: serde_json::Map<String, Json>,
    #[serde(default)]
    pub(crate) start_timestamp: Option<String>,
    pub(crate) timestamp: String,
    #[serde(default)]
    pub(crate) events: Vec<ParsedMoment>,
    #[serde(default)]
    pub(crate) links: Vec<ParsedLink>,
    #[serde(default)]
    pub(crate) trace_state: Option<String>,
    #[serde(default)]
    pub(crate) dropped: Option<ParsedDropped>,
    #[serde(default = "yes")]
    pub(crate) sampled: bool,
    #[serde(default)]
    pub(crate) lost: Option<Json>,
    #[serde(default)]
    pub(crate) cancelled: bool,
    #[serde(default)]
    pub(crate) panicked: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ParsedStatus {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) explicit: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParsedMoment {
    pub(crate) name: String,
    pub(crate) timestamp: String,
    #[serde(default)]
    pub(crate) attributes: serde_json::Map<String, Json>,
    #[serde(default)]
    pub(crate) attribute_types: serde_json::Map<String, Json>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParsedLink {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    #[serde(default)]
    pub(crate) attributes: serde_json::Map<String, Json>,
    #[serde(default)]
    pub(crate) attribute_types: serde_json::Map<String, Json>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct ParsedDropped {
    #[serde(default)]
    pub(crate) attributes: u32,
    #[serde(default)]
    pub(crate) events: u32,
    #[serde(default)]
    pub(crate) links: u32,
}

fn yes() -> bool {
    true
}

pub(crate) fn event(payload: &[u8]) -> Option<Parsed> {
    serde_json::from_slice(payload).ok()
}

/// Returns a hash of the parent and the kind of an event's span. Open spans that share an id usually differ in one of
/// the two. Spans of different kinds never have the same hash.
#[cfg(feature = "http")]
pub(crate) fn origin_of(payload: &[u8]) -> u8 {
    let mut parent = 0_u64;
    for (key, value) in json::fields(payload) {
        match key {
            b"parentSpanId" => {
                let digits = value.iter().map(|digit| u64::from(*digit));
                parent = digits.fold(0, |hash, digit| hash.wrapping_mul(31).wrapping_add(digit));
            }
            b"kind" => {
                let [.., parent] = parent.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                let kind = std::str::from_utf8(value).unwrap_or_default();
                let kind = search::kind(kind.trim_matches('"')).unwrap_or_default();
                return parent & !7 | kind as u8;
            }
            _ => {}
        }
    }
    0
}

/// Returns the raw ids of a stored event in this order: its trace, its span, and that span's
/// parent.
#[cfg(feature = "http")]
pub(crate) fn ids_of(payload: &[u8]) -> Vec<&[u8]> {
    let is_id = |key: &[u8]| matches!(key, b"traceId" | b"spanId" | b"parentSpanId");
    let ids = json::fields(payload).filter(|(key, _)| is_id(key));
    ids.map(|(_, value)| value).collect()
}

/// Returns whether the log itself wrote this end because the span's own end can no longer arrive.
pub(crate) fn is_lost(payload: &[u8]) -> bool {
    json::fields(payload).any(|(key, _)| key == b"lost")
}

/// A text of a stored event. It is borrowed unless it contains escapes.
#[derive(Debug, Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of a stored event that the index needs. The worker parses each event that an app
/// dispatches itself, so this struct borrows its texts and skips most attributes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexedFields<'a> {
    #[serde(rename = "type", borrow)]
    kind_of_event: Text<'a>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
    #[serde(borrow)]
    span_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    parent_span_id: Option<Text<'a>>,
    #[serde(default)]
    parent_remote: bool,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    service: Text<'a>,
    #[serde(default, borrow)]
    status: Option<IndexedStatus<'a>>,
    #[serde(default, borrow)]
    start_timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(default, borrow)]
    links: Vec<IndexedLink<'a>>,
    #[serde(default)]
    lost: Option<IgnoredAny>,
    #[serde(default)]
    panicked: bool,
    #[serde(default)]
    cancelled: bool,
    #[serde(default, borrow)]
    state: Option<Text<'a>>,
    #[serde(default)]
    severity_number: u8,
    #[serde(default)]
    attributes: IndexedAttributes,
    #[serde(default, borrow, deserialize_with = "deserialize_awaiting")]
    awaiting: Awaiting<IndexedAwait<'a>>,
    #[serde(default)]
    panic: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct IndexedAwait<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    since: Text<'a>,
}

/// Reads the await point of a span. `null` means that the span no longer waits.
fn deserialize_awaiting<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Awaiting<IndexedAwait<'de>>, D::Error> {
    let point = Option::<IndexedAwait<'de>>::deserialize(deserializer)?;
    Ok(point.map_or(Awaiting::Nothing, Awaiting::On))
}

#[derive(Debug, Deserialize)]
struct IndexedStatus<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(default, borrow)]
    message: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexedLink<'a> {
    #[serde(borrow)]
    trace_id: Text<'a>,
}

/// Returns the change that the index applies for a stored event. Returns `None` if the event is invalid, or if it is
/// neither about a span nor a log record.
pub(crate) fn span_change(payload: &[u8]) -> Option<SpanChange> {
    // UTF-8 is checked once for the whole payload, which is faster than for each string.
    let payload = std::str::from_utf8(payload).ok()?;
    let fields: IndexedFields<'_> = serde_json::from_str(payload).ok()?;
    let trace_id = fields.trace_id.as_ref().map(|id| id.0.parse::<TraceId>());
    let span_id = fields.span_id.as_ref().map(|id| id.0.parse::<SpanId>());
    let is_log = fields.kind_of_event.0 == "log";
    if !is_log && (trace_id.is_none() || span_id.is_none()) {
        return None;
    }
    let trace_id = trace_id.transpose().ok()?.map(TraceId::to_bytes);
    let span_id = span_id.transpose().ok()?.map(SpanId::to_bytes);
    let time = Timestamp::parse(&fields.timestamp.0)?;
    let kind = match &*fields.kind_of_event.0 {
        "started" => ChangeKind::Started(span_start(&fields, time)),
        "ended" => {
            let outcome = match (&fields.lost, &fields.status) {
                (Some(_), _) => SpanOutcome::Lost,
                (None, _) if fields.cancelled => SpanOutcome::Cancelled,
                (None, _) if fields.panicked => SpanOutcome::Panicked,
                (None, Some(status)) if status.code.0 == "ERROR" => SpanOutcome::Error,
                _ => SpanOutcome::Ok,
            };
            let start = fields.start_timestamp.as_ref();
            let start = start.and_then(|start| Timestamp::parse(&start.0));
            ChangeKind::Ended {
                start: span_start(&fields, start.unwrap_or(time)),
                outcome,
                message: match (outcome, &fields.status) {
                    (SpanOutcome::Error | SpanOutcome::Panicked, Some(status)) => {
                        SpanStart::message(&status.message.0)
                    }
                    _ => None,
                },
            }
        }
        "updated" => ChangeKind::of_update(span_update(&fields)),
        "log" => ChangeKind::Log(fields.severity_number),
        _ => ChangeKind::Other,
    };
    Some(SpanChange {
        trace_id: trace_id.unwrap_or_default(),
        span_id: span_id.unwrap_or_default(),
        time,
        kind,
    })
}

fn span_update(fields: &IndexedFields<'_>) -> SpanUpdate {
    let status = fields.status.as_ref();
    let fails = status.map(|status| status.code.0 == "ERROR");
    let name = Some(&*fields.name.0).filter(|name| !name.is_empty());
    SpanUpdate {
        waits: fields.state.as_ref().map(|state| state.0 == "waiting"),
        name: name.map(|name| SpanStart::text(name).into()),
        fails: fields.panic.map(|_| true).or(fails),
        progress: fields.attributes.progress.clone(),
        of_root: fields.attributes.of_root.clone(),
        awaiting: match &fields.awaiting {
            Awaiting::Unchanged => Awaiting::Unchanged,
            Awaiting::Nothing => Awaiting::Nothing,
            Awaiting::On(point) => Awaiting::On(AwaitPoint {
                name: SpanStart::text(&point.name.0).into(),
                since: Timestamp::parse(&point.since.0).unwrap_or_default(),
            }),
        },
    }
}

fn span_start(fields: &IndexedFields<'_>, start: Timestamp) -> SpanStart {
    let bytes = |id: &Text<'_>| id.0.parse().ok().map(SpanId::to_bytes);
    let parent = fields.parent_span_id.as_ref().and_then(bytes);
    let may_be_root = parent.is_none() || fields.parent_remote;
    let of_root = fields.attributes.of_root.as_ref();
    SpanStart {
        parent,
        parent_remote: fields.parent_remote,
        name: SpanStart::text(&fields.name.0).into(),
        service: SpanStart::text(&fields.service.0).into(),
        kind: search::kind(&fields.kind.0).unwrap_or(SpanKind::Internal),
        start_time: start,
        links: fields
            .links
            .iter()
            .filter_map(|link| {
                link.trace_id
                    .0
                    .parse::<TraceId>()
                    .ok()
                    .map(TraceId::to_bytes)
            })
            .collect(),
        progress: fields.attributes.progress.clone(),
        of_root: of_root.filter(|_| may_be_root).cloned(),
    }
}

/// Returns the time of the event.
pub(crate) fn timestamp(payload: &[u8]) -> Option<Timestamp> {
    let (_, value) = json::fields(payload).find(|(key, _)| *key == b"timestamp")?;
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Timestamp::parse(std::str::from_utf8(text).ok()?)
}

/// Returns the span that the event is about.
pub(crate) fn span_id(payload: &[u8]) -> Option<SpanId> {
    let (_, value) = json::fields(payload).find(|(key, _)| *key == b"spanId")?;
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns the parent of the span that the event is about.
#[cfg(feature = "http")]
pub(crate) fn parent_span_id(payload: &[u8]) -> Option<SpanId> {
    let (_, value) = json::fields(payload).find(|(key, _)| *key == b"parentSpanId")?;
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns the trace that the event is about.
#[cfg(feature = "http")]
pub(crate) fn trace_id(payload: &[u8]) -> Option<TraceId> {
    let (_, value) = json::fields(payload).find(|(key, _)| *key == b"traceId")?;
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns whether an open span outlives its process.
pub(crate) fn is_durable(payload: &[u8]) -> bool {
    json::fields(payload).any(|(key, value)| key == b"durable" && value == b"true")
}

/// The filter of a stream of events. Values within one field are alternatives; all fields must match. Services, names
/// and kinds are raw JSON values with quotes, as in a payload.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) services: Vec<Vec<u8>>,
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) kinds: Vec<Vec<u8>>,
    pub(crate) errors: Vec<bool>,
    pub(crate) types: Vec<String>,
}

impl EventFilter {
    /// Returns whether the filter accepts this name of an event. It may still reject the event's payload.
    pub(crate) fn accepts_type(&self, name: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|one| one == name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.names.is_empty()
            && self.kinds.is_empty()
            && self.errors.is_empty()
            && self.types.is_empty()
    }

    /// Returns whether the filter accepts an event of this name and payload. It rejects an event that lacks a filtered
    /// field.
    pub(crate) fn accepts(&self, name: &str, payload: &[u8]) -> bool {
        self.accepts_type(name) && self.accepts_span(payload) && self.accepts_status(payload)
    }

    /// Returns whether the filter compares fields of a span that the span's updates do not repeat.
    #[cfg(feature = "http")]
    pub(crate) fn is_about_spans(&self) -> bool {
        !(self.services.is_empty() && self.names.is_empty() && self.kinds.is_empty())
    }

    /// Returns whether the filter accepts the service, name and kind of an event.
    pub(crate) fn accepts_span(&self, payload: &[u8]) -> bool {
        let one_of = |wanted: &[Vec<u8>], field: &[u8]| {
            wanted.is_empty()
                || json::fields(payload)
                    .find(|(key, _)| *key == field)
                    .is_some_and(|(_, value)| wanted.iter().any(|one| one == value))
        };
        one_of(&self.services, b"service")
            && one_of(&self.names, b"name")
            && one_of(&self.kinds, b"kind")
    }

    pub(crate) fn accepts_status(&self, payload: &[u8]) -> bool {
        let status = || {
            let status = json::fields(payload).find(|(key, _)| *key == b"status")?.1;
            Some(status.starts_with(b"{\"code\":\"ERROR\""))
        };
        self.errors.is_empty() || status().is_some_and(|error| self.errors.contains(&error))
    }
}
