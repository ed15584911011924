//! An HTTP client without a library, with one connection per request.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use livespan::{LiveServer, LiveSpans, SpanEvent, SpanId, TraceId};
use serde_json::{Value as Json, json};

/// Upper bound on every wait. No test should reach it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A response, with its status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends a request to `http://127.0.0.1:PORT/`. Returns the response.
pub(crate) fn request(url: &str, head: &str, body: &str) -> Answer {
    let host = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let host_header = if headers.contains("Host: ") {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    };
    let headers = headers
        .lines()
        .fold(String::new(), |all, line| all + line + "\r\n");
    write!(
        stream,
        "{line} HTTP/1.1\r\n{host_header}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// Posts a JSON-RPC message.
pub(crate) fn post(url: &str, message: &Json) -> Answer {
    request(
        url,
        "POST /mcp\nContent-Type: application/json",
        &message.to_string(),
    )
}

/// Calls a tool. Returns its text, and whether the result is an error.
pub(crate) fn call(url: &str, tool: &str, arguments: &Json) -> (String, bool) {
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    });
    let answer = post(url, &message);
    assert_eq!(answer.status, 200, "{answer:?}");
    let result = answer.json()["result"].clone();
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    (text, result["isError"].as_bool().unwrap())
}

/// Calls a tool. The result must not be an error.
pub(crate) fn ask(url: &str, tool: &str, arguments: &Json) -> String {
    let (text, is_error) = call(url, tool, arguments);
    assert!(!is_error, "{tool}: {text}");
    text
}

/// Calls a tool until its text satisfies the condition.
pub(crate) fn ask_until(
    url: &str,
    tool: &str,
    arguments: &Json,
    is_wanted: impl Fn(&str) -> bool,
) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = ask(url, tool, arguments);
        if is_wanted(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A log that is served on a free port.
pub(crate) struct App {
    pub(crate) live: LiveSpans,
    server: LiveServer,
}

impl App {
    pub(crate) fn serve(live: LiveSpans) -> Self {
        let server = live.serve_in_background("127.0.0.1:0").unwrap();
        Self { live, server }
    }

    pub(crate) fn start() -> Self {
        Self::serve(LiveSpans::builder().build().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Stores events. They are visible when this returns.
    pub(crate) fn put(&self, events: impl IntoIterator<Item = SpanEvent>) {
        for event in events {
            self.live.target().try_dispatch(&event).unwrap();
        }
        self.live.target().flush(PATIENCE).unwrap();
    }
}

pub(crate) fn trace(number: u8) -> TraceId {
    TraceId::from_bytes([number; 16]).unwrap()
}

pub(crate) fn span(number: u64) -> SpanId {
    SpanId::from_bytes((number | 0xa000_0000_0000_0000).to_be_bytes()).unwrap()
}

/// Replaces numbers by `N` and ids by `ID`, because they differ from run to run.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_ascii_alphanumeric() {
            word.push(character);
            continue;
        }
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) && word.len() < 8 {
            out.push('N');
        } else if is_hex && word.len() >= 8 || has_digit && word.len() == 8 {
            out.push_str("ID");
        } else {
            out.push_str(&word);
        }
        word.clear();
        out.push(character);
    }
    out.pop();
    out.replace("N.N", "N")
}
