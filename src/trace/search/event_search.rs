//! Searches the events of one trace for the terms of a search. Pure; it runs on the task of a
//! request.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value as Json};

use crate::trace::search::{AttributeTest, Search, SummaryVerdict, Test, folded_text::FoldedText};

/// A text with fewer digits is not compared with span ids, because too many ids would begin with
/// it.
const SPAN_DIGITS_MIN: usize = 8;

/// The first place in the events of a trace at which a term was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchMatch {
    /// The span of the match, or `None` for a log record outside of spans.
    span_id: Option<String>,
    /// The name of the span, or `None` if its start is gone.
    name: Option<String>,
    /// The field of the match: `name`, `attributes.http.route`, `status.message`,
    /// `events.exception.exception.message`, `log.body` and so on.
    field: String,
    /// The part of the value around the match.
    text: String,
}

impl SearchMatch {
    /// Upper bound on the length of the text, in characters.
    pub(crate) const TEXT_MAX: usize = 160;

    /// Returns whether the matching event lacks the name of its span, because it is an update or a
    /// log record.
    pub(crate) fn needs_name(&self) -> bool {
        self.name.is_none() && self.span_id.is_some()
    }

    /// Copies the name from the event if the event belongs to the same span.
    pub(crate) fn take_name(&mut self, payload: &[u8]) {
        let Some(span) = &self.span_id else {
            return;
        };
        // Most events belong to other spans.
        if memchr::memmem::find(payload, span.as_bytes()).is_none() {
            return;
        }
        let Ok(event) = serde_json::from_slice::<SearchedEvent<'_>>(payload) else {
            return;
        };
        if event.span_id.as_ref() == Some(span) && !event.name.is_empty() {
            self.name = Some(event.name);
        }
    }
}

/// The search does not accept a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotFound;

/// The search for terms in the events of one trace.
#[derive(Debug)]
pub(crate) struct EventSearch<'a> {
    search: &'a Search,
    /// The indexes of the terms to find, and the first match of each.
    terms: Vec<(usize, Option<SearchMatch>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchedEvent<'a> {
    #[serde(rename = "type", borrow, default)]
    kind_of_event: Cow<'a, str>,
    #[serde(default)]
    span_id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    status: Option<SearchedStatus>,
    #[serde(default)]
    attributes: JsonMap<String, Json>,
    #[serde(default)]
    events: Vec<SearchedMoment>,
    #[serde(default)]
    body: Json,
    #[serde(default)]
    target: String,
    #[serde(default)]
    event_name: String,
    #[serde(default)]
    panic: Json,
    #[serde(default)]
    awaiting: Json,
}

#[derive(Deserialize)]
struct SearchedStatus {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct SearchedMoment {
    #[serde(default)]
    name: String,
    #[serde(default)]
    attributes: JsonMap<String, Json>,
}

impl<'a> EventSearch<'a> {
    /// Looks for these terms.
    pub(crate) fn new(search: &'a Search, terms: &[usize]) -> Self {
        Self {
            search,
            terms: terms.iter().map(|place| (*place, None)).collect(),
        }
    }

    /// Looks for all terms that events can match.
    pub(crate) fn of_all(search: &'a Search) -> Self {
        let terms = search.0.iter().enumerate();
        let terms = terms.filter(|(_, term)| term.test.reads_events());
        let terms: Vec<usize> = terms.map(|(place, _)| place).collect();
        Self::new(search, &terms)
    }

    /// Returns whether the result is final, whatever further events contain.
    pub(crate) fn is_decided(&self) -> bool {
        let is_negated = |place: &usize| self.term(*place).is_some_and(|(negated, _)| negated);
        let (mut all_found, mut is_refuted) = (true, false);
        for (place, found) in &self.terms {
            all_found &= found.is_some() && !is_negated(place);
            is_refuted |= found.is_some() && is_negated(place);
        }
        all_found || is_refuted
    }

    /// Searches one event.
    pub(crate) fn scan(&mut self, payload: &[u8]) {
        let wanted: Vec<usize> = self
            .terms
            .iter()
            .filter(|(_, found)| found.is_none())
            .map(|(place, _)| *place)
            .collect();
        let may_hold = |place: &usize| {
            let term = self.term(*place);
            term.is_some_and(|(_, test)| test.may_be_in(payload))
        };
        if !wanted.iter().any(may_hold) {
            return;
        }
        let Ok(event) = serde_json::from_slice::<SearchedEvent<'_>>(payload) else {
            return;
        };
        for place in wanted {
            let Some((_, test)) = self.term(place) else {
                continue;
            };
            let Some((field, value)) = test.find(&event) else {
                continue;
            };
            let name = Some(&event.name).filter(|name| !name.is_empty());
            if let Some((_, found)) = self.terms.iter_mut().find(|(one, _)| *one == place) {
                *found = Some(SearchMatch {
                    span_id: event.span_id.clone(),
                    name: name.cloned(),
                    field,
                    text: value,
                });
            }
        }
    }

    /// Decides whether the search accepts the trace. Call it once [`is_decided`](Self::is_decided) holds, or all events
    /// of the trace were searched. Returns the match of the first term that only an event matched.
    pub(crate) fn decide(self, verdict: &SummaryVerdict) -> Result<Option<SearchMatch>, NotFound> {
        let open = match verdict {
            SummaryVerdict::Accepted => return Ok(None),
            SummaryVerdict::Rejected => return Err(NotFound),
            SummaryVerdict::Open(open) => open,
        };
        let search = self.search;
        let mut first = None;
        for (place, found) in self.terms {
            if !open.contains(&place) {
                continue;
            }
            let is_negated = search.0.get(place).is_some_and(|term| term.negated);
            if found.is_some() == is_negated {
                return Err(NotFound);
            }
            first = first.or(found);
        }
        Ok(first)
    }

    fn term(&self, place: usize) -> Option<(bool, &'a Test)> {
        let term = self.search.0.get(place)?;
        Some((term.negated, &term.test))
    }
}

impl Test {
    /// Returns whether an event may match, judged by its bytes alone. An event with escapes may contain any text.
    fn may_be_in(&self, payload: &[u8]) -> bool {
        let text = match self {
            Self::Text(text) | Self::Scope(text) | Self::Span(text) => text,
            Self::Attribute(asked) => {
                let key = format!("\"{}\":", asked.key);
                return memchr::memmem::find(payload, key.as_bytes()).is_some();
            }
            _ => return false,
        };
        if memchr::memchr(b'\\', payload).is_some() {
            return true;
        }
        std::str::from_utf8(payload).is_ok_and(|payload| text.is_in(payload))
    }

    /// Returns the matching field, and the part of its value around the match.
    fn find(&self, event: &SearchedEvent<'_>) -> Option<(String, String)> {
        match self {
            Self::Text(text) => event.find_text(text),
            Self::Scope(scope) => found_in("scope", &event.scope, scope),
            Self::Span(prefix) => {
                let span = event.span_id.as_ref()?;
                let is_it = span.starts_with(prefix.as_str());
                is_it.then(|| ("spanId".to_owned(), span.clone()))
            }
            Self::Attribute(asked) => {
                let value = event.attributes.get(&asked.key)?;
                let field = || format!("attributes.{}", asked.key);
                let holds = asked.holds(value);
                holds.then(|| (field(), excerpt(&text_of(value), &asked.value)))
            }
            _ => None,
        }
    }
}

impl AttributeTest {
    /// A number or a boolean must match as a whole: 40 does not match 402.
    #[expect(clippy::float_cmp, reason = "the same number was written")]
    fn holds(&self, actual: &Json) -> bool {
        if !self.orderings.is_empty() {
            let ordering = number_of(actual).and_then(|actual| actual.partial_cmp(&self.number));
            return ordering.is_some_and(|ordering| self.orderings.contains(&ordering));
        }
        match actual {
            _ if self.value.as_str().is_empty() => true,
            Json::Number(number) => number.as_f64().is_some_and(|number| number == self.number),
            Json::Bool(truth) => truth.to_string() == self.value.as_str(),
            other => self.value.is_in(&text_of(other)),
        }
    }
}

fn number_of(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        // Large integers are strings on the wire.
        Json::String(text) => text.trim().parse().ok(),
        Json::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    }
}

impl SearchedEvent<'_> {
    fn find_text(&self, text: &FoldedText) -> Option<(String, String)> {
        let is_log = self.kind_of_event == "log";
        let own = [
            ("name", &self.name),
            ("service", &self.service),
            ("scope", &self.scope),
        ];
        // These fields of a log record are skipped, because they only repeat names of its process.
        let mut own = own.into_iter().filter(|_| !is_log);
        let by_id = || {
            let span = self.span_id.as_ref()?;
            let is_it = text.as_str().len() >= SPAN_DIGITS_MIN && span.starts_with(text.as_str());
            is_it.then(|| ("spanId".to_owned(), span.clone()))
        };
        let by_status = || {
            let status = self.status.as_ref()?;
            found_in("status.message", &status.message, text)
        };
        own.find_map(|(field, value)| found_in(field, value, text))
            .or_else(by_id)
            .or_else(|| {
                let prefix = if is_log { "log" } else { "attributes" };
                found_in_attributes(prefix, &self.attributes, text)
            })
            .or_else(by_status)
            .or_else(|| self.events.iter().find_map(|moment| moment.find_text(text)))
            .or_else(|| found_in_value("log.body", &self.body, text))
            .or_else(|| found_in("log.target", &self.target, text))
            .or_else(|| found_in("log.eventName", &self.event_name, text))
            .or_else(|| found_in_value("panic.message", self.panic.get("message")?, text))
            .or_else(|| found_in_value("awaiting.name", self.awaiting.get("name")?, text))
    }
}

impl SearchedMoment {
    fn find_text(&self, text: &FoldedText) -> Option<(String, String)> {
        let field = format!("events.{}", self.name);
        let by_name = found_in(&field, &self.name, text);
        by_name.or_else(|| found_in_attributes(&field, &self.attributes, text))
    }
}

fn found_in(field: &str, value: &str, text: &FoldedText) -> Option<(String, String)> {
    // A missing field contains nothing, not even an empty text.
    let is_in = !value.is_empty() && text.is_in(value);
    is_in.then(|| (field.to_owned(), excerpt(value, text)))
}

fn found_in_value(field: &str, value: &Json, text: &FoldedText) -> Option<(String, String)> {
    if value.is_null() {
        return None;
    }
    found_in(field, &text_of(value), text)
}

fn found_in_attributes(
    prefix: &str,
    attributes: &JsonMap<String, Json>,
    text: &FoldedText,
) -> Option<(String, String)> {
    attributes
        .iter()
        .find_map(|(key, value)| found_in_value(&format!("{prefix}.{key}"), value, text))
}

/// Returns a string as it is, and any other value as JSON.
fn text_of(value: &Json) -> Cow<'_, str> {
    match value {
        Json::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// Returns the first part of a text that contains the match, or the beginning of the text if no
/// part contains the whole match.
fn excerpt(text: &str, found: &FoldedText) -> String {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    if starts.len() <= SearchMatch::TEXT_MAX {
        return text.to_owned();
    }
    let part = |begin: usize| {
        let end = starts.get(begin + SearchMatch::TEXT_MAX);
        let begin = starts.get(begin).copied().unwrap_or_default();
        text.get(begin..end.copied().unwrap_or(text.len()))
            .unwrap_or_default()
    };
    let mut begins = (0..starts.len()).step_by(SearchMatch::TEXT_MAX / 2);
    let begin = begins.find(|begin| found.is_in(part(*begin)));
    part(begin.unwrap_or_default()).to_owned()
}
