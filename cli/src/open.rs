//! `livespan open`: serves the page on a file. It reads a SQLite store in place, even while another
//! process writes it. It reads any other file into memory with [`ImportedFile`] and never changes
//! the file.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::Path,
    process::{ExitCode, Stdio},
    time::SystemTime,
};

use livespan::{LiveSpans, Retention, SqliteEventStore, otlp::ImportedFile, span::EncodedEvent};

use crate::{
    args::{OpenOptions, ServeOptions},
    console,
    failure::{Failure, with_causes},
    serve::{self, Addresses},
    signals::Signals,
};

/// The first bytes of a SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Number of events dispatched together.
const BATCH_EVENTS: usize = 4_096;
/// Upper bound on an event's memory besides its payload.
const EVENT_OVERHEAD: usize = 256;
/// The default address: any free port.
const ADDRESS: &str = "127.0.0.1:0";
/// The accepted kinds of file.
const ACCEPTED: &str =
    "a store of livespan, its events, OTLP/JSON, or the JSON of Jaeger, Tempo or Zipkin";

/// Serves the page on the file until a signal ends it.
pub(crate) async fn run(options: OpenOptions) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let shown = options.file.display().to_string();
    let mut file =
        File::open(&options.file).map_err(|error| Failure::of(&format!("open {shown}"), &error))?;
    let mut head = Vec::new();
    file.by_ref()
        .take(SQLITE.len() as u64)
        .read_to_end(&mut head)
        .map_err(|error| Failure::of(&format!("read {shown}"), &error))?;
    drop(file);
    let live = if head == SQLITE {
        store(&options.file).await?
    } else {
        import(&options.file).await?
    };
    let serve_options = ServeOptions {
        addr: Some(options.addr.unwrap_or_else(|| ADDRESS.to_owned())),
        auth_token: None,
        ..ServeOptions::default()
    };
    let addresses = Addresses::bind_page(&live, &serve_options).await?;
    let url = addresses.page_url()?;
    console::print(&format!("livespan dashboard: {url}"));
    if !options.no_browser && io::stdout().is_terminal() {
        open_browser(&url);
    }
    let code = signals.next().await;
    tokio::select! {
        ended = serve::end(live, &addresses) => ended.map(|()| code),
        _again = signals.next() => Ok(code),
    }
}

/// Opens a store for reading.
async fn store(file: &Path) -> Result<LiveSpans, Failure> {
    let builder = LiveSpans::builder().store(SqliteEventStore::new(file).read_only());
    built(builder, file).await
}

async fn built(builder: livespan::LiveSpansBuilder, file: &Path) -> Result<LiveSpans, Failure> {
    let tried = format!("open {}", file.display());
    match tokio::task::spawn_blocking(move || builder.build()).await {
        Ok(Ok(live)) => Ok(live),
        Ok(Err(error)) => Err(Failure::of(&tried, &error)),
        Err(panic) => Err(Failure::of(&tried, &panic)),
    }
}

/// Reads a file into a log in memory.
async fn import(file: &Path) -> Result<LiveSpans, Failure> {
    let shown = file.display();
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let file = File::open(&path).map_err(|error| with_causes(&error))?;
        ImportedFile::read(file).map_err(|error| with_causes(&error))
    });
    let imported = match reading.await {
        Ok(Ok(imported)) => imported,
        Ok(Err(why)) => {
            let message = format!("failed to open {shown}: {why} (a file is {ACCEPTED})");
            return Err(Failure::new(message));
        }
        Err(panic) => return Err(Failure::of("read the file", &panic)),
    };
    let left_out = left_out(&imported);
    if imported.events().is_empty() {
        let why = left_out.map_or_else(
            || "it has no spans".to_owned(),
            |left_out| format!("it has no spans; it has {left_out}"),
        );
        return Err(Failure::new(format!("failed to open {shown}: {why}")));
    }
    let bytes = imported
        .events()
        .iter()
        .map(|event| event.payload().len() + EVENT_OVERHEAD);
    let retention = Retention::default()
        .events(imported.events().len().max(1_000) * 2)
        .bytes(bytes.sum::<usize>().max(1 << 20) * 2);
    let live = built(LiveSpans::builder().retention(retention), file).await?;
    let failed = |error: &livespan::Error| Failure::of("show the file", error);
    let mut processes = std::collections::BTreeSet::new();
    for batch in imported.events().chunks(BATCH_EVENTS) {
        let stored = live.encoded_target().dispatch_all(batch).await;
        stored.map_err(|error| failed(&error))?;
        processes.extend(batch.iter().filter_map(EncodedEvent::process));
    }
    // No more events come from a file, so no span in it is running.
    let last = imported
        .events()
        .iter()
        .filter_map(EncodedEvent::time)
        .max();
    let last = last.unwrap_or_else(SystemTime::now);
    for process in processes {
        live.end_process(process, last)
            .await
            .map_err(|error| failed(&error))?;
    }
    if let Some(left_out) = left_out {
        let message = format!("left out of {shown}: {left_out}");
        console::print_message(&message);
        let note = left_out_note(&message, imported.events());
        let stored = live.encoded_target().dispatch_all(&note).await;
        stored.map_err(|error| failed(&error))?;
    }
    Ok(live)
}

/// Describes the omitted items of a file, and the problem in the first omitted line. Returns `None` if nothing was
/// omitted.
fn left_out(imported: &ImportedFile) -> Option<String> {
    let counts: Vec<String> = imported
        .left_out()
        .map(|(what, count)| format!("{what} ({count})"))
        .collect();
    let problem = imported.first_problem();
    let problem = problem.map_or_else(String::new, |problem| format!("; {problem}"));
    (!counts.is_empty()).then(|| counts.join(", ") + &problem)
}

/// Returns a log record that reports the omitted items on the page. It has the latest time in the file, so it comes
/// first in the list.
fn left_out_note(message: &str, events: &[EncodedEvent]) -> Vec<EncodedEvent> {
    let newest = |event: &&EncodedEvent| event.time();
    let last = events.iter().max_by_key(newest);
    let payload = last.and_then(|event| {
        let event: serde_json::Value = serde_json::from_str(event.payload()).ok()?;
        let note = serde_json::json!({
            "type": "log",
            "traceId": null,
            "spanId": null,
            "process": event.get("process")?,
            "service": "livespan open",
            "severityNumber": 13,
            "severityText": "WARN",
            "body": message,
            "attributes": {},
            "timestamp": event.get("timestamp")?,
        });
        EncodedEvent::new(note.to_string()).ok()
    });
    payload.into_iter().collect()
}

/// Opens the address in the user's browser. Without a browser, the user still has the printed
/// address.
fn open_browser(url: &str) {
    let (program, first): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let browser = tokio::process::Command::new(program)
        .args(first)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    drop(browser);
}
