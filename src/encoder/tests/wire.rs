//! Checks that each payload is JSON, has exactly the content of its span, and can be read back.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::Status as OtelStatus;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use serde_json::Map;
use serde_json::Value as Json;

use crate::encoder::tests::config;
use crate::encoder::tests::model::model;
use crate::encoder::tests::model::raw_fields;
use crate::encoder::tests::payloads::SERVICE;
use crate::encoder::tests::payloads::payloads;
use crate::encoder::tests::payloads::written;
use crate::encoder::tests::strategies::plain_span;
use crate::encoder::tests::strategies::span;
use crate::span::json;
use crate::span::record;
use crate::span::record::SpanOrigin;
use crate::trace::parse;
use crate::trace::span_change;
use crate::trace::span_change::ChangeKind;
use crate::trace::span_change::SpanOutcome;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_payload_has_exactly_the_fields_of_the_span(span in span()) {
        for (payload, ended) in payloads(&span).iter().zip([false, true]) {
            let read: Json = serde_json::from_slice(payload).unwrap();
            assert_eq!(read, model(&span, ended));
            let ends_a_line = payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            assert!(!ends_a_line, "the event has a line break");
        }
    }

    #[test]
    fn the_scanner_finds_the_fields_that_serde_finds(span in span()) {
        for payload in payloads(&span) {
            let read: Map<String, Json> = serde_json::from_slice(&payload).unwrap();
            let (scanned, count) = raw_fields(&payload);
            assert_eq!(count, read.len(), "the scanner and serde found different numbers of fields");
            assert_eq!(scanned, read);
        }
    }

    #[test]
    fn the_scanner_does_not_panic_on_broken_json(payload in vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b':'), Just(b','), Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)) {
        let bytes: usize = json::fields(&payload).map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= payload.len());
    }

    #[test]
    fn a_damaged_record_causes_no_panic(span in span(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written(|buf| record::write_end(buf, 7, &span, SpanOrigin::Sdk));
        let at = at.index(bytes.len());
        assert!(record::read(&bytes[..at]).is_none());
        bytes[at] = byte;
        drop(record::read(&bytes));
    }

    #[test]
    fn the_index_learns_the_same_from_a_payload_as_from_the_span(span in span()) {
        let [started, ended] = payloads(&span);
        let ids = (span.span_context.trace_id().to_bytes(), span.span_context.span_id().to_bytes());
        let parent = (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_bytes());
        let change = parse::span_change(&started).unwrap();
        assert_eq!((change.trace_id, change.span_id, change.time), (ids.0, ids.1, span.start_time.into()));
        let ChangeKind::Started(span_start) = change.kind else { panic!("{:?}", change.kind) };
        assert_eq!((span_start.parent, span_start.parent_remote, span_start.start_time), (parent, span.parent_span_is_remote, span.start_time.into()));
        assert_eq!((&*span_start.name, &*span_start.service, span_start.kind), (span.name.as_ref(), SERVICE, record::kind_of(&span.span_kind)));
        let links: Vec<[u8; 16]> = span.links.iter().map(|link| link.span_context.trace_id().to_bytes()).collect();
        assert_eq!(*span_start.links, *links);
        let change = parse::span_change(&ended).unwrap();
        let failed = matches!(span.status, OtelStatus::Error { .. });
        let ChangeKind::Ended { start: span_start, outcome, message } = change.kind else { panic!("{:?}", change.kind) };
        assert_eq!((change.time, span_start.start_time), (span.end_time.into(), span.start_time.into()));
        assert_eq!(outcome, if failed { SpanOutcome::Error } else { SpanOutcome::Ok });
        let expected = match &span.status {
            OtelStatus::Error { description } => span_change::SpanStart::message(description),
            _ => None,
        };
        assert_eq!(message, expected);
    }
}

#[test]
fn doubles_read_back_exactly() {
    for value in [
        0.1 + 0.2,
        1e300,
        f64::MIN_POSITIVE,
        f64::MAX,
        5e-324,
        -0.0,
        1e16,
        123_456_789.0,
    ] {
        let mut span = plain_span();
        span.attributes = vec![KeyValue::new("d", value)];
        let [started, _] = payloads(&span);
        let (_, object) = json::fields(&started)
            .find(|(key, _)| *key == b"attributes")
            .unwrap();
        let text = std::str::from_utf8(object)
            .unwrap()
            .strip_prefix("{\"d\":")
            .unwrap()
            .strip_suffix('}')
            .unwrap();
        assert!(text.contains(['.', 'e']), "{text}");
        assert_eq!(
            text.parse::<f64>().unwrap().to_bits(),
            value.to_bits(),
            "{text}"
        );
    }
}
