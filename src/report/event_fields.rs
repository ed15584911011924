//! The fields of stored events that reports use. Texts are borrowed from the event. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value as Json;

use crate::{
    span::{indexed_attributes::IndexedAttributes, updates::Awaiting},
    util::time::Timestamp,
};

/// A text that is borrowed unless it contains escapes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct EventText<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A start, an update, an end or a log record, reduced to the fields that reports use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportFields<'a> {
    #[serde(borrow, default)]
    pub(crate) span_id: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) service: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) process: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) kind: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) parent_span_id: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) start_timestamp: Option<EventText<'a>>,
    #[serde(borrow)]
    pub(crate) timestamp: EventText<'a>,
    #[serde(default)]
    pub(crate) panicked: bool,
    #[serde(default)]
    pub(crate) cancelled: bool,
    #[serde(default)]
    pub(crate) lost: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(crate) status: Option<EventStatus<'a>>,
    #[serde(borrow, default, deserialize_with = "deserialize_awaiting")]
    pub(crate) awaiting: Awaiting<EventAwait<'a>>,
    #[serde(borrow, default)]
    pub(crate) task: Option<EventTask<'a>>,
    #[serde(borrow, default)]
    pub(crate) panic: Option<EventPanic<'a>>,
    #[serde(default)]
    pub(crate) durable: bool,
    #[serde(default)]
    pub(crate) attributes: IndexedAttributes,
    #[serde(borrow, default)]
    pub(crate) severity_text: Option<EventText<'a>>,
    #[serde(default)]
    pub(crate) severity_number: u8,
    #[serde(borrow, default)]
    pub(crate) target: Option<EventText<'a>>,
    #[serde(default)]
    pub(crate) body: Json,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventStatus<'a> {
    #[serde(borrow)]
    pub(crate) code: EventText<'a>,
    #[serde(borrow, default)]
    pub(crate) message: Option<EventText<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventAwait<'a> {
    #[serde(borrow)]
    pub(crate) name: EventText<'a>,
    #[serde(borrow)]
    pub(crate) since: EventText<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTask<'a> {
    #[serde(default)]
    pub(crate) polls: u64,
    #[serde(default)]
    pub(crate) busy_nanos: u64,
    #[serde(default)]
    pub(crate) idle_nanos: u64,
    #[serde(default)]
    pub(crate) longest_poll_nanos: u64,
    #[serde(borrow, default)]
    pub(crate) polling: Option<EventPoll<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventPoll<'a> {
    #[serde(borrow)]
    pub(crate) since: EventText<'a>,
    #[serde(borrow)]
    pub(crate) thread: EventText<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventPanic<'a> {
    #[serde(borrow, default)]
    pub(crate) message: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) location: Option<EventText<'a>>,
    #[serde(borrow, default)]
    pub(crate) thread: Option<EventText<'a>>,
}

impl<'a> ReportFields<'a> {
    /// Parses an event. Returns `None` if the payload is not a JSON object of an event.
    pub(crate) fn of(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.timestamp.time()
    }
}

impl EventText<'_> {
    pub(crate) fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.0)
    }
}

/// Reads the await point of a span. `null` means that the span no longer waits.
fn deserialize_awaiting<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Awaiting<EventAwait<'de>>, D::Error> {
    let point = Option::deserialize(deserializer)?;
    Ok(point.map_or(Awaiting::Nothing, Awaiting::On))
}
