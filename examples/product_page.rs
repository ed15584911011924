//! A product's own page that shows its users the progress of *their* jobs: one trace, behind the
//! app's own route and login.
//!
//! ```text
//! cargo run --release --example product_page
//! ```
//!
//! The job is instrumented with `tracing`, like any code. The page needs twenty lines of
//! JavaScript. The app serves no dashboard. A user sees only their own trace, and only the parts of
//! it that the view allows.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use livespan::{LiveSpans, TraceId, View};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{self, JoinError};
use tracing::{Instrument as _, info_span, instrument};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const MONTHS: u32 = 24;
const BOOKINGS_PER_MONTH: u32 = 20_000_000;

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Your report</title>
<button>Make my report</button> <progress max="1" value="0"></progress> <output></output>
<script type="module">
  const [button, bar, output] = document.querySelectorAll("button, progress, output");
  button.onclick = async () => {
    const { progress, steps } = await (await fetch("jobs", { method: "POST" })).json();
    let done = 0, outcome = "finished";
    const source = new EventSource(progress);
    source.addEventListener("started", ({ data }) => {
      output.textContent = `${JSON.parse(data).name} …`;
    });
    source.addEventListener("ended", ({ data }) => {
      const span = JSON.parse(data);
      if (span.status.code === "ERROR") outcome = `failed: ${span.status.message}`;
      if (span.name === "add up month") bar.value = ++done / steps;
    });
    source.addEventListener("end", ({ data }) => {
      if (JSON.parse(data).reason !== "complete") return; // the browser reconnects by itself
      source.close();
      output.textContent = outcome;
    });
  };
</script>
"#;

#[derive(Clone)]
struct App {
    live: LiveSpans,
    /// The part of a job that its user sees: its steps and the message of a failure.
    view: View,
    /// The owner of each job. A real product stores this with its jobs.
    owners: Arc<Mutex<HashMap<TraceId, String>>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let live = LiveSpans::builder().build()?;
    let provider = live.tracer_provider(SdkTracerProvider::builder());
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("product")))
        .try_init()?;
    let app = App {
        live: live.clone(),
        view: View::new(|span| matches!(span.name(), "make report" | "add up month"))
            .status_messages(),
        owners: Arc::default(),
    };
    let router = Router::new()
        .route("/", get(page))
        .route("/jobs", post(start))
        .route("/jobs/{trace}/progress", get(progress))
        .with_state(app);
    let listener = TcpListener::bind(address()?).await?;
    println!("product page: http://{}/", listener.local_addr()?);
    let streams = live.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            shutdown_signal().await;
            // Open streams would delay the shutdown as long as browsers stay connected.
            streams.end_streams();
        })
        .await?;
    // Shut down after the server, because requests in flight still end their spans.
    let exported = provider.shutdown();
    live.shutdown()?;
    exported?;
    Ok(())
}

/// Waits for Ctrl-C, or for the signal of a service manager.
async fn shutdown_signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminated) = signal(SignalKind::terminate()) {
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    interrupted.await.ok();
}

/// Serves the page. The first visit begins a session.
async fn page(headers: HeaderMap) -> Response {
    match session(&headers) {
        Some(_) => Html(PAGE).into_response(),
        None => ([(SET_COOKIE, new_session())], Html(PAGE)).into_response(),
    }
}

/// Starts a job for the requesting session. Returns the address of its progress.
async fn start(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let session = session(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let job = info_span!(parent: None, "make report", months = i64::from(MONTHS));
    // The job's trace id is known before its first step starts.
    let trace = job
        .in_scope(livespan::current_trace_id)
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    app.owners
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(trace, session.to_owned());
    task::spawn(make_report().instrument(job));
    Ok(Json(
        json!({ "progress": format!("jobs/{trace}/progress"), "steps": MONTHS }),
    ))
}

/// Streams one job, to its owner only.
async fn progress(
    State(app): State<App>,
    Path(trace): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, StatusCode> {
    let trace = trace.parse::<TraceId>().or(Err(StatusCode::NOT_FOUND))?;
    let session = session(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let owner = app
        .owners
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&trace)
        .cloned();
    match owner {
        Some(owner) if owner == session => Ok(app
            .live
            .respond(trace, &app.view, &headers, &uri)
            .into_response()),
        // The same response for another user's job and for an unknown one, so that nobody can probe
        // for ids.
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// The user's job: adds up the bookings of each month.
async fn make_report() {
    let mut total = 0_u64;
    for month in 1..=MONTHS {
        match add_up(month).await {
            Ok(sum) => total = total.wrapping_add(sum),
            // Recorded on the job's own span, so that the page shows it.
            Err(error) => return tracing::error!(%error),
        }
    }
    tracing::info!(checksum = format!("{total:016x}"), "report is ready");
}

// The number is signed, because `tracing-opentelemetry` writes unsigned ones as text.
#[instrument(name = "add up month", err, skip_all, fields(month = i64::from(month)))]
async fn add_up(month: u32) -> Result<u64, JoinError> {
    task::spawn_blocking(move || {
        let mut sum = DefaultHasher::new();
        (0..BOOKINGS_PER_MONTH).for_each(|booking| (month, booking).hash(&mut sum));
        sum.finish()
    })
    .await
}

/// Returns the session of a request, from its cookie. A real product uses its own login here.
fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix("session="))
}

/// Returns a cookie with a session id that nobody can guess: hashes whose keys the standard library
/// draws from the system.
fn new_session() -> String {
    let [high, low] = [(); 2].map(|()| RandomState::new().hash_one("session"));
    format!("session={high:016x}{low:016x}; Path=/; HttpOnly; SameSite=Strict")
}

/// Reads `--addr HOST:PORT`. The default is any free port on the loopback address.
fn address() -> Result<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => Ok("127.0.0.1:0".to_owned()),
        ["--addr", address] => Ok((*address).to_owned()),
        _ => Err("the only option is --addr HOST:PORT".to_owned()),
    }
}
