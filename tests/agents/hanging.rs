//! A program hangs: `running` and `problems` alone name the span, how long it has hung, and its await
//! point.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::client::{ask, ask_until, request, without_numbers};

/// A program that hangs. Dropping this kills it.
struct HangingProgram {
    child: Child,
    url: String,
}

impl HangingProgram {
    fn start(how: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hangs"))
            .arg(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut url).unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }

    /// Calls `running` until its text contains all these parts. Returns [`body`] of the text.
    fn running(&self, expected: &[&str]) -> String {
        let has_all = |text: &str| expected.iter().all(|part| text.contains(part));
        body(&ask_until(&self.url, "running", &json!({}), has_all))
    }

    /// Calls `problems` until its text contains all these parts. Returns [`body`] of the text.
    fn problems(&self, expected: &[&str]) -> String {
        let has_all = |text: &str| expected.iter().all(|part| text.contains(part));
        body(&ask_until(
            &self.url,
            "problems",
            &json!({"waits_s": 0.5}),
            has_all,
        ))
    }
}

impl Drop for HangingProgram {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Returns a tool's text without the fence, the cursor, the page's address and empty lines. Numbers
/// and ids are replaced.
fn body(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        let is_frame = ["(Quoted", "cursor:", "page:"]
            .iter()
            .any(|start| line.starts_with(start));
        !is_frame && !line.is_empty()
    });
    let text: Vec<String> = lines
        .map(|line| without_numbers(line).replace("N polls", "N poll"))
        .collect();
    text.join("\n")
}

#[test]
fn a_deadlock_names_both_tasks_and_both_locks() {
    let hanging = HangingProgram::start("deadlock");
    let expected = ["lock of the journal\" for", "lock of the accounts\" for"];
    let mut running: Vec<String> = hanging
        .running(&expected)
        .lines()
        .map(str::to_owned)
        .collect();
    let head = running.remove(0);
    assert_eq!(
        head,
        "N open spans in N traces, oldest first · N-N-N N:N:N UTC"
    );
    running.sort();
    assert_eq!(
        running,
        [
            "  audit N s [ID] · awaits \"lock of the accounts\" for N s · idle, worked N % in N poll",
            "  transfer N s [ID] · awaits \"lock of the journal\" for N s · idle, worked N % in N poll",
            "trace ID audit · bank · open for N s · N of N span open",
            "trace ID transfer · bank · open for N s · N of N span open",
        ]
    );
    let problems = hanging.problems(&["2 waits long"]);
    let mut problems: Vec<&str> = problems.lines().collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            "N problems: N waits long",
            "waits long: audit [ID] · bank · open for N s · awaits \"lock of the accounts\" for N s · idle, worked N % in N poll · in trace ID",
            "waits long: transfer [ID] · bank · open for N s · awaits \"lock of the journal\" for N s · idle, worked N % in N poll · in trace ID",
        ]
    );
}

#[test]
fn a_task_with_a_lost_wake_up_is_named_with_its_await_point() {
    let hanging = HangingProgram::start("lost-wake-up");
    assert_eq!(
        hanging.running(&["end of the writer\" for"]),
        "N open span in N trace, oldest first · N-N-N N:N:N UTC\n\
         trace ID \"read back\" · bank · open for N s · N of N span open\n\
         \x20 \"read back\" N s [ID] · awaits \"end of the writer\" for N s · idle, worked N % in N poll"
    );
    assert_eq!(
        hanging.problems(&["1 waits long"]),
        "N problem: N waits long\n\
         waits long: \"read back\" [ID] · bank · open for N s · awaits \"end of the writer\" for N s · idle, worked N % in N \
         poll · in trace ID"
    );
    let no_problem_yet = ask(&hanging.url, "problems", &json!({"waits_s": 86_400}));
    assert_eq!(
        body(&no_problem_yet),
        "No problem is known.\nLeft out: N open span with an await of less than N d N h; `running` shows them."
    );
}

#[test]
fn a_blocked_worker_names_its_thread_and_the_span_that_holds_it() {
    let hanging = HangingProgram::start("blocked-worker");
    assert_eq!(
        hanging.running(&["BLOCKS"]),
        "N open span in N trace, oldest first · N-N-N N:N:N UTC\n\
         trace ID \"hash password\" · bank · open for N s · N of N span open\n\
         \x20 \"hash password\" N s [ID] · BLOCKS thread worker: in one poll for N s"
    );
    assert_eq!(
        hanging.problems(&["blocks its thread"]),
        "N problem: N blocks its thread\n\
         blocks its thread: \"hash password\" [ID] · bank · open for N s · BLOCKS thread worker: in one poll for N s · in \
         trace ID"
    );
}

#[test]
fn a_panic_in_a_task_is_named_with_its_message() {
    let hanging = HangingProgram::start("panic");
    // The panic is reported before its span has ended.
    assert_eq!(
        hanging.problems(&["1 panicked", " s ago · ", "1 waits long"]),
        "N problems: N panicked, N waits long\n\
         panicked: reserve [ID] · bank · N s ago · \"no stock of item N\" · in trace ID\n\
         waits long: order [ID] · bank · open for N s · awaits \"answer of reserve\" for N s · idle, worked N % in N poll · \
         in trace ID"
    );
}

#[test]
fn a_terminal_gets_the_same_report_as_an_agent() {
    let hanging = HangingProgram::start("lost-wake-up");
    let report = hanging.running(&["end of the writer\" for"]);
    let terminal = request(&hanging.url, "GET /running?format=text", "");
    assert_eq!((terminal.status, body(&terminal.body)), (200, report));
    let waited = ask(
        &hanging.url,
        "wait",
        &json!({"until": "quiet", "quiet_ms": 300}),
    );
    assert!(waited.contains("Nothing happens any more"), "{waited}");
}

#[cfg(unix)]
#[test]
fn a_signal_prints_the_open_spans_and_the_program_continues() {
    let mut hanging = HangingProgram::start("lost-wake-up");
    hanging.running(&["end of the writer\" for"]);
    let mut errors = BufReader::new(hanging.child.stderr.take().unwrap());
    for _ in 0..2 {
        let killed = Command::new("kill")
            .args(["-QUIT", &hanging.child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let mut lines = String::new();
        while !lines.contains("awaits") {
            assert_ne!(errors.read_line(&mut lines).unwrap(), 0, "{lines}");
        }
        assert!(
            lines.starts_with("1 open span in 1 trace, oldest first"),
            "{lines}"
        );
    }
    assert_eq!(
        hanging.child.try_wait().unwrap(),
        None,
        "the program ended after the signal"
    );
}
