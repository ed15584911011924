//! Span events that are already encoded, from another log or a file. This file checks them, and removes the white space
//! between their tokens. Pure; any thread of the app runs it.

use std::{borrow::Cow, time::SystemTime};

use serde::Deserialize;

use crate::{
    error::Error,
    log::event::{Pinning, SseEvent, StreamKey},
    span::{
        event::{SpanEvent, SpanId, TraceId},
        json,
    },
    util::time::Timestamp,
};

/// A span event in the wire format, from another log or a file: the `data` of one frame.
///
/// [`LiveSpans::encoded_target`](crate::LiveSpans::encoded_target) accepts it. The log appends the payload under a new
/// id and changes only redacted values. The payload has no white space outside of texts.
///
/// ```
/// use livespan::{LiveSpans, span::EncodedEvent};
///
/// let live = LiveSpans::builder().build()?;
/// let line = r#"{"type":"started","traceId":"4bf92f3577b34da6a3ce929d0e0e4736",
///     "spanId":"00f067aa0ba902b7","parentSpanId":null,"name":"import","kind":"INTERNAL",
///     "process":"p7f3k2aa","service":"shop","scope":"","attributes":{},
///     "timestamp":"2026-11-22T11:39:00.123456789Z"}"#;
/// live.encoded_target().try_dispatch(&EncodedEvent::new(line)?)?;
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    kind: String,
    key: Option<StreamKey>,
    pin: Pinning,
    process: Option<String>,
    time: Option<Timestamp>,
    payload: String,
}

impl EncodedEvent {
    /// Checks the payload of an event: one JSON object with a `type` that a log stores (`started`, `ended`, `updated`,
    /// `log`, `process`, `gap`), and the fields that this type needs.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error for any other payload, and for a payload of more than
    /// [`EVENT_BYTES_MAX`](SpanEvent::EVENT_BYTES_MAX).
    pub fn new(payload: impl Into<String>) -> Result<Self, Error> {
        let payload = payload.into();
        if payload.len() > SpanEvent::EVENT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the event has {} bytes, which is more than {}",
                payload.len(),
                SpanEvent::EVENT_BYTES_MAX
            )));
        }
        // The redaction and other readers of encoded events expect no white space.
        let compact = json::without_white_space(&payload);
        if compact.is_some() {
            // Without its white space, a payload that is not JSON could become JSON.
            Head::of(&payload)?;
        }
        let payload = compact.unwrap_or(payload);
        let head = Head::of(&payload)?;
        let attributes = json::fields(payload.as_bytes()).find(|(key, _)| *key == b"attributes");
        if attributes.is_some_and(|(_, value)| !value.starts_with(b"{")) {
            return Err(Error::invalid("the attributes are no object"));
        }
        let (key, pin) = head.place()?;
        let time = head.timestamp.as_ref();
        let time = time.and_then(|time| Timestamp::parse(&time.0));
        let (kind, process) = (
            head.kind.0.into_owned(),
            head.process.map(BorrowedText::into),
        );
        Ok(Self {
            kind,
            key,
            pin,
            process,
            time,
            payload,
        })
    }

    /// Returns the type of the event, which is its SSE name.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the id of the process that the event names.
    pub fn process(&self) -> Option<&str> {
        self.process.as_deref()
    }

    /// Returns the time of the event, if it has one.
    pub fn time(&self) -> Option<SystemTime> {
        self.time.and_then(Timestamp::to_system_time)
    }

    /// Returns the payload, without white space between its tokens.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

impl SseEvent for EncodedEvent {
    fn name(&self) -> &str {
        &self.kind
    }

    fn stream_key(&self) -> Option<StreamKey> {
        self.key
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.payload.as_bytes());
    }

    fn pin(&self) -> Pinning {
        self.pin
    }
}

/// A text, borrowed unless it has escapes.
#[derive(Debug, Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

impl From<BorrowedText<'_>> for String {
    fn from(text: BorrowedText<'_>) -> Self {
        text.0.into_owned()
    }
}

/// The fields that determine the stream and the pin of an event, and those that every reader relies on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: BorrowedText<'a>,
    #[serde(borrow)]
    trace_id: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    span_id: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    parent_span_id: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    name: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    process: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    timestamp: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    start_timestamp: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
    #[serde(borrow)]
    reason: Option<BorrowedText<'a>>,
}

// Same name as `engine::log::Status`: this is the field of the wire format.
#[derive(Debug, Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    code: BorrowedText<'a>,
}

impl<'a> Head<'a> {
    fn of(payload: &'a str) -> Result<Self, Error> {
        serde_json::from_str(payload)
            .map_err(|error| Error::invalid("read the event as JSON").caused_by(error))
    }

    /// Returns the stream of the event, and its pin for retention.
    fn place(&self) -> Result<(Option<StreamKey>, Pinning), Error> {
        match &*self.kind.0 {
            "started" => {
                let (trace, span) = self.span(true)?;
                Ok((Some(trace.stream_key()), Pinning::Open(span.token())))
            }
            "ended" => {
                let (trace, span) = self.span(true)?;
                self.check_end()?;
                Ok((Some(trace.stream_key()), Pinning::Close(span.token())))
            }
            "updated" => {
                let (trace, _) = self.span(false)?;
                Ok((Some(trace.stream_key()), Pinning::None))
            }
            "log" => {
                check_time(self.timestamp.as_ref(), "timestamp")?;
                let trace = self.trace_id.as_ref().map(|id| id.0.parse::<TraceId>());
                let span = self.span_id.as_ref().map(|id| id.0.parse::<SpanId>());
                span.transpose()?;
                let key = trace.transpose()?.map(TraceId::stream_key);
                Ok((
                    Some(key.unwrap_or_else(StreamKey::outside_of_traces)),
                    Pinning::None,
                ))
            }
            "process" => Ok((None, self.process_pin()?)),
            "gap" if self.reason.is_some() => Ok((None, Pinning::None)),
            other => {
                let other: String = other.chars().take(64).collect();
                Err(Error::invalid(format!(
                    "{other:?} is not a type of event that a log stores"
                )))
            }
        }
    }

    fn span(&self, has_name: bool) -> Result<(TraceId, SpanId), Error> {
        let id = |id: &Option<BorrowedText<'_>>| id.as_ref().map_or("", |id| &*id.0).to_owned();
        let (trace, span) = (id(&self.trace_id).parse()?, id(&self.span_id).parse()?);
        if let Some(parent) = &self.parent_span_id {
            parent.0.parse::<SpanId>()?;
        }
        if has_name && self.name.is_none() {
            return Err(Error::invalid("the span has no name"));
        }
        check_time(self.timestamp.as_ref(), "timestamp")?;
        Ok((trace, span))
    }

    fn check_end(&self) -> Result<(), Error> {
        check_time(self.start_timestamp.as_ref(), "startTimestamp")?;
        match self.status.as_ref().map(|status| &*status.code.0) {
            Some("OK" | "ERROR") => Ok(()),
            _ => Err(Error::invalid("the status of the end is not OK or ERROR")),
        }
    }

    /// Returns the pin of a `process` event. If the id has eight bytes, as those of livespan and of OTLP senders have,
    /// the id is the token. For other ids, such as those of an imported file, the token is their hash.
    fn process_pin(&self) -> Result<Pinning, Error> {
        let id = self.process.as_ref().map_or("", |id| &*id.0);
        if id.is_empty() {
            return Err(Error::invalid("the process has no id"));
        }
        let token = <[u8; 8]>::try_from(id.as_bytes()).map(u64::from_be_bytes);
        Ok(Pinning::Open(token.unwrap_or_else(|_| fnv1a(id))))
    }
}

/// Returns the 64-bit FNV-1a hash. Stores keep tokens, so the hash must never change.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn check_time(text: Option<&BorrowedText<'_>>, field: &str) -> Result<(), Error> {
    match text.and_then(|text| Timestamp::parse(&text.0)) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("the event has no valid {field}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    const TIME: &str = "2026-11-22T11:39:00.123456789Z";

    fn place(payload: &str) -> Result<(String, Option<StreamKey>, Pinning), String> {
        let event = EncodedEvent::new(payload).map_err(|error| error.to_string())?;
        assert_eq!(event.payload(), payload);
        Ok((event.kind.clone(), event.key, event.pin))
    }

    #[test]
    fn an_event_belongs_to_its_trace_and_opens_or_closes_its_span() {
        let key = TRACE.parse::<TraceId>().unwrap().stream_key();
        let token = SPAN.parse::<SpanId>().unwrap().token();
        let ids = format!(r#""traceId":"{TRACE}","spanId":"{SPAN}","timestamp":"{TIME}""#);
        let end = format!(r#""startTimestamp":"{TIME}","status":{{"code":"OK"}}"#);
        let process = u64::from_be_bytes(*b"p7f3k2aa");
        for (payload, kind, expected, pin) in [
            (
                format!(r#"{{"type":"started",{ids},"name":"a"}}"#),
                "started",
                Some(key),
                Pinning::Open(token),
            ),
            (
                format!(r#"{{"type":"ended",{ids},"name":"a",{end}}}"#),
                "ended",
                Some(key),
                Pinning::Close(token),
            ),
            (
                format!(r#"{{"type":"updated",{ids},"attributes":{{}}}}"#),
                "updated",
                Some(key),
                Pinning::None,
            ),
            (
                format!(r#"{{"type":"log",{ids},"body":"b"}}"#),
                "log",
                Some(key),
                Pinning::None,
            ),
            (
                format!(r#"{{"type":"log","traceId":null,"spanId":null,"timestamp":"{TIME}"}}"#),
                "log",
                Some(StreamKey::outside_of_traces()),
                Pinning::None,
            ),
            (
                r#"{"type":"process","process":"p7f3k2aa"}"#.to_owned(),
                "process",
                None,
                Pinning::Open(process),
            ),
            (
                r#"{"type":"process","process":"other"}"#.to_owned(),
                "process",
                None,
                Pinning::Open(0x0a24_ad61_c256_2a55),
            ),
            (
                r#"{"type":"gap","reason":"dropped","lost":null}"#.to_owned(),
                "gap",
                None,
                Pinning::None,
            ),
        ] {
            assert_eq!(
                place(&payload),
                Ok((kind.to_owned(), expected, pin)),
                "{payload}"
            );
        }
    }

    #[test]
    fn white_space_is_removed_from_between_the_tokens_only() {
        let spaced = format!(
            "\t{{ \"type\" : \"log\",\r\n\"traceId\":null,\"spanId\":null,\"timestamp\":\"{TIME}\", \"body\": \" \\\" é \" ,\n\"attributes\": {{ \"a\": [ 1, 2 ] }} }}\n"
        );
        let compact = format!(
            r#"{{"type":"log","traceId":null,"spanId":null,"timestamp":"{TIME}","body":" \" é ","attributes":{{"a":[1,2]}}}}"#
        );
        let event = EncodedEvent::new(spaced.as_str()).unwrap();
        assert_eq!(event.payload(), compact);
        assert_eq!(event, EncodedEvent::new(compact).unwrap());
        let refused = EncodedEvent::new(spaced.replace("1, 2", "1 2"));
        assert_eq!(refused.unwrap_err().to_string(), "read the event as JSON");
    }

    #[test]
    fn events_that_no_log_stores_are_refused() {
        let ids = format!(r#""traceId":"{TRACE}","spanId":"{SPAN}","timestamp":"{TIME}""#);
        let zero = "0".repeat(32);
        for (payload, message) in [
            ("[]".to_owned(), "read the event as JSON"),
            ("{\"type\":\"started\"".to_owned(), "read the event as JSON"),
            (
                r#"{"type":"hello","protocol":1}"#.to_owned(),
                "\"hello\" is not a type of event that a log stores",
            ),
            (
                r#"{"type":"gap"}"#.to_owned(),
                "\"gap\" is not a type of event that a log stores",
            ),
            (r#"{"type":"process"}"#.to_owned(), "the process has no id"),
            (
                format!(r#"{{"type":"started",{ids}}}"#),
                "the span has no name",
            ),
            (
                format!(r#"{{"type":"started",{ids},"name":"a","attributes":[]}}"#),
                "the attributes are no object",
            ),
            (
                format!(r#"{{"type":"ended",{ids},"name":"a"}}"#),
                "the event has no valid startTimestamp",
            ),
            (
                format!(
                    r#"{{"type":"ended",{ids},"name":"a","startTimestamp":"{TIME}","status":{{"code":"2"}}}}"#
                ),
                "the status of the end is not OK or ERROR",
            ),
            (
                format!(
                    r#"{{"type":"updated","traceId":"{TRACE}","spanId":"{SPAN}","timestamp":"now"}}"#
                ),
                "the event has no valid timestamp",
            ),
            (
                format!(
                    r#"{{"type":"updated","traceId":"{zero}","spanId":"{SPAN}","timestamp":"{TIME}"}}"#
                ),
                "a trace id is 32 hex digits, not all zero",
            ),
            (
                format!(r#"{{"type":"log","timestamp":"{TIME}","spanId":"x"}}"#),
                "a span id is 16 hex digits, not all zero",
            ),
            (
                format!(
                    r#"{{"type":"log","body":"{}"}}"#,
                    "x".repeat(SpanEvent::EVENT_BYTES_MAX)
                ),
                "the event has 262168 bytes, which is more than 262144",
            ),
        ] {
            assert_eq!(
                place(&payload),
                Err(message.to_owned()),
                "{}",
                payload.len()
            );
        }
    }
}
