//! The SSE core alone: an import job reports its progress to a web page, without spans and without OpenTelemetry.
//!
//! ```text
//! cargo run --release --example progress
//! ```
//!
//! Reload the page in the middle of an import, or cut the network. The page still shows the progress, because the log
//! replays the events that the browser missed.

use std::error::Error;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use livespan::{
    MemoryEventStore, SseEvent, SseTarget,
    sse::{StreamKey, Subscribe},
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task;

const CHUNKS: u32 = 200;
const ROWS_PER_CHUNK: u32 = 1_000_000;
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Import</title>
<button>Import</button> <progress max="1" value="0"></progress> <output></output>
<script type="module">
  const [button, bar, output] = document.querySelectorAll("button, progress, output");
  const follow = (job) => {
    const source = new EventSource(`jobs/${job}/events`);
    source.addEventListener("progress", (event) => {
      const { done, total, phase } = JSON.parse(event.data);
      bar.value = done / total;
      output.textContent = `${phase}: ${done} of ${total}`;
      if (phase === "finished") source.close();
    });
  };
  button.onclick = async () => {
    location.hash = await (await fetch("jobs", { method: "POST" })).json();
    follow(location.hash.slice(1));
  };
  if (location.hash) follow(location.hash.slice(1));
</script>
"#;

/// A progress report of a job.
#[derive(Serialize)]
struct Progress {
    job: u32,
    done: u32,
    total: u32,
    phase: &'static str,
}

impl SseEvent for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn stream_key(&self) -> Option<StreamKey> {
        stream_of(self.job)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        // This cannot fail: numbers and fixed words serialize without an error, and a `Vec` accepts every write.
        serde_json::to_writer(out, self).ok();
    }
}

/// Returns the stream of a job. Each job has its own stream, so readers receive only the events of their job.
fn stream_of(job: u32) -> Option<StreamKey> {
    StreamKey::new(format!("job-{job}")).ok()
}

#[derive(Clone)]
struct App {
    events: SseTarget<Progress>,
    jobs: Arc<AtomicU32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let events = SseTarget::builder()
        .store(MemoryEventStore::new())
        .build()?;
    let app = App {
        events: events.clone(),
        jobs: Arc::default(),
    };
    let router = Router::new()
        .route("/", get(Html(PAGE)))
        .route("/jobs", post(start))
        .route("/jobs/{job}/events", get(follow))
        .with_state(app);
    let listener = TcpListener::bind(address()?).await?;
    println!("progress: http://{}/", listener.local_addr()?);
    let streams = events.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            tokio::signal::ctrl_c().await.ok();
            // Open streams would delay the shutdown as long as browsers stay connected.
            streams.end_streams();
        })
        .await?;
    events.shutdown(SHUTDOWN_TIMEOUT)?;
    Ok(())
}

async fn start(State(app): State<App>) -> Json<u32> {
    let job = app.jobs.fetch_add(1, Ordering::Relaxed) + 1;
    task::spawn(import(app.events, job));
    Json(job)
}

async fn follow(
    State(app): State<App>,
    Path(job): Path<u32>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let known = (1..=app.jobs.load(Ordering::Relaxed)).contains(&job);
    match stream_of(job).filter(|_| known) {
        Some(stream) => app
            .events
            .respond(Subscribe::to(stream), &headers, &uri)
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Checks all rows, and reports the progress.
async fn import(events: SseTarget<Progress>, job: u32) {
    let reports = events.clone();
    let checked = task::spawn_blocking(move || {
        let mut checksum = 0;
        for chunk in 0..CHUNKS {
            let progress = Progress {
                job,
                done: chunk,
                total: CHUNKS,
                phase: "checking rows",
            };
            match reports.try_dispatch(&progress) {
                Err(error) if error.is_closed() => return None,
                // A report that finds no room may be dropped, because the next one supersedes it.
                Ok(()) | Err(_) => checksum ^= check(job, chunk),
            }
        }
        Some(checksum)
    });
    if let Ok(Some(_checksum)) = checked.await {
        // The last report must arrive, so this waits for room.
        let last = Progress {
            job,
            done: CHUNKS,
            total: CHUNKS,
            phase: "finished",
        };
        if let Err(error) = events.dispatch(&last).await {
            eprintln!("progress: job {job}: {error}");
        }
    }
}

/// The work of the import: checks every row of a chunk.
fn check(job: u32, chunk: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in 0..ROWS_PER_CHUNK {
        (job, chunk, row).hash(&mut hasher);
    }
    hasher.finish()
}

/// Reads `--addr HOST:PORT`. The default is any free port of this machine.
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
