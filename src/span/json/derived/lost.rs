//! Makes the `ended` event of a span that is lost or whose workflow was cancelled, from its `started` event. Values are
//! copied and never decoded. Pure; the worker thread calls it.

use crate::{
    span::json::{
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

/// Returns the `ended` event of a lost span; `None` if `started` is not a `started` event.
pub(crate) fn lost(started: &[u8], reason: LostReason, last_heard: Timestamp) -> Option<Vec<u8>> {
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
    let mut out = ended_with_error(started, message, last_heard)?;
    field(&mut out, "lost");
    out.extend_from_slice(b"{\"reason\":");
    string(&mut out, reason);
    field(&mut out, "lastHeard");
    string(&mut out, &last_heard.text());
    out.extend_from_slice(b"}}");
    Some(out)
}

/// Returns the `ended` event of a span whose workflow was cancelled; `None` if `started` is not a `started` event.
pub(crate) fn cancelled(started: &[u8], reason: &str, time: Timestamp) -> Option<Vec<u8>> {
    let mut out = ended_with_error(started, clip(reason, VALUE_BYTES_MAX).0, time)?;
    out.extend_from_slice(b",\"cancelled\":true}");
    Some(out)
}

/// Writes an end with the fields of the start and the status ERROR, without the brace that closes the object.
fn ended_with_error(started: &[u8], message: &str, time: Timestamp) -> Option<Vec<u8>> {
    // Values are copied: decoding and encoding them again could change a number or their order.
    let value_of = |wanted: &str| {
        fields(started)
            .find(|(key, _)| *key == wanted.as_bytes())
            .map(|(_, value)| value)
    };
    if value_of("type")? != b"\"started\"" {
        return None;
    }
    let start = value_of("timestamp")?;
    let mut out = Vec::with_capacity(started.len() + 256);
    out.extend_from_slice(b"{\"type\":\"ended\"");
    let copy = |out: &mut Vec<u8>, key: &str| {
        if let Some(value) = value_of(key) {
            field(out, key);
            out.extend_from_slice(value);
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
    copy(&mut out, "attributes");
    copy(&mut out, "attributeTypes");
    field(&mut out, "startTimestamp");
    out.extend_from_slice(start);
    field(&mut out, "timestamp");
    string(&mut out, &time.text());
    for key in [
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
