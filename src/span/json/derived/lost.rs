//! Makes the `ended` event of a lost span, or of a span whose workflow was cancelled, from its `started` and `updated`
//! events. Values are copied and never decoded. Pure; called by the worker thread, by the task that cancels a workflow,
//! and by the import of a file.

use crate::{
    span::json::{
        merged_update::MergedUpdate,
        primitives::{field, string},
        scan::fields,
        size_limits::{VALUE_BYTES_MAX, clip},
    },
    util::time::Timestamp,
};

/// Why a span was ended as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostReason {
    Crashed,
    Shutdown,
    Dropped,
}

/// Returns the `ended` event of a lost span, or `None` if `started` is not a `started` event.
pub(crate) fn lost(
    started: &[u8],
    updates: Option<&MergedUpdate>,
    (reason, last_heard): (LostReason, Timestamp),
) -> Option<Vec<u8>> {
    let message = match reason {
        LostReason::Crashed => "lost: the process died while the span was open",
        LostReason::Shutdown => "lost: the tracer provider was shut down while the span was open",
        LostReason::Dropped => "lost: the end of the span was dropped by a full buffer",
    };
    let reason = match reason {
        LostReason::Crashed => "crashed",
        LostReason::Shutdown => "shutdown",
        LostReason::Dropped => "dropped",
    };
    let mut out = match updates {
        None => ended_with_error((started, started), message, last_heard)?,
        Some(updates) => {
            let mut merged = MergedUpdate::default();
            merged.add(started);
            let mut update = Vec::with_capacity(updates.size());
            updates.unmarked().write(&mut update);
            merged.add(&update);
            let mut state = Vec::with_capacity(started.len() + update.len());
            merged.write(&mut state);
            ended_with_error((started, &state), message, last_heard)?
        }
    };
    field(&mut out, "lost");
    out.extend_from_slice(b"{\"reason\":");
    string(&mut out, reason);
    field(&mut out, "lastHeard");
    string(&mut out, &last_heard.text());
    out.extend_from_slice(b"}}");
    Some(out)
}

/// Marks an `ended` event as that of a lost span. An imported file does not have the reason, so `exported` is written.
#[cfg(feature = "otlp")]
pub(crate) fn mark_lost(ended: &mut Vec<u8>) {
    if ended.pop_if(|last| *last == b'}').is_some() {
        field(ended, "lost");
        ended.extend_from_slice(b"{\"reason\":\"exported\"}}");
    }
}

/// Returns the `ended` event of a span whose workflow was cancelled, or `None` if `started` is not a `started` event.
pub(crate) fn cancelled(started: &[u8], reason: &str, time: Timestamp) -> Option<Vec<u8>> {
    let mut out = ended_with_error((started, started), clip(reason, VALUE_BYTES_MAX).0, time)?;
    out.extend_from_slice(b",\"cancelled\":true}");
    Some(out)
}

/// Writes an end with the fields of the span's last state and the status ERROR, without the brace that closes the
/// object. `state` has the fields of the start with all later changes.
fn ended_with_error(
    (started, state): (&[u8], &[u8]),
    message: &str,
    time: Timestamp,
) -> Option<Vec<u8>> {
    // Values are copied: decoding and encoding them again could change a number or the order of fields.
    let value_in = |event: &'_ [u8], wanted: &str| -> Option<Vec<u8>> {
        let mut fields = fields(event);
        let (_, value) = fields.find(|(key, _)| *key == wanted.as_bytes())?;
        Some(value.to_vec())
    };
    let value_of = |wanted: &str| value_in(state, wanted);
    if value_in(started, "type")? != b"\"started\"" {
        return None;
    }
    let start = value_in(started, "timestamp")?;
    let mut out = Vec::with_capacity(state.len() + 256);
    out.extend_from_slice(b"{\"type\":\"ended\"");
    let copy = |out: &mut Vec<u8>, key: &str| {
        if let Some(value) = value_of(key) {
            field(out, key);
            out.extend_from_slice(&value);
        }
    };
    for key in [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "process",
        "service",
        "scope",
    ] {
        copy(&mut out, key);
    }
    field(&mut out, "status");
    out.extend_from_slice(b"{\"code\":\"ERROR\",\"message\":");
    string(&mut out, message);
    out.push(b'}');
    for key in ["panic", "attributes", "attributeTypes"] {
        copy(&mut out, key);
    }
    field(&mut out, "startTimestamp");
    out.extend_from_slice(&start);
    field(&mut out, "timestamp");
    string(&mut out, &time.text());
    for key in [
        "events",
        "links",
        "parentRemote",
        "sampled",
        "traceState",
        "scopeVersion",
        "dropped",
        "cut",
        "durable",
    ] {
        copy(&mut out, key);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_end_has_the_updates_since_the_start() {
        let started = br#"{"type":"started","traceId":"a","spanId":"b","parentSpanId":null,"name":"job","kind":"INTERNAL","process":"p","service":"shop","scope":"s","attributes":{"n":1,"keep":"x"},"timestamp":"T1","links":[{"traceId":"l"}]}"#;
        let mut updates = MergedUpdate::default();
        updates.add(br#"{"type":"updated","traceId":"a","spanId":"b","process":"p","name":"import","status":{"code":"OK"},"attributes":{"n":2},"timestamp":"T2","events":[{"name":"half"}]}"#);
        updates.add(br#"{"type":"updated","traceId":"a","spanId":"b","process":"p","attributes":{"big":"9007199254740993"},"attributeTypes":{"big":"int"},"awaiting":{"name":"redis"},"panic":{"message":"out of luck","location":"src/main.rs:7:5"},"timestamp":"T3","links":[{"traceId":"m"}]}"#);
        let last_heard = Timestamp::from_nanos(1_000_000_000);
        let lost = lost(started, Some(&updates), (LostReason::Dropped, last_heard)).unwrap();
        let expected = r#"{"type":"ended","traceId":"a","spanId":"b","parentSpanId":null,"name":"import","kind":"INTERNAL","process":"p","service":"shop","scope":"s","status":{"code":"ERROR","message":"lost: the end of the span was dropped by a full buffer"},"panic":{"message":"out of luck","location":"src/main.rs:7:5"},"attributes":{"n":2,"keep":"x","big":"9007199254740993"},"attributeTypes":{"big":"int"},"startTimestamp":"T1","timestamp":"1970-01-01T00:00:01.000000000Z","events":[{"name":"half"}],"links":[{"traceId":"l"},{"traceId":"m"}],"lost":{"reason":"dropped","lastHeard":"1970-01-01T00:00:01.000000000Z"}}"#;
        assert_eq!(str::from_utf8(&lost).unwrap(), expected);
        let why = (LostReason::Dropped, last_heard);
        let of_complete = super::lost(started, Some(&updates.completed()), why);
        assert_eq!(of_complete.as_deref(), Some(&*lost));
        assert_eq!(
            super::lost(&lost, None, (LostReason::Dropped, last_heard)),
            None
        );
    }
}
