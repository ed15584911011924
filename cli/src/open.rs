//! `livespan open`: serves the page on a file. A SQLite store is read as it is, also while another process writes it.
//! The events of a file of JSON lines are read into memory, and nothing of the file changes.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _},
    path::Path,
    process::{ExitCode, Stdio},
};

use livespan::{LiveSpans, Retention, SqliteEventStore, span::EncodedEvent};

use crate::{
    args::{OpenOptions, ServeOptions},
    console,
    failure::{Failure, with_causes},
    serve::{self, Addresses},
    signals::Signals,
};

/// The first bytes of a SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Upper bound on a file that is read into memory: 1 GiB.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Upper bound on a line. An event has at most 256 KiB.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Events that are dispatched together.
const BATCH_EVENTS: usize = 4_096;
/// Bytes that an event takes in memory besides its payload, at most.
const EVENT_OVERHEAD: usize = 256;
/// The address, unless the user names one: any free port.
const ADDRESS: &str = "127.0.0.1:0";

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
        lines(&options.file).await?
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
        ended = serve::end(live) => ended.map(|()| code),
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

/// What a file of lines has.
#[derive(Debug, Default)]
struct Contents {
    events: Vec<EncodedEvent>,
    lines: u64,
    left_out: u64,
    /// Why the first line was left out.
    first_problem: Option<String>,
}

/// Reads a file of JSON lines into a log in memory.
async fn lines(file: &Path) -> Result<LiveSpans, Failure> {
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_lines(&path));
    let contents = match reading.await {
        Ok(contents) => contents?,
        Err(panic) => return Err(Failure::of("read the file", &panic)),
    };
    let shown = file.display();
    if contents.events.is_empty() {
        let why = contents.first_problem.map_or_else(
            || "it is empty".to_owned(),
            |problem| format!("it has no event of livespan: {problem}"),
        );
        return Err(Failure::new(format!("failed to open {shown}: {why}")));
    }
    if let Some(problem) = &contents.first_problem {
        let (left_out, lines) = (contents.left_out, contents.lines);
        console::say(&format!(
            "{left_out} of {lines} lines are left out: {problem}"
        ));
    }
    let bytes = contents
        .events
        .iter()
        .map(|event| event.payload().len() + EVENT_OVERHEAD);
    let retention = Retention::default()
        .events(contents.events.len().max(1_000) * 2)
        .bytes(bytes.sum::<usize>().max(1 << 20) * 2);
    let live = built(LiveSpans::builder().retention(retention), file).await?;
    let failed = |error: &livespan::Error| Failure::of("show the file", error);
    let mut processes = std::collections::BTreeSet::new();
    for batch in contents.events.chunks(BATCH_EVENTS) {
        let stored = live.encoded_target().dispatch_all(batch).await;
        stored.map_err(|error| failed(&error))?;
        processes.extend(batch.iter().filter_map(EncodedEvent::process));
    }
    // Nothing more comes from a file, so nothing in it is running.
    let last = contents.events.iter().filter_map(EncodedEvent::time).max();
    let last = last.unwrap_or_else(std::time::SystemTime::now);
    for process in processes {
        live.end_process(process, last)
            .await
            .map_err(|error| failed(&error))?;
    }
    Ok(live)
}

fn read_lines(path: &Path) -> Result<Contents, Failure> {
    let failed = |error: &io::Error| Failure::of(&format!("read {}", path.display()), error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let length = file.metadata().map_err(|error| failed(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::new(format!(
            "{} has {length} bytes, which is more than {FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let mut reader = BufReader::new(file.take(FILE_BYTES_MAX));
    let mut contents = Contents::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line);
        if read.map_err(|error| failed(&error))? == 0 {
            return Ok(contents);
        }
        contents.lines += 1;
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        let event = if is_whole {
            event_of(&line)
        } else {
            reader.skip_until(b'\n').map_err(|error| failed(&error))?;
            Err(format!("it is longer than {LINE_BYTES_MAX} bytes"))
        };
        match event {
            Ok(event) => contents.events.extend(event),
            Err(problem) => {
                contents.left_out += 1;
                let problem = format!("line {}: {problem}", contents.lines);
                contents.first_problem.get_or_insert(problem);
            }
        }
    }
}

/// Returns the event of a line; `None` if the line is blank.
fn event_of(line: &[u8]) -> Result<Option<EncodedEvent>, String> {
    let text = std::str::from_utf8(line)
        .map_err(|error| error.to_string())?
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    EncodedEvent::new(text)
        .map(Some)
        .map_err(|error| with_causes(&error))
}

/// Opens the address in the user's browser. If there is none, the address is on the screen.
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
