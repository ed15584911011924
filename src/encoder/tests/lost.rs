//! Checks that the end of a lost span repeats its start.

use proptest::proptest;
use serde_json::Value as Json;
use serde_json::json;

use crate::encoder::tests::config;
use crate::encoder::tests::payloads::payloads;
use crate::encoder::tests::strategies::span;
use crate::span::json;
use crate::span::json::LostReason;
use crate::trace::parse;
use crate::trace::span_change::ChangeKind;
use crate::trace::span_change::SpanOutcome;
use crate::util::time::Timestamp;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_lost_end_repeats_its_start_byte_for_byte(span in span()) {
        let [started, ended] = payloads(&span);
        let last_heard = Timestamp::from_nanos(1_000_000_000);
        let lost = json::lost(&started, None, (LostReason::Shutdown, last_heard)).unwrap();
        let mut expected: Json = serde_json::from_slice(&started).unwrap();
        expected["type"] = json!("ended");
        expected["startTimestamp"] = expected["timestamp"].clone();
        expected["timestamp"] = json!("1970-01-01T00:00:01.000000000Z");
        let message = "lost: the tracer provider was shut down while the span was open";
        expected["status"] = json!({"code": "ERROR", "message": message});
        expected["lost"] = json!({"reason": "shutdown", "lastHeard": "1970-01-01T00:00:01.000000000Z"});
        assert_eq!(serde_json::from_slice::<Json>(&lost).unwrap(), expected);
        let raw = |payload: &[u8], wanted: &str| {
            json::fields(payload).find(|(key, _)| *key == wanted.as_bytes()).map(|(_, value)| value.to_vec())
        };
        for key in ["name", "attributes", "attributeTypes", "links", "scope", "traceState"] {
            assert_eq!(raw(&lost, key), raw(&started, key), "{key}");
        }
        assert_eq!(raw(&lost, "startTimestamp"), raw(&started, "timestamp"));
        assert!(matches!(parse::span_change(&lost).unwrap().kind, ChangeKind::Ended { outcome: SpanOutcome::Lost, .. }));
        assert_eq!(json::lost(&ended, None, (LostReason::Shutdown, last_heard)), None, "an ended span was ended as lost");
        assert_eq!(json::lost(&lost, None, (LostReason::Shutdown, last_heard)), None);
    }
}
