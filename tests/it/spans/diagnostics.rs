//! The diagnostics of a failing log. A subscriber is global to a process, so this runs in a
//! separate process: this test binary again, with `child` as its only test.

use std::{env, fmt::Write as _, process::Command, sync::Mutex};

use livespan::{Error, LiveSpans, Retention};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    Layer, layer::Context, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    spans::live_provider::GatedStore,
    support::{PATIENCE, until},
};

/// The environment variable that gives the child its role.
const ROLE: &str = "LIVESPAN_TEST_WARNED";

/// The diagnostics, one per line.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() == "livespan" {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            WARNINGS.lock().unwrap().push(line.0);
        }
    }
}

#[test]
fn child() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    tracing_subscriber::registry().with(Listener).init();
    let (store, gate) = GatedStore::new(Retention::default());
    gate.before_append(|| {
        Err(Error::store(
            "append",
            std::io::Error::other("the disk is full"),
        ))
    });
    let live = LiveSpans::builder().store(store).build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("work");
    for _ in 0..3 {
        tracer.start("work").end();
        // The store fails each time.
        live.target().flush(PATIENCE).unwrap_err();
    }
    gate.before_append(|| Ok(()));
    until(|| {
        tracer.start("work").end();
        live.target().flush(PATIENCE).is_ok()
    });
    #[cfg(feature = "http")]
    guess();
    println!("\n>{}", WARNINGS.lock().unwrap().join("\n>"));
}

/// Sends requests with guessed tokens.
#[cfg(feature = "http")]
fn guess() {
    let auth = livespan::Auth::token("hush");
    let live = LiveSpans::builder().auth(auth).build().unwrap();
    for token in ["a", "b", "c"] {
        let request = http::Request::builder()
            .uri("/status")
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(live.router(), request);
        assert_eq!(crate::support::block_on(answer).unwrap().status(), 401);
    }
}

#[test]
fn each_diagnostic_is_reported_once_in_the_sdks_own_log() {
    let mut command = Command::new(env::current_exe().unwrap());
    let arguments = [
        "spans::diagnostics::child",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ];
    let output = command.args(arguments).env(ROLE, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let written = String::from_utf8(output.stdout).unwrap();
    let warnings: Vec<&str> = written
        .lines()
        .filter_map(|line| line.strip_prefix('>'))
        .collect();
    let [fails, dropped, guessed @ ..] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert_eq!(
        guessed.len(),
        usize::from(cfg!(feature = "http")),
        "{warnings:?}"
    );
    assert!(
        guessed
            .iter()
            .all(|line| line.starts_with("WARN name=\"Livespan.WrongCredentials\" ")),
        "{warnings:?}"
    );
    assert!(
        fails.starts_with("WARN name=\"Livespan.StoreFails\" "),
        "{fails}"
    );
    assert!(fails.contains("the disk is full"), "{fails}");
    assert!(
        dropped.starts_with("WARN name=\"Livespan.Dropped\" "),
        "{dropped}"
    );
}
