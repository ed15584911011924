//! Shortens the ends of spans in a file. On the stream, the end of a span repeats the fields of its
//! start, so a reader that lacks the start needs only the end. A file has both, and the repetition
//! would add half to its size. So an end omits the fields that have the same bytes in its start. A
//! shortened end has no `startTimestamp`; the page adds the missing fields
//! (`dashboard/assets/model/embedded-events.mjs`). Pure.

use std::borrow::Cow;

use crate::{http::routes::trace_snapshot::overview::span_of, span::json, util::hash::Map};

/// Upper bound on the bytes of starts that are held until their ends arrive. The ends of further
/// spans are written whole.
pub(super) const STARTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The memory of a held start, besides its own bytes.
const START_BYTES: usize = 64;

/// An end omits these fields. If one of them differs from the start, the end is written whole.
const SHARED: [&[u8]; 7] = [
    b"traceId",
    b"parentSpanId",
    b"name",
    b"kind",
    b"process",
    b"service",
    b"scope",
];

/// The starts of open spans.
#[derive(Debug, Default)]
pub(super) struct ShortenedEnds {
    starts: Map<u64, Box<[u8]>>,
    bytes: usize,
}

impl ShortenedEnds {
    /// Reads the next event of a trace. Returns the event as the file has it.
    pub(super) fn shorten<'a>(&mut self, name: &str, payload: &'a [u8]) -> Cow<'a, [u8]> {
        match name {
            "started" => {
                let span = span_of(payload);
                // Of several starts with one id, the page uses the newest.
                self.forget(span);
                if self.bytes + payload.len() + START_BYTES <= STARTS_BYTES_MAX {
                    self.bytes += payload.len() + START_BYTES;
                    self.starts.insert(span, Box::from(payload));
                }
                Cow::Borrowed(payload)
            }
            "ended" => {
                let start = self.forget(span_of(payload));
                let short = start.and_then(|start| without_repetition(&start, payload));
                short.map_or(Cow::Borrowed(payload), Cow::Owned)
            }
            _ => Cow::Borrowed(payload),
        }
    }

    fn forget(&mut self, span: u64) -> Option<Box<[u8]>> {
        let start = self.starts.remove(&span)?;
        self.bytes -= start.len() + START_BYTES;
        Some(start)
    }
}

/// Returns the end without the fields of the start. Returns `None` if the page could not restore
/// the end from both.
fn without_repetition(start: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    let begun: Vec<(&[u8], &[u8])> = json::fields(start).collect();
    let start_field = |wanted: &[u8]| {
        let field = begun.iter().find(|(key, _)| *key == wanted);
        field.map(|(_, value)| *value)
    };
    // The page copies every field of the start that the end lacks.
    let mut left: Vec<&[u8]> = begun.iter().map(|(key, _)| *key).collect();
    let mut is_same_start = false;
    let mut out = Vec::with_capacity(end.len());
    out.push(b'{');
    for (key, value) in json::fields(end) {
        left.retain(|begun| *begun != key);
        if SHARED.contains(&key) {
            if start_field(key) != Some(value) {
                return None;
            }
        } else if key == b"startTimestamp" {
            is_same_start = start_field(b"timestamp") == Some(value);
        } else if key == b"attributes" {
            let changed = changed_attributes(start_field(key)?, value)?;
            field(&mut out, key, &changed);
        } else {
            field(&mut out, key, value);
        }
    }
    out.push(b'}');
    (left.is_empty() && is_same_start).then_some(out)
}

/// Returns the end's attributes that are new or have another value. Returns `None` if the end lacks
/// an attribute of the start.
fn changed_attributes(start: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    let mut before: Map<&[u8], &[u8]> = json::fields(start).collect();
    let mut out = Vec::with_capacity(end.len());
    out.push(b'{');
    for (key, value) in json::fields(end) {
        if before.remove(key) != Some(value) {
            field(&mut out, key, value);
        }
    }
    out.push(b'}');
    before.is_empty().then_some(out)
}

fn field(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"type":"started","traceId":"t","spanId":"00000000000000a1","parentSpanId":null,"name":"a","kind":"SERVER","process":"p","service":"s","scope":"c","attributes":{"n":1,"m":"x"},"timestamp":"T1"}"#;

    fn end(name: &str, attributes: &str, start: &str) -> String {
        format!(
            r#"{{"type":"ended","traceId":"t","spanId":"00000000000000a1","parentSpanId":null,"name":"{name}","kind":"SERVER","process":"p","service":"s","scope":"c","status":{{"code":"OK"}},"attributes":{attributes},"attributeTypes":{{"n":"int"}},"startTimestamp":"{start}","timestamp":"T2"}}"#
        )
    }

    fn shortened(end: &str) -> String {
        let mut ends = ShortenedEnds::default();
        assert_eq!(ends.shorten("started", START.as_bytes()), START.as_bytes());
        let short = ends.shorten("ended", end.as_bytes()).into_owned();
        assert_eq!(ends.bytes, 0);
        // A second end of the span finds no start.
        assert_eq!(ends.shorten("ended", end.as_bytes()), end.as_bytes());
        String::from_utf8(short).unwrap()
    }

    #[test]
    fn an_end_repeats_nothing_that_its_start_says() {
        for (attributes, kept) in [
            (r#"{"n":1,"m":"x"}"#, "{}"),
            (r#"{"n":1,"m":"y","k":[1,2]}"#, r#"{"m":"y","k":[1,2]}"#),
        ] {
            assert_eq!(
                shortened(&end("a", attributes, "T1")),
                format!(
                    r#"{{"type":"ended","spanId":"00000000000000a1","status":{{"code":"OK"}},"attributes":{kept},"attributeTypes":{{"n":"int"}},"timestamp":"T2"}}"#
                )
            );
        }
    }

    #[test]
    fn an_end_that_its_start_does_not_complete_stays_whole() {
        for whole in [
            end("renamed", r#"{"n":1,"m":"x"}"#, "T1"),
            // An attribute of the start is missing.
            end("a", r#"{"n":1}"#, "T1"),
            end("a", r#"{"n":1,"m":"x"}"#, "T0"),
            end("a", r#"{"n":1,"m":"x"}"#, "T1").replace(r#","scope":"c""#, ""),
            // The page would copy the field from the start.
            end("a", r#"{"n":1,"m":"x"}"#, "T1").replace(r#","attributes":{"n":1,"m":"x"}"#, ""),
        ] {
            assert_eq!(shortened(&whole), whole);
        }
    }

    #[test]
    fn held_starts_use_bounded_memory_and_an_end_without_its_start_stays_whole() {
        let mut ends = ShortenedEnds::default();
        let event = |kind: &str, span: usize| {
            let more = if kind == "ended" {
                r#","startTimestamp":"T""#
            } else {
                ""
            };
            let text = "x".repeat(99_900);
            format!(
                r#"{{"type":"{kind}","spanId":"{span:016x}","name":"{text}","attributes":{{}}{more},"timestamp":"T"}}"#
            )
        };
        let most = STARTS_BYTES_MAX / (event("started", 1).len() + START_BYTES);
        for span in 1..=most + 1 {
            ends.shorten("started", event("started", span).as_bytes());
        }
        assert!(ends.bytes <= STARTS_BYTES_MAX);
        for span in 1..=most + 1 {
            let whole = event("ended", span);
            let is_whole = ends.shorten("ended", whole.as_bytes()) == whole.as_bytes();
            assert_eq!(is_whole, span > most, "{span}");
        }
        assert_eq!((ends.bytes, ends.starts.len()), (0, 0));
    }
}
