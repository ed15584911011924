//! Servers of apps that are made with axum. Each runs on a thread of its own until the process ends.

use std::{net::SocketAddr, sync::mpsc, thread};

use axum::{Router, body::Body, extract::State, routing::get};
use http::{HeaderMap, Response, Uri};
use livespan::{SseEvent, SseTarget, sse::Subscribe};

/// Name of the thread that serves an app.
pub(crate) const THREAD: &str = "app";

/// Serves an app.
pub(crate) fn serve_app(app: Router) -> SocketAddr {
    let (answer, answered) = mpsc::channel();
    let serving = thread::Builder::new().name(THREAD.to_owned());
    serving
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the runtime did not start");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("no port is free");
                let address = listener.local_addr().expect("the listener has no address");
                answer.send(address).expect("the caller is gone");
                axum::serve(listener, app).await.expect("the server failed");
            });
        })
        .expect("the thread did not start");
    answered.recv().expect("the server did not start")
}

/// Serves all events of a log at `/sse`.
pub(crate) fn serve_log<E: SseEvent + 'static>(target: SseTarget<E>) -> SocketAddr {
    serve_app(
        Router::new()
            .route("/sse", get(all_events::<E>))
            .with_state(target),
    )
}

async fn all_events<E: SseEvent>(
    State(target): State<SseTarget<E>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    target
        .respond(Subscribe::all(), &headers, &uri)
        .map(Body::new)
}
