//! The life of the server: its thread, its end, and the effects on its clients.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use livespan::LiveServer;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

use super::app::{App, Frame, Stream, checkout, client, done, log, provider, put, sequence};
use crate::{
    spans::live_provider::GatedStore,
    support::{PATIENCE, block_on},
};

fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_program_without_tokio_serves() {
    let live = log();
    let server = live.serve_in_background("127.0.0.1:0").unwrap();
    put(&live, checkout(1));
    assert!(get(server.local_addr(), "/traces").contains("\"name\":\"checkout\""));
    assert_eq!(server.url(), format!("http://{}/", server.local_addr()));
    live.shutdown().unwrap();
    block_on(server.wait());
    assert!(TcpStream::connect(server.local_addr()).is_err());
}

#[test]
fn awaiting_a_server_waits_until_it_has_closed_its_port() {
    let live = log();
    let server = live.serve_in_background("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    server.shutdown();
    block_on(async { server.await });
    assert!(TcpStream::connect(address).is_err());
    live.shutdown().unwrap();
}

#[test]
fn a_runtime_of_one_thread_may_serve_in_the_background() {
    let live = log();
    let server = block_on(async {
        let server = live.serve_in_background("127.0.0.1:0").unwrap();
        assert_eq!(
            client().get(server.url()).send().await.unwrap().status(),
            200
        );
        server
    });
    // The runtime is gone, but the server still runs.
    assert!(get(server.local_addr(), "/status").starts_with("HTTP/1.1 200"));
    live.shutdown().unwrap();
    block_on(server.wait());
}

/// Many programs shut the log down as their last action. A viewer still gets every event.
#[test]
fn shutting_down_waits_until_background_viewers_have_their_end() {
    let live = log();
    let server = live.serve_in_background("127.0.0.1:0").unwrap();
    let reader = std::thread::spawn({
        let address = server.local_addr();
        move || get(address, "/sse")
    });
    crate::support::until(|| live.status().subscribers == 1);
    live.target()
        .try_dispatch(&done(1, "last words", 1)[0])
        .unwrap();
    live.shutdown().unwrap();
    assert!(
        TcpStream::connect(server.local_addr()).is_err(),
        "the server still accepts connections"
    );
    let answer = reader.join().unwrap();
    assert!(answer.contains("\"name\":\"last words\""));
    assert!(answer.contains("event: end\ndata: {\"type\":\"end\",\"reason\":\"shutdown\"}\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_open_streams_and_the_server() {
    let app = App::start().await;
    let mut streams = Vec::new();
    for path in [
        "/sse",
        "/sse?service=x",
        "/traces/sse",
        "/traces/00000000000000000000000000000001/sse",
    ] {
        let mut stream = app.stream(path).await;
        stream.event("hello").await;
        streams.push(stream);
    }
    let waiting: Vec<_> = (0..3)
        .map(|_| app.server.clone())
        .map(|server| tokio::spawn(async move { server.wait().await }))
        .collect();
    let begun = Instant::now();
    app.live.shutdown().unwrap();
    for mut stream in streams {
        let end = stream.event("end").await;
        assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
        assert_eq!(stream.next().await, None);
    }
    app.server.wait().await;
    for waiter in waiting {
        tokio::time::timeout(PATIENCE, waiter)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    app.live.shutdown().unwrap();
    app.live.shutdown().unwrap();
    app.server.shutdown();
    app.server.wait().await;
}

#[tokio::test]
async fn a_log_that_ended_by_itself_gives_the_reason_and_still_serves_its_events() {
    let (store, gate) = GatedStore::new(livespan::Retention::default());
    let app = App::serve(livespan::LiveSpans::builder().store(store).build().unwrap()).await;
    put(&app.live, done(1, "kept", 1));
    assert_eq!(app.json("/status").await.get("ended"), None);
    let mut streams = vec![app.stream("/sse").await, app.stream("/traces/sse").await];
    for stream in &mut streams {
        stream.event("hello").await;
    }
    gate.break_thread();
    let [started, _] = done(2, "lost", 1);
    app.live.target().try_dispatch(&started).unwrap();
    for stream in &mut streams {
        let end = stream.event("end").await;
        assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
        assert_eq!(stream.next().await, None);
    }
    let status = app.json("/status").await;
    assert_eq!(
        status["ended"],
        "the event log has ended: its thread panicked"
    );
    assert_eq!(
        status["dropped"],
        serde_json::json!({"starts": 0, "ends": 0, "other": 1})
    );
    let traces = app.json("/traces").await;
    assert_eq!(traces["traces"].as_array().unwrap().len(), 1);
    assert_eq!(traces["traces"][0]["name"], "kept");
}

/// Does what a SIGTERM handler does: shuts the provider down, then the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_shutdown_every_client_gets_the_last_events_end_and_its_own_time_to_reconnect() {
    const CLIENTS: u64 = 200;
    let app = App::start().await;
    let provider = provider(&app.live);
    let open = provider.tracer("test").start("open");
    app.live.target().flush(PATIENCE).unwrap();
    let trace = open.span_context().trace_id();
    let paths = ["/sse".to_owned(), format!("/traces/{trace}/sse")];
    let mut clients = Vec::new();
    for (_, path) in (0..CLIENTS).zip(paths.iter().cycle()) {
        let mut stream = app.stream(path).await;
        stream.event("started").await;
        clients.push(stream);
    }
    let mut lists = vec![
        app.stream("/traces/sse").await,
        app.stream("/traces/sse").await,
    ];
    for list in &mut lists {
        list.event("traces").await;
    }
    provider.shutdown().unwrap();
    app.live.shutdown().unwrap();
    let mut retries = Vec::new();
    let retry_delay = |frames: &[Frame]| {
        let [.., retry, end] = frames else {
            panic!("{frames:?}")
        };
        assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
        retry.retry.parse::<u64>().unwrap()
    };
    for mut client in clients {
        let frames = client.rest().await;
        assert_eq!(frames.len(), 3, "{frames:?}");
        assert_eq!(frames[0].event, "ended");
        assert_eq!(frames[0].json()["lost"]["reason"], "shutdown");
        retries.push(retry_delay(&frames));
    }
    for mut list in lists {
        retries.push(retry_delay(&list.rest().await));
    }
    app.server.wait().await;
    // Each stream's delay is one step longer than that of the stream that ended before it, plus a
    // random part.
    let all = CLIENTS + 2;
    let least: u64 = (0..all).map(|place| 1000 + 5 * place).sum();
    assert!(retries.iter().sum::<u64>() >= least, "{retries:?}");
    assert!(
        retries
            .iter()
            .all(|retry| (1000..3000 + 5 * all).contains(retry))
    );
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() as u64 > all / 2, "{retries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_does_not_hold_the_end_up() {
    let app = App::start().await;
    let text = "x".repeat(16_000);
    for _ in 0..20 {
        put(
            &app.live,
            (0..50).map(|_| {
                done(1, "large", 1)[0]
                    .clone()
                    .attribute("text", text.clone())
            }),
        );
    }
    let idle = app
        .raw("GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    super::app::until(|| app.live.status().subscribers == 1).await;
    let mut reading = app.stream("/sse").await;
    // 1.6 MB remain to be sent, which is more than the sockets hold. The server waits five seconds
    // for a client that keeps reading. The speed of this test's reads depends on the load of the
    // machine.
    for _ in 0..900 {
        reading.event("started").await;
    }
    let reader = tokio::spawn(async move { reading.rest().await });
    let begun = Instant::now();
    app.live.shutdown().unwrap();
    tokio::time::timeout(PATIENCE, app.server.wait())
        .await
        .unwrap();
    assert!(
        begun.elapsed() < LiveServer::STALL_TIMEOUT / 2,
        "{:?}",
        begun.elapsed()
    );
    let frames = reader.await.unwrap();
    assert_eq!(frames.last().unwrap().event, "end");
    assert_eq!(frames.len(), 100 + 2);
    drop(idle);
}

#[tokio::test]
async fn a_server_stops_alone_and_the_log_and_other_servers_continue() {
    let app = App::start().await;
    let other = app.live.serve("127.0.0.1:0").await.unwrap();
    let elsewhere = client().get(format!("{}sse", other.url()));
    let mut elsewhere = Stream::of(elsewhere.send().await.unwrap());
    elsewhere.event("hello").await;
    put(&app.live, done(1, "before", 1));
    let paths = [
        "/sse",
        "/sse?name=nothing",
        "/traces/00000000000000000000000000000001/sse",
        "/traces/sse",
    ];
    let mut streams = Vec::new();
    for path in paths.iter().cycle().take(100) {
        let mut stream = app.stream(path).await;
        stream.event("hello").await;
        streams.push(stream);
    }
    app.server.shutdown();
    let mut retries = Vec::new();
    for mut stream in streams {
        let frames = stream.rest().await;
        let [.., retry, end] = frames.as_slice() else {
            panic!("{frames:?}")
        };
        assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
        retries.push(retry.retry.parse::<u64>().unwrap());
    }
    tokio::time::timeout(PATIENCE, app.server.wait())
        .await
        .unwrap();
    assert!(
        retries
            .iter()
            .all(|retry| (1000..3000 + 5 * 100).contains(retry))
    );
    // Each stream has a longer delay than the one that ended before it.
    let least: u64 = (0..100).map(|place| 1000 + 5 * place).sum();
    assert!(retries.iter().sum::<u64>() >= least, "{retries:?}");
    // The log and its other servers continue.
    put(&app.live, done(2, "after", 1));
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "after") {
        let frame = elsewhere.event("ended").await;
        names.push(frame.json()["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, ["before", "after"]);
}

#[tokio::test]
async fn a_dropped_handle_does_not_stop_the_server() {
    let live = log();
    let url = live.serve("127.0.0.1:0").await.unwrap().url();
    drop(live);
    assert_eq!(client().get(url).send().await.unwrap().status(), 200);
}

#[test]
fn a_server_ends_with_its_runtime() {
    let live = log();
    let server = block_on(async { live.serve("127.0.0.1:0").await.unwrap() });
    block_on(server.wait());
    live.shutdown().unwrap();
}

/// A client whose connection is cut after any byte, even within a frame, resumes at the same
/// position.
#[tokio::test]
async fn a_connection_that_is_cut_anywhere_is_resumed_without_loss() {
    let app = App::start().await;
    put(&app.live, (1..=100).flat_map(|number| done(number, "x", 1)));
    let mut seen: Vec<u64> = Vec::new();
    let mut id = String::new();
    for size in (100..).step_by(777) {
        let resume = if id.is_empty() {
            String::new()
        } else {
            format!("last-event-id: {id}\r\n")
        };
        let mut connection = app
            .raw(&format!(
                "GET /sse HTTP/1.0\r\nhost: localhost\r\n{resume}\r\n"
            ))
            .await;
        let mut bytes = vec![0; size];
        tokio::time::timeout(
            PATIENCE,
            tokio::io::AsyncReadExt::read_exact(&mut connection, &mut bytes),
        )
        .await
        .unwrap()
        .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let Some((_, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let Some(complete) = body.rfind("\n\n") else {
            continue;
        };
        for frame in body[..complete].split("\n\n") {
            if let Some(line) = frame.lines().find_map(|line| line.strip_prefix("id: ")) {
                line.clone_into(&mut id);
                seen.push(sequence(line));
            }
        }
        if seen.len() >= 150 {
            break;
        }
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    let mut rest = app.stream(&format!("/sse?lastEventId={id}")).await;
    rest.event("hello").await;
    assert_eq!(
        rest.next().await.map(|frame: Frame| frame.sequence()),
        Some(seen.len() as u64 + 1)
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let app = App::start().await;
    let streams: Vec<Stream> = vec![app.stream("/sse").await, app.stream("/traces/sse").await];
    assert_eq!(app.live.status().subscribers, 2);
    drop(streams);
    super::app::until(|| app.live.status().subscribers == 0).await;
}

#[tokio::test]
async fn a_second_program_on_the_default_port_gets_a_free_one() {
    let live = log();
    // The first server takes the port, unless another program has it already.
    let first = live.serve(LiveServer::DEFAULT_ADDRESS).await.unwrap();
    let second = live.serve("localhost:4380").await.unwrap();
    let third = live.serve_in_background("127.0.0.1:4380").unwrap();
    let ports: HashSet<u16> = [&first, &second, &third]
        .map(|server| server.local_addr().port())
        .into();
    assert_eq!(ports.len(), 3);
    for server in [&second, &third] {
        assert!(server.local_addr().ip().is_loopback());
        assert_ne!(server.local_addr().port(), LiveServer::DEFAULT_PORT);
        let status = client().get(format!("{}status", server.url()));
        assert_eq!(status.send().await.unwrap().status(), 200);
    }
    // A port other than the default one is never replaced.
    let taken = second.local_addr().to_string();
    assert!(live.serve(&taken).await.unwrap_err().is_io());
}

#[tokio::test]
async fn the_page_answers_while_the_program_blocks_its_runtime() {
    let live = log();
    let server = live.serve_in_background("127.0.0.1:0").unwrap();
    // This thread is the whole runtime. It blocks until the response arrives.
    let answer = get(server.local_addr(), "/status");
    assert_eq!(answer.lines().next(), Some("HTTP/1.1 200 OK"));
}
