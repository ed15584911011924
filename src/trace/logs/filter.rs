//! The filter of log records: the reader's request and permission. Pure.

use std::{collections::HashSet, sync::Arc};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    log::event::StreamKey,
    span::event::TraceId,
    trace::{logs::positions::LogRecordPosition, search::folded_text::FoldedText},
};

/// The filter of a list of log records. Values within one field are alternatives; all fields must
/// match.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFilter {
    /// The traces that the reader may read; `None` means everything.
    pub(crate) within: Option<Arc<HashSet<TraceId>>>,
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) services: Vec<String>,
    pub(crate) severity_min: u8,
    /// Text to find in the body, the attributes, the target or the event's name.
    pub(crate) text: Option<FoldedText>,
}

/// Upper bound on the streams that are read from the store by key. With more, the whole log is
/// read.
const KEYS_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParsedLog {
    trace_id: Option<String>,
    severity_number: u8,
    #[serde(default)]
    service: String,
    #[serde(default)]
    body: Json,
    #[serde(default)]
    attributes: serde_json::Map<String, Json>,
    #[serde(default)]
    target: String,
    #[serde(default)]
    event_name: String,
}

impl LogFilter {
    pub(crate) fn accepts_position(&self, position: &LogRecordPosition) -> bool {
        position.severity >= self.severity_min
            && self.accepts_trace(TraceId::from_bytes(position.trace_id))
    }

    pub(crate) fn accepts(&self, payload: &[u8]) -> bool {
        let Ok(log) = serde_json::from_slice::<ParsedLog>(payload) else {
            return false;
        };
        let trace = log.trace_id.as_ref().and_then(|id| id.parse().ok());
        log.severity_number >= self.severity_min
            && self.accepts_trace(trace)
            && (self.services.is_empty() || self.services.contains(&log.service))
            && self.text.as_ref().is_none_or(|text| log.has(text))
    }

    /// Returns the only streams that can hold matching records, if they are few.
    pub(crate) fn keys(&self) -> Option<Vec<StreamKey>> {
        let few = if self.trace_ids.is_empty() {
            self.within.as_ref()?.iter().copied().collect()
        } else {
            self.trace_ids.clone()
        };
        let keys: Vec<StreamKey> = few
            .into_iter()
            .filter(|id| self.accepts_trace(Some(*id)))
            .map(TraceId::stream_key)
            .collect();
        (keys.len() <= KEYS_MAX).then_some(keys)
    }

    fn accepts_trace(&self, trace: Option<TraceId>) -> bool {
        let is_in = |is_wanted: &dyn Fn(&TraceId) -> bool| trace.as_ref().is_some_and(is_wanted);
        (self.trace_ids.is_empty() || is_in(&|trace| self.trace_ids.contains(trace)))
            && self
                .within
                .as_ref()
                .is_none_or(|within| is_in(&|trace| within.contains(trace)))
    }
}

impl ParsedLog {
    fn has(&self, text: &FoldedText) -> bool {
        let mut attributes = self.attributes.iter();
        text_of(&self.body, |body| text.is_in(body))
            || text.is_in(&self.target)
            || text.is_in(&self.event_name)
            || attributes
                .any(|(key, value)| text_of(value, |value| text.is_in(&format!("{key}={value}"))))
    }
}

/// Calls `read` with the text of a value. A string is passed as it is, any other value as JSON.
fn text_of(value: &Json, read: impl FnOnce(&str) -> bool) -> bool {
    match value {
        Json::String(text) => read(text),
        other => read(&other.to_string()),
    }
}
