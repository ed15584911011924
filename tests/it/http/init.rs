//! `init()` changes global state of a process, so each of these tests runs it in a separate
//! process: this test binary again, with `child` as its only test.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use opentelemetry::{
    global,
    trace::{Span as _, Tracer as _},
};

use tracing_subscriber::{
    Layer as _, filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::app::{Stream, client};

/// The environment variable that gives the child its role.
const ROLE: &str = "LIVESPAN_TEST_INIT";

/// A program that calls `init()`, and ends when its standard input closes.
#[test]
fn child() {
    let Some(role) = env::var_os(ROLE) else {
        return;
    };
    if role == "subscribed" {
        tracing_subscriber::fmt().with_writer(std::io::sink).init();
    }
    let guard = if role == "layered" {
        livespan::layer().map(|(layer, guard)| {
            let printing = tracing_subscriber::fmt::layer().with_filter(LevelFilter::WARN);
            let registry = tracing_subscriber::registry();
            registry.with(printing).with(layer).init();
            guard
        })
    } else {
        livespan::init()
    };
    match guard {
        Ok(guard) => {
            let open = tracing::info_span!("work", order = 7).entered();
            tracing::info!(lamps = 2, "packed");
            tracing::debug!("not by default");
            tracing::warn!("printed");
            drop(tracing::debug_span!("detail").entered());
            println!("\n>{}", guard.url());
            std::io::stdin().read_to_string(&mut String::new()).unwrap();
            drop(open);
            if role == "waits" {
                guard.wait();
            }
        }
        Err(error) => {
            println!("\n>{error:?}, invalid: {}", error.is_invalid());
            let span = global::tracer("test").start("nobody makes it");
            let address = env::var("LIVESPAN_ADDR").unwrap();
            println!(
                ">provider: {}, address is free: {}",
                span.span_context().is_valid(),
                TcpListener::bind(address).is_ok()
            );
        }
    }
}

fn run(variables: &[(&str, &str)]) -> (Child, String) {
    let (child, mut lines) = run_as("1", variables);
    (child, lines.pop().unwrap())
}

/// Starts the program. Returns the lines that it printed on standard output until `init()` had succeeded or failed.
fn run_as(role: &str, variables: &[(&str, &str)]) -> (Child, Vec<String>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "http::init::child",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ]);
    for name in [
        "LIVESPAN_ADDR",
        "LIVESPAN_LINGER",
        "LIVESPAN_QUIET",
        "LIVESPAN_TOKEN",
        "RUST_LOG",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
    ] {
        command.env_remove(name);
    }
    command.env(ROLE, role).envs(variables.iter().copied());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut printed = Vec::new();
    // With a capacity of 1, this reader consumes no byte that `rest_of` needs.
    let stdout = BufReader::with_capacity(1, child.stdout.as_mut().unwrap());
    for line in stdout.lines() {
        let line = line.unwrap();
        let marked = line.strip_prefix('>').map(str::to_owned);
        let is_marked = marked.is_some();
        printed.push(marked.unwrap_or(line));
        if is_marked {
            break;
        }
    }
    (child, printed)
}

/// Returns the remaining lines of the program's standard output.
fn rest_of(child: &mut Child) -> Vec<String> {
    let rest = BufReader::new(child.stdout.take().unwrap()).lines();
    rest.map(Result::unwrap).collect()
}

/// Ends the program. Returns its output on standard error.
fn finish(mut child: Child) -> String {
    drop(child.stdin.take());
    let mut written = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut written)
        .unwrap();
    assert!(child.wait().unwrap().success());
    written
}

#[tokio::test]
async fn one_call_of_init_shows_all_spans_of_a_program() {
    let (child, url) = run(&[("LIVESPAN_ADDR", "127.0.0.1:0")]);
    let mut stream = Stream::of(client().get(format!("{url}sse")).send().await.unwrap());
    let process = stream.event("process").await.json();
    let program = env::current_exe()
        .unwrap()
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(process["service"], program);
    let started = stream.event("started").await.json();
    assert_eq!(
        (&started["name"], &started["attributes"]["order"]),
        (&"work".into(), &7.into())
    );
    let log = stream.event("log").await.json();
    assert_eq!(
        (&log["body"], &log["attributes"]["lamps"], &log["spanId"]),
        (&"packed".into(), &2.into(), &started["spanId"])
    );
    assert_eq!(finish(child), format!("livespan: {url}\n"));
    let ended = stream.event("ended").await.json();
    assert_eq!(
        (&ended["name"], &ended["status"]["code"]),
        (&"work".into(), &"OK".into())
    );
    assert_ne!(stream.next().await.unwrap().retry, "");
    assert_eq!(
        stream.next().await.unwrap().data,
        "{\"type\":\"end\",\"reason\":\"shutdown\"}"
    );
}

#[tokio::test]
async fn the_environment_configures_the_program_and_quiet_prints_nothing() {
    let (child, url) = run(&[
        ("LIVESPAN_ADDR", "127.0.0.1:0"),
        ("LIVESPAN_QUIET", "1"),
        ("RUST_LOG", "debug"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=till,zone=7"),
    ]);
    let mut stream = Stream::of(client().get(format!("{url}sse")).send().await.unwrap());
    let process = stream.event("process").await.json();
    assert_eq!(
        (&process["service"], &process["resource"]["zone"]),
        (&"till".into(), &"7".into())
    );
    stream.event("started").await;
    assert_eq!(stream.event("started").await.json()["name"], "detail");
    assert_eq!(finish(child), "");
}

#[tokio::test]
async fn a_token_in_the_environment_allows_any_address_and_readers_need_it() {
    let variables = [("LIVESPAN_ADDR", "0.0.0.0:0"), ("LIVESPAN_TOKEN", "hush")];
    let (child, url) = run(&variables);
    // A browser can open this address.
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let status = client().get(format!("{url}status")).send().await.unwrap();
    assert_eq!(status.status(), 401);
    let status = client().get(format!("{url}status")).bearer_auth("hush");
    assert_eq!(status.send().await.unwrap().status(), 200);
    let written = finish(child);
    assert!(
        written.starts_with(&format!("livespan: {url}?login=")),
        "{written}"
    );
    assert!(!written.contains("hush"), "{written}");
}

#[test]
fn a_malformed_filter_prints_nothing() {
    let (child, _) = run(&[
        ("LIVESPAN_ADDR", "127.0.0.1:0"),
        ("LIVESPAN_QUIET", "1"),
        ("RUST_LOG", "a=b=c,[{"),
    ]);
    assert_eq!(finish(child), "");
}

#[test]
fn a_configured_address_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (child, error) = run(&[("LIVESPAN_ADDR", &address)]);
    let expected = format!("serve on LIVESPAN_ADDR={address}: bind {address}: ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.ends_with(", invalid: false"), "{error}");
    assert_eq!(finish(child), "");
}

#[test]
fn an_address_that_needs_a_token_is_an_invalid_setting_and_no_io_error() {
    let (child, error) = run(&[("LIVESPAN_ADDR", "0.0.0.0:0")]);
    assert_eq!(
        error,
        "serve on LIVESPAN_ADDR=0.0.0.0:0 without LIVESPAN_TOKEN: 0.0.0.0:0 is not a loopback address: say who may read with .auth(..) on \
         LiveSpans::builder(), such as Auth::token(..) or Auth::public(), invalid: true"
    );
    assert_eq!(finish(child), "");
}

#[test]
fn a_default_address_that_is_taken_gives_way_to_another() {
    // This test takes the port, unless another program already has it.
    let _taken = TcpListener::bind(livespan::LiveServer::DEFAULT_ADDRESS);
    let (child, url) = run(&[("LIVESPAN_ADDR", "")]);
    assert_ne!(
        url,
        format!("http://{}/", livespan::LiveServer::DEFAULT_ADDRESS)
    );
    assert_eq!(
        finish(child),
        format!("livespan: {url} (port 4380 is taken)\n")
    );
}

#[test]
fn init_prints_events_with_their_spans() {
    let variables = [("LIVESPAN_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1")];
    let (mut child, mut printed) = run_as("1", &variables);
    drop(child.stdin.take());
    printed.extend(rest_of(&mut child));
    // The text after the time.
    let events: Vec<&str> = printed
        .iter()
        .filter_map(|line| Some(line.split_once("Z ")?.1))
        .collect();
    assert_eq!(
        events,
        [
            " INFO work{order=7}: it::http::init: packed lamps=2",
            " WARN work{order=7}: it::http::init: printed",
        ]
    );
    finish(child);
}

#[tokio::test]
async fn a_layer_shows_a_program_and_leaves_its_console_alone() {
    let variables = [("LIVESPAN_ADDR", "127.0.0.1:0"), ("NO_COLOR", "1")];
    let (mut child, mut printed) = run_as("layered", &variables);
    let url = printed.pop().unwrap();
    let mut stream = Stream::of(client().get(format!("{url}sse")).send().await.unwrap());
    let started = stream.event("started").await.json();
    for message in ["packed", "printed"] {
        let log = stream.event("log").await.json();
        assert_eq!(
            (&log["body"], &log["spanId"], &log["traceId"]),
            (&message.into(), &started["spanId"], &started["traceId"])
        );
    }
    drop(child.stdin.take());
    let ended = stream.event("ended").await.json();
    assert_eq!(
        (&ended["name"], ended.get("events")),
        (&"work".into(), None)
    );
    printed.extend(rest_of(&mut child));
    let events: Vec<&str> = printed
        .iter()
        .filter_map(|line| Some(line.split_once("Z ")?.1))
        .collect();
    assert_eq!(events, [" WARN it::http::init: printed"]);
    assert_eq!(finish(child), format!("livespan: {url}\n"));
}

#[test]
fn a_second_subscriber_is_an_error_with_advice_and_nothing_stays_installed() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (mut child, printed) = run_as("subscribed", &[("LIVESPAN_ADDR", &address)]);
    assert_eq!(
        printed.last().unwrap(),
        "install the tracing subscriber, because there is one already: leave out `tracing_subscriber::fmt::init()`, as \
         `livespan::init()` prints to the console as well, or keep your subscriber and add \
         `livespan::layer()` to its registry: a global default trace dispatcher has already been set, invalid: true"
    );
    let rest = rest_of(&mut child);
    assert!(
        rest.contains(&">provider: false, address is free: true".to_owned()),
        "{rest:?}"
    );
    assert_eq!(finish(child), "");
}

/// Waits until the program's only trace has ended. Its page still responds, although it had no
/// viewer.
async fn until_ended(url: &str) {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let page = client().get(format!("{url}traces")).send().await.unwrap();
        let page: serde_json::Value = page.json().await.unwrap();
        if page["traces"][0]["state"] == "ok" {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{page}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lingering_page_waits_until_its_viewer_leaves() {
    for (role, linger) in [("1", "forever"), ("waits", "")] {
        let variables = [
            ("LIVESPAN_ADDR", "127.0.0.1:0"),
            ("LIVESPAN_QUIET", "1"),
            ("LIVESPAN_LINGER", linger),
        ];
        let (mut child, mut printed) = run_as(role, &variables);
        let url = printed.pop().unwrap();
        drop(child.stdin.take());
        until_ended(&url).await;
        let mut stream = Stream::of(client().get(format!("{url}sse")).send().await.unwrap());
        assert_eq!(stream.event("ended").await.json()["name"], "work");
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "the program ended while a viewer was connected"
        );
        drop(stream);
        // This runtime closes the connection, so it must not be blocked.
        let written = tokio::task::spawn_blocking(|| finish(child)).await;
        assert_eq!(written.unwrap(), "");
    }
}

#[tokio::test]
async fn a_connected_viewer_gets_the_end_without_a_wait() {
    let variables = [
        ("LIVESPAN_ADDR", "127.0.0.1:0"),
        ("LIVESPAN_QUIET", "1"),
        ("LIVESPAN_LINGER", "forever"),
    ];
    let (child, url) = run(&variables);
    let mut stream = Stream::of(client().get(format!("{url}sse")).send().await.unwrap());
    stream.event("started").await;
    assert_eq!(finish(child), "");
    assert_eq!(stream.event("ended").await.json()["name"], "work");
    assert_ne!(stream.next().await.unwrap().retry, "");
    assert_eq!(
        stream.next().await.unwrap().data,
        "{\"type\":\"end\",\"reason\":\"shutdown\"}"
    );
}

#[test]
fn a_page_without_a_viewer_closes_after_the_time_to_linger() {
    let begun = std::time::Instant::now();
    let (child, _) = run(&[
        ("LIVESPAN_ADDR", "127.0.0.1:0"),
        ("LIVESPAN_QUIET", "1"),
        ("LIVESPAN_LINGER", "250ms"),
    ]);
    assert_eq!(finish(child), "");
    assert!(begun.elapsed() >= std::time::Duration::from_millis(250));
}

#[test]
fn a_malformed_time_to_linger_is_an_error_and_nothing_stays_installed() {
    let (child, error) = run(&[
        ("LIVESPAN_ADDR", "127.0.0.1:0"),
        ("LIVESPAN_LINGER", "a while"),
    ]);
    assert_eq!(
        error,
        "read LIVESPAN_LINGER=a while: it is neither forever nor a duration such as 500ms, 30s, 5m or 1h, invalid: true"
    );
    assert_eq!(finish(child), "");
}
