//! Files that every reader must read alike, and files that are cut, damaged, too large or nested
//! too deep.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::{
    error::Error,
    otlp::{fixtures::Numbers, import::file::ImportLimits},
};

/// The cases on which all readers of such files must agree. The page's reader is tested against
/// them, too.
const CASES: &str = include_str!("../../../tests/otlp.json");

const SPAN: &str = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","name":"a","startTimeUnixNano":"1795347540000000000","endTimeUnixNano":"1795347541000000000"}"#;

fn request() -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{SPAN}]}}]}}]}}"#)
}

fn cases() -> Vec<Json> {
    serde_json::from_str(CASES).unwrap()
}

/// Changes attributes from the server's notation to the page's. The server writes each double with a point. In
/// JavaScript a double may look like an integer, so the page lists the types of all doubles.
fn with_types(value: &mut Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(with_types),
        Json::Object(fields) => {
            for key in ["attributes", "resource"] {
                if let Some(Json::Object(attributes)) = fields.get_mut(key) {
                    let named = doubles(attributes);
                    let types = fields.entry("attributeTypes").or_insert_with(|| json!({}));
                    types.as_object_mut().unwrap().extend(named);
                }
            }
            if fields.get("attributeTypes") == Some(&json!({})) {
                fields.remove("attributeTypes");
            }
            for (key, value) in fields.iter_mut() {
                if !["attributes", "resource", "attributeTypes"].contains(&key.as_str()) {
                    with_types(value);
                }
            }
        }
        _ => {}
    }
}

/// Returns the types of the doubles, and turns the doubles that are whole numbers into integers.
fn doubles(attributes: &mut Map<String, Json>) -> Map<String, Json> {
    let mut types = Map::new();
    for (key, value) in attributes {
        let is_list = value.is_array();
        let items = match value {
            Json::Array(items) => items.iter_mut().collect(),
            one => vec![one],
        };
        for item in items.into_iter().filter(|item| item.is_f64()) {
            let name = if is_list { "double[]" } else { "double" };
            types.insert(key.clone(), json!(name));
            let whole: Option<i64> = item.to_string().trim_end_matches(".0").parse().ok();
            if let Some(whole) = whole {
                *item = json!(whole);
            }
        }
    }
    types
}

/// Returns the events in the page's form, which has fewer fields of a process.
fn shown(file: &ImportedFile) -> Json {
    let event = |event: &crate::span::EncodedEvent| {
        let mut event: Json = serde_json::from_str(event.payload()).unwrap();
        if event["type"] == "process" {
            let fields = event.as_object_mut().unwrap();
            for key in ["traceId", "spanId", "pid", "startTimestamp", "timestamp"] {
                fields.remove(key);
            }
        }
        event
    };
    let mut events = file.events().iter().map(event).collect();
    with_types(&mut events);
    events
}

#[test]
fn the_shared_cases_are_read_as_the_page_reads_them() {
    let cases = cases();
    assert!(cases.len() > 75, "{}", cases.len());
    for mut case in cases {
        let text = case["text"].as_str().unwrap().to_owned();
        let read = ImportedFile::read(text.as_bytes());
        let (actual, expected) = match read {
            Err(error) => (json!(error.to_string()), case["refused"].take()),
            Ok(file) => {
                let left_out: Map<String, Json> = file
                    .left_out()
                    .map(|(what, count)| (what.to_owned(), json!(count)))
                    .collect();
                let source = case["source"].as_str().unwrap_or_default().to_owned();
                with_types(&mut case["events"]);
                (
                    json!([shown(&file), left_out, file.source()]),
                    json!([case["events"], case["leftOut"], source]),
                )
            }
        };
        assert_eq!(actual, expected, "{}: {text}", case["claim"]);
    }
}

#[test]
fn a_process_event_has_the_known_fields() {
    let text = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"process.pid","value":{"intValue":7}}]},"scopeSpans":[{"spans":["#;
    let file = ImportedFile::read(format!("{text}{SPAN}]}}]}}]}}").as_bytes()).unwrap();
    let process: Json = serde_json::from_str(file.events()[0].payload()).unwrap();
    let start = "2026-11-22T11:39:00.000000000Z";
    assert_eq!(
        process,
        json!({"type": "process", "traceId": null, "spanId": null, "process": "file-0",
            "service": "unknown_service", "resource": {"process.pid": 7}, "pid": 7,
            "startTimestamp": start, "timestamp": start})
    );
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The number of events in a file, the items that were left out, and the first problem.
type FileOutline = (usize, Vec<(String, u64)>, String);

fn outline(read: Result<ImportedFile, Error>) -> Result<FileOutline, String> {
    let file = read.map_err(|error| error.with_causes())?;
    let left_out = file
        .left_out()
        .map(|(what, count)| (what.to_owned(), count));
    let problem = file.first_problem().unwrap_or_default().to_owned();
    Ok((file.events().len(), left_out.collect(), problem))
}

#[test]
fn a_compressed_file_is_read_and_a_cut_one_says_so() {
    let packed = gzip(&format!("{}\n", request()));
    let taken = Ok((2, vec![], String::new()));
    assert_eq!(outline(ImportedFile::read(&packed[..])), taken);
    // Two concatenated files, as `cat` makes them.
    let twice = [packed.clone(), packed.clone()].concat();
    assert_eq!(outline(ImportedFile::read(&twice[..])).unwrap().0, 3);
    for cut in 2..packed.len() {
        let message = outline(ImportedFile::read(&packed[..cut])).unwrap_err();
        assert!(message.starts_with("read the file: "), "{cut}: {message}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_counted_and_the_first_is_named() {
    let jaeger = r#"{"data":[{"spans":[{"traceID":"a","spanID":"1","startTime":1,"duration":1,"processID":"p"},7],"processes":{"p":{"serviceName":"s"}}}]}"#;
    let good = jaeger.replace(",7]", "]");
    let text = format!("\u{feff}\n{jaeger}\n{good}\n\u{0}\nno event\n{{}}\n");
    // The process of the rejected line is emitted with the next line.
    let taken = outline(ImportedFile::read(text.as_bytes()));
    let left_out = vec![("lines that cannot be read".to_owned(), 4)];
    let problem = "line 2: data[0].spans[1] is not a span".to_owned();
    assert_eq!(taken, Ok((2, left_out, problem)));
    let bytes = [good.as_bytes(), b"\n\xff\n"].concat();
    let (_, _, problem) = outline(ImportedFile::read(&bytes[..])).unwrap();
    let expected = "line 2: is not text in UTF-8: invalid utf-8 sequence of 1 bytes from index 0";
    assert_eq!(problem, expected);
}

#[test]
fn a_file_has_bounds_that_are_reported() {
    let request = request();
    let length = request.len() as u64;
    let read = |bytes: &[u8], file: u64, document: u64, events: u64| {
        let limits = ImportLimits {
            file,
            document,
            events,
        };
        outline(ImportedFile::read_within(bytes, limits))
    };
    let lines = format!("{request}\n{request}\n");
    let taken = read(lines.as_bytes(), 4 * length, length + 1, 9_999);
    assert_eq!(taken.map(|(count, ..)| count), Ok(3));
    let pretty = request.replace(",\"name\"", ",\n\"name\"");
    let short = length - 1;
    let bomb = gzip(&format!("{request}\n{}", "\n".repeat(1 << 20)));
    for (bytes, file, document, events, message) in [
        (
            lines.as_bytes(),
            9_999,
            short,
            9_999,
            format!("line 1 has more than {short} bytes"),
        ),
        (
            lines.as_bytes(),
            length + 2,
            length + 1,
            9_999,
            format!("the file has more than {} bytes", length + 2),
        ),
        (
            pretty.as_bytes(),
            9_999,
            short,
            9_999,
            format!(
                "a JSON document of more than {short} bytes cannot be read at once; JSON lines can"
            ),
        ),
        // The reader never holds the whole file.
        (
            &bomb,
            1 << 19,
            1 << 19,
            9_999,
            format!("the file has more than {} bytes", 1 << 19),
        ),
        // Each event repeats data that is in the request only once.
        (
            lines.as_bytes(),
            9_999,
            9_999,
            length,
            format!("the events of the file have more than {length} bytes"),
        ),
    ] {
        assert_eq!(read(bytes, file, document, events), Err(message));
    }
}

#[test]
fn values_nested_too_deep_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let message = outline(ImportedFile::read(deep.as_bytes())).unwrap_err();
    assert_eq!(message, "line 1: is nested deeper than 128 levels");
    let mut value = "{}".to_owned();
    for _ in 0..30 {
        value = format!(r#"{{"arrayValue":{{"values":[{value}]}}}}"#);
    }
    let attributes = format!(r#""attributes":[{{"key":"k","value":{value}}}],"name""#);
    let text = request().replace("\"name\"", &attributes);
    assert_eq!(outline(ImportedFile::read(text.as_bytes())).unwrap().0, 2);
}

/// Asserts that any file yields either events that every reader accepts, or an error message.
fn read_anything(bytes: &[u8]) {
    match ImportedFile::read(bytes) {
        Ok(file) => {
            for event in file.events() {
                let parsed: Json = serde_json::from_str(event.payload()).unwrap();
                assert!(parsed["type"].is_string(), "{parsed}");
            }
        }
        Err(error) => assert_ne!(error.to_string(), ""),
    }
}

#[test]
fn a_file_that_is_cut_or_damaged_anywhere_gets_a_clear_answer() {
    let mut numbers = Numbers::new();
    let tokens: [&[u8]; 8] = [
        b"{", b"}", b"[]", b"null", b"-1", b"1e400", b"\"", b"\\u0000",
    ];
    for case in cases() {
        let text = case["text"].as_str().unwrap().as_bytes();
        for cut in (0..text.len()).step_by(1 + text.len() / 200) {
            read_anything(&text[..cut]);
        }
        for _ in 0..200.min(text.len()) {
            let mut damaged = text.to_vec();
            for _ in 0..=numbers.next(3) {
                let at = numbers.next(damaged.len());
                match numbers.next(3) {
                    0 => damaged[at] = u8::try_from(numbers.next(256)).unwrap(),
                    1 => drop(damaged.remove(at)),
                    _ => {
                        let token = tokens[numbers.next(tokens.len())];
                        drop(damaged.splice(at..at, token.iter().copied()));
                    }
                }
                if damaged.is_empty() {
                    break;
                }
            }
            read_anything(&damaged);
        }
    }
}
