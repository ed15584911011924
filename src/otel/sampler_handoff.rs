//! Hands a span from our sampler to our processor: the SDK calls both on one thread, one right after the other, so a
//! thread-local carries name, attributes and links. Without it the SDK would copy the span for the processor, and that
//! copy is most of the cost of a shown start. It runs on the host's threads; it never allocates, waits or calls the
//! host's code.

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

/// The largest span that is stored here, in bytes per thread; the SDK copies larger ones.
const BYTES_MAX: usize = 1024;

/// Identifies the span that a sampler is asked about.
///
/// The SDK calls sampler and processors with the same context, one right after the other. So a span that another
/// provider's sampler left behind is never taken for this one.
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

/// A span as our sampler stored it.
#[derive(Debug)]
pub(crate) struct SampledSpan {
    /// Its log is that of [`SpanIdentity::NONE`] if the span was taken or was too large to store.
    identity: SpanIdentity,
    /// Whether the filter wants the span.
    pub(crate) is_wanted: bool,
    pub(crate) kind: SpanKind,
    pub(crate) counts: PartCounts,
    size: usize,
    /// Name, attributes and links, in the form of a record.
    bytes: [u8; BYTES_MAX],
}

impl SampledSpan {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

// The value has no destructor, so a thread that is ending may still start spans.
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

/// The arguments of a sampler, and whether the filter wants the span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SamplerInput<'a> {
    pub(crate) is_wanted: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a OtelKind,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) links: &'a [Link],
}

/// Stores the arguments of a sampler for the processor. Stores nothing if they are too large.
#[inline]
pub(crate) fn store(identity: SpanIdentity, input: &SamplerInput<'_>) {
    // If nothing is stored, the SDK copies the span for the processor.
    let _is_stored = SAMPLED.try_with(|sampled| {
        // Nothing below can start a span, so this is never borrowed already.
        let mut sampled = sampled.try_borrow_mut().ok()?;
        sampled.identity.log = SpanIdentity::NONE.log;
        let mut buf = WriteBuf::new(&mut sampled.bytes);
        let counts =
            record::write_sampler_input(&mut buf, input.name, input.attributes, input.links)?;
        sampled.size = BYTES_MAX - buf.remaining();
        sampled.counts = counts;
        sampled.kind = record::kind_of(input.kind);
        sampled.is_wanted = input.is_wanted;
        sampled.identity = identity;
        Some(())
    });
}

/// Calls `show` with the stored span if that is the span that starts now. Each stored span is taken only once.
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
