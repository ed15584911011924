//! The peer that is compared with the receiver: an HTTP server that accepts the same requests and only decodes them. It
//! uses axum, and `prost` or `serde_json`. It runs on a runtime of its own with two worker threads.

use std::{net::SocketAddr, thread};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use tokio::net::TcpListener;

use crate::bodies::Format;

/// Starts the peer. Returns its address.
pub(crate) fn start(format: Format) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .build()
        .expect("a runtime starts");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("the peer could not listen");
    let address = listener.local_addr().expect("the server does not listen");
    let decode = move |body: Bytes| async move {
        format.decode(&body);
        StatusCode::OK
    };
    // By default, axum's extractor accepts bodies of up to 2 MB. The bodies of this benchmark are smaller.
    let app = Router::new().route("/v1/traces", post(decode));
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
    address
}
