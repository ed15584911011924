//! The commands that call a tool through `POST /mcp` and print its result.

use std::{process::ExitCode, time::Duration};

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use crate::{
    args::{AskOptions, ProblemsOptions, TraceOptions, TracesOptions, Until, WaitOptions},
    ask::failure_of,
    console,
    failure::Failure,
    http::Client,
};

/// The longest time for which one call of the tool `wait` waits.
const WAIT_AT_ONCE: Duration = Duration::from_secs(60);
/// The time limit for a response, in addition to the time for which the call may wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The exit code for a negative result: a problem was found, or a wait did not succeed.
const NO: u8 = 1;

/// Prints the matching traces, newest first.
pub(crate) async fn traces(options: TracesOptions) -> Result<ExitCode, Failure> {
    let arguments = arguments(&options.ask, &options.query);
    let arguments = with(arguments, "limit", options.limit.map(Json::from));
    show(&options.ask, "find_traces", arguments).await
}

/// Prints one trace as a tree.
pub(crate) async fn trace(options: TraceOptions) -> Result<ExitCode, Failure> {
    let arguments = with(
        arguments(&options.ask, &[]),
        "trace",
        Some(options.id.into()),
    );
    let arguments = with(arguments, "at", options.at.map(Json::from));
    show(&options.ask, "trace", arguments).await
}

/// Prints the problems. The exit code is 1 if there are any.
pub(crate) async fn problems(options: ProblemsOptions) -> Result<ExitCode, Failure> {
    let client = options.ask.client()?;
    let query = with(
        arguments(&options.ask, &options.query),
        "since",
        options.since.map(Json::from),
    );
    let as_json = with(query.clone(), "format", Some("json".into()));
    let report: Json = parsed(&call(&client, "problems", as_json, ANSWER_TIMEOUT).await?)?;
    let text = if options.ask.json {
        report.to_string()
    } else {
        call(&client, "problems", query, ANSWER_TIMEOUT).await?
    };
    console::print(text.trim_end());
    let is_fine = report["problems"].as_array().is_some_and(Vec::is_empty);
    Ok(if is_fine {
        ExitCode::SUCCESS
    } else {
        NO.into()
    })
}

/// Waits, and prints the result. The exit code is 1 if the wait ended without a match.
pub(crate) async fn wait(options: WaitOptions) -> Result<ExitCode, Failure> {
    let client = options.ask.client()?;
    let query = arguments(&options.ask, &options.query);
    if options.until == Until::Match && !query.contains_key("q") {
        return Err(Failure::usage(
            "what to wait for? for example: livespan wait state:running",
        ));
    }
    let query = with(query, "until", Some(options.until.name().into()));
    let query = with(query, "trace", options.trace.map(Json::from));
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let now = left.map_or(WAIT_AT_ONCE, |left| left.min(WAIT_AT_ONCE));
        let is_last = left.is_some_and(|left| left <= WAIT_AT_ONCE);
        let query = with(query.clone(), "timeout_s", Some(now.as_secs_f64().into()));
        let as_json = with(query.clone(), "format", Some("json".into()));
        let answer = call(&client, "wait", as_json, now + ANSWER_TIMEOUT).await?;
        let report: Json = parsed(&answer)?;
        let is_matched = report["outcome"] == "matched";
        if !is_matched && !is_last && report["outcome"] == "timed_out" {
            continue;
        }
        let text = if options.ask.json {
            answer
        } else {
            // The wait is already decided, so this call returns at once.
            let at_once = with(query, "timeout_s", Some(0.into()));
            call(&client, "wait", at_once, ANSWER_TIMEOUT).await?
        };
        console::print(text.trim_end());
        return Ok(if is_matched {
            ExitCode::SUCCESS
        } else {
            NO.into()
        });
    }
}

/// Calls a tool and prints its answer.
async fn show(
    ask: &AskOptions,
    tool: &str,
    arguments: Map<String, Json>,
) -> Result<ExitCode, Failure> {
    let client = ask.client()?;
    let format = ask.json.then(|| Json::from("json"));
    let arguments = with(arguments, "format", format);
    let answer = call(&client, tool, arguments, ANSWER_TIMEOUT).await?;
    console::print(answer.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn arguments(_ask: &AskOptions, query: &[String]) -> Map<String, Json> {
    let query = query.join(" ");
    with(Map::new(), "q", (!query.is_empty()).then(|| query.into()))
}

fn with(mut arguments: Map<String, Json>, name: &str, value: Option<Json>) -> Map<String, Json> {
    if let Some(value) = value {
        arguments.insert(name.to_owned(), value);
    }
    arguments
}

/// Calls a tool and returns the text of its result.
async fn call(
    client: &Client,
    tool: &str,
    arguments: Map<String, Json>,
    timeout: Duration,
) -> Result<String, Failure> {
    let request = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    });
    let answer = client.post_json("/mcp", request.to_string(), timeout).await;
    let answer = answer.map_err(|error| failure_of(client, error))?;
    let answer: Json = parsed(&String::from_utf8_lossy(&answer))?;
    if let Some(message) = answer["error"]["message"].as_str() {
        return Err(Failure::usage(message));
    }
    let result = &answer["result"];
    match (
        result["content"][0]["text"].as_str(),
        result["isError"] == true,
    ) {
        (Some(message), true) => Err(Failure::usage(message)),
        (Some(text), false) => Ok(text.to_owned()),
        (None, _) => Err(unexpected()),
    }
}

fn parsed(text: &str) -> Result<Json, Failure> {
    serde_json::from_str(text).map_err(|_malformed| unexpected())
}

fn unexpected() -> Failure {
    Failure::unreachable("the response is not from a livespan")
}
