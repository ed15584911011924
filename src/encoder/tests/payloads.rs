//! Helpers that encode an SDK span in several ways, such as with a template or from a delta end.

use opentelemetry::trace::{SpanContext, SpanId};
use opentelemetry_sdk::trace::SpanData;
use std::cell::RefCell;

use crate::encoder::start_templates::TemplateCache;
use crate::ingest::write_buf::WriteBuf;
use crate::span::delta::end::EndDelta;
use crate::span::delta::end::read_end_delta;
use crate::span::delta::end::sent_prefix_of;
use crate::span::delta::end::slot_key;
use crate::span::delta::end::slot_key_of;
use crate::span::delta::end::write_end_delta;
use crate::span::delta::slots::OccupiedSlot;
use crate::span::delta::slots::SentPrefix;
use crate::span::delta::slots::SlotGuard;
use crate::span::delta::slots::StartScope;
use crate::span::delta::slots::StartSlots;
use crate::span::json;
use crate::span::json::SpanFields;
use crate::span::record;
use crate::span::record::Record;
use crate::span::record::SpanOrigin;
use crate::span::record::StartOutline;
use crate::span::redact::Redaction;
use crate::span::root_attributes::RootAttributes;
use crate::trace::span_change;
use crate::util::time::Timestamp;

pub(super) const PROCESS: &str = "p7f3k2aa";
pub(super) const SERVICE: &str = "shop \"1\"";

/// Writes a record into a buffer of 352 KiB, the room for starts in the smallest shard, and returns the record.
pub(super) fn written(mut write: impl FnMut(&mut WriteBuf<'_>) -> Option<()>) -> Vec<u8> {
    thread_local! {
        static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; 352 * 1024]);
    }
    MEMORY.with_borrow_mut(|memory| {
        let size = memory.len();
        let mut buf = WriteBuf::new(memory);
        write(&mut buf).expect("the record does not fit into the buffer");
        let left = buf.remaining();
        memory[..size - left].to_vec()
    })
}

/// Returns the two payloads of a span: of its `started` and its `ended` event.
pub(super) fn payloads(span: &SpanData) -> [Vec<u8>; 2] {
    let start =
        written(|buf| record::write_start(buf, 7, span, SpanOrigin::Sdk, &SlotGuard::none()));
    let end = written(|buf| record::write_end(buf, 7, span, SpanOrigin::Sdk));
    [started_payload(&start), ended_payload(record::read(&end))]
}

pub(super) fn started_payload(start: &[u8]) -> Vec<u8> {
    let mut started = Vec::new();
    let Some(Record::Start(spanned)) = record::read(start) else {
        panic!("the record is not a start")
    };
    assert_eq!(spanned.source, 7);
    json::started(&mut started, &named(spanned.span), spanned.start);
    started
}

pub(super) fn ended_payload(end: Option<Record<'_>>) -> Vec<u8> {
    let mut ended = Vec::new();
    let Some(Record::End(spanned, end)) = end else {
        panic!("the record is not an end")
    };
    let end = json::EndFields {
        start: spanned.start,
        ..end
    };
    json::ended(&mut ended, &named(spanned.span), &end);
    ended
}

pub(super) fn named(span: SpanFields<'_>) -> SpanFields<'_> {
    SpanFields {
        process: PROCESS,
        service: SERVICE,
        ..span
    }
}

/// Returns whether the start was written with a template. Asserts that its bytes equal the bytes that are written
/// without a template.
pub(super) fn written_from_template(
    cache: &mut TemplateCache,
    redaction: &Redaction,
    record: &[u8],
) -> bool {
    let (Some(Record::Start(spanned)), Some(outline)) =
        (record::read(record), StartOutline::of(record))
    else {
        return false;
    };
    let mut span = named(spanned.span);
    redaction.span(&mut span);
    let mut whole = b"before".to_vec();
    let layout = json::started(&mut whole, &span, spanned.start);
    let begun = span_change::SpanStart {
        parent: span.parent,
        parent_remote: span.parent_remote,
        name: span.name.into(),
        service: span.service.into(),
        kind: span.kind,
        start_time: spanned.start,
        links: Box::default(),
        progress: None,
        of_root: match (span.parent, span.parent_remote) {
            (Some(_), false) => None,
            _ => RootAttributes::of(&span.attributes),
        },
    };
    let mut templated = b"before".to_vec();
    let mut found = None;
    if let Some(template) = cache.find(&outline) {
        found = template.write(&mut templated, &outline, redaction);
        if found.is_some() {
            assert_eq!(
                format!("{:?}", template.span_start(&outline)),
                format!("{begun:?}")
            );
        }
    }
    match &found {
        Some(_) => {
            let text = |payload: &[u8]| payload.escape_ascii().to_string();
            assert_eq!(text(&templated), text(&whole));
            assert_eq!(format!("{found:?}"), format!("{layout:?}"));
            assert_eq!(outline.slot, spanned.slot);
        }
        None => assert_eq!(templated, b"before"),
    }
    cache.learn(&outline, &span, &begun, |key| {
        redaction.depends_on_value(key)
    });
    found.is_some()
}

/// Returns the complete end, joined from a delta end and its remembered start.
pub(super) fn joined_payload(
    span: &SpanData,
    start: &[u8],
    (found, sent): (&OccupiedSlot<'_>, SentPrefix),
) -> Vec<u8> {
    let rest = written(|buf| write_end_delta(buf, 7, span, (found, sent)));
    let (Some(Record::Start(begun)), Some(rest)) = (record::read(start), read_end_delta(&rest))
    else {
        panic!("the records are not a start and a delta end")
    };
    let slot = slot_key_of(span).slot(found.table());
    assert_eq!((begun.slot, rest.slot), (Some(slot), slot));
    let again = payload_from_start(&begun, &rest);
    let (spanned, end) = rest
        .join(begun)
        .expect("the start and the delta end are not of one span");
    let joined = ended_payload(Some(Record::End(spanned, end)));
    if let Some(again) = again {
        let text = |payload: &[u8]| payload.escape_ascii().to_string();
        assert_eq!(text(&again), text(&joined));
    }
    joined
}

/// Returns the end made from the event of the start, if that is possible.
pub(super) fn payload_from_start(
    begun: &record::SpanRecord<'_>,
    rest: &EndDelta<'_>,
) -> Option<Vec<u8>> {
    let span = named(begun.span.clone());
    let mut started = Vec::new();
    let layout = json::started(&mut started, &span, begun.start)?;
    if span.name != rest.name || !layout.accepts_added(&started, &rest.added) {
        return None;
    }
    let again = json::EndFromStart {
        started: &started,
        layout: &layout,
        start: rest.scope.scope.map(|_| rest.start),
        scope: rest.scope.scope,
        scope_version: rest.scope.version,
        added: &rest.added,
        links: &rest.links,
        received: None,
        truncated: rest.truncated,
    };
    let mut payload = b"before".to_vec();
    json::ended_from_start(&mut payload, &again, &rest.end);
    Some(payload.split_off("before".len()))
}

/// Returns the start record that is written from the SDK's copy of the span.
pub(super) fn copied_start(span: &SpanData, slots: &StartSlots) -> Vec<u8> {
    let guard = slots.acquire(slot_key_of(span), sent_prefix_of(span));
    let start = written(|buf| record::write_start(buf, 7, span, SpanOrigin::Sdk, &guard));
    guard.keep();
    start
}

/// Returns the start record that is written from a sampler's view of the span. Its start time differs from the
/// span's.
pub(super) fn sampled_start(span: &SpanData, parent: &SpanContext, slots: &StartSlots) -> Vec<u8> {
    let mut counts = record::PartCounts::NONE;
    let peeked = written(|buf| {
        let parts = (&*span.attributes, &*span.links);
        counts = record::write_start_input(buf, &span.name, parts, |_, _| {})?;
        Some(())
    });
    let parent = Some(parent).filter(|parent| parent.is_valid());
    let begun = record::HandedStartRecord {
        source: 7,
        context: &span.span_context,
        parent,
        kind: record::kind_of(&span.span_kind),
        start: Timestamp::from_nanos(1),
        has: 0,
        bytes: &peeked,
        scope_size: 0,
        counts,
    };
    let parent_id = parent.map_or(SpanId::INVALID, SpanContext::span_id);
    let key = slot_key(&span.span_context, parent_id, begun.kind);
    let guard = slots.acquire(
        key,
        SentPrefix::new(counts.attributes() as usize, StartScope::Unknown),
    );
    let start = written(|buf| record::write_handed_start(buf, &begun, &guard));
    guard.keep();
    start
}
