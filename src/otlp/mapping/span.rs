//! Maps an OTLP span to the fields of our events, and recognizes the forms in which senders report
//! open spans. Pure.

use std::{borrow::Cow, time::Duration};

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    trace::v1::{
        Span,
        span::{Event, Link as OtlpLink},
        status::StatusCode,
    },
};

use crate::{
    otlp::{
        config::OtlpReceiver,
        mapping::values::{attributes, is_true, text_of},
    },
    span::{
        event::SpanKind,
        json::{EndCause, EndFields, EndStatus, Link, Pairs, PanicFields, SpanFields, TimedEvent},
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

/// A span with its scope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanView<'a> {
    pub(crate) span: &'a Span,
    pub(crate) scope: Option<&'a InstrumentationScope>,
}

/// Returns the ids of the reported span, if they are valid.
pub(crate) fn real_ids(span: &Span) -> Option<([u8; 16], [u8; 8])> {
    let trace_id = id::<16>(&span.trace_id)?;
    let span_id = if is_pending(span) {
        id::<8>(&span.parent_span_id)?
    } else {
        id::<8>(&span.span_id)?
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
pub(crate) fn is_pending(span: &Span) -> bool {
    text_of(&span.attributes, "logfire.span_type") == Some("pending_span")
}

/// Returns the parent of the reported span.
pub(crate) fn parent_of(span: &Span) -> Option<[u8; 8]> {
    if is_pending(span) {
        parent_of_pending(span)
    } else {
        id::<8>(&span.parent_span_id)
    }
}

/// Returns the parent of the span that a pending span represents.
fn parent_of_pending(span: &Span) -> Option<[u8; 8]> {
    let text = text_of(&span.attributes, "logfire.pending_parent_id")?;
    crate::util::hex::decode::<8>(text).filter(|parent| *parent != [0; 8])
}

/// Returns whether the span's own fields mark it as open. A span whose start and end are both 0 has ended.
pub(crate) fn is_open(span: &Span) -> bool {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    end < start || is_pending(span) || has_key(&span.attributes, "_dd.partial_version")
}

/// Returns whether the span has length zero. .NET reports open spans in this way.
pub(crate) fn is_empty(span: &Span) -> bool {
    span.start_time_unix_nano == span.end_time_unix_nano
}

fn has_key(pairs: &[KeyValue], key: &str) -> bool {
    pairs.iter().any(|pair| pair.key == key)
}

/// Returns the fields that all events of the span have, except process and service.
pub(crate) fn fields_of(
    view: SpanView<'_>,
    ids: ([u8; 16], [u8; 8]),
    parent: Option<[u8; 8]>,
) -> SpanFields<'_> {
    let span = view.span;
    SpanFields {
        attributes: shown_attributes(&span.attributes),
        dropped_attributes: span.dropped_attributes_count,
        links: span_links(&span.links),
        ..bare_start(view, ids, parent)
    }
}

/// Returns the start fields of a span that was first seen when it had ended. They are few, because
/// its end has the rest.
pub(crate) fn bare_start(
    SpanView { span, scope }: SpanView<'_>,
    (trace_id, span_id): ([u8; 16], [u8; 8]),
    parent: Option<[u8; 8]>,
) -> SpanFields<'_> {
    let version = scope.map(|scope| scope.version.as_str());
    SpanFields {
        parent,
        parent_remote: parent.is_some() && span.flags & REMOTE_FLAGS == REMOTE_FLAGS,
        name: &span.name,
        kind: kind(span.kind),
        scope: Some(scope.map_or("", |scope| &scope.name)),
        scope_version: version.filter(|version| !version.is_empty()),
        trace_state: &span.trace_state,
        ..SpanFields::bare(trace_id, span_id)
    }
}

pub(crate) fn shown_attributes(pairs: &[KeyValue]) -> Pairs<'_> {
    let mut shown = attributes(pairs);
    // All hidden keys begin with `l`, so most keys need no look-up.
    shown.retain(|(key, _)| !(key.starts_with('l') && HIDDEN_KEYS.contains(key)));
    shown
}

/// Returns the links, except those with invalid ids.
pub(crate) fn span_links<'a>(links: &'a [OtlpLink]) -> Vec<Link<'a>> {
    let link = |from: &'a OtlpLink| {
        Some(Link {
            trace_id: id::<16>(&from.trace_id)?,
            span_id: id::<8>(&from.span_id)?,
            attributes: attributes(&from.attributes),
        })
    };
    links.iter().filter_map(link).collect()
}

pub(crate) fn span_events(events: &[Event]) -> Vec<TimedEvent<'_>> {
    events
        .iter()
        .map(|from| TimedEvent {
            name: Cow::Borrowed(&from.name),
            time: Timestamp::from_nanos(from.time_unix_nano),
            attributes: attributes(&from.attributes),
        })
        .collect()
}

/// Returns the fields that an end adds.
pub(crate) fn end_fields(span: &Span) -> EndFields<'_> {
    let mut status = status_of(span);
    let reason = end_cause(&span.attributes);
    if matches!(reason, EndCause::Panicked(_)) && !matches!(status, EndStatus::Error(_)) {
        status = EndStatus::Error(Cow::Borrowed(PanicFields::UNKNOWN_MESSAGE));
    }
    EndFields {
        status,
        start: Timestamp::from_nanos(span.start_time_unix_nano),
        end: Timestamp::from_nanos(span.end_time_unix_nano),
        events: span_events(&span.events),
        dropped_events: span.dropped_events_count,
        dropped_links: span.dropped_links_count,
        reason,
    }
}

fn end_cause(attributes: &[KeyValue]) -> EndCause<'static> {
    if !attributes
        .iter()
        .any(|pair| pair.key.starts_with("livespan."))
    {
        return EndCause::Done;
    }
    let state = text_of(attributes, "livespan.state");
    if is_true(attributes, "livespan.panicked") || state == Some("panicked") {
        EndCause::Panicked(PanicFields::default())
    } else if is_true(attributes, "livespan.cancelled") || state == Some("cancelled") {
        EndCause::Cancelled
    } else {
        EndCause::Done
    }
}

/// Returns the status. An unknown code never becomes an explicit OK.
pub(crate) fn status_of(span: &Span) -> EndStatus<'_> {
    let Some(status) = &span.status else {
        return EndStatus::Unset;
    };
    match StatusCode::try_from(status.code) {
        Ok(StatusCode::Ok) => EndStatus::Ok,
        Ok(StatusCode::Error) => EndStatus::Error(Cow::Borrowed(&status.message)),
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
pub(crate) fn awaiting(span: &Span) -> Option<&str> {
    text_of(&span.attributes, "livespan.awaiting").filter(|text| !text.is_empty())
}
