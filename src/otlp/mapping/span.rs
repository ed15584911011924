//! Maps an OTLP span to the fields of our events, and recognizes the forms in which senders report
//! open spans. Pure.

use std::{borrow::Cow, time::Duration};

use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::{
    otlp::{
        config::OtlpReceiver,
        decode::{LinkView, SpanView},
        mapping::values::{is_true, span_text},
    },
    span::{
        event::SpanKind,
        json::{EndCause, EndFields, EndStatus, Link, Pairs, PanicFields, SpanFields},
    },
    util::time::Timestamp,
};

/// Attributes that describe the state of the span itself. They are not shown.
const HIDDEN_KEYS: &[&str] = &[
    "livespan.panicked",
    "livespan.cancelled",
    "livespan.awaiting",
    "livespan.state",
    "logfire.span_type",
    "logfire.pending_parent_id",
];
const REMOTE_FLAGS: u32 = 0x300;

/// Returns the ids of the reported span, if they are valid.
pub(crate) fn real_ids(span: &SpanView<'_>) -> Option<([u8; 16], [u8; 8])> {
    let trace_id = id::<16>(span.trace_id)?;
    let span_id = if is_pending(span) {
        id::<8>(span.parent_span_id)?
    } else {
        id::<8>(span.span_id)?
    };
    Some((trace_id, span_id))
}

/// Returns the id, unless it is all zeros.
pub(crate) fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let id = <[u8; N]>::try_from(bytes).ok()?;
    (id != [0; N]).then_some(id)
}

/// Returns whether this is a pending span of Logfire: a separate span that reports the start of its
/// parent.
pub(crate) fn is_pending(span: &SpanView<'_>) -> bool {
    span_text(&span.attributes, "logfire.span_type") == Some("pending_span")
}

/// Returns the parent of the reported span.
pub(crate) fn parent_of(span: &SpanView<'_>) -> Option<[u8; 8]> {
    if is_pending(span) {
        parent_of_pending(span)
    } else {
        id::<8>(span.parent_span_id)
    }
}

/// Returns the parent of the span that a pending span represents.
fn parent_of_pending(span: &SpanView<'_>) -> Option<[u8; 8]> {
    let text = span_text(&span.attributes, "logfire.pending_parent_id")?;
    crate::util::hex::decode::<8>(text).filter(|parent| *parent != [0; 8])
}

/// Returns whether the span's own fields mark it as open. A span whose start and end are both 0 has
/// ended.
pub(crate) fn is_open(span: &SpanView<'_>) -> bool {
    span.end_nanos < span.start_nanos
        || is_pending(span)
        || has_key(&span.attributes, "_dd.partial_version")
}

/// Returns whether the span has length zero. .NET reports open spans in this way.
pub(crate) fn is_empty(span: &SpanView<'_>) -> bool {
    span.start_nanos == span.end_nanos
}

fn has_key(pairs: &Pairs<'_>, key: &str) -> bool {
    pairs.iter().any(|(one, _)| *one == key)
}

/// Returns the fields that all events of the span have, except process and service.
pub(crate) fn fields_of(
    span: SpanView<'_>,
    ids: ([u8; 16], [u8; 8]),
    parent: Option<[u8; 8]>,
) -> SpanFields<'_> {
    let start = bare_start(&span, ids, parent);
    SpanFields {
        attributes: shown_attributes(span.attributes),
        dropped_attributes: span.dropped_attributes,
        links: span_links(span.links),
        ..start
    }
}

/// Returns the start fields of a span that was first seen when it had ended. They are few, because
/// its end has the rest.
pub(crate) fn bare_start<'a>(
    span: &SpanView<'a>,
    (trace_id, span_id): ([u8; 16], [u8; 8]),
    parent: Option<[u8; 8]>,
) -> SpanFields<'a> {
    SpanFields {
        parent,
        parent_remote: parent.is_some() && span.flags & REMOTE_FLAGS == REMOTE_FLAGS,
        name: span.name,
        kind: kind(span.kind),
        scope: Some(span.scope),
        scope_version: Some(span.scope_version).filter(|version| !version.is_empty()),
        trace_state: span.trace_state,
        ..SpanFields::bare(trace_id, span_id)
    }
}

pub(crate) fn shown_attributes(mut pairs: Pairs<'_>) -> Pairs<'_> {
    // All hidden keys begin with `l`, so most keys need no look-up.
    pairs.retain(|(key, _)| !(key.starts_with('l') && HIDDEN_KEYS.contains(key)));
    pairs
}

/// Returns the links, except those with invalid ids.
pub(crate) fn span_links<'a>(links: Vec<LinkView<'a>>) -> Vec<Link<'a>> {
    let link = |from: LinkView<'a>| {
        Some(Link {
            trace_id: id::<16>(from.trace_id)?,
            span_id: id::<8>(from.span_id)?,
            attributes: from.attributes,
        })
    };
    links.into_iter().filter_map(link).collect()
}

/// Returns the fields that an end adds. Takes the events out of `span`.
pub(crate) fn end_fields<'a>(span: &mut SpanView<'a>) -> EndFields<'a> {
    let mut status = status_of(span);
    let reason = end_cause(&span.attributes);
    if matches!(reason, EndCause::Panicked(_)) && !matches!(status, EndStatus::Error(_)) {
        status = EndStatus::Error(Cow::Borrowed(PanicFields::UNKNOWN_MESSAGE));
    }
    EndFields {
        status,
        start: Timestamp::from_nanos(span.start_nanos),
        end: Timestamp::from_nanos(span.end_nanos),
        events: std::mem::take(&mut span.events),
        dropped_events: span.dropped_events,
        dropped_links: span.dropped_links,
        reason,
    }
}

fn end_cause(attributes: &Pairs<'_>) -> EndCause<'static> {
    if !attributes
        .iter()
        .any(|(key, _)| key.starts_with("livespan."))
    {
        return EndCause::Done;
    }
    let state = span_text(attributes, "livespan.state");
    if is_true(attributes, "livespan.panicked") || state == Some("panicked") {
        EndCause::Panicked(PanicFields::default())
    } else if is_true(attributes, "livespan.cancelled") || state == Some("cancelled") {
        EndCause::Cancelled
    } else {
        EndCause::Done
    }
}

/// Returns the status. An unknown code never becomes an explicit OK.
pub(crate) fn status_of<'a>(span: &SpanView<'a>) -> EndStatus<'a> {
    match StatusCode::try_from(span.status.code) {
        Ok(StatusCode::Ok) => EndStatus::Ok,
        Ok(StatusCode::Error) => EndStatus::Error(Cow::Borrowed(span.status.message)),
        Ok(StatusCode::Unset) | Err(_) => EndStatus::Unset,
    }
}

fn kind(kind: i32) -> SpanKind {
    match kind {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

/// Returns the time of receipt if an event's time is implausible. Also returns the least time by
/// which the sender's clock is ahead.
pub(crate) fn implausible(time: Timestamp, received: Timestamp) -> Option<(Timestamp, Duration)> {
    let nanos = |from: Timestamp, to: Timestamp| to.nanos().saturating_sub(from.nanos());
    let ahead = Duration::from_nanos(nanos(received, time));
    let late = Duration::from_nanos(nanos(time, received));
    let is_plausible = ahead <= OtlpReceiver::CLOCK_AHEAD_MAX && late <= OtlpReceiver::DELAY_MAX;
    (!is_plausible).then_some((received, ahead))
}

/// Returns the await point of an open span.
pub(crate) fn awaiting<'a>(span: &SpanView<'a>) -> Option<&'a str> {
    span_text(&span.attributes, "livespan.awaiting").filter(|text| !text.is_empty())
}
