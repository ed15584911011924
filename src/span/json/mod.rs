//! Span events as JSON bytes, and back: the only file that spells their field names. Pure: no clock, no I/O.
//!
//! The writer is by hand because it is the worker's hot path: fixed keys are copied, numbers and escapes written in
//! place, nothing allocated.

pub(crate) mod template;

use std::{borrow::Cow, collections::HashMap, io::Write as _, ops::Range};

use memchr::memmem;

use crate::{
    log::event::{Pinning, SseEvent, StreamKey},
    span::event::{
        AttributeValue, Attributes, Phase, SpanEvent, SpanId, SpanKind, SpanState, SpanStatus,
    },
    util::time::Timestamp,
    wire::frame::number,
};

pub(crate) const VALUE_BYTES_MAX: usize = SpanEvent::VALUE_BYTES_MAX;
pub(crate) const EVENT_BYTES_MAX: usize = SpanEvent::EVENT_BYTES_MAX;
pub(crate) const ATTRIBUTES_MAX: usize = SpanEvent::ATTRIBUTES_MAX;

/// Room that the fields after attributes, events and links may need: trace state, scope version, `cut`.
const RESERVE: usize = 40 * 1024;
/// Attributes among which repeated keys are found by looking back; among more they are found by hashing.
const PAIRS_UNHASHED_MAX: usize = 128;
/// Entries of `cut` that are listed one by one.
const CUT_PATHS_MAX: usize = 32;
/// Integers beyond this are text: JavaScript's numbers are doubles.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A borrowed attribute value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    /// Text that stands in the place of a value.
    Owned(Box<str>),
    /// Values of one kind, and whether some were cut off before they came here.
    Array(Vec<Value<'a>>, bool),
}

impl Value<'_> {
    /// The value as the app knows it.
    pub(crate) fn owned(&self) -> AttributeValue {
        match self {
            Self::Bool(value) => AttributeValue::Bool(*value),
            Self::Int(value) => AttributeValue::Int(*value),
            Self::Double(value) => AttributeValue::Double(*value),
            Self::Text(value) => AttributeValue::String((*value).to_owned()),
            Self::Owned(value) => AttributeValue::String(value.to_string()),
            Self::Array(values, _) => array(values),
        }
    }
}

/// The values of an array are of one kind: that of its first.
fn array(values: &[Value<'_>]) -> AttributeValue {
    fn all<T>(values: &[Value<'_>], pick: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
        values.iter().filter_map(pick).collect()
    }
    match values.first() {
        Some(Value::Bool(_)) => AttributeValue::Bools(all(values, |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })),
        Some(Value::Int(_)) => AttributeValue::Ints(all(values, |value| match value {
            Value::Int(value) => Some(*value),
            _ => None,
        })),
        Some(Value::Double(_)) => AttributeValue::Doubles(all(values, |value| match value {
            Value::Double(value) => Some(*value),
            _ => None,
        })),
        _ => AttributeValue::Strings(all(values, |value| match value {
            Value::Text(value) => Some((*value).to_owned()),
            _ => None,
        })),
    }
}

/// Borrowed attributes.
pub(crate) type Pairs<'a> = Vec<(&'a str, Value<'a>)>;

/// `,"key":"` of a key that is known when this is compiled: one copy instead of three.
macro_rules! opening {
    ($key:literal) => {
        concat!(",\"", $key, "\":\"").as_bytes()
    };
}

/// How a start begins.
const STARTED: &[u8] = b"{\"type\":\"started\"";
const TIMESTAMP: &[u8] = opening!("timestamp");
/// Bytes of `,"attributes":{`.
const ATTRIBUTES_OPEN: usize = opening!("attributes").len();

/// What every span event says.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags are those of the wire"
)]
pub(crate) struct SpanFields<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) unsampled: bool,
    pub(crate) durable: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    pub(crate) process: &'a str,
    pub(crate) service: &'a str,
    /// Not known before the end when a sampler saw the start.
    pub(crate) scope: Option<&'a str>,
    pub(crate) scope_version: Option<&'a str>,
    pub(crate) trace_state: &'a str,
    pub(crate) attributes: Pairs<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) links: Vec<Link<'a>>,
    /// Whether parts were left out before they came here.
    pub(crate) truncated: bool,
}

impl SpanFields<'_> {
    /// A span of which only its ids are known.
    pub(crate) fn bare(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            parent_remote: false,
            unsampled: false,
            durable: false,
            name: "",
            kind: SpanKind::Internal,
            process: "",
            service: "",
            scope: None,
            scope_version: None,
            trace_state: "",
            attributes: Vec::new(),
            dropped_attributes: 0,
            links: Vec::new(),
            truncated: false,
        }
    }
}

/// What the end of a span adds.
#[derive(Clone, Debug)]
pub(crate) struct EndFields<'a> {
    pub(crate) status: EndStatus<'a>,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) events: Vec<TimedEvent<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
    pub(crate) cancelled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndStatus<'a> {
    Unset,
    Ok,
    Error(Cow<'a, str>),
}

/// An event within a span.
#[derive(Clone, Debug)]
pub(crate) struct TimedEvent<'a> {
    pub(crate) name: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) attributes: Pairs<'a>,
}

#[derive(Clone, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) attributes: Pairs<'a>,
}

/// A process as its first event introduces it.
#[derive(Clone, Debug)]
pub(crate) struct ProcessFields<'a> {
    pub(crate) process: &'a str,
    pub(crate) service: &'a str,
    pub(crate) resource: Pairs<'a>,
    pub(crate) pid: u32,
    pub(crate) start: Timestamp,
    pub(crate) now: Timestamp,
}

/// Why a span was ended for its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostReason {
    Crashed,
    Shutdown,
    Dropped,
}

/// Where in a `started` event stands what the end of its span says again, so that it need not be written twice.
#[derive(Clone, Debug)]
pub(crate) struct StartLayout {
    identity: Range<usize>,
    /// Up to the last of them, without the brace that closes.
    attributes: Range<usize>,
    timestamp: Range<usize>,
    traits: Range<usize>,
    keys: KeySet,
}

impl StartLayout {
    /// Whether these attributes can stand behind those of the start, of which this is the payload: none of them repeats
    /// another.
    pub(crate) fn accepts_added(&self, started: &[u8], added: &Pairs<'_>) -> bool {
        if added.len() > PAIRS_UNHASHED_MAX {
            return false;
        }
        let there = started.get(self.attributes.clone()).unwrap_or_default();
        let mut keys = self.keys;
        let are_new = added.iter().enumerate().all(|(index, (key, _))| {
            // What is found within a value costs time and nothing else.
            keys.add(key)
                || (memmem::find(there, &[&*quoted(key), b":"].concat()).is_none()
                    && !occurs_before(added, index, key))
        });
        are_new && keys.count <= ATTRIBUTES_MAX
    }
}

/// Writes the start of a span; where its parts stand, if nothing of it was cut or is said in another place.
pub(crate) fn started(
    out: &mut Vec<u8>,
    span: &SpanFields<'_>,
    time: Timestamp,
) -> Option<StartLayout> {
    let mut writer = JsonWriter::new(out);
    writer.raw(STARTED);
    let before = writer.written();
    writer.identity(span);
    let identity = before..writer.written();
    let keys = writer.attributes("attributes", &span.attributes);
    let attributes = identity.end..writer.written() - 1;
    writer.time(TIMESTAMP, time);
    let timestamp = attributes.end + 1 + TIMESTAMP.len()..writer.written();
    writer.links(&span.links);
    let before = writer.written();
    writer.traits(span);
    let traits = before..writer.written();
    let is_whole = writer.cut.is_empty() && !span.truncated && !span.durable;
    writer.dropped([span.dropped_attributes, 0, 0]);
    writer.end(span.truncated, span.durable);
    Some(StartLayout {
        identity,
        attributes,
        timestamp,
        traits,
        keys: keys.filter(|_| is_whole && span.dropped_attributes == 0)?,
    })
}

/// What the end of a span says that its start did not, and what stands within the payload of that.
#[derive(Debug)]
pub(crate) struct EndFromStart<'a> {
    pub(crate) started: &'a [u8],
    pub(crate) layout: &'a StartLayout,
    /// Where the start did not say it: when the span began, its scope and the version of that.
    pub(crate) start: Option<Timestamp>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) scope_version: Option<&'a str>,
    /// The places must [have room](Places::have_room_for) for them.
    pub(crate) added: &'a Pairs<'a>,
    pub(crate) links: &'a [Link<'a>],
    pub(crate) truncated: bool,
}

/// Writes what [`ended`] writes, from the payload of the span's start.
pub(crate) fn ended_from_start(out: &mut Vec<u8>, from: &EndFromStart<'_>, end: &EndFields<'_>) {
    let copied = |range: &Range<usize>| from.started.get(range.clone()).unwrap_or_default();
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"ended\"");
    writer.raw(copied(&from.layout.identity));
    if let Some(scope) = from.scope {
        writer.text("scope", opening!("scope"), scope);
    }
    writer.status(&end.status);
    writer.raw(copied(&from.layout.attributes));
    let mut types = Vec::new();
    for (key, value) in from.added {
        writer.member("attributes", key, value, &mut types);
    }
    writer.out.push(b'}');
    writer.types(&types);
    if let Some(start) = from.start {
        writer.time(opening!("startTimestamp"), start);
    } else {
        writer.raw(opening!("startTimestamp"));
        writer.raw(copied(&from.layout.timestamp));
    }
    writer.time(opening!("timestamp"), end.end);
    writer.events(&end.events);
    if end.cancelled {
        writer.raw(b",\"cancelled\":true");
    }
    writer.links(from.links);
    writer.raw(copied(&from.layout.traits));
    if let Some(version) = from.scope_version {
        writer.text("scopeVersion", opening!("scopeVersion"), version);
    }
    writer.dropped([0, end.dropped_events, end.dropped_links]);
    writer.end(from.truncated, false);
}

pub(crate) fn ended(out: &mut Vec<u8>, span: &SpanFields<'_>, end: &EndFields<'_>) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"ended\"");
    writer.identity(span);
    writer.status(&end.status);
    writer.attributes("attributes", &span.attributes);
    writer.time(opening!("startTimestamp"), end.start);
    writer.time(opening!("timestamp"), end.end);
    writer.events(&end.events);
    if end.cancelled {
        writer.raw(b",\"cancelled\":true");
    }
    writer.links(&span.links);
    writer.traits(span);
    writer.dropped([
        span.dropped_attributes,
        end.dropped_events,
        end.dropped_links,
    ]);
    writer.end(span.truncated, span.durable);
}

pub(crate) fn process(out: &mut Vec<u8>, process: &ProcessFields<'_>) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"process\",\"traceId\":null,\"spanId\":null");
    writer.text("process", opening!("process"), process.process);
    writer.text("service", opening!("service"), process.service);
    writer.attributes("resource", &process.resource);
    writer.key("pid");
    number(writer.out, process.pid.into());
    writer.time(opening!("startTimestamp"), process.start);
    writer.time(opening!("timestamp"), process.now);
    writer.finish(false);
}

impl SseEvent for SpanEvent {
    fn name(&self) -> &str {
        match &self.phase {
            Phase::Started => "started",
            Phase::Ended { .. } => "ended",
            Phase::Updated { .. } => "updated",
            Phase::Log { .. } => "log",
        }
    }

    fn stream_key(&self) -> Option<StreamKey> {
        Some(self.trace_id.stream_key())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        event(out, self);
    }

    fn pin(&self) -> Pinning {
        match &self.phase {
            Phase::Started => Pinning::Open(self.span_id.token()),
            Phase::Ended { .. } => Pinning::Close(self.span_id.token()),
            Phase::Updated { .. } | Phase::Log { .. } => Pinning::None,
        }
    }

    fn is_deduplicated(&self) -> bool {
        self.durable
    }
}

/// Any event that a program made itself.
pub(crate) fn event(out: &mut Vec<u8>, event: &SpanEvent) {
    let attributes = pairs(&event.attributes);
    let span = SpanFields {
        trace_id: event.trace_id.to_bytes(),
        span_id: event.span_id.to_bytes(),
        parent: event.parent.map(SpanId::to_bytes),
        parent_remote: false,
        unsampled: false,
        durable: event.durable,
        name: &event.name,
        kind: event.kind,
        process: &event.process,
        service: &event.service,
        scope: Some(&event.scope),
        scope_version: None,
        trace_state: "",
        attributes,
        dropped_attributes: 0,
        links: Vec::new(),
        truncated: false,
    };
    match &event.phase {
        Phase::Started => drop(started(out, &span, event.timestamp)),
        Phase::Ended { status, start } => {
            let status = match status {
                SpanStatus::Unset => EndStatus::Unset,
                SpanStatus::Ok => EndStatus::Ok,
                SpanStatus::Error(message) => EndStatus::Error(message.into()),
            };
            let end = EndFields {
                status,
                start: *start,
                end: event.timestamp,
                events: Vec::new(),
                dropped_events: 0,
                dropped_links: 0,
                cancelled: false,
            };
            ended(out, &span, &end);
        }
        Phase::Updated { state } => updated(out, &span, *state, event.timestamp),
        Phase::Log { severity, body } => log(out, &span, severity, body, event.timestamp),
    }
}

pub(crate) fn updated(
    out: &mut Vec<u8>,
    span: &SpanFields<'_>,
    state: Option<SpanState>,
    time: Timestamp,
) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"updated\"");
    writer.ids(span.trace_id, span.span_id);
    writer.text("process", opening!("process"), span.process);
    if !span.name.is_empty() {
        writer.text("name", opening!("name"), span.name);
    }
    if let Some(state) = state {
        writer.text(
            "state",
            opening!("state"),
            if state == SpanState::Waiting {
                "waiting"
            } else {
                "running"
            },
        );
    }
    if !span.attributes.is_empty() {
        writer.attributes("attributes", &span.attributes);
    }
    writer.time(opening!("timestamp"), time);
    writer.finish(false);
}

fn log(out: &mut Vec<u8>, span: &SpanFields<'_>, severity: &str, body: &str, time: Timestamp) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"log\"");
    writer.ids(span.trace_id, span.span_id);
    writer.text("process", opening!("process"), span.process);
    writer.text("severity", opening!("severity"), severity);
    writer.text("body", opening!("body"), body);
    writer.attributes("attributes", &span.attributes);
    writer.time(opening!("timestamp"), time);
    writer.finish(false);
}

pub(crate) fn pairs(attributes: &Attributes) -> Pairs<'_> {
    fn all<'a, T>(values: &'a [T], value: impl Fn(&'a T) -> Value<'a>) -> Value<'a> {
        Value::Array(values.iter().map(value).collect(), false)
    }
    fn borrow(value: &AttributeValue) -> Value<'_> {
        match value {
            AttributeValue::Bool(value) => Value::Bool(*value),
            AttributeValue::Int(value) => Value::Int(*value),
            AttributeValue::Double(value) => Value::Double(*value),
            AttributeValue::String(value) => Value::Text(value),
            AttributeValue::Bools(values) => all(values, |value| Value::Bool(*value)),
            AttributeValue::Ints(values) => all(values, |value| Value::Int(*value)),
            AttributeValue::Doubles(values) => all(values, |value| Value::Double(*value)),
            AttributeValue::Strings(values) => all(values, |value| Value::Text(value)),
        }
    }
    attributes
        .iter()
        .map(|(key, value)| (key.as_str(), borrow(value)))
        .collect()
}

/// The end of a span that can no longer end, made from its `started` event; `None` when that is not one.
pub(crate) fn lost(started: &[u8], reason: LostReason, last_heard: Timestamp) -> Option<Vec<u8>> {
    let message = match reason {
        LostReason::Crashed => "lost: the process died while the span was open",
        LostReason::Shutdown => "lost: the tracer provider was shut down while the span was open",
        LostReason::Dropped => "lost: the end of the span was dropped by a full buffer",
    };
    let reason = match reason {
        LostReason::Crashed => "crashed",
        LostReason::Shutdown => "shutdown",
        LostReason::Dropped => "dropped",
    };
    let mut out = ended_with_error(started, message, last_heard)?;
    field(&mut out, "lost");
    out.extend_from_slice(b"{\"reason\":");
    string(&mut out, reason);
    field(&mut out, "lastHeard");
    string(&mut out, &last_heard.text());
    out.extend_from_slice(b"}}");
    Some(out)
}

/// The end of a span whose workflow was cancelled, made from its `started` event; `None` when that is not one.
pub(crate) fn cancelled(started: &[u8], reason: &str, time: Timestamp) -> Option<Vec<u8>> {
    let mut out = ended_with_error(started, clip(reason, VALUE_BYTES_MAX).0, time)?;
    out.extend_from_slice(b",\"cancelled\":true}");
    Some(out)
}

/// The end of a span that says what its start said, with a status of ERROR; it lacks what ends the object.
fn ended_with_error(started: &[u8], message: &str, time: Timestamp) -> Option<Vec<u8>> {
    // Values are copied as they stand: reading and writing them again could change a number or their order.
    let value_of = |wanted: &str| {
        fields(started)
            .find(|(key, _)| *key == wanted.as_bytes())
            .map(|(_, value)| value)
    };
    if value_of("type")? != b"\"started\"" {
        return None;
    }
    let start = value_of("timestamp")?;
    let mut out = Vec::with_capacity(started.len() + 256);
    out.extend_from_slice(b"{\"type\":\"ended\"");
    let copy = |out: &mut Vec<u8>, key: &str| {
        if let Some(value) = value_of(key) {
            field(out, key);
            out.extend_from_slice(value);
        }
    };
    for key in [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "process",
        "service",
        "scope",
    ] {
        copy(&mut out, key);
    }
    field(&mut out, "status");
    out.extend_from_slice(b"{\"code\":\"ERROR\",\"message\":");
    string(&mut out, message);
    out.push(b'}');
    copy(&mut out, "attributes");
    copy(&mut out, "attributeTypes");
    field(&mut out, "startTimestamp");
    out.extend_from_slice(start);
    field(&mut out, "timestamp");
    string(&mut out, &time.text());
    for key in [
        "links",
        "parentRemote",
        "sampled",
        "traceState",
        "scopeVersion",
        "dropped",
        "cut",
        "durable",
    ] {
        copy(&mut out, key);
    }
    Some(out)
}

/// The kind as the wire names it.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    }
}

/// The JSON text of a string, to compare raw field values with.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    string(&mut out, text);
    out
}

/// The fields of an event's top level, as raw key and value, in order; it stops at anything that is not JSON.
pub(crate) fn fields(payload: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = payload.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        let (key, after) = rest.split_at_checked(value_length(rest)?)?;
        let after = after.strip_prefix(b":")?;
        let (value, after) = after.split_at_checked(value_length(after)?)?;
        rest = after;
        Some((key.strip_prefix(b"\"")?.strip_suffix(b"\"")?, value))
    })
}

/// The elements of an array, as raw values, in order; it stops at anything that is not JSON.
pub(crate) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array.strip_prefix(b"[").unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        let (element, after) = rest.split_at_checked(value_length(rest)?)?;
        rest = after;
        Some(element)
    })
}

/// An event of which some values are replaced, all others standing as they are.
pub(crate) struct PayloadRewriter<'a> {
    payload: &'a [u8],
    /// Up to here it is in `out`.
    copied: usize,
    out: Vec<u8>,
}

impl<'a> PayloadRewriter<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self {
            payload,
            copied: 0,
            out: Vec::new(),
        }
    }

    /// Replaces a value that is a part of the payload and stands behind those that were replaced before.
    pub(crate) fn replace(&mut self, value: &[u8], with: &[u8]) {
        let at = (value.as_ptr() as usize).wrapping_sub(self.payload.as_ptr() as usize);
        let Some(before) = self.payload.get(self.copied..at) else {
            return;
        };
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(with);
        self.copied = at + value.len();
    }

    /// The whole event; `None` when nothing was replaced.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        let rest = self.payload.get(self.copied..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        Some(self.out)
    }
}

/// The length of the JSON value at the start of `text`.
fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => {
                quoted = !quoted;
                if !quoted && depth == 0 {
                    return Some(index + 1);
                }
            }
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return (index > 0).then_some(index),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

struct JsonWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    cut: Vec<u8>,
    cut_paths: usize,
}

impl<'o> JsonWriter<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            cut: Vec::new(),
            cut_paths: 0,
        }
    }

    #[inline]
    fn raw(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    #[inline]
    fn key(&mut self, key: &str) {
        field(self.out, key);
    }

    #[inline]
    fn written(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether something of this size still fits before the reserve.
    fn fits(&self, size: usize) -> bool {
        self.written() + size <= EVENT_BYTES_MAX - RESERVE
    }

    /// Notes that something was cut or left out.
    fn cut(&mut self, path: &[&str]) {
        self.cut_paths += 1;
        if self.cut_paths > CUT_PATHS_MAX {
            return;
        }
        if !self.cut.is_empty() {
            self.cut.push(b',');
        }
        self.cut.push(b'"');
        for part in path {
            // A path is for people: a very long key is named by its beginning.
            let (part, _) = clip(part, 64);
            escape(&mut self.cut, part);
        }
        self.cut.push(b'"');
    }

    #[inline]
    fn text(&mut self, key: &str, opening: &'static [u8], value: &str) {
        let (value, cut) = clip_head(value);
        self.raw(opening);
        escape(self.out, value);
        self.out.push(b'"');
        if cut {
            self.cut(&[key]);
        }
    }

    #[inline]
    fn time(&mut self, opening: &'static [u8], time: Timestamp) {
        self.raw(opening);
        time.write(self.out);
        self.out.push(b'"');
    }

    #[inline]
    fn ids(&mut self, trace_id: [u8; 16], span_id: [u8; 8]) {
        self.raw(b",\"traceId\":\"");
        hex(self.out, &trace_id);
        self.raw(b"\",\"spanId\":\"");
        hex(self.out, &span_id);
        self.raw(b"\"");
    }

    #[inline]
    fn parent(&mut self, parent: Option<[u8; 8]>) {
        match &parent {
            None => self.raw(b",\"parentSpanId\":null"),
            Some(parent) => {
                self.raw(b",\"parentSpanId\":\"");
                hex(self.out, parent);
                self.raw(b"\"");
            }
        }
    }

    #[inline]
    fn identity(&mut self, span: &SpanFields<'_>) {
        self.ids(span.trace_id, span.span_id);
        self.parent(span.parent);
        self.descriptors(span);
    }

    /// What spans that are alike have in common.
    #[inline]
    fn descriptors(&mut self, span: &SpanFields<'_>) {
        self.text("name", opening!("name"), span.name);
        self.raw(kind_field(span.kind));
        self.text("process", opening!("process"), span.process);
        self.text("service", opening!("service"), span.service);
        if let Some(scope) = span.scope {
            self.text("scope", opening!("scope"), scope);
        }
    }

    fn status(&mut self, status: &EndStatus<'_>) {
        match status {
            EndStatus::Unset => self.raw(b",\"status\":{\"code\":\"OK\"}"),
            EndStatus::Ok => self.raw(b",\"status\":{\"code\":\"OK\",\"explicit\":true}"),
            EndStatus::Error(message) if message.is_empty() => {
                self.raw(b",\"status\":{\"code\":\"ERROR\"}");
            }
            EndStatus::Error(message) => {
                let (message, cut) = clip_head(message);
                self.raw(b",\"status\":{\"code\":\"ERROR\",\"message\":");
                string(self.out, message);
                self.out.push(b'}');
                if cut {
                    self.cut(&["status.message"]);
                }
            }
        }
    }

    /// Writes the object, then the types of the values that JSON cannot carry as what they are. Gives the keys if none
    /// repeats another and there are no such types.
    fn attributes(&mut self, key: &str, pairs: &Pairs<'_>) -> Option<KeySet> {
        self.key(key);
        let keys = KeySet::of(pairs);
        let types = self.object(key, pairs, keys.as_ref());
        self.types(&types);
        keys.filter(|_| types.is_empty())
    }

    fn types(&mut self, types: &[u8]) {
        if !types.is_empty() {
            self.raw(b",\"attributeTypes\":{");
            self.raw(types);
            self.out.push(b'}');
        }
    }

    /// Writes the members; their keys are given if none repeats another.
    fn object(&mut self, path: &str, pairs: &Pairs<'_>, keys: Option<&KeySet>) -> Vec<u8> {
        let mut types = Vec::new();
        self.out.push(b'{');
        let has_more = if keys.is_none() {
            let mut members = last_of_each_key(pairs);
            for (key, value) in members.by_ref().take(ATTRIBUTES_MAX) {
                self.member(path, key, value, &mut types);
            }
            members.next().is_some()
        } else {
            for (key, value) in pairs.iter().take(ATTRIBUTES_MAX) {
                self.member(path, key, value, &mut types);
            }
            pairs.len() > ATTRIBUTES_MAX
        };
        if has_more {
            self.cut(&[path, ".*"]);
        }
        self.out.push(b'}');
        types
    }

    /// Writes one member of an object, unless it does not fit.
    fn member(&mut self, path: &str, key: &str, value: &Value<'_>, types: &mut Vec<u8>) {
        let (key, key_cut) = clip(key, VALUE_BYTES_MAX);
        let before = self.out.len();
        // No member ends with a brace that opens.
        let is_first = self.out.last() == Some(&b'{');
        self.raw(if is_first { b"\"" } else { b",\"" });
        escape(self.out, key);
        self.raw(b"\":");
        let key_size = self.out.len() - before;
        let cut = self.value(value) || key_cut;
        let kind = type_lost_in_json(value);
        // A key may stand among the types, too.
        let type_size = kind.map_or(0, |kind| key_size + kind.len() + 4);
        if !self.fits(types.len() + type_size) {
            self.out.truncate(before);
            self.cut(&[path, ".", key]);
            return;
        }
        if cut {
            self.cut(&[path, ".", key]);
        }
        if let Some(kind) = kind {
            if !types.is_empty() {
                types.push(b',');
            }
            string(types, key);
            types.extend_from_slice(b":\"");
            types.extend_from_slice(kind.as_bytes());
            types.push(b'"');
        }
    }

    /// Whether the value was cut.
    fn value(&mut self, value: &Value<'_>) -> bool {
        match value {
            Value::Bool(value) => self.raw(if *value { b"true" } else { b"false" }),
            Value::Int(value) => integer(self.out, *value),
            Value::Double(value) => double(self.out, *value),
            Value::Text(value) => {
                let (value, cut) = clip(value, VALUE_BYTES_MAX);
                string(self.out, value);
                return cut;
            }
            Value::Owned(value) => {
                let (value, cut) = clip(value, VALUE_BYTES_MAX);
                string(self.out, value);
                return cut;
            }
            Value::Array(values, cut) => return self.array(values) || *cut,
        }
        false
    }

    fn array(&mut self, values: &[Value<'_>]) -> bool {
        let mut cut = false;
        let start = self.out.len();
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            // An array is one value, so it shares the bound of one.
            if self.out.len() - start > VALUE_BYTES_MAX {
                cut = true;
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            cut |= self.value(value);
        }
        self.out.push(b']');
        cut
    }

    fn events(&mut self, events: &[TimedEvent<'_>]) {
        let size = |event: &TimedEvent<'_>| event.name.len();
        self.list("events", events, size, |writer, event, path| {
            writer.raw(b"{\"name\":");
            let (name, cut) = clip(event.name, VALUE_BYTES_MAX);
            string(writer.out, name);
            if cut {
                writer.cut(&[path, ".name"]);
            }
            writer.time(opening!("timestamp"), event.time);
            writer.nested_attributes(path, &event.attributes);
        });
    }

    fn links(&mut self, links: &[Link<'_>]) {
        self.list(
            "links",
            links,
            |_| 0,
            |writer, link, path| {
                writer.raw(b"{\"traceId\":\"");
                hex(writer.out, &link.trace_id);
                writer.raw(b"\",\"spanId\":\"");
                hex(writer.out, &link.span_id);
                writer.raw(b"\"");
                writer.nested_attributes(path, &link.attributes);
            },
        );
    }

    fn nested_attributes(&mut self, path: &str, pairs: &Pairs<'_>) {
        self.key("attributes");
        let types = self.object(
            &format!("{path}.attributes"),
            pairs,
            KeySet::of(pairs).as_ref(),
        );
        self.types(&types);
        self.out.push(b'}');
    }

    fn list<T>(
        &mut self,
        key: &str,
        items: &[T],
        text_size: impl Fn(&T) -> usize,
        write: impl Fn(&mut Self, &T, &str),
    ) {
        if items.is_empty() {
            return;
        }
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            // An escaped character takes six bytes at most.
            if !self.fits(512 + 6 * text_size(item).min(VALUE_BYTES_MAX)) {
                self.cut(&[key, &format!("[{index}..]")]);
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item, &format!("{key}[{index}]"));
        }
        self.out.push(b']');
    }

    fn traits(&mut self, span: &SpanFields<'_>) {
        if span.parent_remote {
            self.raw(b",\"parentRemote\":true");
        }
        if span.unsampled {
            self.raw(b",\"sampled\":false");
        }
        if !span.trace_state.is_empty() {
            self.text("traceState", opening!("traceState"), span.trace_state);
        }
        if let Some(version) = span.scope_version {
            self.text("scopeVersion", opening!("scopeVersion"), version);
        }
    }

    /// How much the SDK's limits dropped.
    fn dropped(&mut self, [attributes, events, links]: [u32; 3]) {
        if attributes > 0 || events > 0 || links > 0 {
            self.raw(b",\"dropped\":{\"attributes\":");
            number(self.out, attributes.into());
            self.raw(b",\"events\":");
            number(self.out, events.into());
            self.raw(b",\"links\":");
            number(self.out, links.into());
            self.out.push(b'}');
        }
    }

    fn end(mut self, truncated: bool, durable: bool) {
        if truncated {
            self.cut(&["*"]);
        }
        self.finish(durable);
    }

    fn finish(self, durable: bool) {
        if !self.cut.is_empty() {
            self.out.extend_from_slice(b",\"cut\":[");
            self.out.extend_from_slice(&self.cut);
            if self.cut_paths > CUT_PATHS_MAX {
                self.out.extend_from_slice(b",\"...\"");
            }
            self.out.push(b']');
        }
        if durable {
            self.out.extend_from_slice(b",\"durable\":true");
        }
        self.out.push(b'}');
    }
}

fn kind_field(kind: SpanKind) -> &'static [u8] {
    match kind {
        SpanKind::Internal => b",\"kind\":\"INTERNAL\"",
        SpanKind::Server => b",\"kind\":\"SERVER\"",
        SpanKind::Client => b",\"kind\":\"CLIENT\"",
        SpanKind::Producer => b",\"kind\":\"PRODUCER\"",
        SpanKind::Consumer => b",\"kind\":\"CONSUMER\"",
    }
}

/// Each key once, where it first stands, with its last value. `SdkSpan::set_attribute` appends and never replaces.
fn last_of_each_key<'p, 'a>(
    pairs: &'p Pairs<'a>,
) -> impl Iterator<Item = (&'a str, &'p Value<'a>)> {
    // Spans have at most 128 attributes by the SDK's default limit; looking along them is quicker than hashing.
    let positions = (pairs.len() > PAIRS_UNHASHED_MAX).then(|| positions_of(pairs));
    pairs
        .iter()
        .enumerate()
        .filter_map(move |(index, (key, _))| {
            let last = match &positions {
                None => last_position(pairs, index, key),
                Some(positions) => positions
                    .get(clipped_key(key))
                    .and_then(|(first, last)| (*first == index).then_some(*last)),
            };
            let (_, value) = pairs.get(last?)?;
            Some((*key, value))
        })
}

/// Keys of which no two are the same.
#[derive(Clone, Copy, Debug, Default)]
struct KeySet {
    seen: u128,
    count: usize,
}

impl KeySet {
    /// `None` when two of them are the same.
    #[inline]
    fn of(pairs: &Pairs<'_>) -> Option<Self> {
        let mut keys = Self::default();
        let mut pairs_and_places = pairs.iter().enumerate();
        let are_new = pairs_and_places.all(|(index, (key, _))| {
            keys.add(key) || (index < PAIRS_UNHASHED_MAX && !occurs_before(pairs, index, key))
        });
        are_new.then_some(keys)
    }

    /// Whether the key is none of them: sure when it says yes.
    #[inline]
    fn add(&mut self, key: &str) -> bool {
        // Equal keys are equal in length and in their last byte.
        let key = clipped_key(key);
        let last = key.as_bytes().last().copied().unwrap_or_default();
        let mark = 1 << ((key.len() * 7 + usize::from(last) * 3) % 128);
        let is_new = self.seen & mark == 0;
        self.seen |= mark;
        self.count += 1;
        is_new
    }
}

/// Whether a key stands before this place.
fn occurs_before(pairs: &Pairs<'_>, index: usize, key: &str) -> bool {
    let key = clipped_key(key);
    let mut before = pairs.iter().take(index);
    before.any(|(one, _)| clipped_key(one) == key)
}

/// Keys that are the same when cut are the same key in the object.
#[inline]
fn clipped_key(key: &str) -> &str {
    clip(key, VALUE_BYTES_MAX).0
}

/// The first and the last place of every key.
fn positions_of<'a>(pairs: &Pairs<'a>) -> HashMap<&'a str, (usize, usize)> {
    let mut positions = HashMap::new();
    for (index, (key, _)) in pairs.iter().enumerate() {
        let place = positions.entry(clip(key, VALUE_BYTES_MAX).0);
        place.or_insert((index, index)).1 = index;
    }
    positions
}

/// The last place of the key that stands at `index`, unless it stands before that, too.
#[inline]
fn last_position(pairs: &Pairs<'_>, index: usize, key: &str) -> Option<usize> {
    let key = clipped_key(key);
    let end = key.as_bytes().last();
    let is_same = |(one, _): &(&str, Value<'_>)| {
        // Most keys differ in length or at their end, and need no look at the rest.
        let one = clipped_key(one);
        one.len() == key.len() && one.as_bytes().last() == end && one == key
    };
    let (before, from) = pairs.split_at(index);
    if before.iter().any(is_same) {
        return None;
    }
    let after = from.get(1..).unwrap_or_default();
    let again = after.iter().rposition(is_same);
    Some(again.map_or(index, |at| index + 1 + at))
}

fn type_lost_in_json(value: &Value<'_>) -> Option<&'static str> {
    match value {
        Value::Int(value) if value.unsigned_abs() > SAFE_INTEGER_MAX => Some("int"),
        Value::Double(value) if !value.is_finite() => Some("double"),
        Value::Array(values, _) => match values.iter().find_map(type_lost_in_json)? {
            "int" => Some("int[]"),
            _ => Some("double[]"),
        },
        _ => None,
    }
}

#[inline]
fn field(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn integer(out: &mut Vec<u8>, value: i64) {
    let text = value.unsigned_abs() > SAFE_INTEGER_MAX;
    if text {
        out.push(b'"');
    }
    if value < 0 {
        out.push(b'-');
    }
    number(out, value.unsigned_abs());
    if text {
        out.push(b'"');
    }
}

/// Rust's debug form is the shortest that reads back the same, and always has a point or an exponent.
fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    } else {
        // A Vec takes every write.
        drop(write!(out, "{value:?}"));
    }
}

/// Appends the bytes, of which there are a multiple of four, as lowercase hex digits.
#[inline]
pub(crate) fn hex<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    const { assert!(N.is_multiple_of(4)) };
    let mut text = [[0; 8]; N];
    let (fours, _) = bytes.as_chunks::<4>();
    for (digits, four) in text.iter_mut().zip(fours) {
        *digits = hex_of_four(*four);
    }
    let used = text.as_flattened().get(..2 * N);
    out.extend_from_slice(used.unwrap_or_default());
}

/// The eight digits of four bytes, all at once.
#[inline]
fn hex_of_four(bytes: [u8; 4]) -> [u8; 8] {
    // Each half of a byte gets a byte of its own, in the order in which they stand.
    let word = u64::from(u32::from_be_bytes(bytes));
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (word | word << 4) & (ONES * 0x0f);
    // Those from ten on are letters, which stand 39 behind the digit that would follow '9'.
    let letters = ((halves + ONES * 6) >> 4) & ONES;
    (halves + ONES * u64::from(b'0') + letters * 39).to_be_bytes()
}

#[inline]
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// RFC 8259, section 7: quote, backslash and control characters must be escaped; nothing else is.
#[inline]
fn escape(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    let plain = plain_length(text);
    out.extend_from_slice(text.get(..plain).unwrap_or_default());
    if plain < text.len() {
        escape_rest(out, text.get(plain..).unwrap_or_default());
    }
}

fn escape_rest(out: &mut Vec<u8>, mut rest: &[u8]) {
    while let Some((byte, tail)) = rest.split_first() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                out.extend_from_slice(b"\\u00");
                let [.., high, low] = hex_of_four([0, 0, 0, *other]);
                out.extend_from_slice(&[high, low]);
            }
        }
        let (plain, tail) = tail.split_at(plain_length(tail));
        out.extend_from_slice(plain);
        rest = tail;
    }
}

/// How many bytes stand before the first that must be escaped, eight at a time.
#[inline]
fn plain_length(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let plain = words
        .iter()
        .position(|word| has_escaped(u64::from_le_bytes(*word)));
    if let Some(words) = plain {
        let word = text.get(8 * words..).unwrap_or_default();
        return 8 * words + plain_bytes(word);
    }
    // The last eight again, some of which are looked at twice, are quicker than one byte after the other.
    match text.last_chunk::<8>() {
        Some(last) if !has_escaped(u64::from_le_bytes(*last)) => text.len(),
        _ => text.len() - rest.len() + plain_bytes(rest),
    }
}

#[inline]
fn plain_bytes(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
        .unwrap_or(text.len())
}

/// Whether a quote, a backslash or a control character is among these eight.
#[inline]
fn has_escaped(word: u64) -> bool {
    (control_marks(word) | byte_marks(word, b'"') | byte_marks(word, b'\\')) & HIGH != 0
}

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// Sets the high bit of each of these eight bytes that is a control character. Of ASCII, the subtraction sets it where a
/// byte is what is looked for; a borrow reaches only bytes above such a one. Other bytes have theirs set, and are none
/// of it.
#[inline]
fn control_marks(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word
}

/// The same where it is this ASCII character.
#[inline]
fn byte_marks(word: u64, byte: u8) -> u64 {
    (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES) & !word
}

/// The part of a text that stands before attributes which is written: what would take more than two values' room when
/// it is escaped is cut, too, so that all of them leave room for the rest of the event.
#[inline]
fn clip_head(text: &str) -> (&str, bool) {
    if text.len() * 6 <= 2 * VALUE_BYTES_MAX {
        return (text, false);
    }
    clip_long_head(text)
}

#[cold]
fn clip_long_head(text: &str) -> (&str, bool) {
    let (text, cut) = clip(text, VALUE_BYTES_MAX);
    let mut room = 2 * VALUE_BYTES_MAX;
    for (at, byte) in text.bytes().enumerate() {
        let size = match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..=0x1f => 6,
            _ => 1,
        };
        if size > room {
            return (clip(text, at).0, true);
        }
        room -= size;
    }
    (text, cut)
}

/// At most `bytes_max` bytes of the text, on a character boundary, and whether something was cut.
#[inline]
pub(crate) fn clip(text: &str, bytes_max: usize) -> (&str, bool) {
    if text.len() <= bytes_max {
        return (text, false);
    }
    let boundary = (0..=bytes_max)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    (text.get(..boundary).unwrap_or_default(), true)
}
