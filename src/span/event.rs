//! The public span events, as an app builds them. [`json`](crate::span::json) writes them in the wire format. This code
//! runs on any thread of the app.

use std::fmt;

use opentelemetry::{Array, StringValue, Value};
use serde::{Serialize, Serializer};

use crate::{error::Error, log::event::StreamKey, util::time::Timestamp};

/// A trace's id: 16 bytes, not all zero, written as 32 lowercase hex digits.
///
/// ```
/// let id: livespan::TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse()?;
/// assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

impl TryFrom<opentelemetry::trace::TraceId> for TraceId {
    type Error = Error;

    /// Converts the SDK's id.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error for all zeros, which OpenTelemetry reserves for "no id".
    fn try_from(id: opentelemetry::trace::TraceId) -> Result<Self, Error> {
        Self::from_bytes(id.to_bytes())
            .ok_or_else(|| Error::invalid("a trace id must not be all zeros"))
    }
}

/// A span's id: 8 bytes, not all zero, written as 16 lowercase hex digits.
///
/// ```
/// let id: livespan::SpanId = "00f067aa0ba902b7".parse()?;
/// assert_eq!(id.to_string(), "00f067aa0ba902b7");
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

impl TryFrom<opentelemetry::trace::SpanId> for SpanId {
    type Error = Error;

    /// Converts the SDK's id.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error for all zeros, which OpenTelemetry reserves for "no id".
    fn try_from(id: opentelemetry::trace::SpanId) -> Result<Self, Error> {
        Self::from_bytes(id.to_bytes())
            .ok_or_else(|| Error::invalid("a span id must not be all zeros"))
    }
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal, $what:literal) => {
        impl $name {
            /// Creates the id. Returns `None` for all zeros, which OpenTelemetry reserves for "no id".
            pub fn from_bytes(bytes: [u8; $bytes]) -> Option<Self> {
                if bytes == [0; $bytes] {
                    None
                } else {
                    Some(Self(bytes))
                }
            }

            /// Creates an id from a hash. A hash of all zeros is replaced, because it is no valid id.
            pub(crate) fn of_hash(mut bytes: [u8; $bytes]) -> Self {
                if bytes == [0; $bytes] {
                    bytes = [1; $bytes];
                }
                Self(bytes)
            }

            /// Returns the bytes.
            pub fn to_bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            /// Reads the hex digits, of either case.
            ///
            /// # Errors
            /// Returns an [invalid](Error::is_invalid) error for any other length or character, and for all zeros.
            fn from_str(text: &str) -> Result<Self, Error> {
                let refused = || Error::invalid(concat!($what, " hex digits, not all zero"));
                let mut bytes = [0; $bytes];
                if text.len() != 2 * $bytes {
                    return Err(refused());
                }
                for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let [high, low] = *pair else {
                        return Err(refused());
                    };
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                        return Err(refused());
                    };
                    *slot = u8::try_from(high * 16 + low).unwrap_or_default();
                }
                Self::from_bytes(bytes).ok_or_else(refused)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(TraceId, 16, "a trace id is 32");
hex_id!(SpanId, 8, "a span id is 16");

impl TraceId {
    /// Returns the stream of the trace's events.
    pub fn stream_key(self) -> StreamKey {
        StreamKey::of_id(self.0)
    }
}

impl SpanId {
    pub(crate) fn token(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer. Beyond ±(2^53−1), it is text on the wire.
    Int(i64),
    /// A double. NaN and the infinities are text on the wire.
    Double(f64),
    /// Text. It is cut at 16 KiB, and the event's `cut` field then names it.
    String(String),
    /// Booleans.
    Bools(Vec<bool>),
    /// Integers.
    Ints(Vec<i64>),
    /// Doubles.
    Doubles(Vec<f64>),
    /// Texts.
    Strings(Vec<String>),
}

impl From<&Value> for AttributeValue {
    /// Converts the SDK's value. A kind of value that livespan does not know becomes text.
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::I64(value) => Self::Int(*value),
            Value::F64(value) => Self::Double(*value),
            Value::Array(Array::Bool(values)) => Self::Bools(values.clone()),
            Value::Array(Array::I64(values)) => Self::Ints(values.clone()),
            Value::Array(Array::F64(values)) => Self::Doubles(values.clone()),
            Value::Array(Array::String(values)) => {
                let text = |value: &StringValue| value.as_str().to_owned();
                Self::Strings(values.iter().map(text).collect())
            }
            other => Self::String(other.as_str().into_owned()),
        }
    }
}

impl From<Value> for AttributeValue {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

macro_rules! from_value {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for AttributeValue {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from_value!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Double, &str => String, String => String);

impl AttributeValue {
    /// Returns the text, if the value is a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Attributes in the order in which they were set. If a key is repeated, its last value counts.
pub type Attributes = Vec<(String, AttributeValue)>;

/// The role of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpanKind {
    /// Work within the process.
    #[default]
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanStatus {
    /// Not set: written as `OK`.
    #[default]
    Unset,
    /// Set to OK by the program.
    Ok,
    /// Failed, with a message that may be empty.
    Error(String),
}

/// The state of an open span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanState {
    /// The span works.
    Running,
    /// The span waits for a time or an event.
    Waiting,
}

/// One event of the span log, for apps that dispatch events without an OpenTelemetry span.
///
/// ```
/// use livespan::{LiveSpans, SpanEvent, span::SpanStatus};
///
/// let live = LiveSpans::builder().build()?;
/// let trace = "4bf92f3577b34da6a3ce929d0e0e4736".parse()?;
/// let span = "00f067aa0ba902b7".parse()?;
/// live.target().try_dispatch(&SpanEvent::started(trace, span, "import").attribute("rows", 3_i64))?;
/// live.target().try_dispatch(&SpanEvent::ended(trace, span, "import", SpanStatus::Unset))?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) service: String,
    pub(crate) process: String,
    pub(crate) scope: String,
    pub(crate) attributes: Attributes,
    pub(crate) timestamp: Timestamp,
    pub(crate) durable: bool,
    pub(crate) phase: Phase,
}

/// The part of its span's life that the event reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Started,
    Ended {
        status: SpanStatus,
        start: Timestamp,
    },
    Updated {
        state: Option<SpanState>,
    },
    Log {
        severity: String,
        body: String,
    },
}

impl SpanEvent {
    /// Upper bound on a text value, in bytes: 16 KiB. A longer value is cut, and the event's `cut` field names it.
    pub const VALUE_BYTES_MAX: usize = 16 * 1024;
    /// Upper bound on an event's JSON, in bytes: 256 KiB. Parts that do not fit are left out, and the event's `cut`
    /// field names them.
    pub const EVENT_BYTES_MAX: usize = 256 * 1024;
    /// Upper bound on the attributes of one object (a span, an event or a link within it, a resource): 1,024. Further
    /// attributes are left out, and `cut` then has the object's name with `.*`. The SDK's own limit is 128: it drops
    /// further attributes, and the event's `dropped` counts them.
    pub const ATTRIBUTES_MAX: usize = 1024;

    /// Creates the event of a span that begins now.
    pub fn started(trace_id: TraceId, span_id: SpanId, name: impl Into<String>) -> Self {
        Self::new(trace_id, span_id, name, Phase::Started)
    }

    /// Creates the event of a span that ends now. Its start is now, too, unless [`started_at`](Self::started_at) sets
    /// it.
    pub fn ended(
        trace_id: TraceId,
        span_id: SpanId,
        name: impl Into<String>,
        status: SpanStatus,
    ) -> Self {
        let start = Timestamp::now();
        Self::new(trace_id, span_id, name, Phase::Ended { status, start })
    }

    /// Creates the event of a change of an open span. Add only the attributes that changed.
    pub fn updated(trace_id: TraceId, span_id: SpanId, state: Option<SpanState>) -> Self {
        Self::new(trace_id, span_id, "", Phase::Updated { state })
    }

    /// Creates the event of a log record inside a span. `severity` is a text. The names of severities, such as `INFO`
    /// or `WARN` in any case, also set OpenTelemetry's number; for other texts, the number is 0.
    pub fn log(
        trace_id: TraceId,
        span_id: SpanId,
        severity: impl Into<String>,
        body: impl Into<String>,
    ) -> Self {
        let phase = Phase::Log {
            severity: severity.into(),
            body: body.into(),
        };
        Self::new(trace_id, span_id, "", phase)
    }

    fn new(trace_id: TraceId, span_id: SpanId, name: impl Into<String>, phase: Phase) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            name: name.into(),
            kind: SpanKind::Internal,
            service: String::new(),
            process: String::new(),
            scope: String::new(),
            attributes: Vec::new(),
            timestamp: Timestamp::now(),
            durable: false,
            phase,
        }
    }

    /// Sets the parent span.
    #[must_use]
    pub fn parent(mut self, parent: SpanId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the service that the span belongs to.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Sets the instrumentation scope, such as the module that creates the span.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// Sets the time of the event. The default is now.
    #[must_use]
    pub fn at(mut self, time: std::time::SystemTime) -> Self {
        self.timestamp = time.into();
        self
    }

    /// Sets the start of the span of an `ended` event. It has no effect on other events.
    #[must_use]
    pub fn started_at(mut self, time: std::time::SystemTime) -> Self {
        if let Phase::Ended { start, .. } = &mut self.phase {
            *start = time.into();
        }
        self
    }

    /// Marks the event of a step that outlives its process. While the step is paused, it is shown as waiting. It is not
    /// ended as lost when its process dies.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{Array, StringValue, Value};

    use super::{AttributeValue, SpanId, TraceId};

    #[test]
    fn values_of_opentelemetry_keep_their_type() {
        let texts = vec![StringValue::from("a"), StringValue::from("b")];
        let pairs = [
            (Value::Bool(true), AttributeValue::Bool(true)),
            (Value::I64(7), AttributeValue::Int(7)),
            (Value::F64(0.5), AttributeValue::Double(0.5)),
            (Value::from("x"), AttributeValue::String("x".to_owned())),
            (
                Value::Array(Array::Bool(vec![true])),
                AttributeValue::Bools(vec![true]),
            ),
            (
                Value::Array(Array::I64(vec![7])),
                AttributeValue::Ints(vec![7]),
            ),
            (
                Value::Array(Array::F64(vec![0.5])),
                AttributeValue::Doubles(vec![0.5]),
            ),
            (
                Value::Array(Array::String(texts)),
                AttributeValue::Strings(vec!["a".to_owned(), "b".to_owned()]),
            ),
        ];
        for (value, expected) in pairs {
            assert_eq!(AttributeValue::from(value), expected);
        }
    }

    #[test]
    fn ids_are_serialized_as_hex() {
        let trace = TraceId::from_bytes([0xab; 16]).unwrap();
        let span = SpanId::from_bytes([0x0c; 8]).unwrap();
        assert_eq!(
            serde_json::to_string(&(trace, span)).unwrap(),
            r#"["abababababababababababababababab","0c0c0c0c0c0c0c0c"]"#
        );
    }
}
