//! A hub as most apps write it by hand: axum's `Sse` over a tokio `broadcast` channel. `serde_json` encodes each event
//! once per client.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::{Stream, stream::unfold};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::app::serve_app;

/// An event as an application would define it, with the same content as ours.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) r#type: &'static str,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) service: String,
    pub(crate) scope: String,
    pub(crate) attributes: BTreeMap<&'static str, String>,
    pub(crate) timestamp: String,
}

pub(crate) type Sender = broadcast::Sender<(u64, Started)>;

type Events = broadcast::Receiver<(u64, Started)>;

async fn stream(
    State(sender): State<Sender>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = unfold(sender.subscribe(), |mut events: Events| async move {
        let (id, event) = events.recv().await.ok()?;
        let frame = Event::default()
            .event(event.r#type)
            .id(id.to_string())
            .json_data(&event)
            .expect("not valid JSON");
        Some((Ok(frame), events))
    });
    let hello = Event::default().event("hello").data("{}");
    let all = futures_util::StreamExt::chain(
        futures_util::stream::once(async move { Ok(hello) }),
        events,
    );
    Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// Serves from a thread of its own. The channel holds `room` events, so that no client loses one.
pub(crate) fn serve(room: usize) -> (SocketAddr, Sender) {
    let (sender, _) = broadcast::channel(room);
    let app = Router::new()
        .route("/sse", get(stream))
        .with_state(sender.clone());
    (serve_app(app), sender)
}
