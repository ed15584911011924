//! The span limits of the SDK's provider, derived from its ended spans, because the SDK does not expose them. livespan
//! must not show an attribute, event or link of a running span that the SDK will drop.

use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
};

use opentelemetry_sdk::trace::SpanData;

/// The SDK's default for each limit, as in the specification.
const DEFAULT: u32 = 128;

/// The numbers of attributes, events and links that a span of the provider may have.
///
/// At first, these are the limits of the environment, as in the SDK. A limit that was set on the provider's builder
/// becomes known when the SDK drops a part of a span because of it.
#[derive(Debug)]
pub(crate) struct SeenLimits {
    attributes: AtomicU32,
    events: AtomicU32,
    links: AtomicU32,
}

impl SeenLimits {
    pub(crate) fn from_env() -> Self {
        let limit = |name: &str| {
            let limit = env::var(name).ok().and_then(|value| value.parse().ok());
            AtomicU32::new(limit.unwrap_or(DEFAULT))
        };
        Self {
            attributes: limit("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
            events: limit("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            links: limit("OTEL_SPAN_LINK_COUNT_LIMIT"),
        }
    }

    #[inline]
    pub(crate) fn attributes(&self) -> u32 {
        self.attributes.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn events(&self) -> u32 {
        self.events.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn links(&self) -> u32 {
        self.links.load(Ordering::Relaxed)
    }

    /// Updates the limits from an ended span, if the SDK dropped a part of it, or it has at least [`DEFAULT`] parts of
    /// one kind.
    #[inline]
    pub(crate) fn learn(&self, span: &SpanData) {
        let (events, links) = (&span.events, &span.links);
        let dropped = span.dropped_attributes_count | events.dropped_count | links.dropped_count;
        // The bound is a power of two, so one comparison checks whether any of the three numbers reaches it.
        let kept = span.attributes.len() | events.events.len() | links.links.len();
        if dropped != 0 || kept >= DEFAULT as usize {
            self.learn_unusual(span);
        }
    }

    #[cold]
    fn learn_unusual(&self, span: &SpanData) {
        learn(
            &self.attributes,
            span.attributes.len(),
            span.dropped_attributes_count,
        );
        learn(&self.events, span.events.len(), span.events.dropped_count);
        learn(&self.links, span.links.len(), span.links.dropped_count);
    }
}

/// Updates a limit from an ended span. If parts were dropped, the number of kept parts is the limit. Otherwise the
/// limit is at least that number.
fn learn(limit: &AtomicU32, kept: usize, dropped: u32) {
    let kept = u32::try_from(kept).unwrap_or(u32::MAX);
    let known = limit.load(Ordering::Relaxed);
    if kept > known || (dropped > 0 && kept != known) {
        limit.store(kept, Ordering::Relaxed);
    }
}
