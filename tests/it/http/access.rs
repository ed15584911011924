//! Who is answered: loopback names, allowed hosts, or anyone when the app says so.

use livespan::{Auth, LiveSpans};

use super::app::{App, ask, log};

async fn status(app: &App, host: &str) -> (u16, String) {
    let answer = app
        .raw_answer(&format!(
            "GET /status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        ))
        .await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn only_requests_that_name_a_loopback_host_are_answered() {
    let app = App::start().await;
    for host in [
        "localhost",
        "localhost:4380",
        "LocalHost",
        "a.localhost:1",
        "127.0.0.1",
        "127.0.0.1:9",
        "[::1]:4380",
    ] {
        assert_eq!(status(&app, host).await.0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:4380",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
    ] {
        let (status, body) = status(&app, host).await;
        let name = host.split(':').next().unwrap();
        let expected = format!(
            "{{\"error\":\"the host \\\"{name}\\\" is not a loopback host: allow it with \
             .allowed_hosts([\\\"{name}\\\"]), or say who may read with .auth(..), on LiveSpans::builder()\"}}"
        );
        assert_eq!((status, body), (403, expected), "{host}");
    }
}

#[tokio::test]
async fn every_route_is_guarded() {
    let app = App::start().await;
    for path in [
        "/",
        "/assets/main.mjs",
        "/sse",
        "/traces",
        "/traces/sse",
        "/traces/xyz",
        "/status",
        "/nothing",
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert!(
            app.raw_answer(&request)
                .await
                .starts_with("HTTP/1.1 403 Forbidden\r\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn allowed_hosts_are_answered_beside_loopback_ones() {
    let live = LiveSpans::builder()
        .allowed_hosts(["Dev.Example", "10.0.0.1"])
        .build()
        .unwrap();
    let app = App::serve(live).await;
    for host in [
        "dev.example",
        "DEV.example:8443",
        "10.0.0.1:80",
        "localhost",
    ] {
        assert_eq!(status(&app, host).await.0, 200, "{host}");
    }
    assert_eq!(status(&app, "other.example").await.0, 403);
}

#[tokio::test]
async fn a_public_log_is_answered_under_any_name() {
    let live = LiveSpans::builder().auth(Auth::public()).build().unwrap();
    let app = App::serve(live).await;
    assert_eq!(status(&app, "any.example").await.0, 200);
}

#[tokio::test]
async fn a_mounted_router_guards_too() {
    let live = log();
    let request = http::Request::builder()
        .uri("/status")
        .header("host", "evil.example");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(live.router(), request)
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(ask(live.router(), "/status").await.status(), 200);
}

#[tokio::test]
async fn another_address_than_loopback_needs_a_decision() {
    let live = log();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = live.serve(address).await.unwrap_err();
        assert!(error.is_invalid());
        assert_eq!(
            error.to_string(),
            format!(
                "{address} is not a loopback address: say who may read with .auth(..) on LiveSpans::builder(), such \
                 as Auth::token(..) or Auth::public()"
            )
        );
        assert_eq!(
            live.serve_in_background(address).unwrap_err().to_string(),
            error.to_string()
        );
    }
    let open = LiveSpans::builder().auth(Auth::public()).build().unwrap();
    open.serve("0.0.0.0:0").await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let live = log();
    let server = live.serve("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    for error in [
        live.serve(address).await.unwrap_err(),
        live.serve_in_background(&address.to_string()).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(&format!("bind {address}: ")), "{text}");
        let source = std::error::Error::source(&error)
            .unwrap()
            .downcast_ref::<std::io::Error>()
            .unwrap();
        assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    }
}
