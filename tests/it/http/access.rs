//! The hosts whose requests are answered: loopback names, allowed hosts, or any host if the app
//! allows it.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use livespan::{Auth, LiveSpans};

use super::app::{App, ask, client, log, script, text};

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
        "[0:0:0:0:0:0:0:1]",
        "localhost.",
        "localhost:",
        "LOCALHOST.:80",
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
async fn an_invalid_host_is_refused_whoever_asks() {
    let open = App::start().await;
    let auth = Auth::token("hush-hush-hush-hush");
    let closed = App::serve(LiveSpans::builder().auth(auth).build().unwrap()).await;
    for host in [
        "localhost:80@evil.com",
        "localhost:evil.com",
        "evil.com:80@localhost",
        "localhost:80:80",
        "localhost:65536",
        "[::1",
        "[::1]evil.com",
        "::1",
        "localhost..",
        "localhost/evil.com",
    ] {
        for app in [&open, &closed] {
            let expected = format!(
                "{{\"error\":\"the host \\\"{host}\\\" is not a host name or address, with or without a port\"}}"
            );
            assert_eq!(status(app, host).await, (400, expected), "{host}");
        }
    }
    // A host in the request line counts as well.
    let request = "GET http://localhost:80@evil.com/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = open.raw_answer(request).await;
    assert_eq!(answer.lines().next(), Some("HTTP/1.1 400 Bad Request"));
}

#[tokio::test]
async fn every_route_is_guarded() {
    let app = App::start().await;
    for path in [
        "/",
        script(),
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

/// Returns the router's response to a request with this `Host`. `peer` is the client's address, if the server provides
/// it.
async fn status_for(live: &LiveSpans, path: &str, peer: Option<&str>, host: &str) -> (u16, String) {
    let mut request = http::Request::builder().uri(path).header("host", host);
    if let Some(peer) = peer {
        let peer = SocketAddr::new(peer.parse().unwrap(), 50_000);
        request = request.extension(ConnectInfo(peer));
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(live.router(), request)
        .await
        .unwrap();
    let status = response.status().as_u16();
    // The body of a stream does not end, so it is not read.
    let body = if status == 200 {
        String::new()
    } else {
        text(response).await
    };
    (status, body)
}

#[tokio::test]
async fn a_mounted_router_refuses_other_machines_whose_address_its_server_passes() {
    let live = LiveSpans::builder()
        .allowed_hosts(["dev.example"])
        .build()
        .unwrap();
    for peer in [
        "203.0.113.9",
        "10.0.0.1",
        "::ffff:203.0.113.9",
        "2001:db8::1",
        "0.0.0.0",
    ] {
        let expected = format!(
            "{{\"error\":\"the client {peer} is not on this machine: say who may read with .auth(..) on \
             LiveSpans::builder(), such as Auth::token(..) or Auth::public()\"}}"
        );
        for path in ["/", script(), "/sse", "/traces", "/status"] {
            for host in ["localhost", "127.0.0.1:4380", "dev.example"] {
                assert_eq!(
                    status_for(&live, path, Some(peer), host).await,
                    (403, expected.clone()),
                    "{path} {host}"
                );
            }
        }
    }
    for peer in [
        Some("127.0.0.1"),
        Some("127.8.9.1"),
        Some("::1"),
        Some("::ffff:127.0.0.1"),
        None,
    ] {
        let (status, _) = status_for(&live, "/status", peer, "localhost").await;
        assert_eq!(status, 200, "{peer:?}");
        let (status, _) = status_for(&live, "/status", peer, "evil.example").await;
        assert_eq!(status, 403, "{peer:?}");
    }
    // The app itself decides who may read.
    let open = LiveSpans::builder().auth(Auth::public()).build().unwrap();
    let (status, _) = status_for(&open, "/status", Some("203.0.113.9"), "ops.example").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn axum_passes_the_address_of_a_client() {
    let live = log();
    let app = axum::Router::new().nest_service("/live", live.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    let url = format!("http://{address}/live/status");
    assert_eq!(client().get(url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_address_other_than_loopback_needs_an_access_decision() {
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
        assert!(error.is_io(), "{text}");
        assert_eq!(text, format!("bind {address}"));
        let source = std::error::Error::source(&error)
            .unwrap()
            .downcast_ref::<std::io::Error>()
            .unwrap();
        assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    }
}
