//! A span of the wrapping provider: it hands every call on to the SDK's span, and notes what changed for the worker. A
//! caller may hold the lock of a context's span, so this code calls nothing of OpenTelemetry except the wrapped span.
//! It never waits and never panics.

use std::{borrow::Cow, fmt, sync::Arc, time::SystemTime};

use opentelemetry::{
    KeyValue,
    trace::{Event, Link, Span, SpanContext, Status},
};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::{
    otel::provider::{
        shared::ProviderShared,
        start_sketch::{KeySketch, StartSketch},
        unrecorded::UnrecordedSpan,
    },
    span::updates::{Changes, UpdateSlot, assign, ids_of, is_same_key},
};

/// Attributes of these names are kept until the end of the span: they are made to be set again and again.
const PROGRESS: &str = "progress.";
/// Attributes that the `tracing` layer sets at the end of every span: totals of its life, so no news of an open span.
const TOTALS: [&str; 2] = ["busy_ns", "idle_ns"];
/// Upper bound on the attributes of one span that wait in `overflow`.
const OVERFLOW_MAX: usize = 128;

/// A span of a [`LiveTracer`](crate::otel::LiveTracer).
pub struct LiveSpan {
    sdk: SdkSpan,
    provider: Arc<ProviderShared>,
    /// Whether readers see it, so that its changes are noted.
    is_shown: bool,
    keys: KeySketch,
    /// Attributes and links that the SDK's span has, or gets at the end.
    attributes: u32,
    links: u32,
    /// What happened to it since its start; most spans have nothing of it.
    inside: Option<Box<Inside>>,
    /// The whole span, if the SDK does not record it.
    unrecorded: Option<Box<UnrecordedSpan>>,
}

/// What happened to a span since its start.
struct Inside {
    events: u32,
    status: Status,
    /// Attributes that the SDK gets at the end, each with its last value.
    held: Vec<KeyValue>,
    /// The place of the one that was set last.
    latest: usize,
    /// Attributes beyond the limit. The SDK gets them after `held`, so that it counts these as dropped and not the held
    /// ones.
    overflow: Vec<KeyValue>,
    slot: Arc<UpdateSlot>,
}

impl fmt::Debug for LiveSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpan")
            .field("sdk", &self.sdk)
            .finish_non_exhaustive()
    }
}

impl LiveSpan {
    /// A span that only the SDK knows.
    pub(super) fn passing(sdk: SdkSpan, provider: &Arc<ProviderShared>) -> Self {
        Self::new(sdk, provider, false, None, StartSketch::default())
    }

    #[inline]
    pub(super) fn new(
        sdk: SdkSpan,
        provider: &Arc<ProviderShared>,
        is_shown: bool,
        unrecorded: Option<Box<UnrecordedSpan>>,
        sketch: StartSketch,
    ) -> Self {
        Self {
            sdk,
            provider: Arc::clone(provider),
            is_shown,
            keys: sketch.keys,
            attributes: sketch.attributes,
            links: sketch.links,
            inside: None,
            unrecorded,
        }
    }

    /// Notes an event that the builder had, because the start event has none.
    #[cold]
    pub(super) fn note_early_event(&mut self, event: Event) {
        let is_open = self.is_shown && self.is_recording();
        if is_open && self.takes_event() {
            if let Some(unrecorded) = &mut self.unrecorded {
                unrecorded.add_event(event.clone());
            }
            self.note(|changes| changes.add_event(event));
        }
    }

    fn takes_event(&mut self) -> bool {
        let limit = self.provider.limits.events();
        let inside = self.inside();
        let has_room = inside.events < limit;
        inside.events = inside.events.saturating_add(1);
        has_room
    }

    #[inline]
    fn inside(&mut self) -> &mut Inside {
        self.inside.get_or_insert_with(|| {
            let ids = ids_of(self.sdk.span_context());
            Box::new(Inside::new(UpdateSlot::new(
                ids.0,
                ids.1,
                self.provider.source,
            )))
        })
    }

    #[inline]
    fn note(&mut self, change: impl FnOnce(&mut Changes) -> bool) {
        self.inside();
        if let Some(inside) = &self.inside {
            let shared = &self.provider.shared;
            shared.updates.note(shared.buffer(), &inside.slot, change);
        }
    }

    /// Sets an attribute of a span that the SDK records.
    #[inline]
    fn set_recorded_attribute(&mut self, attribute: KeyValue) {
        let key = attribute.key.as_str();
        if TOTALS.contains(&key) {
            self.attributes = self.attributes.saturating_add(1);
            return self.sdk.set_attribute(attribute);
        }
        let may_be_known = self.keys.insert(key);
        if may_be_known || key.starts_with(PROGRESS) {
            self.hold(attribute);
        } else if self.attributes >= self.provider.limits.attributes() {
            self.overflow(attribute);
        } else {
            self.attributes += 1;
            let news = attribute.clone();
            self.note(|changes| changes.set_new_attribute(news));
            self.sdk.set_attribute(attribute);
        }
    }

    /// Keeps an attribute for the end of the span.
    #[inline]
    fn hold(&mut self, attribute: KeyValue) {
        let inside = self.inside();
        if let Some(held) = inside.held.get_mut(inside.latest)
            && is_same_key(&held.key, &attribute.key)
        {
            assign(&mut held.value, &attribute.value);
            self.note(|changes| changes.set_attribute(&attribute));
        } else {
            self.hold_other(attribute);
        }
    }

    #[inline(never)]
    fn hold_other(&mut self, attribute: KeyValue) {
        let has_room = self.attributes < self.provider.limits.attributes();
        let inside = self.inside();
        let is_held = |pair: &KeyValue| is_same_key(&pair.key, &attribute.key);
        let known = inside.held.iter().position(is_held);
        inside.latest = known.unwrap_or(inside.held.len());
        if let Some(held) = inside.held.get_mut(inside.latest) {
            assign(&mut held.value, &attribute.value);
        } else if has_room {
            inside.held.push(attribute.clone());
            self.attributes += 1;
        } else {
            return self.overflow(attribute);
        }
        self.note(|changes| changes.set_attribute(&attribute));
    }

    #[cold]
    fn overflow(&mut self, attribute: KeyValue) {
        let inside = self.inside();
        if inside.overflow.len() < OVERFLOW_MAX && !inside.held.is_empty() {
            inside.overflow.push(attribute);
        } else {
            self.sdk.set_attribute(attribute);
        }
    }

    /// Hands on what was kept for the end, and tells what changed last.
    #[inline]
    fn finish(&mut self) {
        if let Some(inside) = self.inside.take() {
            self.finish_inside(*inside);
        }
    }

    #[inline(never)]
    fn finish_inside(&mut self, inside: Inside) {
        for attribute in inside.held.into_iter().chain(inside.overflow) {
            self.sdk.set_attribute(attribute);
        }
        self.provider.shared.enqueue_last_changes(&inside.slot);
    }

    #[cold]
    fn end_unrecorded(&mut self, timestamp: SystemTime) {
        if let Some(unrecorded) = self.unrecorded.take() {
            unrecorded.end(&self.provider, timestamp);
        }
    }
}

impl Inside {
    #[cold]
    fn new(slot: UpdateSlot) -> Self {
        Self {
            events: 0,
            status: Status::Unset,
            held: Vec::new(),
            latest: 0,
            overflow: Vec::new(),
            slot: Arc::new(slot),
        }
    }
}

impl Span for LiveSpan {
    fn add_event_with_timestamp<T>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) where
        T: Into<Cow<'static, str>>,
    {
        let name = name.into();
        if self.is_shown && self.is_recording() && self.takes_event() {
            let event = Event::new(name.clone(), timestamp, attributes.clone(), 0);
            if let Some(unrecorded) = &mut self.unrecorded {
                unrecorded.add_event(event.clone());
            }
            self.note(|changes| changes.add_event(event));
        } else if let Some(unrecorded) = &mut self.unrecorded {
            unrecorded.drop_event();
        }
        self.sdk
            .add_event_with_timestamp(name, timestamp, attributes);
    }

    fn span_context(&self) -> &SpanContext {
        self.sdk.span_context()
    }

    fn is_recording(&self) -> bool {
        self.sdk.is_recording() || self.unrecorded.is_some()
    }

    #[inline]
    fn set_attribute(&mut self, attribute: KeyValue) {
        if !self.is_shown {
            self.sdk.set_attribute(attribute);
        } else if self.sdk.is_recording() {
            self.set_recorded_attribute(attribute);
        } else if let Some(unrecorded) = &mut self.unrecorded
            && unrecorded.set_attribute(&attribute, self.provider.limits.attributes())
        {
            self.note(|changes| changes.set_attribute(&attribute));
        }
    }

    fn set_status(&mut self, status: Status) {
        // The rule of the SDK, which keeps the higher one.
        let known = self
            .inside
            .as_ref()
            .map_or(&Status::Unset, |inside| &inside.status);
        if self.is_shown && status > *known && self.is_recording() {
            self.inside().status = status.clone();
            if let Some(unrecorded) = &mut self.unrecorded {
                unrecorded.set_status(status.clone());
            }
            let news = status.clone();
            self.note(|changes| {
                changes.status = Some(news);
                true
            });
        }
        self.sdk.set_status(status);
    }

    fn update_name<T>(&mut self, new_name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        let name = new_name.into();
        if self.is_shown && self.is_recording() {
            if let Some(unrecorded) = &mut self.unrecorded {
                unrecorded.set_name(name.clone());
            }
            let news = name.clone();
            self.note(|changes| {
                changes.name = Some(news);
                true
            });
        }
        self.sdk.update_name(name);
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        if self.is_shown && self.is_recording() {
            let has_room = self.links < self.provider.limits.links();
            self.links = self.links.saturating_add(1);
            if has_room {
                let link = Link::new(span_context.clone(), attributes.clone(), 0);
                if let Some(unrecorded) = &mut self.unrecorded {
                    unrecorded.add_link(link.clone());
                }
                self.note(|changes| changes.add_link(link));
            } else if let Some(unrecorded) = &mut self.unrecorded {
                unrecorded.drop_link();
            }
        }
        self.sdk.add_link(span_context, attributes);
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.finish();
        if self.unrecorded.is_some() {
            self.end_unrecorded(timestamp);
        }
        self.sdk.end_with_timestamp(timestamp);
    }
}

impl Drop for LiveSpan {
    fn drop(&mut self) {
        // The SDK's span, which is dropped next, ends if it has not.
        self.finish();
        if self.unrecorded.is_some() {
            self.end_unrecorded(opentelemetry::time::now());
        }
    }
}
