//! A program with `livespan::init()`. It is an ignored test: the other tests start their own test
//! binary, filtered to this test.

use std::{
    env,
    ffi::OsString,
    io::{Read as _, Write as _},
};

use crate::support::request;

/// The environment variable that names the program's task.
const TASK: &str = "LIVESPAN_TEST_TASK";

/// Returns a command line that runs the program through `env`, which sets its task.
pub(crate) fn command(task: &str) -> Vec<OsString> {
    let program = env::current_exe().unwrap();
    let task = OsString::from(format!("{TASK}={task}"));
    let words = [
        "--exact",
        "program::joins",
        "--ignored",
        "--nocapture",
        "--quiet",
    ];
    let words = words.into_iter().map(OsString::from);
    [OsString::from("env"), task, program.into()]
        .into_iter()
        .chain(words)
        .collect()
}

/// Number of spans that the task `many` makes.
pub(crate) const MANY: usize = 4_000;

/// The request that the task `send` sends.
const OTLP: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
    "scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"sent",
    "kind":1,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000001000000000"}]}]}]}"#;

#[test]
#[ignore = "the other tests start it"]
fn joins() {
    let guard = livespan::init().unwrap();
    match env::var(TASK).unwrap().as_str() {
        "short" => {
            let _outer = tracing::info_span!("outer").entered();
            let _inner = tracing::info_span!("inner", rows = 3).entered();
        }
        "many" => {
            let _root = tracing::info_span!("root").entered();
            for number in 0..MANY - 1 {
                tracing::info_span!("one", number).in_scope(|| ());
            }
        }
        "hang" => {
            let _span = tracing::info_span!("stuck").entered();
            print_line(&format!("joined {}", guard.url()));
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
        }
        "talk" => {
            let _span = tracing::info_span!("stuck").entered();
            print_line(&format!("joined {}", guard.url()));
            for _line in std::io::stdin().lines() {
                tracing::info_span!("said").in_scope(|| ());
            }
        }
        "send" => {
            let url = env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap() + "/";
            let token = env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap();
            let token = token.replacen('=', ": ", 1).replace("%20", " ") + "\r\n";
            let headers = format!("content-type: application/json\r\n{token}");
            let answer = request(&url, "POST", "/v1/traces", (&headers, OTLP));
            assert_eq!(answer, (200, "{}".to_owned()));
        }
        other => panic!("{other}"),
    }
    drop(guard);
}

fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
