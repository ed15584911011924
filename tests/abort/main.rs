//! Checks the last events of a program that aborts on a panic. Cargo compiles tests so that panics
//! unwind, so this is a program, which starts itself again as the program that panics:
//! `RUSTC_WORKSPACE_WRAPPER=$PWD/tests/abort/rustc cargo run -p livespan-abort`.

use std::{
    env, fs,
    future::poll_fn,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    panic,
    path::{Path, PathBuf},
    pin::Pin,
    process::{self, Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use futures_core::Stream as _;
use livespan::{
    LiveSpans, SqliteEventStore,
    sse::{Message, Subscribe},
};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

/// Upper bound on every wait. No test should reach it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of the signal that `abort` raises.
const SIGABRT: i32 = 6;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.as_slice() {
        _ if !cfg!(panic = "abort") => panic!("use RUSTC_WORKSPACE_WRAPPER=$PWD/tests/abort/rustc"),
        [] => {
            a_store_gets_the_last_events();
            a_page_gets_the_last_events_and_waits_for_a_viewer();
        }
        [role, path] if role == "store" => panics_with_a_store(Path::new(path)),
        [role] if role == "page" => panics_with_a_page(),
        _ => panic!("expected no arguments or a role, but got {args:?}"),
    }
}

fn panics_with_a_store(path: &Path) {
    livespan::panic_hook();
    let store = SqliteEventStore::new(path);
    let live = LiveSpans::builder().store(store).build().unwrap();
    let provider = live.tracer_provider(SdkTracerProvider::builder());
    let tracer = provider.tracer("test");
    tracer.in_span("job", |_| {
        tracer.in_span("step", |_| panic!("out of luck"));
    });
}

fn a_store_gets_the_last_events() {
    let folder = Folder::new();
    let path = folder.0.join("log.db");
    let mut child = start(&["store", path.to_str().unwrap()], &[]);
    assert_eq!(child.wait().unwrap().signal(), Some(SIGABRT));

    let store = SqliteEventStore::new(&path);
    let live = LiveSpans::builder().store(store).build().unwrap();
    let outlines: Vec<Json> = until_both_ended(&live).iter().map(outline).collect();
    let panic = json!({"message": "out of luck", "thread": "main"});
    assert_eq!(
        outlines,
        [
            json!(["process", null, null, null]),
            json!(["started", "job", null, null]),
            json!(["started", "step", null, null]),
            json!(["updated", null, panic, null]),
            json!(["ended", "job", null, "crashed"]),
            json!(["ended", "step", panic, "crashed"]),
        ]
    );
    live.shutdown().unwrap();
}

fn panics_with_a_page() {
    // Replaces the default hook, which livespan's hook calls, because printing a backtrace is slow.
    panic::set_hook(Box::new(|info| {
        let mut stderr = io::stderr();
        writeln!(stderr, "{info}").unwrap();
    }));
    let _guard = livespan::init().unwrap();
    let _step = tracing::info_span!("step").entered();
    panic!("out of luck");
}

fn a_page_gets_the_last_events_and_waits_for_a_viewer() {
    let mut child = start(
        &["page"],
        &[("LIVESPAN_LINGER", "60s"), ("LIVESPAN_ADDR", "127.0.0.1:0")],
    );
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let address = address_of(&mut stderr);
    // Once the program has printed its panic message, it waits for its first viewer.
    until_line(&mut stderr, "out of luck");
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "GET /sse HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n"
    )
    .unwrap();
    let update = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .map(|event| outline(&event))
        .find(|event| event[2] != Json::Null);
    let panic = json!({"message": "out of luck", "thread": "main"});
    assert_eq!(update, Some(json!(["updated", null, panic, null])));
    drop(stream);
    assert_eq!(child.wait().unwrap().signal(), Some(SIGABRT));
}

fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the host and the port of the page from the program's output.
fn address_of(stderr: &mut BufReader<ChildStderr>) -> String {
    let line = until_line(stderr, "http://");
    let (_, address) = line.split_once("http://").unwrap();
    address.split(['/', ' ']).next().unwrap().trim().to_owned()
}

fn until_line(stderr: &mut BufReader<ChildStderr>, part: &str) -> String {
    loop {
        let mut line = String::new();
        let read = stderr.read_line(&mut line).unwrap();
        assert!(read > 0, "the program ended before it printed {part:?}");
        if line.contains(part) {
            return line;
        }
    }
}

/// Returns the type and the name of an event, its panic without the place, and the reason why its
/// span was lost.
fn outline(event: &Json) -> Json {
    let mut panic = event["panic"].clone();
    if let Some(panic) = panic.as_object_mut() {
        panic.remove("location").unwrap();
    }
    json!([event["type"], event["name"], panic, event["lost"]["reason"]])
}

/// Returns the events of a log up to the end of its second span.
fn until_both_ended(live: &LiveSpans) -> Vec<Json> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut subscription = live.target().subscribe(Subscribe::all());
    let mut events: Vec<Json> = Vec::new();
    let is_end = |event: &&Json| event["type"] == "ended";
    while events.iter().filter(is_end).count() < 2 {
        let next = poll_fn(|cx| Pin::new(&mut subscription).poll_next(cx));
        match runtime.block_on(async { timeout(PATIENCE, next).await }) {
            Ok(Some(Message::Event(event))) => {
                events.push(serde_json::from_slice(&event.payload).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    events
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("livespan-abort-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
