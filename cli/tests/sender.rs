//! Sends OTLP requests in JSON. The caller decides whether to read the response.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value as Json, json};

pub(crate) const SPANS_A_REQUEST: u64 = 25;
/// Time limit for each read of a response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const START: u64 = 1_795_347_540_000_000_000;

pub(crate) fn span(sender: u64, number: u64) -> Json {
    let start = START + number;
    json!({
        "traceId": format!("{sender:016x}{:016x}", number / SPANS_A_REQUEST + 1),
        "spanId": format!("{:016x}", (sender << 32) + number + 1),
        "name": format!("span {number}"),
        "kind": 1,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 1_000).to_string(),
        "attributes": [{"key": "number", "value": {"intValue": number}}],
    })
}

pub(crate) fn request_of(spans: &[Json]) -> String {
    let service = json!({"key": "service.name", "value": {"stringValue": "shop"}});
    let resource = json!({"attributes": [service]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).to_string()
}

/// Returns a request with log records that have these bodies. Their times are one nanosecond apart.
pub(crate) fn request_of_logs(bodies: &[&str]) -> String {
    let record = |(number, body): (u64, &&str)| json!({"timeUnixNano": START + number, "body": {"stringValue": body}});
    let records: Vec<Json> = (0..).zip(bodies).map(record).collect();
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).to_string()
}

/// Sends a request. Returns its connection.
pub(crate) fn send(host: &str, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let length = body.len();
    let signal = if body.starts_with("{\"resourceLogs\"") {
        "logs"
    } else {
        "traces"
    };
    write!(
        stream,
        "POST /v1/{signal} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )?;
    Ok(stream)
}

/// Sends a request. Returns the status of the response.
pub(crate) fn answered(host: &str, body: &str) -> std::io::Result<u16> {
    let mut answer = String::new();
    send(host, body)?.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    // Only a response with a complete head counts.
    match status {
        Some(status) if answer.contains("\r\n\r\n") => Ok(status),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}
