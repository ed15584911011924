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
    /// The smallest of the limits of the environment. Only spans with at least so many parts can tell of a higher one.
    unusual_from: usize,
}

impl SeenLimits {
    pub(crate) fn from_env() -> Self {
        let limit = |name: &str| {
            let limit = env::var(name).ok().and_then(|value| value.parse().ok());
            limit.unwrap_or(DEFAULT)
        };
        Self::new([
            limit("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
            limit("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            limit("OTEL_SPAN_LINK_COUNT_LIMIT"),
        ])
    }

    fn new([attributes, events, links]: [u32; 3]) -> Self {
        Self {
            attributes: AtomicU32::new(attributes),
            events: AtomicU32::new(events),
            links: AtomicU32::new(links),
            unusual_from: attributes.min(events).min(links) as usize,
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

    /// Updates the limits from an ended span, if the SDK dropped a part of it, or it has as many parts of one kind as the
    /// smallest limit of the environment.
    #[inline]
    pub(crate) fn learn(&self, span: &SpanData) {
        let (events, links) = (&span.events, &span.links);
        let dropped = span.dropped_attributes_count | events.dropped_count | links.dropped_count;
        // If one of the three numbers reaches the bound, so does this one.
        let kept = span.attributes.len() | events.events.len() | links.links.len();
        if dropped != 0 || kept >= self.unusual_from {
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

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::UNIX_EPOCH};

    use opentelemetry::{
        InstrumentationScope, KeyValue,
        trace::{SpanContext, SpanId, SpanKind, Status},
    };
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn ended(attributes: u32, dropped: u32) -> SpanData {
        let attributes = (0..attributes).map(|number| KeyValue::new(number.to_string(), 1));
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Borrowed("job"),
            start_time: UNIX_EPOCH,
            end_time: UNIX_EPOCH,
            attributes: attributes.collect(),
            dropped_attributes_count: dropped,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[test]
    fn a_span_with_more_parts_than_the_environment_allows_raises_the_limit() {
        let limits = SeenLimits::new([64, 128, 128]);
        limits.learn(&ended(63, 0));
        assert_eq!(limits.attributes(), 64);
        // The builder has set a higher limit.
        limits.learn(&ended(100, 0));
        assert_eq!(limits.attributes(), 100);
        limits.learn(&ended(120, 1));
        assert_eq!(limits.attributes(), 120);
        limits.learn(&ended(10, 5));
        assert_eq!((limits.attributes(), limits.events()), (10, 128));
    }
}
