//! A span that the sampler dropped. The SDK keeps none of its data, so this file keeps all of it, under the SDK's
//! rules, until the span ends. It runs on the host's threads; it never waits and never panics.

use std::{borrow::Cow, time::SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::{
    otel::{provider::shared::ProviderShared, start_handoff::HandedStart},
    span::{
        event::SpanKind as Kind,
        record::{self, SpanOrigin},
    },
};

/// A span that only livespan records.
#[derive(Debug)]
pub(super) struct UnrecordedSpan {
    data: SpanData,
    is_wanted: Option<bool>,
}

impl UnrecordedSpan {
    pub(super) fn from_builder(
        context: &SpanContext,
        parent: Option<&SpanContext>,
        builder: SpanBuilder,
        start: SystemTime,
        scope: &InstrumentationScope,
    ) -> Self {
        let mut links = SpanLinks::default();
        links.links = builder.links.unwrap_or_default();
        Self {
            data: SpanData {
                span_context: context.clone(),
                parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
                parent_span_is_remote: parent.is_some_and(SpanContext::is_remote),
                span_kind: builder.span_kind.unwrap_or(SpanKind::Internal),
                name: builder.name,
                start_time: start,
                end_time: start,
                attributes: builder.attributes.unwrap_or_default(),
                dropped_attributes_count: 0,
                // The builder's events are added like later ones.
                events: SpanEvents::default(),
                links,
                status: Status::Unset,
                instrumentation_scope: scope.clone(),
            },
            is_wanted: None,
        }
    }

    /// Reads the span from the data stored for the processor.
    pub(super) fn from_handed(
        context: &SpanContext,
        parent: Option<&SpanContext>,
        handed: &HandedStart,
        start: SystemTime,
        scope: &InstrumentationScope,
    ) -> Option<Self> {
        let (_, input) = handed.bytes().split_at_checked(handed.scope_size)?;
        let (name, attributes, links) = record::read_start_input(input, handed.counts)?;
        let kind = match handed.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .with_links(links);
        let mut span = Self::from_builder(context, parent, builder, start, scope);
        span.is_wanted = Some(handed.is_wanted);
        Some(span)
    }

    /// Pushes the start. Returns `false` if the filter does not want the span.
    pub(super) fn show_start(&self, provider: &ProviderShared) -> bool {
        let is_wanted = self
            .is_wanted
            .unwrap_or_else(|| provider.shared.filter.wants_start(&self.data));
        if is_wanted {
            provider
                .shared
                .enqueue_start(provider.source, &self.data, SpanOrigin::Sdk);
        }
        is_wanted
    }

    /// Pushes the end.
    pub(super) fn end(mut self, provider: &ProviderShared, timestamp: SystemTime) {
        self.data.end_time = timestamp;
        provider
            .shared
            .enqueue_shared_changes(&self.data.span_context);
        provider
            .shared
            .enqueue_end(provider.source, &self.data, SpanOrigin::Sdk);
    }

    /// Sets an attribute. Returns `false` if the span has no room for it.
    pub(super) fn set_attribute(&mut self, attribute: &KeyValue, limit: u32) -> bool {
        let known = &mut self.data.attributes;
        if let Some(pair) = known.iter_mut().find(|pair| pair.key == attribute.key) {
            pair.value = attribute.value.clone();
            return true;
        }
        let has_room = u32::try_from(known.len()).is_ok_and(|count| count < limit);
        if has_room {
            known.push(attribute.clone());
        } else {
            self.data.dropped_attributes_count += 1;
        }
        has_room
    }

    pub(super) fn set_status(&mut self, status: Status) {
        self.data.status = status;
    }

    pub(super) fn set_name(&mut self, name: Cow<'static, str>) {
        self.data.name = name;
    }

    pub(super) fn add_event(&mut self, event: Event) {
        self.data.events.events.push(event);
    }

    pub(super) fn drop_event(&mut self) {
        self.data.events.dropped_count += 1;
    }

    pub(super) fn add_link(&mut self, link: Link) {
        self.data.links.links.push(link);
    }

    pub(super) fn drop_link(&mut self) {
        self.data.links.dropped_count += 1;
    }
}
