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
        record::{self, PartCounts},
    },
};

/// The largest span that is noted here, in the memory of each thread; larger ones are copied by the SDK.
const BYTES_MAX: usize = 1024;

/// Where the span stands that a sampler is asked about.
///
/// The SDK asks sampler and processors with the same context, one right after the other. What another provider's
/// sampler left behind is therefore not taken for what this one saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanIdentity {
    /// The log's number, from 1.
    log: u64,
    parent: usize,
    trace_id: TraceId,
}

impl SpanIdentity {
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
pub(crate) struct SampledSpan {
    /// [`Place::NONE`] when it was given away, or was too much.
    identity: SpanIdentity,
    /// Whether the filter wants it.
    pub(crate) is_wanted: bool,
    pub(crate) kind: SpanKind,
    pub(crate) counts: PartCounts,
    size: usize,
    /// Name, attributes and links, as they stand in a record.
    bytes: [u8; BYTES_MAX],
}

impl SampledSpan {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

// Nothing here needs to be dropped, so a thread that ends may still start spans.
thread_local! {
    static SAMPLED: RefCell<SampledSpan> = const {
        RefCell::new(SampledSpan {
            identity: SpanIdentity::NONE,
            is_wanted: false,
            kind: SpanKind::Internal,
            counts: PartCounts::NONE,
            size: 0,
            bytes: [0; BYTES_MAX],
        })
    };
}

/// What a sampler sees of a span, and whether the filter wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SamplerInput<'a> {
    pub(crate) is_wanted: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a OtelKind,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) links: &'a [Link],
}

/// Notes what a sampler sees; nothing when that is too much.
#[inline]
pub(crate) fn store(identity: SpanIdentity, input: &SamplerInput<'_>) {
    // What cannot be noted is copied by the SDK.
    let _is_stored = SAMPLED.try_with(|sampled| {
        // Nothing that runs below can start a span, so it is not borrowed.
        let mut sampled = sampled.try_borrow_mut().ok()?;
        sampled.identity.log = SpanIdentity::NONE.log;
        let mut buf = WriteBuf::new(&mut sampled.bytes);
        let counts =
            record::write_sampler_input(&mut buf, input.name, input.attributes, input.links)?;
        sampled.size = BYTES_MAX - buf.left();
        sampled.counts = counts;
        sampled.kind = record::kind_of(input.kind);
        sampled.is_wanted = input.is_wanted;
        sampled.identity = identity;
        Some(())
    });
}

/// Gives what was noted for the span that starts here, once.
#[inline]
pub(crate) fn take<T>(identity: SpanIdentity, show: impl FnOnce(&SampledSpan) -> T) -> Option<T> {
    let taken = SAMPLED.try_with(|sampled| {
        let mut sampled = sampled.try_borrow_mut().ok()?;
        if sampled.identity != identity {
            return None;
        }
        sampled.identity.log = SpanIdentity::NONE.log;
        Some(show(&sampled))
    });
    taken.ok().flatten()
}
