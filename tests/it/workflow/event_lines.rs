//! The events of a workflow as short lines, and single polls like those of an engine.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::task::noop_waker_ref;
use serde_json::Value as Json;

use crate::spans::live_provider::Watched;

/// Returns all events except those of processes, one short line each, in log order.
pub(crate) fn logged_lines(watched: &Watched) -> Vec<String> {
    lines(&watched.events())
}

pub(crate) fn lines(events: &[Json]) -> Vec<String> {
    let mut names = std::collections::HashMap::new();
    let mut lines = Vec::new();
    for event in events {
        if let Some(name) = event["name"].as_str() {
            names.insert(event["spanId"].clone(), name.to_owned());
        }
        let name = names.get(&event["spanId"]).cloned().unwrap_or_default();
        let what = match event["type"].as_str().unwrap() {
            "process" => continue,
            "updated" => event["state"].as_str().unwrap_or("updated"),
            "ended" if event["cancelled"] == true => "cancelled",
            "ended" if event["panicked"] == true => "panicked",
            "ended" if !event["lost"].is_null() => "lost",
            "ended" if event["status"]["code"] == "ERROR" => "failed",
            other => other,
        };
        lines.push(format!("{what} {name}"));
    }
    lines
}

/// Returns the event of this type and name.
pub(crate) fn event(events: &[Json], kind: &str, name: &str) -> Json {
    let id = |event: &&Json| event["type"] == "started" && event["name"] == name;
    let id = events.iter().find(id).unwrap()["spanId"].clone();
    let found = events
        .iter()
        .find(|event| event["type"] == kind && event["spanId"] == id);
    found.unwrap().clone()
}

/// Returns the name of a span's parent.
pub(crate) fn parent(events: &[Json], name: &str) -> String {
    let started = event(events, "started", name);
    let parent = events
        .iter()
        .find(|event| event["type"] == "started" && event["spanId"] == started["parentSpanId"]);
    parent.map_or_else(String::new, |parent| {
        parent["name"].as_str().unwrap().to_owned()
    })
}

/// Polls the future once, as a workflow engine does.
pub(crate) fn turn<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(noop_waker_ref()))
}
