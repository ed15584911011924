//! Span events that a program dispatches itself.

use livespan::{Error, LiveSpans, SpanEvent, View, span::SpanStatus, sse::Subscribe};
use serde_json::json;

use super::live_provider::{payloads, read, transcript};
use crate::support::{PATIENCE, block_on};

#[test]
fn a_dispatched_span_is_kept_open_and_closed_like_any_other() -> Result<(), Error> {
    let live = LiveSpans::builder().build()?;
    let (trace, span) = (
        "4bf92f3577b34da6a3ce929d0e0e4736".parse()?,
        "00f067aa0ba902b7".parse()?,
    );
    let id = block_on(
        live.target()
            .dispatch(&SpanEvent::started(trace, span, "import")),
    )?;
    assert_eq!(id.sequence().get(), 1);
    assert_eq!((live.status().open, live.status().retained_streams), (1, 1));
    block_on(
        live.target()
            .dispatch(&SpanEvent::ended(trace, span, "import", SpanStatus::Ok)),
    )?;
    assert_eq!((live.status().open, live.status().retained_streams), (0, 1));
    let mut reader = live.target().subscribe(Subscribe::to(trace.stream_key()));
    assert_eq!(
        transcript(&payloads(&read(&mut reader))),
        ["started import", "ended import"]
    );
    Ok(())
}

#[test]
fn a_dispatched_trace_is_complete_in_the_index() -> Result<(), Error> {
    let live = LiveSpans::builder().build()?;
    let trace: livespan::TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse()?;
    let span = "00f067aa0ba902b7".parse()?;
    let first = block_on(
        live.target()
            .dispatch(&SpanEvent::started(trace, span, "import")),
    )?;
    let last = block_on(live.target().dispatch(&SpanEvent::ended(
        trace,
        span,
        "import",
        SpanStatus::Unset,
    )))?;
    let status_at = |id: livespan::sse::EventId| {
        let mut headers = http::HeaderMap::new();
        headers.insert("last-event-id", id.to_string().parse().unwrap());
        block_on(async {
            live.respond(trace, &View::everything(), &headers, &"/".parse().unwrap())
                .status()
                .as_u16()
        })
    };
    assert_eq!(
        status_at(first),
        200,
        "a reader that missed events was rejected"
    );
    assert_eq!(
        status_at(last),
        204,
        "a browser that has read everything would reconnect"
    );
    Ok(())
}

#[test]
fn no_dispatched_event_is_too_large_for_the_log() -> Result<(), Error> {
    let live = LiveSpans::builder().build()?;
    let (trace, span) = (
        "4bf92f3577b34da6a3ce929d0e0e4736".parse()?,
        "00f067aa0ba902b7".parse()?,
    );
    let huge = "\u{1}".repeat(1 << 20);
    let mut started = SpanEvent::started(trace, span, huge.as_str())
        .service(huge.as_str())
        .scope(huge.as_str());
    for number in 0..1000 {
        started = started.attribute(format!("{huge:.300}{number}"), number);
    }
    live.target().try_dispatch(&started)?;
    live.target()
        .try_dispatch(&SpanEvent::log(trace, span, huge.as_str(), huge.as_str()))?;
    live.target().try_dispatch(&SpanEvent::ended(
        trace,
        span,
        huge.as_str(),
        SpanStatus::Error(huge.clone()),
    ))?;
    live.target().flush(PATIENCE)?;
    let messages = read(&mut live.target().subscribe(Subscribe::all()));
    for message in &messages {
        let livespan::sse::Message::Event(event) = message else {
            panic!("{message:?}")
        };
        assert!(
            event.payload.len() <= SpanEvent::EVENT_BYTES_MAX,
            "{} bytes",
            event.payload.len()
        );
    }
    let cuts: Vec<_> = payloads(&messages)
        .iter()
        .map(|event| event["cut"].clone())
        .collect();
    assert_eq!(
        (&cuts[0][0], &cuts[0][1], &cuts[0][2]),
        (&json!("name"), &json!("service"), &json!("scope"))
    );
    assert_eq!(
        cuts[1..],
        [
            json!(["severityText", "body"]),
            json!(["name", "status.message"])
        ]
    );
    Ok(())
}
