//! What a sampler saw of the span that this thread is about to start, for the processor, which is asked next. Without
//! it the processor would have to have the SDK copy the span: that is most of what showing a start costs.

use std::cell::RefCell;

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind as OtelKind, TraceId},
};

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        event::SpanKind,
        record::{self, Counts},
    },
};

/// The largest span that is noted here, in the memory of each thread; larger ones are copied by the SDK.
const BYTES_MAX: usize = 1024;

/// Where the span stands that a sampler is asked about.
///
/// The SDK asks sampler and processors with the same context, one right after the other. What another provider's
/// sampler left behind is therefore not taken for what this one saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The log's number, from 1.
    log: u64,
    parent: usize,
    trace_id: TraceId,
}

impl Place {
    const NONE: Self = Self {
        log: 0,
        parent: 0,
        trace_id: TraceId::INVALID,
    };

    #[inline]
    pub(crate) fn new(log: u64, parent: &Context, trace_id: TraceId) -> Self {
        Self {
            log,
            parent: std::ptr::from_ref(parent).addr(),
            trace_id,
        }
    }
}

/// A span as a sampler sees it.
#[derive(Debug)]
pub(crate) struct Peeked {
    /// [`Place::NONE`] when it was given away, or was too much.
    place: Place,
    /// Whether the filter wants it.
    pub(crate) is_wanted: bool,
    pub(crate) kind: SpanKind,
    pub(crate) counts: Counts,
    size: usize,
    /// Name, attributes and links, as they stand in a record.
    bytes: [u8; BYTES_MAX],
}

impl Peeked {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

// Nothing here needs to be dropped, so a thread that ends may still start spans.
thread_local! {
    static PEEKED: RefCell<Peeked> = const {
        RefCell::new(Peeked {
            place: Place::NONE,
            is_wanted: false,
            kind: SpanKind::Internal,
            counts: Counts::NONE,
            size: 0,
            bytes: [0; BYTES_MAX],
        })
    };
}

/// What a sampler sees of a span, and whether the filter wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) is_wanted: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a OtelKind,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) links: &'a [Link],
}

/// Notes what a sampler sees; nothing when that is too much.
#[inline]
pub(crate) fn note(place: Place, sight: &Sight<'_>) {
    // What cannot be noted is copied by the SDK.
    let _is_noted = PEEKED.try_with(|peeked| {
        // Nothing that runs below can start a span, so it is not borrowed.
        let mut peeked = peeked.try_borrow_mut().ok()?;
        peeked.place.log = Place::NONE.log;
        let mut room = WriteBuf::new(&mut peeked.bytes);
        let counts = record::write_peeked(&mut room, sight.name, sight.attributes, sight.links)?;
        peeked.size = BYTES_MAX - room.left();
        peeked.counts = counts;
        peeked.kind = record::kind_of(sight.kind);
        peeked.is_wanted = sight.is_wanted;
        peeked.place = place;
        Some(())
    });
}

/// Gives what was noted for the span that starts here, once.
#[inline]
pub(crate) fn take<T>(place: Place, show: impl FnOnce(&Peeked) -> T) -> Option<T> {
    let taken = PEEKED.try_with(|peeked| {
        let mut peeked = peeked.try_borrow_mut().ok()?;
        if peeked.place != place {
            return None;
        }
        peeked.place.log = Place::NONE.log;
        Some(show(&peeked))
    });
    taken.ok().flatten()
}
