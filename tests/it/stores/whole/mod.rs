//! A whole log over a durable store: routes, restarts, lost spans and several processes, as clients see them.

#[cfg(feature = "redis")]
mod crowd;
#[cfg(feature = "redis")]
mod redis;

mod running_reports;
#[cfg(feature = "sqlite")]
mod sqlite;
mod states;
mod updates;

use livespan::SpanEvent;
use serde_json::Value as Json;

use crate::http::app::{App, at, span, trace};

/// Returns the start of a span that is never ended.
fn running(number: u128, name: &str) -> SpanEvent {
    SpanEvent::started(trace(number), span(1), name)
        .service("shop")
        .at(at(0))
}

/// Returns names and states of the listed traces, newest first, over all pages.
async fn list(app: &App, limit: usize) -> Vec<(String, String)> {
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = app.json(&format!("/traces?limit={limit}{after}")).await;
        let text = |trace: &Json, field: &str| trace[field].as_str().unwrap().to_owned();
        listed.extend(
            page["traces"]
                .as_array()
                .unwrap()
                .iter()
                .map(|trace| (text(trace, "name"), text(trace, "state"))),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return listed,
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, state): &(&str, &str)| ((*name).to_owned(), (*state).to_owned());
    pairs.iter().map(owned).collect()
}

/// Returns the first `count` events that a new reader of everything gets, one line each: type, span
/// name, and the reason if the span is lost.
async fn transcript(app: &App, count: usize) -> Vec<String> {
    let mut stream = app.stream("/sse").await;
    stream.event("hello").await;
    let mut transcript = Vec::new();
    while transcript.len() < count {
        let frame = stream.next().await.unwrap();
        if frame.id.is_empty() {
            continue;
        }
        let payload = frame.json();
        let name = payload["name"].as_str().unwrap_or_default();
        let lost = payload["lost"]["reason"].as_str().unwrap_or_default();
        let line = [frame.event.as_str(), name, lost];
        let words: Vec<&str> = line.into_iter().filter(|word| !word.is_empty()).collect();
        transcript.push(words.join(" "));
    }
    transcript
}
