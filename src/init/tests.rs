//! Checks which spans and log records of a program the layer shows. Each test has its own log. Only `child`, which runs
//! in its own process, sets a global subscriber.

use std::{
    cell::RefCell,
    env, fmt,
    future::{Future as _, pending, poll_fn},
    io::{self, Read as _},
    pin::Pin,
    process::{Command, Stdio},
    sync::mpsc,
    task::{Context as TaskContext, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_core::Stream as _;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample};
use serde_json::{Value as Json, json};
use tracing::{
    Dispatch, Instrument as _, Level, Subscriber, debug, dispatcher::with_default, error, event,
    info, info_span, trace, warn, warn_span,
};
use tracing_log::log;
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, layer::SubscriberExt as _, registry, reload,
};

use crate::{
    init::setup::{OptionalTasks, layer_of},
    live_spans::LiveSpans,
    otel::{LiveFutureExt as _, LiveTracerProvider, TaskLayer},
    reader::subscription::Subscribe,
    sse::Message,
    util::block_on::block_on,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A log, and a provider whose spans it shows.
struct Program {
    live: LiveSpans,
    provider: LiveTracerProvider,
}

impl Program {
    fn new() -> Self {
        Self::with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn)
    }

    fn with_sampler(sampler: impl ShouldSample + 'static) -> Self {
        let live = LiveSpans::builder().build().unwrap();
        let provider = live.tracer_provider(SdkTracerProvider::builder().with_sampler(sampler));
        Self { live, provider }
    }

    fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'l> registry::LookupSpan<'l> + Send + Sync,
    {
        layer_of(&self.live, &self.provider)
    }

    /// Runs a program whose registry has only this layer. Returns the events that a reader gets.
    fn run(&self, run: impl FnOnce()) -> Vec<Json> {
        let subscriber = Registry::default().with(self.layer());
        with_default(&Dispatch::new(subscriber), run);
        self.events()
    }

    fn events(&self) -> Vec<Json> {
        self.live.target().flush(PATIENCE).unwrap();
        let head = self.live.status().head.sequence();
        let mut subscription = self.live.target().subscribe(Subscribe::all());
        let mut events = Vec::new();
        while events.len() < usize::try_from(head.get()).unwrap() {
            let next = poll_fn(|cx| Pin::new(&mut subscription).poll_next(cx));
            match block_on(next) {
                Some(Message::Event(event)) => {
                    events.push(serde_json::from_slice(&event.payload).unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
        events
    }
}

fn run(run: impl FnOnce()) -> Vec<Json> {
    Program::new().run(run)
}

/// Returns the log records of these events, without fields that differ between runs or are the same in all events.
fn logs(events: &[Json]) -> Vec<Json> {
    let logs = events.iter().filter(|event| event["type"] == "log");
    logs.map(|log| {
        let mut log = log.clone();
        for key in ["type", "process", "service", "timestamp", "traceId"] {
            log.as_object_mut().unwrap().remove(key).unwrap();
        }
        log
    })
    .collect()
}

/// Returns the body of each log record, and the name of its span.
fn places(events: &[Json]) -> Vec<(&str, &str)> {
    let logs = events.iter().filter(|event| event["type"] == "log");
    logs.map(|log| {
        let started = events.iter().find(|event| {
            event["type"] == "started"
                && event["spanId"] == log["spanId"]
                && event["traceId"] == log["traceId"]
        });
        let span = match started {
            Some(started) => started["name"].as_str().unwrap(),
            None if log["spanId"].is_null() && log["traceId"].is_null() => "",
            None => "?",
        };
        (log["body"].as_str().unwrap(), span)
    })
    .collect()
}

fn statuses(events: &[Json]) -> Vec<(&str, &str)> {
    let ended = events.iter().filter(|event| event["type"] == "ended");
    ended
        .map(|ended| {
            let code = ended["status"]["code"].as_str().unwrap();
            (ended["name"].as_str().unwrap(), code)
        })
        .collect()
}

#[test]
fn an_event_is_a_log_record_of_its_span_once() {
    let events = run(|| {
        let _span = info_span!("pay", order = 7).entered();
        warn!(name: "bank.slow", tries = 3, "slow {}", "bank");
        info!(target: "shop::cart", lamps = 2_u64);
    });
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["process", "started", "log", "log", "ended"]);
    let (span, process) = (&events[1]["spanId"], &events[0]["process"]);
    assert_eq!(
        logs(&events),
        [
            json!({"spanId": span, "severityNumber": 13, "severityText": "WARN", "body": "slow bank",
                "attributes": {"tries": 3}, "target": module_path!(), "eventName": "bank.slow"}),
            json!({"spanId": span, "severityNumber": 9, "severityText": "INFO", "body": null,
                "attributes": {"lamps": 2}, "target": "shop::cart"}),
        ]
    );
    assert_eq!(
        (&events[2]["process"], &events[2]["traceId"]),
        (process, &events[1]["traceId"])
    );
    assert_eq!(
        events[4].get("events"),
        None,
        "the event is in its span, too"
    );
}

/// An appender like `opentelemetry-appender-tracing`: each event becomes a record of the SDK's logger.
#[cfg(feature = "logs")]
struct Appender(opentelemetry_sdk::logs::SdkLogger);

#[cfg(feature = "logs")]
impl<S: Subscriber> Layer<S> for Appender {
    fn on_event(
        &self,
        event: &tracing::Event<'_>,
        _ctx: tracing_subscriber::layer::Context<'_, S>,
    ) {
        use opentelemetry::logs::{LogRecord as _, Logger as _, Severity};
        let metadata = event.metadata();
        let mut record = self.0.create_log_record();
        record.set_target(metadata.target().to_owned());
        record.set_event_name(metadata.name());
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body(format!("line {}", metadata.line().unwrap()).into());
        self.0.emit(record);
    }
}

#[cfg(feature = "logs")]
#[test]
fn an_event_that_also_comes_from_an_appender_is_shown_once() {
    use opentelemetry::logs::LoggerProvider as _;
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    let program = Program::new();
    let logger_provider = SdkLoggerProvider::builder()
        .with_log_processor(program.live.log_processor())
        .build();
    let appender = || Appender(logger_provider.logger("appender"));
    let emit = |what: &str| {
        for number in 0..3 {
            info!(number, "{what}");
        }
    };
    // The two layers may be in either order. An event that only one of them gets is shown by that one.
    let after = Registry::default().with(program.layer()).with(appender());
    with_default(&Dispatch::new(after), || emit("layer first"));
    let before = Registry::default().with(appender()).with(program.layer());
    let line = line!() + 2;
    with_default(&Dispatch::new(before), || {
        info!("appender first");
        error!("and again");
    });
    let loud = program.layer().with_filter(LevelFilter::WARN);
    let filtered = Registry::default().with(loud).with(appender());
    with_default(&Dispatch::new(filtered), || info!("appender alone"));
    let events = program.events();
    let bodies: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "log")
        .map(|log| log["body"].as_str().unwrap())
        .collect();
    let of = |line: u32| format!("line {line}");
    let expected = [
        "layer first",
        "layer first",
        "layer first",
        &of(line),
        &of(line + 1),
        &of(line + 5),
    ];
    assert_eq!(bodies, expected);
}

#[test]
fn an_event_has_the_ids_of_the_span_that_it_belongs_to() {
    let program = Program::new();
    let tracer = program.provider.tracer("api");
    let events = program.run(|| {
        info!("before");
        let other = info_span!("other");
        drop(other.clone().entered());
        let unused = info_span!("unused");
        info_span!("outer").in_scope(|| {
            info!("outer");
            info!(parent: None, "nowhere");
            info!(parent: &other, "other");
            info!(parent: &unused, "unused");
            info_span!("inner").in_scope(|| info!("inner"));
            tracer.in_span("api", |_context| info!("api"));
            info!("outer again");
        });
        info!("after");
    });
    assert_eq!(
        places(&events),
        [
            ("before", ""),
            ("outer", "outer"),
            ("nowhere", ""),
            ("other", "other"),
            ("unused", "unused"),
            ("inner", "inner"),
            ("api", "api"),
            ("outer again", "outer"),
            ("after", ""),
        ]
    );
}

/// Calls the function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Returns the name of each ended span, and whether it was cancelled.
fn endings(events: &[Json]) -> Vec<(&str, bool)> {
    let ended = events.iter().filter(|event| event["type"] == "ended");
    ended
        .map(|ended| (ended["name"].as_str().unwrap(), ended["cancelled"] == true))
        .collect()
}

#[test]
fn a_span_within_a_dropped_future_is_cancelled_even_if_a_child_elsewhere_keeps_it_open() {
    let program = Program::new();
    let dispatch = Dispatch::new(Registry::default().with(program.layer()));
    let (sender, elsewhere) = mpsc::channel();
    with_default(&dispatch, || {
        // This span is not in the request's trace, and outlives the request.
        let connection = info_span!("connection");
        let inside = connection.clone();
        let hangs = async move {
            let _on_drop = OnDrop(move || inside.in_scope(|| info!("given back")));
            let child = info_span!("child");
            child.in_scope(|| sender.send(child.clone()).unwrap());
            pending::<()>().await;
        };
        let request = async move {
            async {}.instrument(info_span!("done")).await;
            hangs.instrument(info_span!("middle")).await;
        };
        let mut request = Box::pin(request.live(info_span!("request")));
        let mut cx = TaskContext::from_waker(Waker::noop());
        assert!(request.as_mut().poll(&mut cx).is_pending());
        drop(request);
    });
    let child = elsewhere.recv().unwrap();
    let ends = thread::spawn(move || with_default(&dispatch, || drop(child)));
    ends.join().unwrap();
    assert_eq!(
        endings(&program.events()),
        [
            ("done", false),
            ("connection", false),
            ("child", false),
            ("middle", true),
            ("request", true),
        ]
    );
}

/// `tracing-subscriber` closes a span's parent through the subscriber that is current on the thread. The guide
/// describes a workaround.
#[test]
fn a_span_stays_open_if_its_child_is_closed_on_a_thread_without_the_subscriber() {
    let program = Program::new();
    let dispatch = Dispatch::new(Registry::default().with(program.layer()));
    let child_of_parent = || {
        with_default(&dispatch, || {
            info_span!("parent").in_scope(|| info_span!("child"))
        })
    };
    let child = child_of_parent();
    let without = thread::spawn(move || drop(child.entered()));
    without.join().unwrap();
    assert_eq!(endings(&program.events()), [("child", false)]);
    let child = child_of_parent();
    let same = dispatch.clone();
    let with = thread::spawn(move || with_default(&same, || drop(child.entered())));
    with.join().unwrap();
    assert_eq!(
        endings(&program.events()),
        [("child", false), ("child", false), ("parent", false)]
    );
}

#[test]
fn polls_are_shown_for_the_spans_of_the_layer() {
    let program = Program::new();
    let tasks = OptionalTasks(Some(TaskLayer::new().unwrap()));
    let subscriber = Registry::default().with(program.layer().and_then(tasks));
    with_default(&Dispatch::new(subscriber), || {
        let span = info_span!("work");
        span.in_scope(|| ());
        let is_reported = || {
            let events = program.events();
            events.iter().any(|event| event["task"]["polls"] == 1)
        };
        let begun = Instant::now();
        while !is_reported() {
            assert!(
                begun.elapsed() < PATIENCE,
                "the polls of the span were not reported in time"
            );
            thread::park_timeout(Duration::from_millis(5));
        }
    });
}

#[test]
fn an_error_is_the_status_of_its_span() {
    let events = run(|| {
        let other = info_span!("other");
        drop(other.clone().entered());
        info_span!("fine").in_scope(|| {
            warn!("no error");
            error!(parent: None, "nobody's");
            error!(parent: &other, "of another");
            info_span!("failing").in_scope(|| error!("failed"));
        });
        error!("of none");
    });
    assert_eq!(
        statuses(&events),
        [("failing", "ERROR"), ("fine", "OK"), ("other", "ERROR")]
    );
}

#[test]
fn a_layer_that_can_be_reloaded_knows_the_spans() {
    let program = Program::new();
    let (layer, _handle) = reload::Layer::new(program.layer());
    with_default(&Dispatch::new(Registry::default().with(layer)), || {
        let other = info_span!("other");
        drop(other.clone().entered());
        info_span!("current").in_scope(|| {
            info!("current");
            info!(parent: &other, "other");
            error!("failed");
        });
    });
    let events = program.events();
    assert_eq!(
        places(&events),
        [
            ("current", "current"),
            ("other", "other"),
            ("failed", "current")
        ]
    );
    assert_eq!(statuses(&events), [("current", "ERROR"), ("other", "OK")]);
}

#[test]
fn filters_of_one_layer_hold_for_spans_and_events() {
    let program = Program::new();
    let subscriber = Registry::default()
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(io::sink)
                .with_filter(LevelFilter::TRACE),
        )
        .with(program.layer().with_filter(LevelFilter::WARN));
    with_default(&Dispatch::new(subscriber), || {
        warn_span!("shown").in_scope(|| {
            info_span!("hidden").in_scope(|| {
                info!("hidden");
                warn!("of the span that is shown");
            });
        });
    });
    let events = program.events();
    assert_eq!(places(&events), [("of the span that is shown", "shown")]);
    assert_eq!(statuses(&events), [("shown", "OK")]);
}

#[test]
fn several_subscribers_have_their_own_events() {
    let (one, two) = (Program::new(), Program::new());
    let other = Dispatch::new(Registry::default().with(two.layer()));
    let events = one.run(|| {
        info_span!("one").in_scope(|| {
            info!("first");
            with_default(&other, || info_span!("two").in_scope(|| info!("second")));
            info!("third");
        });
    });
    assert_eq!(places(&events), [("first", "one"), ("third", "one")]);
    assert_eq!(places(&two.events()), [("second", "two")]);
}

#[test]
fn a_record_of_the_crate_log_has_its_own_target_and_level() {
    let events = run(|| {
        info_span!("job").in_scope(|| {
            let record = log::Record::builder()
                .level(log::Level::Warn)
                .target("old::crate")
                .module_path(Some("old::crate"))
                .file(Some("old.rs"))
                .line(Some(7))
                .args(format_args!("as ever"))
                .build();
            tracing_log::format_trace(&record).unwrap();
        });
    });
    assert_eq!(
        logs(&events),
        [
            json!({"spanId": events[1]["spanId"], "severityNumber": 13, "severityText": "WARN", "body": "as ever",
            "attributes": {}, "target": "old::crate"})
        ]
    );
}

#[test]
fn internals_of_http_libraries_are_shown_when_they_warn() {
    let events = run(|| {
        info!(target: "hyper::client", "connected");
        warn!(target: "hyper::client", "refused");
        trace!("small");
    });
    assert_eq!(places(&events), [("refused", ""), ("small", "")]);
}

#[test]
fn fields_of_every_type_arrive() {
    let cause = io::Error::new(io::ErrorKind::NotFound, "no file");
    let failed = io::Error::other(Failed(cause));
    let events = run(|| {
        debug!(
            int = i64::MIN, small = 1_u8, large = u64::MAX, huge = i128::MAX, huger = u128::MAX, yes = true, half = 0.5,
            text = "t", shown = %"display", debugged = ?Some(1),
            error = &failed as &(dyn std::error::Error + 'static), message = 5
        );
    });
    let [log] = logs(&events).try_into().unwrap();
    assert_eq!(log["body"], json!(5));
    assert_eq!(
        log["attributes"],
        json!({"int": i64::MIN.to_string(), "small": 1, "large": u64::MAX.to_string(), "huge": i128::MAX.to_string(),
            "huger": u128::MAX.to_string(), "yes": true, "half": 0.5, "text": "t", "shown": "display",
            "debugged": "Some(1)", "error": "open: no file"})
    );
    assert_eq!(log["attributeTypes"], json!({"int": "int"}));
}

#[derive(Debug)]
struct Failed(io::Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("open")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A value whose text has no end.
struct Endless;

impl fmt::Debug for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            f.write_str("more and ")?;
        }
    }
}

/// Emits an event while it is formatted.
struct Talkative;

impl fmt::Debug for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("within");
        f.write_str("quiet")
    }
}

struct Broken;

impl fmt::Debug for Broken {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a value that cannot be formatted")
    }
}

#[test]
fn values_of_the_program_do_no_harm() {
    let program = Program::new();
    let events = program.run(|| {
        info!(value = ?Endless, "endless");
        info!(value = ?Broken, "broken");
        info!("on");
    });
    assert_eq!(places(&events), [("endless", ""), ("on", "")]);
    let [endless, ..] = &logs(&events)[..] else {
        panic!()
    };
    assert_eq!(endless["cut"], json!(["attributes.value"]));
    let kept = endless["attributes"]["value"].as_str().unwrap();
    assert_eq!(kept.len(), 16 * 1024);
    assert_eq!(
        program.live.status().dropped.other,
        1,
        "another number of events was dropped"
    );
}

/// Emits events while a span starts.
#[derive(Clone, Debug)]
struct LoggingSampler;

impl ShouldSample for LoggingSampler {
    fn should_sample(
        &self,
        _parent_context: Option<&Context>,
        _trace_id: opentelemetry::TraceId,
        name: &str,
        _span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        error!("sampling {name}");
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: opentelemetry::trace::TraceState::default(),
        }
    }
}

/// The environment variable that tells the child its role.
const CHILD: &str = "LIVESPAN_TEST_LAYER";

/// A program with a global subscriber. A layer may emit an event while `tracing` calls it; `tracing` delivers such an
/// event only to a global subscriber.
#[test]
fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let program = Program::with_sampler(LoggingSampler);
    tracing::subscriber::set_global_default(Registry::default().with(program.layer())).unwrap();
    info_span!("outer").in_scope(|| {
        let never = info_span!("never entered");
        info!(parent: &never, "in it");
        info!(value = ?Talkative, "around");
        info_span!("inner").in_scope(|| info!("inner"));
    });
    let events = program.events();
    println!("\n>{:?}\n>{:?}", places(&events), statuses(&events));
}

#[test]
fn a_program_that_logs_within_a_call_does_not_wait_for_ever() {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["init::tests::child", "--exact", "--nocapture"]);
    let mut child = command
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (done, is_done) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).unwrap();
        done.send(output).unwrap();
    });
    let output = is_done.recv_timeout(PATIENCE);
    if output.is_err() {
        child.kill().unwrap();
    }
    assert!(child.wait().unwrap().success());
    reading.join().unwrap();
    let output = output.unwrap();
    let output: Vec<&str> = output
        .lines()
        .filter_map(|line| line.strip_prefix('>'))
        .collect();
    let places = [
        ("sampling outer", ""),
        ("sampling never entered", "outer"),
        ("in it", "never entered"),
        ("within", "outer"),
        ("around", "outer"),
        ("sampling inner", "outer"),
        ("inner", "inner"),
    ];
    // The sampler emits its errors while a span is being started. Such an error sets no status.
    let statuses = [("inner", "OK"), ("never entered", "OK"), ("outer", "OK")];
    assert_eq!(output, [format!("{places:?}"), format!("{statuses:?}")]);
}

#[test]
fn events_with_suppressed_telemetry_are_not_shown() {
    let events = run(|| {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        error!("from our own threads");
    });
    assert_eq!(events, [] as [Json; 0]);
}

struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        info!("last words");
    }
}

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

#[test]
fn an_event_from_a_thread_local_destructor_does_no_harm() {
    let program = Program::new();
    let dispatch = Dispatch::new(Registry::default().with(program.layer()));
    for order in [0, 1] {
        let dispatch = dispatch.clone();
        let thread = thread::spawn(move || {
            let guard = tracing::dispatcher::set_default(&dispatch);
            if order == 0 {
                LAST_WORDS.set(Some(LastWords));
            }
            info!("first words");
            LAST_WORDS.set(Some(LastWords));
            #[expect(
                clippy::mem_forget,
                reason = "the default subscriber of this thread stays until the thread ends"
            )]
            std::mem::forget(guard);
        });
        thread.join().unwrap();
    }
    let events = program.events();
    let logged = places(&events);
    assert_eq!(
        logged
            .iter()
            .filter(|logged| **logged == ("first words", ""))
            .count(),
        2
    );
    assert_eq!(program.live.status().dropped.other, 0);
}

#[test]
fn levels_have_the_numbers_of_opentelemetry() {
    let events = run(|| {
        event!(Level::TRACE, "1");
        event!(Level::DEBUG, "5");
        event!(Level::INFO, "9");
        event!(Level::WARN, "13");
        event!(Level::ERROR, "17");
    });
    let numbers: Vec<_> = logs(&events)
        .iter()
        .map(|log| {
            (
                log["body"].as_str().unwrap().to_owned(),
                log["severityNumber"].to_string(),
            )
        })
        .collect();
    assert!(
        numbers.iter().all(|(body, number)| body == number),
        "{numbers:?}"
    );
}
