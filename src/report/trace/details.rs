//! Single spans with all data in the log: attributes, events, links, status, updates and log
//! records. It runs on the task of a request. A request names at most [`SPANS_AT_ONCE_MAX`] ids, and
//! at most two spans are held for each.

use std::{collections::VecDeque, fmt::Write as _};

use serde::Serialize;
use serde_json::{Map as JsonMap, Value as Json};

use crate::{
    access::projection,
    live_spans::LiveSpans,
    report::{
        text::{Plural, SpanText, Took, short_id},
        trace_events::{ReadBudget, ReadResult, read_trace},
    },
    span::{
        event::{SpanId, TraceId},
        json::MergedUpdate,
    },
    trace::{filter::TraceFilter, parse},
    util::{hex, time::Timestamp},
};

/// Upper bound on the spans of one answer.
pub(crate) const SPANS_AT_ONCE_MAX: usize = 20;
/// Upper bound on the log records of a span that are shown. The newest are shown.
const LOGS_MAX: usize = 10;
/// Upper bounds on the attributes, events and links of a span that are printed. The next bound
/// is tried if the text is too long.
const LINES_OF_SPAN: [usize; 4] = [100, 30, 10, 3];

/// One span, built from its events.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpanDetails {
    pub(crate) span_id: String,
    /// The span's end, or its start while it is open.
    event: Json,
    /// All updates of an open span since its start, merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Json>,
    /// The number of the span's log records.
    log_records: u64,
    /// The newest log records, oldest first.
    logs: VecDeque<Json>,
    #[serde(skip)]
    merged: MergedUpdate,
    #[serde(skip)]
    is_updated: bool,
}

/// The requested spans.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DetailsReport {
    pub(crate) trace_id: String,
    pub(crate) spans: Vec<SpanDetails>,
    /// Requested ids that match no span of the trace.
    pub(crate) unknown: Vec<String>,
    /// Requested ids that match several spans.
    pub(crate) ambiguous: Vec<String>,
    /// Whether all events of the trace could be read.
    complete: bool,
}

/// Reads the spans of a trace whose ids begin with these digits.
pub(crate) async fn read_spans(
    live: &LiveSpans,
    id: TraceId,
    prefixes: &[String],
    filter: &TraceFilter,
) -> DetailsReport {
    let mut found: Vec<Vec<SpanDetails>> = prefixes.iter().map(|_| Vec::new()).collect();
    let mut budget = ReadBudget::for_one_trace();
    let log = live.log();
    let result = read_trace(log, id.to_bytes(), log.head(), &mut budget, |event| {
        let Some(span) = parse::span_id(event.payload).map(SpanId::to_bytes) else {
            return;
        };
        let span = hex::encode(&span);
        let wanted = prefixes.iter().zip(&mut found);
        for (_, found) in wanted.filter(|(prefix, _)| span.starts_with(prefix.as_str())) {
            let place = found.iter().position(|one| one.span_id == span);
            // Two spans with the same digits suffice to know that an id is ambiguous.
            if place.is_none() && found.len() < 2 {
                found.push(SpanDetails {
                    span_id: span.clone(),
                    ..SpanDetails::default()
                });
            }
            let place = place.unwrap_or(found.len() - 1);
            if let Some(details) = found.get_mut(place).filter(|one| one.span_id == span) {
                let narrowed = filter.within.as_deref();
                let narrowed = narrowed
                    .and_then(|within| projection::without_foreign_links(event.payload, within));
                details.add(event.name, narrowed.as_deref().unwrap_or(event.payload));
            }
        }
    })
    .await;
    let mut report = DetailsReport {
        trace_id: id.to_string(),
        spans: Vec::new(),
        unknown: Vec::new(),
        ambiguous: Vec::new(),
        complete: result == ReadResult::Whole,
    };
    for (prefix, mut found) in prefixes.iter().zip(found) {
        match (found.pop(), found.is_empty()) {
            (None, _) => report.unknown.push(prefix.clone()),
            (Some(_), false) => report.ambiguous.push(prefix.clone()),
            (Some(details), true) => {
                let is_new = |one: &SpanDetails| one.span_id != details.span_id;
                if report.spans.iter().all(is_new) {
                    report.spans.push(details.finish());
                }
            }
        }
    }
    report
}

impl SpanDetails {
    fn add(&mut self, name: &str, payload: &[u8]) {
        match name {
            "started" => {
                self.event = parsed(payload);
                self.merged = MergedUpdate::default();
                self.is_updated = false;
            }
            "ended" => {
                self.event = parsed(payload);
                self.is_updated = false;
            }
            "updated" => {
                self.merged.add(payload);
                self.is_updated = true;
            }
            "log" => {
                self.log_records += 1;
                if self.logs.len() == LOGS_MAX {
                    self.logs.pop_front();
                }
                self.logs.push_back(parsed(payload));
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Self {
        if self.is_updated {
            let mut merged = Vec::with_capacity(self.merged.size());
            self.merged.write(&mut merged);
            self.update = Some(parsed(&merged));
        }
        self
    }

    fn text_of(&self, lines: usize) -> String {
        let event = &self.event;
        let (name, kind) = (text(event, "name"), text(event, "kind"));
        let new_name = self
            .update
            .as_ref()
            .map_or("", |update| text(update, "name"));
        let shown = if new_name.is_empty() { name } else { new_name };
        let mut out = format!(
            "span {} {} · {} · {} · scope {}\n",
            self.span_id,
            SpanText(shown),
            SpanText(kind),
            SpanText(text(event, "service")),
            SpanText(text(event, "scope")),
        );
        let parent = text(event, "parentSpanId");
        if !parent.is_empty() {
            let _fits = writeln!(out, "  parent {}", short_id(parent));
        }
        self.write_times(&mut out);
        for (whose, value) in [("", Some(event)), ("update ", self.update.as_ref())] {
            let Some(value) = value else { continue };
            write_status(&mut out, value);
            write_attributes(&mut out, whose, value, lines);
            write_list(&mut out, value, "events", lines);
            write_list(&mut out, value, "links", lines);
        }
        for field in ["awaiting", "task", "panic", "lost", "dropped", "cut"] {
            let updated = self.update.as_ref().and_then(|update| update.get(field));
            if let Some(value) = updated
                .or_else(|| event.get(field))
                .filter(|value| !value.is_null())
            {
                let _fits = writeln!(out, "  {field} {}", SpanText(&value.to_string()));
            }
        }
        let shown = self.logs.len().min(lines);
        if self.log_records > 0 {
            let _fits = writeln!(
                out,
                "  {}, the newest {shown}:",
                Plural(self.log_records, "log record")
            );
        }
        for log in self.logs.iter().skip(self.logs.len() - shown) {
            let body = log.get("body").map_or_else(String::new, plain);
            let _fits = writeln!(
                out,
                "    {} {} {} {}",
                text(log, "timestamp").get(11..23).unwrap_or_default(),
                SpanText(text(log, "severityText")),
                SpanText(text(log, "target")),
                SpanText(&body),
            );
        }
        out
    }

    fn write_times(&self, out: &mut String) {
        let event = &self.event;
        let time = |field: &str| Timestamp::parse(text(event, field));
        let is_open = text(event, "type") == "started";
        match (is_open, time("startTimestamp"), time("timestamp")) {
            (false, Some(start), Some(end)) => {
                let took = Took(end.nanos().saturating_sub(start.nanos()));
                let _fits = writeln!(out, "  from {} for {took}", start.text());
            }
            (true, _, Some(start)) => {
                let _fits = writeln!(out, "  from {}, open", start.text());
            }
            _ => {}
        }
        for flag in ["panicked", "cancelled", "durable", "parentRemote"] {
            if event.get(flag) == Some(&Json::Bool(true)) {
                let _fits = writeln!(out, "  {flag}");
            }
        }
    }
}

impl DetailsReport {
    /// Returns the spans as text of at most this many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut printed = String::new();
        for lines in LINES_OF_SPAN {
            printed = self.head();
            for span in &self.spans {
                printed.push_str(&span.text_of(lines));
            }
            if printed.len() <= bytes_max {
                return printed;
            }
        }
        let mut cut = bytes_max.saturating_sub(TOO_LONG.len());
        while !printed.is_char_boundary(cut) {
            cut -= 1;
        }
        printed.truncate(
            printed
                .get(..cut)
                .and_then(|text| text.rfind('\n'))
                .map_or(0, |end| end + 1),
        );
        printed + TOO_LONG
    }

    fn head(&self) -> String {
        let mut text = String::new();
        for (ids, why) in [
            (&self.unknown, "no span of the trace has this id"),
            (
                &self.ambiguous,
                "several spans begin with these digits: give more of them",
            ),
        ] {
            for id in ids {
                let _fits = writeln!(text, "span {}: {why}", SpanText(id));
            }
        }
        if !self.complete {
            text.push_str("Some events of the trace could not be read.\n");
        }
        text
    }
}

const TOO_LONG: &str = "… The rest is left out: ask for fewer spans, or for format json.\n";

fn parsed(payload: &[u8]) -> Json {
    serde_json::from_slice(payload).unwrap_or_default()
}

fn text<'a>(value: &'a Json, field: &str) -> &'a str {
    value.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// Returns a value as text, without the quotes of JSON.
fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn write_status(out: &mut String, event: &Json) {
    let Some(status) = event.get("status") else {
        return;
    };
    let code = text(status, "code");
    let message = text(status, "message");
    if code == "ERROR" || !message.is_empty() {
        let _fits = writeln!(out, "  status {} {}", SpanText(code), SpanText(message));
    }
}

fn write_attributes(out: &mut String, whose: &str, event: &Json, lines: usize) {
    let empty = JsonMap::new();
    let attributes = event
        .get("attributes")
        .and_then(Json::as_object)
        .unwrap_or(&empty);
    for (key, value) in attributes.iter().take(lines) {
        let _fits = writeln!(
            out,
            "  {whose}{} = {}",
            SpanText(key),
            SpanText(&plain(value))
        );
    }
    if attributes.len() > lines {
        let more = Plural((attributes.len() - lines) as u64, "attribute");
        let _fits = writeln!(out, "  … {more} more");
    }
}

fn write_list(out: &mut String, event: &Json, field: &str, lines: usize) {
    let empty = Vec::new();
    let list = event.get(field).and_then(Json::as_array).unwrap_or(&empty);
    for item in list.iter().take(lines) {
        let _fits = if field == "links" {
            let (trace, span) = (text(item, "traceId"), text(item, "spanId"));
            writeln!(
                out,
                "  link to trace {} span {}",
                SpanText(trace),
                SpanText(span)
            )
        } else {
            let time = text(item, "timestamp").get(11..23).unwrap_or_default();
            writeln!(out, "  event {time} {}", SpanText(text(item, "name")))
        };
        write_attributes(out, "  ", item, lines);
    }
    if list.len() > lines {
        let _fits = writeln!(out, "  … {} more {field}", list.len() - lines);
    }
}
