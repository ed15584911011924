//! Tests of the commands that ask a running livespan.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::{
    program,
    support::{FREE, Folder, Running, livespan, output, request},
};

/// A serving livespan with one running and one failed trace.
struct Served {
    home: Folder,
    server: Running,
    url: String,
}

const RUNNING: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const FAILED: &str = "11112222333344445555666677778888";

impl Served {
    fn new() -> Self {
        let home = Folder::new();
        let mut command = livespan(&home);
        command.args(["serve", "--memory"]).args(FREE);
        let (server, url) = Running::serve(&mut command);
        let this = Self { home, server, url };
        this.send(RUNNING, "import", "0", "{}");
        this.send(
            FAILED,
            "checkout",
            "1700000001000000000",
            r#"{"code":2,"message":"card declined"}"#,
        );
        this
    }

    fn send(&self, trace: &str, name: &str, end: &str, status: &str) {
        let body = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
            "scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"00f067aa0ba902b7","name":"{name}","kind":1,
            "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"{end}","status":{status}}}]}}]}}]}}"#
        );
        let headers = "content-type: application/json\r\n";
        let answer = request(&self.url, "POST", "/v1/traces", (headers, &body));
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    fn ask(&self, words: &[&str]) -> (Option<i32>, String, String) {
        output(
            livespan(&self.home)
                .env("LIVESPAN_URL", &self.url)
                .args(words),
        )
    }
}

#[test]
fn running_prints_the_open_spans_as_text_and_as_json() {
    let served = Served::new();
    let (code, text, stderr) = served.ask(&["running"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        text.contains("import") && !text.contains("checkout"),
        "{text}"
    );
    let (code, json, _) = served.ask(&["running", "--json", "name:checkout"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["traces"]), (Some(0), &serde_json::json!([])));
}

#[test]
fn tail_prints_spans_as_they_start_and_end() {
    let served = Served::new();
    let mut command = livespan(&served.home);
    let mut tail = Running::start(command.env("LIVESPAN_URL", &served.url).args([
        "tail",
        "service:shop",
        "check",
    ]));
    let mut json = livespan(&served.home);
    let mut json = Running::start(json.args([
        "tail",
        "--json",
        "type:started",
        "type:ended",
        "--url",
        &served.url,
    ]));
    // Both commands print only events that arrive after they have connected.
    while served.subscribers() < 2 {
        std::thread::yield_now();
    }
    served.send(
        "22223333444455556666777788889999",
        "other",
        "1700000001000000000",
        "{}",
    );
    served.send(
        "33334444555566667777888899990000",
        "check\\u001b[2Jout",
        "1700000001000000000",
        "{}",
    );
    assert_eq!(
        tail.stdout.next().as_deref(),
        Some("22:13:20.000 ▶ check [2Jout  shop")
    );
    assert_eq!(
        tail.stdout.next().as_deref(),
        Some("22:13:21.000 ■ check [2Jout  1.0 s  ok")
    );
    // The loop skips `process` events, which are on every stream.
    let mut names = Vec::new();
    while names.len() < 4 {
        let event: Json = serde_json::from_str(&json.stdout.next().unwrap()).unwrap();
        if let (Some(kind), Some(name)) = (event["type"].as_str(), event["name"].as_str()) {
            names.push((kind.to_owned(), name.to_owned()));
        }
    }
    let expected = [
        ("started", "other"),
        ("ended", "other"),
        ("started", "check\u{1b}[2Jout"),
        ("ended", "check\u{1b}[2Jout"),
    ];
    assert_eq!(
        names,
        expected.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
    );
    served.server.signal(Signal::TERM);
    assert_eq!(tail.stderr.rest(), ["livespan: the livespan has ended"]);
    assert_eq!(tail.wait().code(), Some(0));
    assert_eq!(json.stdout.rest(), Vec::<String>::new());
}

impl Served {
    fn subscribers(&self) -> u64 {
        let (_, body) = crate::support::get(&self.url, "/status");
        let status: Json = serde_json::from_str(&body).unwrap();
        status["subscribers"].as_u64().unwrap()
    }
}

#[test]
fn an_absent_livespan_and_wrong_usage_have_exit_codes_of_their_own() {
    let home = Folder::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/");
    let gone = format!(
        "livespan: no livespan answers at {url}: start one with `livespan`, or name another one with --url\n"
    );
    for (words, code, message) in [
        (vec!["running"], 3, gone.as_str()),
        (vec!["traces"], 3, &gone),
        (vec!["tail"], 3, &gone),
        (vec!["problems"], 3, &gone),
        (vec!["wait", "name:a"], 3, &gone),
        (
            vec!["wait"],
            2,
            "livespan: what to wait for? for example: livespan wait state:running\n",
        ),
        (
            vec!["tail", "state:ok"],
            2,
            "livespan: tail does not know state: (it knows service:, name:, kind:, status:, type:, trace: and plain words)\n",
        ),
        (
            vec!["running", "--url", "https://a/"],
            2,
            "livespan: \"https://a/\": https is not supported; forward the port, for example with ssh -L \
             4380:127.0.0.1:4380 HOST\n",
        ),
    ] {
        let mut command = livespan(&home);
        let (exit, stdout, stderr) = output(command.env("LIVESPAN_URL", &url).args(&words));
        assert_eq!(
            (exit, stdout.as_str(), stderr.as_str()),
            (Some(code), "", message),
            "{words:?}"
        );
    }
}

#[test]
fn a_command_that_runs_under_livespan_asks_its_page() {
    let home = Folder::new();
    let mut command = livespan(&home);
    let script = format!(
        "\"$@\" & sleep 0; exec {} running",
        env!("CARGO_BIN_EXE_livespan")
    );
    command.args(["run", "--addr", "127.0.0.1:0", "sh", "-c", &script, "sh"]);
    command.args(program::command("short")).stdin(Stdio::null());
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    // The command itself is one of the open spans.
    assert!(stdout.contains("sh"), "{stdout}");
}

#[test]
fn the_tools_of_agents_answer_with_exit_codes() {
    let served = Served::new();
    let json = |words: &[&str]| {
        let (code, stdout, stderr) = served.ask(words);
        let json: Json =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} {stderr}"));
        (code, json)
    };
    let (code, found) = json(&["traces", "--json", "state:running"]);
    assert_eq!(
        (code, &found["traces"][0]["traceId"]),
        (Some(0), &RUNNING.into())
    );
    assert_eq!(found["traces"].as_array().unwrap().len(), 1);
    // The first digits of an id suffice.
    let (code, text, _) = served.ask(&["trace", &FAILED[..6]]);
    assert!(
        code == Some(0) && text.contains("checkout") && text.contains("card declined"),
        "{text}"
    );
    let (code, report) = json(&["problems", "--json"]);
    assert_eq!(
        (code, report["problems"].as_array().unwrap().is_empty()),
        (Some(1), false)
    );
    let (code, report) = json(&["problems", "--json", "name:nothing"]);
    assert_eq!(
        (code, &report["problems"]),
        (Some(0), &serde_json::json!([]))
    );
    let (code, waited) = json(&["wait", "--json", "name:import", "--timeout", "60"]);
    assert_eq!((code, &waited["outcome"]), (Some(0), &"matched".into()));
    let (code, text, stderr) = served.ask(&["wait", "name:nothing", "--timeout", "100ms"]);
    assert!(
        code == Some(1) && text.contains("Timed out"),
        "{text}{stderr}"
    );
    let (code, stdout, stderr) = served.ask(&["wait", "state:nonsense"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
}
