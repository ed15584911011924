//! Tests that fail, hang and abort. Each runs in a process that a test here starts.

#[cfg(unix)]
mod nextest;
mod suite;

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tracing::{Instrument as _, info, info_span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

use super::report_err;

/// Set in the processes that tests start.
const CHILD: &str = "LIVESPAN_TEST_FAILS";
/// Time limit for one process.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

#[test]
#[ignore = "a test that fails"]
fn failing() {
    crate::trace_test!();
    if !is_child() {
        return;
    }
    let _work = info_span!("charge", card = 7).entered();
    info!("asking the bank");
    let _step = info_span!("wait").entered();
    panic!("card declined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a test whose task fails"]
async fn failing_task() {
    crate::trace_test!();
    if !is_child() {
        return;
    }
    // A span on another thread, without a parent.
    let task = tokio::spawn(async { info_span!("orphan").in_scope(|| info!("alone")) });
    task.await.unwrap();
    let span = info_span!("task");
    let task = tokio::spawn(async { panic!("in the task") }.instrument(span));
    let error = task.await.unwrap_err();
    panic!("a task failed: {}", error.is_panic());
}

#[test]
#[ignore = "a test that fails with events of tower"]
fn failing_in_tower() {
    crate::trace_test!();
    if !is_child() {
        return;
    }
    tracing::trace!(target: "tower::buffer::worker", "polls");
    tracing::debug!(target: "tower::buffer::worker", "processes a request");
    tracing::warn!(target: "tower::buffer::worker", "drops a request");
    let _call = tracing::debug_span!(target: "tower::buffer::service", "call").entered();
    panic!("no answer");
}

/// Runs a failing test with a second subscriber that prints.
fn fail_beside_another_subscriber() {
    crate::trace_test!();
    let work = info_span!("charge", card = 7);
    let inner = work.clone();
    let thread = thread::spawn(move || {
        inner.in_scope(|| info_span!("on a thread").in_scope(|| info!("from a thread")));
    });
    thread.join().unwrap();
    let _work = work.entered();
    info!("asking the bank");
    tracing::debug!("only ours wants this");
    let detached = info_span!(parent: None, "alone");
    info_span!(parent: &detached, "below").in_scope(|| info!("with a parent"));
    panic!("card declined");
}

fn printing() -> impl tracing::Subscriber + Send + Sync {
    let format = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(format)
}

#[test]
#[ignore = "a test that fails beside a global subscriber"]
fn beside_global() {
    if is_child() {
        tracing::subscriber::set_global_default(printing()).unwrap();
        fail_beside_another_subscriber();
    }
}

#[test]
#[ignore = "a test that fails beside a subscriber of its thread"]
fn beside_scoped() {
    if is_child() {
        let _scope = tracing::subscriber::set_default(printing());
        fail_beside_another_subscriber();
    }
}

#[test]
#[ignore = "a test that fails with a subscriber that it has set too late"]
fn beside_later() {
    crate::trace_test!();
    if is_child() {
        let _scope = tracing::subscriber::set_default(printing());
        info!("only the other is told");
        panic!("card declined");
    }
}

/// Returns a subscriber with an OpenTelemetry layer.
fn exporting() -> impl tracing::Subscriber + Send + Sync {
    let tracer = SdkTracerProvider::default().tracer("theirs");
    tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer))
}

/// Returns whether the span has a valid context, and whether it accepts a parent.
fn context_and_parent(span: &tracing::Span) -> (bool, bool) {
    let takes_parent = span.set_parent(opentelemetry::Context::new()).is_ok();
    let is_valid = span.context().span().span_context().is_valid();
    (is_valid, takes_parent)
}

#[test]
#[ignore = "a test that asks for the contexts of its spans"]
fn asking_for_contexts() {
    crate::trace_test!();
    if is_child() {
        assert_eq!(context_and_parent(&info_span!("alone")), (true, true));
        let _scope = tracing::subscriber::set_default(exporting());
        assert_eq!(context_and_parent(&info_span!("later")), (true, true));
    }
}

#[test]
#[ignore = "a test that asks for the context of a span beside its own subscriber"]
fn asking_beside() {
    if is_child() {
        let _scope = tracing::subscriber::set_default(exporting());
        crate::trace_test!();
        assert_eq!(context_and_parent(&info_span!("beside")), (false, false));
    }
}

#[test]
#[ignore = "a test that aborts"]
fn aborting() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("second");
        }
    }
    crate::trace_test!();
    if !is_child() {
        return;
    }
    let _work = info_span!("doomed").entered();
    let _bomb = PanicsWhenDropped;
    panic!("first");
}

#[test]
#[ignore = "a test that aborts the process"]
fn aborting_itself() {
    crate::trace_test!();
    if is_child() {
        let _work = info_span!("decode").entered();
        std::process::abort();
    }
}

#[expect(unconditional_recursion, reason = "the stack must overflow")]
fn descend(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 128]);
    descend(depth + 1) + room[0]
}

#[test]
#[ignore = "a test whose stack overflows"]
fn overflowing() {
    crate::trace_test!();
    if is_child() {
        let _work = info_span!("decode").entered();
        descend(0);
    }
}

#[test]
#[ignore = "a test that ends the process"]
fn exiting() {
    crate::trace_test!();
    if is_child() {
        let _work = info_span!("decode").entered();
        std::process::exit(3);
    }
}

/// Waits until the file of a test exists.
fn wait_for(file: &Path) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} was not written",
            file.display()
        );
        thread::yield_now();
    }
}

#[test]
#[ignore = "a test that runs for long, and passes"]
fn long() {
    crate::trace_test!();
    if let Some(folder) = env::var_os("LIVESPAN_TEST_DIR").filter(|_| is_child()) {
        let _work = info_span!("decode").entered();
        wait_for(&ReplayFolder(folder.into()).keep().file("long"));
    }
}

#[test]
#[ignore = "a test that hangs"]
fn hanging() {
    crate::trace_test!(limit = 50ms);
    if !is_child() {
        return;
    }
    wait_for_ever();
}

#[test]
#[ignore = "a test that hangs, and has no limit"]
fn waiting() {
    crate::trace_test!();
    if is_child() {
        wait_for_ever();
    }
}

fn wait_for_ever() {
    let _work = info_span!("waits for ever").entered();
    block_for_ever();
}

fn block_for_ever() {
    let (_sender, receiver) = mpsc::channel::<()>();
    // Blocks for ever: the sender exists, but sends nothing.
    let _never = receiver.recv();
}

#[test]
#[ignore = "a test that does not panic, as it should"]
fn calm() {
    crate::trace_test!(should_panic);
    assert!(is_child(), "a panic that is expected");
}

#[test]
#[ignore = "a test that passes"]
fn passing() {
    crate::trace_test!(limit = 1h);
    let of_another_thread = thread::spawn(|| report_err(Err::<(), u32>(7)));
    assert_eq!(of_another_thread.join().unwrap(), Err(7));
    info_span!("fine").in_scope(|| info!("all is well"));
}

#[test]
#[should_panic(expected = "card declined")]
#[ignore = "a test that panics, as it should"]
fn panicking_as_it_should() {
    crate::trace_test!(should_panic);
    assert_eq!(report_err(Err::<(), u32>(7)), Err(7));
    let _work = info_span!("charge").entered();
    panic!("card declined");
}

fn charge(card: u32) -> Result<(), String> {
    let _work = info_span!("charge", card).entered();
    if is_child() && card == 7 {
        return Err("card declined".to_owned());
    }
    Ok(())
}

#[test]
#[ignore = "a test that returns Ok"]
fn returning_ok() -> Result<(), String> {
    crate::trace_test!();
    charge(1)
}

#[test]
#[ignore = "a test that returns an error"]
fn returning_an_error() -> Result<(), String> {
    crate::trace_test!();
    charge(1)?;
    charge(7)
}

#[test]
#[ignore = "a test that reports the error that it returns"]
fn reporting_an_error() -> Result<(), String> {
    crate::trace_test!();
    let _session = info_span!("session").entered();
    report_err(charge(1))?;
    let first = report_err(charge(7));
    // Only the first error is reported.
    let second = report_err(Err::<(), u32>(7));
    assert_eq!(second, Err(7));
    first
}

/// Three tests that run concurrently. One of them aborts the process.
mod together {
    use std::sync::Barrier;

    use super::{block_for_ever, info_span, is_child};

    static ALL_ARE_OPEN: Barrier = Barrier::new(3);

    #[test]
    #[ignore = "a test that waits"]
    fn first() {
        crate::trace_test!();
        if is_child() {
            let _work = info_span!("first work").entered();
            ALL_ARE_OPEN.wait();
            block_for_ever();
        }
    }

    #[test]
    #[ignore = "a test that waits"]
    fn second() {
        crate::trace_test!();
        if is_child() {
            let _work = info_span!("second work").entered();
            ALL_ARE_OPEN.wait();
            block_for_ever();
        }
    }

    #[test]
    #[ignore = "a test that aborts the process"]
    fn third() {
        crate::trace_test!();
        if is_child() {
            let _work = info_span!("third work").entered();
            ALL_ARE_OPEN.wait();
            std::process::abort();
        }
    }
}

/// A folder for the files of one process.
struct ReplayFolder(PathBuf);

impl ReplayFolder {
    fn new(name: &str) -> Self {
        let folder =
            env::temp_dir().join(format!("livespan-testing-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        Self(folder)
    }

    fn file(&self, test: &str) -> PathBuf {
        self.0.join(format!("livespan/testing/tests/{test}.html"))
    }
}

impl ReplayFolder {
    /// Keeps the folder, because the process that started this one removes it.
    fn keep(self) -> std::mem::ManuallyDrop<Self> {
        std::mem::ManuallyDrop::new(self)
    }
}

impl Drop for ReplayFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn start(test: &str, folder: &ReplayFolder) -> Child {
    start_with(test, &["--exact"], folder)
}

fn start_with(tests: &str, arguments: &[&str], folder: &ReplayFolder) -> Child {
    command(tests, arguments, folder).spawn().unwrap()
}

fn command(tests: &str, arguments: &[&str], folder: &ReplayFolder) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([&format!("testing::tests::{tests}"), "--ignored"])
        .args(arguments)
        .env(CHILD, "1")
        .env("LIVESPAN_TEST_DIR", &folder.0)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Returns the lines of a report without ids, times and places, which differ from run to run.
fn plain(report: &str) -> Vec<String> {
    let words = |line: &str| {
        let words = line.split(' ').filter(|word| {
            let is_id = word.starts_with('[')
                || (word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit()));
            let is_number =
                word.starts_with(|first: char| first.is_ascii_digit()) && word.len() > 1;
            !is_id && !is_number
        });
        words.collect::<Vec<_>>().join(" ")
    };
    report
        .lines()
        .skip_while(|line| !line.starts_with("livespan: "))
        .take_while(|line| !line.starts_with("replay: "))
        .filter(|line| !line.is_empty() && !line.contains(" oldest first "))
        .map(|line| match line.split_once(" at src") {
            Some((before, after)) => format!("{before}{}", after.split_once(',').unwrap().1),
            None => words(line),
        })
        .collect()
}

/// Returns the events in a file.
fn events(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let (_, data) = text.split_once("type=\"application/gzip\">").unwrap();
    let (data, _) = data.split_once('<').unwrap();
    let mut lines = String::new();
    GzDecoder::new(&*STANDARD.decode(data).unwrap())
        .read_to_string(&mut lines)
        .unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the names of the spans in a file, and the state in which each ended.
fn spans(file: &Path) -> Vec<(String, &'static str)> {
    let events = events(file);
    let started = events.iter().filter(|event| event["type"] == "started");
    started
        .map(|start| {
            let end = events
                .iter()
                .find(|event| event["type"] == "ended" && event["spanId"] == start["spanId"]);
            let state = match end {
                None => "open",
                Some(end) if end["panicked"] == true => "panicked",
                Some(end) if end["status"]["code"] == "ERROR" => "error",
                Some(_) => "ok",
            };
            (start["name"].as_str().unwrap().to_owned(), state)
        })
        .collect()
}

fn named<const N: usize>(spans: [(&str, &'static str); N]) -> Vec<(String, &'static str)> {
    spans.map(|(name, state)| (name.to_owned(), state)).into()
}

#[test]
fn records_of_a_test_become_events_when_a_report_needs_them() {
    let live = crate::LiveSpans::builder()
        .processing_delay(Duration::from_secs(3600))
        .build()
        .unwrap();
    let provider = live.tracer_provider(SdkTracerProvider::builder());
    drop(provider.tracer("test").start("charge"));
    let log = live.log();
    let before = log.head();
    let runtime = &live.shared.parts.runtime;
    drop(runtime.flush_unless_failing(PATIENCE));
    // The process, the start and the end.
    assert_eq!((before, log.head()), (0, 3));
}

#[test]
fn a_test_that_panics_reports_its_open_spans_and_leaves_its_file() {
    let folder = ReplayFolder::new("failing");
    let output = start("failing", &folder).wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        plain(&printed),
        [
            "livespan: livespan::testing::tests::failing panicked after",
            "panic: card declined thread testing::tests::failing",
            "trace \"test livespan::testing::tests::failing\" · PROGRAM · open for s · 3 of 3 spans open",
            "  \"test livespan::testing::tests::failing\" s",
            "    charge s",
            "      log s ago: INFO livespan::testing::tests \"asking the bank\"",
            "      wait s",
        ]
        .map(|line| line.replace("PROGRAM", &program()))
    );
    let file = folder.file("failing");
    let replay = format!(
        "replay: file://{}\n",
        file.canonicalize().unwrap().display()
    );
    assert_eq!(printed.matches(&replay).count(), 1, "{printed}");
    let name = "test livespan::testing::tests::failing";
    assert_eq!(
        spans(&file),
        named([
            (name, "panicked"),
            ("charge", "panicked"),
            ("wait", "panicked")
        ])
    );
}

/// Returns the bodies of the records in a file.
fn records(file: &Path) -> Vec<String> {
    let events = events(file);
    let records = events.iter().filter(|event| event["type"] == "log");
    records
        .map(|record| record["body"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn targets_of_http_libraries_are_hidden_unless_levels_are_set() {
    let name = "test livespan::testing::tests::failing_in_tower";
    let (test, call) = ((name, "panicked"), ("call", "panicked"));
    let all = ["polls", "processes a request", "drops a request"];
    for (levels, expected_records, expected_spans) in [
        (None, &all[2..], named([test])),
        (Some("tower=debug"), &all[1..], named([test, call])),
        (Some("trace"), &all[..], named([test, call])),
    ] {
        let folder = ReplayFolder::new("failing_in_tower");
        let mut command = command("failing_in_tower", &["--exact"], &folder);
        if let Some(levels) = levels {
            command.env("RUST_LOG", levels);
        }
        assert!(!command.output().unwrap().status.success());
        let file = folder.file("failing_in_tower");
        assert_eq!(records(&file), expected_records, "{levels:?}");
        assert_eq!(spans(&file), expected_spans, "{levels:?}");
    }
}

fn program() -> String {
    let program = env::current_exe().unwrap();
    program.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn spans_of_other_threads_belong_to_the_test_of_their_runtime() {
    let folder = ReplayFolder::new("task");
    let output = start("failing_task", &folder).wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let panics: Vec<String> = plain(&printed)
        .into_iter()
        .filter(|line| line.starts_with("panic: "))
        .collect();
    assert_eq!(
        panics,
        [
            "panic: in the task thread tokio-rt-worker",
            "panic: a task failed: true thread testing::tests::failing_task",
        ]
    );
    let events = events(&folder.file("failing_task"));
    let name = "test livespan::testing::tests::failing_task";
    assert_eq!(
        spans(&folder.file("failing_task")),
        named([(name, "panicked"), ("orphan", "ok"), ("task", "panicked")])
    );
    let orphan = events
        .iter()
        .find(|event| event["name"] == "orphan")
        .unwrap();
    let root = events.iter().find(|event| event["name"] == name).unwrap();
    assert_eq!(orphan["parentSpanId"], root["spanId"]);
}

#[test]
fn a_subscriber_of_the_program_gets_the_same_as_without_livespan() {
    for test in ["beside_global", "beside_scoped"] {
        let folder = ReplayFolder::new(test);
        let output = start(test, &folder).wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            " INFO charge{card=7}:on a thread: from a thread\n \
             INFO charge{card=7}: asking the bank\n \
             INFO alone:below: with a parent\n",
            "{test}"
        );
        let file = folder.file("fail_beside_another_subscriber");
        let name = "test livespan::testing::tests::fail_beside_another_subscriber";
        let mut shown = spans(&file);
        shown.sort();
        let mut expected = named([
            (name, "panicked"),
            ("charge", "panicked"),
            ("on a thread", "ok"),
            // A separate trace that began while the test ran.
            ("alone", "panicked"),
            ("below", "ok"),
        ]);
        expected.sort();
        assert_eq!(shown, expected, "{test}");
        let texts: Vec<Value> = events(&file)
            .into_iter()
            .filter(|event| event["type"] == "log")
            .map(|mut event| event["body"].take())
            .collect();
        let lines = [
            "from a thread",
            "asking the bank",
            "only ours wants this",
            "with a parent",
        ];
        assert_eq!(texts, lines, "{test}");
    }
}

#[test]
fn a_test_reports_that_its_subscriber_was_set_too_late() {
    let folder = ReplayFolder::new("later");
    let output = start("beside_later", &folder).wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let name = "livespan::testing::tests::beside_later";
    assert_eq!(
        plain(&printed),
        [
            format!("livespan: {name} panicked after"),
            "panic: card declined thread testing::tests::beside_later".to_owned(),
            "note: a subscriber that was set after trace_test! got spans and events of this test. Set it before \
             trace_test!, and both get them."
                .to_owned(),
            format!("trace \"test {name}\" · {} · open for s · 1 of 1 span open", program()),
            format!("  \"test {name}\" s"),
        ]
    );
}

#[test]
fn a_test_that_aborts_leaves_a_file_with_its_events() {
    let folder = ReplayFolder::new("aborting");
    let output = start("aborting", &folder).wait_with_output().unwrap();
    assert!(!output.status.success());
    let printed = String::from_utf8(output.stderr).unwrap();
    let line = printed.lines().find(|line| line.starts_with("livespan: "));
    assert_eq!(
        line.and_then(|line| line.split_once(", after"))
            .map(|(line, _)| line),
        Some("livespan: livespan::testing::tests::aborting was running when the process aborted")
    );
    let name = "test livespan::testing::tests::aborting";
    assert_eq!(
        spans(&folder.file("aborting")),
        named([(name, "open"), ("doomed", "open")])
    );
}

/// Returns the exit status, the lines printed to standard error, and the spans in the file.
fn last_words(test: &str) -> (ExitStatus, Vec<String>, Vec<(String, &'static str)>) {
    let folder = ReplayFolder::new(test);
    let output = start(test, &folder).wait_with_output().unwrap();
    let printed = plain(&String::from_utf8(output.stderr).unwrap());
    (output.status, printed, spans(&folder.file(test)))
}

/// Returns the expected report on a test with the span `decode`.
fn expected_of(test: &str, how: &str) -> (Vec<String>, Vec<(String, &'static str)>) {
    let name = format!("test livespan::testing::tests::{test}");
    let program = program();
    let lines = [
        format!("livespan: livespan::testing::tests::{test} {how}, after"),
        format!("trace \"{name}\" · {program} · open for s · 2 of 2 spans open"),
        format!("  \"{name}\" s"),
        "    decode s".to_owned(),
    ];
    (lines.into(), named([(&name, "open"), ("decode", "open")]))
}

#[cfg(unix)]
#[test]
fn a_test_that_ends_its_process_reports_its_open_spans() {
    use std::os::unix::process::ExitStatusExt as _;
    for (test, how, (signal, code)) in [
        (
            "aborting_itself",
            "was running when the process aborted",
            (Some(6), None),
        ),
        (
            "overflowing",
            "was running when the process aborted",
            (Some(6), None),
        ),
        (
            "exiting",
            "ended its thread or process before its end",
            (None, Some(3)),
        ),
    ] {
        let (status, printed, spans) = last_words(test);
        assert_eq!((status.signal(), status.code()), (signal, code), "{test}");
        assert_eq!((printed, spans), expected_of(test, how), "{test}");
    }
}

#[test]
fn a_test_that_is_killed_leaves_a_file_with_its_events() {
    let folder = ReplayFolder::new("killed");
    let mut child = start("waiting", &folder);
    let file = folder.file("waiting");
    wait_for(&file);
    child.kill().unwrap();
    child.wait().unwrap();
    let name = "test livespan::testing::tests::waiting";
    assert_eq!(
        spans(&file),
        named([(name, "open"), ("waits for ever", "open")])
    );
}

#[test]
fn a_long_test_that_passes_prints_nothing_and_leaves_no_file() {
    let folder = ReplayFolder::new("long");
    let output = start("long", &folder).wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(!folder.file("long").exists());
}

#[test]
fn a_test_that_hangs_is_reported_at_its_limit_and_when_the_process_gets_a_signal() {
    let folder = ReplayFolder::new("hanging");
    let mut child = start("hanging", &folder);
    let mut printed = BufReader::new(child.stderr.take().unwrap());
    let open = [
        "trace \"test livespan::testing::tests::hanging\" · PROGRAM · open for s · 2 of 2 spans open",
        "  \"test livespan::testing::tests::hanging\" s",
        "    \"waits for ever\" s",
    ]
    .map(|line| line.replace("PROGRAM", &program()));
    let mut report = || {
        let mut text = String::new();
        while !text.contains("replay: ") {
            assert!(printed.read_line(&mut text).unwrap() > 0, "{text}");
        }
        plain(&text)
    };
    let name = "livespan: livespan::testing::tests::hanging";
    let at_limit = [
        vec![format!("{name} still runs after its limit of")],
        open.to_vec(),
    ]
    .concat();
    assert_eq!(report(), at_limit);
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let at_end = [
        vec![format!("{name} was ended by SIGTERM after")],
        open.to_vec(),
    ]
    .concat();
    assert_eq!(report(), at_end);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "the process did not end in time"
        );
        thread::yield_now();
    }
    let name = "test livespan::testing::tests::hanging";
    assert_eq!(
        spans(&folder.file("hanging")),
        named([(name, "open"), ("waits for ever", "open")])
    );
}

#[test]
fn a_should_panic_test_that_does_not_panic_is_reported_only_in_its_file() {
    let folder = ReplayFolder::new("calm");
    let output = start("calm", &folder).wait_with_output().unwrap();
    // The runner counts the test as passed, so its output is not shown. Only the file reports the
    // failure.
    assert_eq!(plain(&String::from_utf8(output.stdout).unwrap()), [""; 0]);
    let name = "test livespan::testing::tests::calm";
    assert_eq!(spans(&folder.file("calm")), named([(name, "ok")]));
}

#[test]
fn a_test_that_passes_prints_nothing_and_leaves_no_file() {
    for test in [
        "passing",
        "panicking_as_it_should",
        "returning_ok",
        "asking_for_contexts",
        "asking_beside",
    ] {
        let folder = ReplayFolder::new(test);
        let file = folder.file(test);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "of a run that failed").unwrap();
        let output = start(test, &folder).wait_with_output().unwrap();
        assert!(output.status.success(), "{test}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{test}");
        assert!(
            !String::from_utf8(output.stdout)
                .unwrap()
                .contains("livespan: "),
            "{test}"
        );
        assert!(!file.exists(), "{test}");
    }
}

#[test]
fn a_test_that_returns_an_error_leaves_its_file_only_with_the_keep_variable() {
    let folder = ReplayFolder::new("error");
    let file = folder.file("returning_an_error");
    let output = start("returning_an_error", &folder)
        .wait_with_output()
        .unwrap();
    assert_eq!((output.status.code(), file.exists()), (Some(101), false));
    let keeping = Command::new(env::current_exe().unwrap())
        .args(["testing::tests::returning_an_error", "--exact", "--ignored"])
        .env(CHILD, "1")
        .env("LIVESPAN_TEST_DIR", &folder.0)
        .env("LIVESPAN_TEST_KEEP", "1")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert_eq!(keeping.status.code(), Some(101));
    let name = "test livespan::testing::tests::returning_an_error";
    assert_eq!(
        spans(&file),
        named([(name, "ok"), ("charge", "ok"), ("charge", "ok")])
    );
}

#[test]
fn an_error_that_a_test_reports_is_printed_and_leaves_the_file() {
    let folder = ReplayFolder::new("reported-error");
    let output = start("reporting_an_error", &folder)
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(101));
    let name = "livespan::testing::tests::reporting_an_error";
    assert_eq!(
        plain(&String::from_utf8(output.stdout).unwrap()),
        [
            format!("livespan: {name} returned an error after"),
            "error: \"card declined\"".to_owned(),
            format!(
                "trace \"test {name}\" · {} · open for s · 2 of 4 spans open",
                program()
            ),
            format!("  \"test {name}\" s"),
            "    session s".to_owned(),
        ]
    );
    let name = format!("test {name}");
    assert_eq!(
        spans(&folder.file("reporting_an_error")),
        named([
            (name.as_str(), "error"),
            ("session", "ok"),
            ("charge", "ok"),
            ("charge", "ok")
        ])
    );
}

#[cfg(unix)]
#[test]
fn each_test_that_runs_when_the_process_aborts_reports_its_own_open_spans() {
    let folder = ReplayFolder::new("together");
    let child = start_with("together::", &["--test-threads", "3"], &folder);
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let mut reports: Vec<Vec<String>> = printed
        .split("\nlivespan: ")
        .skip(1)
        .map(|report| plain(&format!("livespan: {report}")))
        .collect();
    reports.sort();
    let report = |test: &str| {
        let name = format!("livespan::testing::tests::together::{test}");
        let program = program();
        vec![
            format!("livespan: {name} was running when the process aborted, after"),
            format!("trace \"test {name}\" · {program} · open for s · 2 of 2 spans open"),
            format!("  \"test {name}\" s"),
            format!("    \"{test} work\" s"),
        ]
    };
    let tests = ["first", "second", "third"];
    assert_eq!(reports, tests.map(report));
    for test in tests {
        let name = format!("test livespan::testing::tests::together::{test}");
        let work = format!("{test} work");
        let shown = spans(&folder.file(&format!("together/{test}")));
        assert_eq!(shown, named([(&name, "open"), (&work, "open")]));
    }
}
