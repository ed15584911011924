//! Tests of `livespan run`: the command keeps its input, output, signals and exit code, and
//! livespan prints one line.

use std::{collections::BTreeMap, io::Write as _, process::Stdio};

use rustix::process::Signal;

use crate::support::{Folder, Running, livespan, output, stored};

const FREE: [&str; 3] = ["run", "--addr", "127.0.0.1:0"];

#[test]
fn the_command_keeps_its_output_and_its_exit_code() {
    let home = Folder::new();
    for (script, code) in [
        ("echo out; echo err >&2; exit 7", 7),
        ("echo out; echo err >&2; kill -TERM $$", 143),
        ("echo out; echo err >&2", 0),
    ] {
        let (exit, stdout, stderr) = output(livespan(&home).args(FREE).args(["sh", "-c", script]));
        assert_eq!((exit, stdout.as_str()), (Some(code), "out\n"), "{stderr}");
        let lines: Vec<_> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(
            lines[0].starts_with("livespan dashboard: http://127.0.0.1:"),
            "{stderr}"
        );
        assert_eq!(lines[1], "err");
    }
}

#[test]
fn a_command_that_cannot_be_run_has_the_exit_codes_of_a_shell() {
    let home = Folder::new();
    for (command, code) in [("no-such-command", 127), ("/", 126)] {
        let (exit, stdout, stderr) = output(livespan(&home).args(FREE).args(["--", command]));
        assert_eq!((exit, stdout.as_str()), (Some(code), ""));
        let last = stderr.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("livespan: failed to run {command}: ")),
            "{last}"
        );
    }
    let (exit, _, stderr) = output(livespan(&home).args(FREE));
    assert_eq!(exit, Some(2), "{stderr}");
}

#[test]
fn standard_input_reaches_the_command() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command.args(FREE).arg("cat").stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    running
        .child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    assert_eq!(running.stdout.rest(), ["one", "two"]);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn signals_reach_the_command_and_what_it_started() {
    let home = Folder::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::USR1, "USR1"),
    ] {
        // The inner shell stands in for a program that the command starts.
        let inner =
            format!("trap 'echo inner; exit 0' {name}; echo ready; while :; do sleep 0.05; done");
        let outer = format!("trap 'echo outer; exit 3' {name}; sh -c \"$INNER\"");
        let mut command = livespan(&home);
        command
            .args(FREE)
            .args(["sh", "-c", &outer])
            .env("INNER", inner);
        let mut running = Running::start(&mut command);
        assert_eq!(running.stdout.next().as_deref(), Some("ready"));
        running.signal(signal);
        assert_eq!(running.stdout.rest(), ["inner", "outer"], "{name}");
        assert_eq!(running.wait().code(), Some(3), "{name}");
    }
}

#[test]
fn the_command_gets_variables_and_keeps_those_of_the_user() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command
        .env("OTEL_BSP_SCHEDULE_DELAY", "7")
        .env("OTEL_TRACES_EXPORTER", "console");
    let (code, stdout, stderr) = output(command.args(FREE).args(["--name", "shop", "env"]));
    assert_eq!(code, Some(0), "{stderr}");
    let line = stderr.lines().next().unwrap();
    let url = line
        .strip_prefix("livespan dashboard: ")
        .and_then(|line| line.strip_suffix(" (as you set them: OTEL_TRACES_EXPORTER)"))
        .unwrap();
    let mut variables: BTreeMap<&str, &str> = stdout
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| {
            ["OTEL_", "LIVESPAN_", "TRACEPARENT"]
                .iter()
                .any(|one| name.starts_with(one))
        })
        .collect();
    let join = variables.remove("LIVESPAN_JOIN").unwrap();
    assert!(
        join.starts_with("http://127.0.0.1:") && join != url,
        "{join}"
    );
    assert_eq!(variables.remove("LIVESPAN_JOIN_TOKEN").unwrap().len(), 32);
    let parent = variables.remove("TRACEPARENT").unwrap();
    assert_eq!(
        (parent.len(), &parent[..3], &parent[52..]),
        (55, "00-", "-01")
    );
    let expected = BTreeMap::from([
        ("LIVESPAN_URL", url),
        ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "7"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.trim_end_matches('/')),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
    ]);
    assert_eq!(variables, expected);
}

#[test]
fn the_command_is_a_span_that_ends_with_it() {
    let home = Folder::new();
    let store = home.path().join("log.db");
    let mut command = livespan(&home);
    command
        .args(FREE)
        .args(["--store", "log.db", "--", "sh", "-c", "exit 7"]);
    let outer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(output(command.env("TRACEPARENT", outer)).0, Some(7));
    let events = stored(&store);
    let facts: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap(),
                event["name"].as_str().unwrap(),
                event["traceId"].as_str().unwrap(),
                event["parentSpanId"].as_str().unwrap(),
                event["status"]["message"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let ids = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    assert_eq!(
        facts,
        [
            ("started", "sh", ids.0, ids.1, ""),
            (
                "ended",
                "sh",
                ids.0,
                ids.1,
                "the command ended with exit code 7"
            ),
        ]
    );
    let arguments = serde_json::json!(["sh", "-c", "exit 7"]);
    assert_eq!(events[0]["attributes"]["process.command_args"], arguments);
}

#[test]
fn the_page_stays_after_the_end_if_asked() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command.args([
        "run",
        "--keep",
        "--addr",
        "127.0.0.1:0",
        "sh",
        "-c",
        "exit 5",
    ]);
    let mut running = Running::start(&mut command);
    let line = running.stderr.next().unwrap();
    let url = line
        .strip_prefix("livespan dashboard: ")
        .unwrap()
        .to_owned();
    let expected = "livespan: the command ended with exit code 5; the page stays until Ctrl-C";
    assert_eq!(running.stderr.next().as_deref(), Some(expected));
    assert_eq!(crate::support::get(&url, "/status").0, 200);
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), Some(5));
}

#[test]
fn a_program_in_any_language_sends_to_the_page_with_its_token() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command
        .env("LIVESPAN_TOKEN", "a-long-random-text")
        .args(FREE)
        .args(["--store", "log.db"])
        .args(crate::program::command("send"));
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let events = stored(&home.path().join("log.db"));
    let sent: Vec<_> = events
        .iter()
        .filter(|event| event["name"] == "sent")
        .map(|event| {
            (
                event["type"].as_str().unwrap(),
                event["service"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(sent, [("started", "shop"), ("ended", "shop")]);
}
