//! Tests of `livespan open`.

use std::fs;

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::{
    program,
    support::{Folder, Running, get, livespan, output, stored},
};

/// Returns the names of the traces at this address, each with the number of its open spans.
fn traces(url: &str) -> Vec<(String, u64)> {
    let (status, body) = get(url, "/traces");
    assert_eq!(status, 200, "{body}");
    let page: Json = serde_json::from_str(&body).unwrap();
    let traces = page["traces"].as_array().unwrap().iter();
    traces
        .map(|trace| {
            let name = trace["name"].as_str().unwrap_or_default().to_owned();
            (name, trace["spans"]["open"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn a_store_and_its_events_as_lines_are_shown() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command.args(["run", "--addr", "127.0.0.1:0", "--store", "log.db"]);
    assert_eq!(output(command.args(program::command("short"))).0, Some(0));
    let (opened, url) = Running::serve(livespan(&home).args(["open", "log.db"]));
    let names = ["env LIVESPAN_TEST_TASK=short", "outer"].map(|name| (name.to_owned(), 0));
    let mut shown = traces(&url);
    shown.sort();
    assert_eq!(shown, names);
    opened.signal(Signal::INT);
    assert_eq!(opened.wait().code(), Some(130));

    let events = stored(&home.path().join("log.db"));
    let lines: Vec<String> = events.iter().map(Json::to_string).collect();
    let text = lines.join("\n") + "\n\nno event\n";
    fs::write(home.path().join("log.jsonl"), text).unwrap();
    let (mut opened, url) =
        Running::serve(livespan(&home).args(["open", "--no-browser", "log.jsonl"]));
    let mut shown = traces(&url);
    shown.sort();
    assert_eq!(shown, names);
    opened.signal(Signal::TERM);
    let count = events.len() + 2;
    let expected = format!(
        "livespan: left out of log.jsonl: lines that cannot be read (1); line {count}: not JSON: expected ident at \
         line 1 column 2"
    );
    assert_eq!(opened.stderr.rest(), [expected]);
}

#[test]
fn a_file_of_a_collector_is_shown_compressed_or_not_and_omissions_are_reported() {
    let home = Folder::new();
    let span = r#"{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"import","startTimeUnixNano":"1795347540000000000","endTimeUnixNano":"1795347541000000000"}"#;
    let text = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{span}]}}]}}]}}\n\
         {{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{}},{{}}]}}]}}]}}\n"
    );
    fs::write(home.path().join("traces.json"), text).unwrap();
    let packed = std::process::Command::new("gzip")
        .arg("--keep")
        .arg(home.path().join("traces.json"))
        .status();
    assert!(packed.unwrap().success());
    for name in ["traces.json", "traces.json.gz"] {
        let (mut opened, url) = Running::serve(livespan(&home).args(["open", name]));
        assert_eq!(traces(&url), [("import".to_owned(), 0)]);
        let message = format!("left out of {name}: metrics (2)");
        let (_, body) = get(&url, "/logs");
        let page: Json = serde_json::from_str(&body).unwrap();
        let bodies: Vec<&Json> = page["logs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|log| &log["body"])
            .collect();
        assert_eq!(bodies, [&Json::from(message.as_str())]);
        opened.signal(Signal::TERM);
        assert_eq!(opened.stderr.rest(), [format!("livespan: {message}")]);
    }
}

#[test]
fn spans_that_are_open_at_the_end_of_a_file_are_lost() {
    let home = Folder::new();
    let line = r#"{"type":"started","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","parentSpanId":null,"name":"import","kind":"INTERNAL","process":"p7f3k2aa","service":"shop","scope":"","attributes":{},"timestamp":"2026-11-22T11:39:00.123456789Z"}"#;
    fs::write(home.path().join("log.jsonl"), line).unwrap();
    let (_opened, url) = Running::serve(livespan(&home).args(["open", "log.jsonl"]));
    while traces(&url) != [("import".to_owned(), 0)] {
        std::thread::yield_now();
    }
    // The span ends at the time of the file's last event, and not now.
    let (_, body) = get(&url, "/traces");
    let page: Json = serde_json::from_str(&body).unwrap();
    let time = "2026-11-22T11:39:00.123456789Z";
    assert_eq!(page["traces"][0]["endTimestamp"], time);
}

#[test]
fn a_file_that_cannot_be_opened_is_refused_with_a_reason() {
    let home = Folder::new();
    fs::write(home.path().join("empty"), "\n").unwrap();
    fs::write(home.path().join("text"), "hello\nworld\n").unwrap();
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{}]}]}]}"#;
    fs::write(home.path().join("metrics"), metrics).unwrap();
    fs::write(
        home.path().join("other.db"),
        b"SQLite format 3\0 and no more",
    )
    .unwrap();
    for (file, message) in [
        (
            "missing",
            "failed to open missing: No such file or directory (os error 2)",
        ),
        (
            "empty",
            "failed to open empty: the file is empty (a file is a store of livespan, its events, OTLP/JSON, or the JSON \
             of Jaeger, Tempo or Zipkin)",
        ),
        (
            "text",
            "failed to open text: line 1: not JSON: expected value at line 1 column 1 (a file is a store of livespan, its \
             events, OTLP/JSON, or the JSON of Jaeger, Tempo or Zipkin)",
        ),
        (
            "metrics",
            "failed to open metrics: it has no spans; it has metrics (1)",
        ),
    ] {
        let (code, stdout, stderr) = output(livespan(&home).args(["open", file]));
        assert_eq!(
            (code, stdout.as_str(), stderr),
            (Some(1), "", format!("livespan: {message}\n"))
        );
    }
    assert_eq!(
        output(livespan(&home).args(["open", "other.db"])).0,
        Some(1)
    );
}
