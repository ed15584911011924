//! gRPC calls over a real connection.

use std::net::SocketAddr;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use super::{protocol::request_of_names, *};

/// Calls a method on a new server. Returns the status code, the call's message, and the response
/// message.
async fn call(
    live: &LiveSpans,
    path: &str,
    message: &[u8],
    is_gzip: bool,
) -> (String, String, Vec<u8>) {
    let server = live.serve("127.0.0.1:0").await.unwrap();
    let answer = call_at(server.local_addr(), path, message, is_gzip).await;
    server.shutdown();
    answer
}

async fn call_at(
    address: SocketAddr,
    path: &str,
    message: &[u8],
    is_gzip: bool,
) -> (String, String, Vec<u8>) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let running = tokio::spawn(connection);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[u8::from(is_gzip)][..], &length, message].concat();
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(Body::from(frame))
        .unwrap();
    let (parts, mut body) = sender.send_request(request).await.unwrap().into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    let mut headers = parts.headers;
    let mut data = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx))
            .await
    {
        match frame.unwrap().into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => headers.extend(frame.into_trailers().unwrap()),
        }
    }
    running.abort();
    let text = |name: &str| {
        let value = headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    (text("grpc-status"), text("grpc-message"), data)
}

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[tokio::test]
async fn spans_over_grpc_are_accepted_and_get_grpc_responses() {
    let live = receiving();
    let (status, message, answer) = call(&live, EXPORT, &request_of_names(&["a"]), false).await;
    assert_eq!(
        (status.as_str(), message.as_str(), answer),
        ("0", "", vec![0; 5])
    );
    let (status, _, answer) = call(&live, EXPORT, &gzip(&request_of_names(&["b", ""])), true).await;
    // The second span repeats the ids of the first.
    assert_eq!((status.as_str(), answer), ("0", vec![0; 5]));
    let lines = outline(&live);
    assert_eq!(
        lines.first().map(String::as_str),
        Some("started 0101010101010101 a")
    );
    let (status, message, answer) = call(&live, EXPORT, &[0x0a, 0x01], false).await;
    assert_eq!((status.as_str(), answer), ("3", Vec::new()));
    assert!(
        message.starts_with("the body is not the protobuf of this request"),
        "{message}"
    );
    let (status, message, _) = call(&live, "/grpc.health.v1.Health/Check", &[], false).await;
    assert_eq!(
        (status.as_str(), message.as_str()),
        (
            "12",
            "only spans, log records and metrics of OTLP are taken, not /grpc.health.v1.Health/Check"
        )
    );
    let no_partial = ExportTraceServiceResponse {
        partial_success: None::<ExportTracePartialSuccess>,
    };
    assert_eq!(no_partial.encode_to_vec(), b"");
}

#[tokio::test]
async fn a_call_needs_the_token_and_a_receiver() {
    let live = LiveSpans::builder()
        .otlp(OtlpReceiver::default().token("hush"))
        .build()
        .unwrap();
    let (status, message, _) = call(&live, EXPORT, &[], false).await;
    assert_eq!(status, "16");
    assert_eq!(
        message,
        "senders need the token: set OTEL_EXPORTER_OTLP_HEADERS=x-otlp-api-key=%E2%80%A6 in their environment"
    );
    let off = LiveSpans::builder().build().unwrap();
    assert_eq!(call(&off, EXPORT, &[], false).await.0, "12");
}

/// Serves an app without TLS over HTTP/1 and HTTP/2, as `axum::serve` does.
async fn serve_app(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app);
        let builder = auto::Builder::new(TokioExecutor::new());
        drop(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .await,
        );
    });
    address
}

#[tokio::test]
async fn calls_reach_a_router_that_an_app_mounts() {
    let live = receiving();
    let nested = Router::new().nest_service("/live", live.router());
    for (app, name) in [
        (live.router(), "merged"),
        (nested.merge(live.grpc_router()), "nested"),
    ] {
        let address = serve_app(Router::new().merge(app)).await;
        let body = request_of_names(&[name]);
        let (status, message, answer) = call_at(address, EXPORT, &body, false).await;
        assert_eq!(
            (status.as_str(), message.as_str(), answer),
            ("0", "", vec![0; 5]),
            "{name}"
        );
    }
    // Both spans have the same ids, so the second is a correction of the first.
    let names: Vec<_> = outline(&live);
    let expected = ["started", "ended"].map(|kind| format!("{kind} 0101010101010101 merged"));
    assert_eq!(names[..2], expected);
    assert_eq!(names[2..], ["ended 0101010101010101 nested"]);
    let off = LiveSpans::builder().build().unwrap();
    let address = serve_app(off.grpc_router()).await;
    assert_eq!(call_at(address, EXPORT, &[], false).await.0, "12");
}
