//! Reads Zipkin's format of version 2: a list of spans. They become OTLP spans. Pure.

use opentelemetry_proto::tonic::{
    resource::v1::Resource,
    trace::v1::{Span, Status, span::Event},
};
use serde_json::{Map as JsonObject, Value as Json};

use crate::otlp::import::{
    left_out::LeftOut,
    otlp_events::OtlpEvents,
    values::{any_value, attribute, id, kind, list, member, micros, text, text_attribute},
};

/// In Zipkin, a server's span may share its id with the client's span. Flipping this bit makes the
/// server's id different.
const SIBLING_BIT: u8 = 0x80;

/// Turns one span into events. A span without a start is counted, and left out.
pub(super) fn add_span(
    json: &Json,
    path: &str,
    events: &mut OtlpEvents,
    push: &mut impl FnMut(Vec<u8>),
) -> Result<(), String> {
    if json["timestamp"].is_null() {
        events.left_out.add(LeftOut::NO_START, 1);
        return Ok(());
    }
    let service = text(member(&json["localEndpoint"], "serviceName"));
    let resource = Resource {
        attributes: vec![text_attribute(
            "service.name",
            if service.is_empty() {
                "unknown_service"
            } else {
                service
            },
        )],
        ..Resource::default()
    };
    let process = events.process_of(Some(&resource));
    let is_shared = json["shared"] == true;
    events.left_out.add(LeftOut::SHARED, is_shared.into());
    let span = span_of(json, path, is_shared)?;
    events.add_span(process, (&span, None), push);
    Ok(())
}

fn span_of(json: &Json, path: &str, is_shared: bool) -> Result<Span, String> {
    let own = id(&json["id"], 8);
    let mut span_id = own.clone();
    if let (true, Some(first)) = (is_shared, span_id.first_mut()) {
        *first ^= SIBLING_BIT;
    }
    let parent = if is_shared {
        own
    } else {
        id(&json["parentId"], 8)
    };
    let none = JsonObject::new();
    let tags = json["tags"].as_object().unwrap_or(&none);
    let remote = json["remoteEndpoint"].as_object().unwrap_or(&none);
    let own_tags = tags.iter().filter(|(key, _)| *key != "error");
    let own_tags = own_tags.map(|(key, value)| attribute(key, any_value(value)));
    let remote = remote
        .iter()
        .map(|(key, value)| attribute(&format!("remoteEndpoint.{key}"), any_value(value)));
    let start = micros(&json["timestamp"], &format!("{path}.timestamp"))?;
    let length = &json["duration"];
    let end = match length {
        // The span's end was never reported.
        Json::Null => 0,
        length => start.saturating_add(micros(length, &format!("{path}.duration"))?),
    };
    let status = tags.get("error").map(|error| Status {
        code: 2,
        message: text(error).to_owned(),
    });
    Ok(Span {
        trace_id: id(&json["traceId"], 16),
        span_id,
        parent_span_id: parent,
        name: text(&json["name"]).to_owned(),
        kind: kind(&json["kind"]),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: own_tags.chain(remote).collect(),
        events: events_of(&json["annotations"], path)?,
        status,
        ..Span::default()
    })
}

fn events_of(annotations: &Json, path: &str) -> Result<Vec<Event>, String> {
    let annotations = list(annotations, &format!("{path}.annotations"))?;
    let event = |(number, one): (usize, &Json)| {
        let path = format!("{path}.annotations[{number}].timestamp");
        Ok(Event {
            time_unix_nano: micros(&one["timestamp"], &path)?,
            name: text(&one["value"]).to_owned(),
            ..Event::default()
        })
    };
    annotations.iter().enumerate().map(event).collect()
}
