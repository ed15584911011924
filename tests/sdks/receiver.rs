//! A livespan that receives OTLP on a free port, and its readers.

use std::{future::Future, time::Duration};

use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _};
use livespan::{LiveServer, LiveSpans, otlp::OtlpReceiver};
use serde_json::Value;

/// Upper bound on every wait. No test should reach it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the future's output. Panics if it takes longer than [`PATIENCE`].
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_elapsed| panic!("{what}: nothing came within {PATIENCE:?}"))
}

pub(crate) struct Receiver {
    live: LiveSpans,
    server: LiveServer,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let live = LiveSpans::builder()
            .otlp(OtlpReceiver::default())
            .build()
            .unwrap();
        let server = live.serve_in_background("127.0.0.1:0").unwrap();
        Self { live, server }
    }

    /// Returns the address for senders, without a slash at its end.
    pub(crate) fn endpoint(&self) -> String {
        self.server.url().trim_end_matches('/').to_owned()
    }

    /// Returns the JSON response of a route.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.endpoint());
        let response = in_time(path, reqwest::get(url)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Follows the events of all traces.
    pub(crate) async fn follow(&self) -> Events<impl Stream<Item = Value> + Unpin> {
        let response = reqwest::get(format!("{}/sse", self.endpoint()))
            .await
            .unwrap();
        let events = response.bytes_stream().eventsource();
        let events = events.map(|event| serde_json::from_str(&event.unwrap().data).unwrap());
        Events {
            events: Box::pin(events),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.live.shutdown());
    }
}

/// The events of a stream.
pub(crate) struct Events<S> {
    events: S,
}

impl<S: Stream<Item = Value> + Unpin> Events<S> {
    /// Waits for the next event of the span with this id. If `id` is `None`, waits for the next
    /// event with this name.
    pub(crate) async fn of_span(&mut self, name: &str, id: Option<&Value>) -> Value {
        in_time(name, async {
            loop {
                let event = self
                    .events
                    .next()
                    .await
                    .expect("the stream ended before the expected event");
                let is_of_span = match id {
                    None => event["name"] == name,
                    Some(id) => event["spanId"] == *id,
                };
                if is_of_span {
                    return event;
                }
            }
        })
        .await
    }
}
