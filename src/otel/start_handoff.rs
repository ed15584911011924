//! Passes the name, attributes and links of a starting span to our processor in a thread-local. This works because the
//! wrapping provider, or our sampler, runs on the same thread as the processor, right before it. Otherwise the SDK
//! would copy the span for the processor, and that copy would be most of the cost of a start. It runs on the host's
//! threads; it never allocates, waits or calls the host's code.

use std::cell::RefCell;

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind as OtelKind, TraceId},
};

use crate::{
    ingest::write_buf::WriteBuf,
    otel::filter::StartFilter,
    span::{
        delta::slots::{SentPrefix, StartScope},
        event::SpanKind,
        record::{self, PartCounts, WrittenScope},
    },
    util::time::Timestamp,
};

/// The largest span that is stored here, in bytes. Larger spans are copied by the SDK.
const BYTES_MAX: usize = 1024;

/// Identifies the span that starts: by its log, the address of its parent context, and its trace. The SDK calls sampler
/// and processors with the same context, one right after the other. So a stored span that another provider's sampler
/// left here is never used for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanIdentity {
    /// The log's number, from 1.
    log: u64,
    parent: usize,
    /// Invalid if the wrapping provider stored the span, because that provider does not know the trace id of a root.
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

    /// Returns whether this identity of a stored span fits the span that starts now, `starting`.
    #[inline]
    fn is(self, starting: Self) -> bool {
        (self.log, self.parent) == (starting.log, starting.parent)
            && (self.trace_id == TraceId::INVALID || self.trace_id == starting.trace_id)
    }

    /// Returns whether the wrapping provider stored the span and the processor has not taken it.
    fn is_of_provider(self) -> bool {
        self.log != Self::NONE.log && self.trace_id == TraceId::INVALID
    }
}

/// A starting span as it was stored.
#[derive(Debug)]
pub(crate) struct HandedStart {
    /// Has the log number of [`SpanIdentity::NONE`] if the span was taken or was too large to store.
    identity: SpanIdentity,
    /// Whether the filter wants the span.
    pub(crate) is_wanted: bool,
    pub(crate) kind: SpanKind,
    pub(crate) counts: PartCounts,
    /// The start time. `None` if a sampler stored the span, because a sampler does not know the time.
    pub(crate) start: Option<Timestamp>,
    /// The flags of the scope's texts.
    pub(crate) has: u8,
    /// The size of scope name and version, in bytes.
    pub(crate) scope_size: usize,
    size: usize,
    /// Scope name and version, then name, attributes and links, in the form of a record.
    bytes: [u8; BYTES_MAX],
}

impl HandedStart {
    /// Returns the part that the worker gets with the start, so that the end need not repeat it.
    #[inline]
    pub(crate) fn sent(&self) -> Option<SentPrefix> {
        let scope = if self.start.is_some() {
            StartScope::Recorded
        } else {
            StartScope::Unknown
        };
        SentPrefix::new(self.counts.attributes() as usize, scope)
    }

    /// Returns scope name and version, followed by name, attributes and links.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

// The value has no destructor, so it can be used even while the thread ends.
thread_local! {
    static STARTING: RefCell<HandedStart> = const {
        RefCell::new(HandedStart {
            identity: SpanIdentity::NONE,
            is_wanted: false,
            kind: SpanKind::Internal,
            counts: PartCounts::NONE,
            start: None,
            has: 0,
            scope_size: 0,
            size: 0,
            bytes: [0; BYTES_MAX],
        })
    };
}

/// A starting span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartInput<'a> {
    /// `None` in a sampler, which does not know the scope.
    pub(crate) scope: Option<&'a WrittenScope>,
    pub(crate) start: Option<Timestamp>,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a OtelKind,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) links: &'a [Link],
}

/// Stores a starting span for the processor. Returns whether the default filter wants the span. Returns `None`, and
/// stores nothing, if the span is too large. Does the same while the processor has not taken a span that the wrapping
/// provider stored: the new span then starts within the start of that span.
#[inline]
pub(crate) fn store(identity: SpanIdentity, input: &StartInput<'_>) -> Option<bool> {
    let stored = STARTING.try_with(|starting| {
        // No code below can start a span, so the value is not borrowed already.
        let mut starting = starting.try_borrow_mut().ok()?;
        if starting.identity.is_of_provider() {
            return None;
        }
        starting.identity.log = SpanIdentity::NONE.log;
        let mut buf = WriteBuf::new(&mut starting.bytes);
        let has = match input.scope {
            Some(scope) => {
                buf.put_short(&scope.bytes)?;
                scope.has
            }
            None => 0,
        };
        let scope_size = BYTES_MAX - buf.remaining();
        let mut filter = StartFilter::default();
        let parts = (input.attributes, input.links);
        let counts = record::write_start_input(&mut buf, input.name, parts, |key, value| {
            filter.see(key, value);
        })?;
        starting.size = BYTES_MAX - buf.remaining();
        starting.scope_size = scope_size;
        starting.has = has;
        starting.start = input.start;
        starting.counts = counts;
        starting.kind = record::kind_of(input.kind);
        starting.is_wanted = filter.is_wanted();
        starting.identity = identity;
        Some(starting.is_wanted)
    });
    // If nothing is stored, the SDK copies the span for the processor.
    stored.ok().flatten()
}

/// Calls `show` with the stored span, if it is the span that starts now. Each stored span is taken only once.
#[inline]
pub(crate) fn take<T>(identity: SpanIdentity, show: impl FnOnce(&HandedStart) -> T) -> Option<T> {
    let taken = STARTING.try_with(|starting| {
        let mut starting = starting.try_borrow_mut().ok()?;
        if !starting.identity.is(identity) {
            return None;
        }
        starting.identity.log = SpanIdentity::NONE.log;
        Some(show(&starting))
    });
    taken.ok().flatten()
}

/// Discards the span that the wrapping provider stored, if the processor has not taken it.
pub(crate) fn discard() {
    let _is_discarded = STARTING.try_with(|starting| {
        if let Ok(mut starting) = starting.try_borrow_mut() {
            starting.identity = SpanIdentity::NONE;
        }
    });
}
