//! Checks that an end joined from a delta end and its remembered start equals the complete end.

use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_sdk::trace::SpanData;
use proptest::prelude::any;
use proptest::proptest;
use std::sync::OnceLock;

use crate::encoder::tests::config;
use crate::encoder::tests::payloads::copied_start;
use crate::encoder::tests::payloads::ended_payload;
use crate::encoder::tests::payloads::joined_payload;
use crate::encoder::tests::payloads::sampled_start;
use crate::encoder::tests::payloads::written;
use crate::encoder::tests::strategies::span;
use crate::span::delta::end::slot_key_of;
use crate::span::delta::slots::{SlotTable, StartSlots, free_slots};
use crate::span::json;
use crate::span::json::SpanFields;
use crate::span::record;
use crate::span::record::SpanOrigin;
use crate::util::time::Timestamp;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_delta_end_makes_the_same_event_as_a_whole_end(
        start in span(),
        end in span(),
        peeked in any::<bool>(),
        small in 0_usize..2,
    ) {
        // The SDK appends attributes, and replaces or appends anything else that is not fixed at the start.
        let mut end = SpanData {
            span_context: start.span_context.clone(),
            parent_span_id: start.parent_span_id,
            parent_span_is_remote: start.parent_span_is_remote && start.parent_span_id != SpanId::INVALID,
            span_kind: start.span_kind.clone(),
            start_time: start.start_time,
            instrumentation_scope: start.instrumentation_scope.clone(),
            dropped_attributes_count: 0,
            ..end
        };
        end.attributes.splice(..0, start.attributes.clone());
        end.links.links.splice(..0, start.links.links.clone());
        let parent = SpanContext::new(TraceId::from(1), end.parent_span_id, TraceFlags::default(), end.parent_span_is_remote, TraceState::NONE);
        let slots = StartSlots::with_slots(free_slots(small), 1, OnceLock::new());
        let started = if peeked {
            sampled_start(&start, &parent, &slots)
        } else {
            copied_start(&start, &slots)
        };
        let whole = written(|buf| record::write_end(buf, 7, &end, SpanOrigin::Sdk));
        let found = slots.find(slot_key_of(&end)).unwrap();
        match found.sent {
            Some(sent) => {
                let whole = ended_payload(record::read(&whole));
                assert_eq!(String::from_utf8(joined_payload(&end, &started, (&found, sent))), String::from_utf8(whole));
                assert_eq!(usize::from(sent.attributes), start.attributes.len());
                assert_eq!(found.table(), if small == 0 { SlotTable::Large } else { SlotTable::Small });
            }
            None => assert!(started.len() > 1000 || start.attributes.len() > 62 || (!peeked && start.dropped_attributes_count > 0)),
        }
    }
}

#[test]
fn an_end_is_made_from_the_start_only_if_its_added_keys_are_new() {
    let pairs = |keys: &[&'static str]| -> json::Pairs<'static> {
        keys.iter().map(|key| (*key, json::Value::Int(1))).collect()
    };
    let mut span = SpanFields::bare([1; 16], [2; 8]);
    span.attributes = pairs(&["code.\"line\"", "busy_ns", "idle_ns"]);
    let mut started = Vec::new();
    let layout = json::started(&mut started, &span, Timestamp::default()).unwrap();
    for (added, have_room) in [
        (&[][..], true),
        // Two keys with the same length and the same last letter.
        (&["rest_ns", "wait_ns"], true),
        (&["rest_ns", "busy_ns"], false),
        (&["code.\"line\""], false),
        (&["wait_ns", "rest_ns", "wait_ns"], false),
        (&["x"; 129], false),
    ] {
        assert_eq!(
            layout.accepts_added(&started, &pairs(added)),
            have_room,
            "{added:?}"
        );
    }
    span.attributes = pairs(&["busy_ns", "idle_ns", "busy_ns"]);
    assert!(json::started(&mut Vec::new(), &span, Timestamp::default()).is_none());
}
