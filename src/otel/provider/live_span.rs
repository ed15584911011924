//! A span of the wrapping provider: it hands every call on to the SDK's span, and notes what changed for the worker. A
//! caller may hold the lock of a context's span, so this code calls nothing of OpenTelemetry except the wrapped span.
//! It never waits and never panics.

use std::{borrow::Cow, fmt, mem, sync::Arc, time::SystemTime};

use opentelemetry::{
    Key, KeyValue,
    trace::{Event, Link, Span, SpanContext, Status},
};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::{
    otel::provider::{
        parts::ProviderParts,
        start_sketch::{KeySketch, StartSketch},
        unrecorded::UnrecordedSpan,
    },
    span::updates::{Changes, UpdateSlot},
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
    parts: Arc<ProviderParts>,
    /// Whether readers see it, so that its changes are noted.
    is_shown: bool,
    keys: KeySketch,
    /// Attributes, events and links that the SDK's span has, or gets at the end.
    attributes: u32,
    events: u32,
    links: u32,
    status: Status,
    /// Attributes that the SDK gets at the end, each with its last value.
    held: Vec<KeyValue>,
    /// Attributes beyond the limit. The SDK gets them after `held`, so that it counts these as dropped and not the held
    /// ones.
    overflow: Vec<KeyValue>,
    slot: Option<Arc<UpdateSlot>>,
    /// The whole span, if the SDK does not record it.
    unrecorded: Option<Box<UnrecordedSpan>>,
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
    pub(super) fn passing(sdk: SdkSpan, parts: &Arc<ProviderParts>) -> Self {
        Self::new(sdk, parts, false, None, StartSketch::default())
    }

    #[inline]
    pub(super) fn new(
        sdk: SdkSpan,
        parts: &Arc<ProviderParts>,
        is_shown: bool,
        unrecorded: Option<Box<UnrecordedSpan>>,
        sketch: StartSketch,
    ) -> Self {
        Self {
            sdk,
            parts: Arc::clone(parts),
            is_shown,
            keys: sketch.keys,
            attributes: sketch.attributes,
            events: 0,
            links: sketch.links,
            status: Status::Unset,
            held: Vec::new(),
            overflow: Vec::new(),
            slot: None,
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
        let has_room = self.events < self.parts.limits.events();
        self.events = self.events.saturating_add(1);
        has_room
    }

    #[inline]
    fn note(&mut self, change: impl FnOnce(&mut Changes) -> bool) {
        let context = self.sdk.span_context();
        let slot = self.slot.get_or_insert_with(|| {
            let ids = (context.trace_id().to_bytes(), context.span_id().to_bytes());
            Arc::new(UpdateSlot::new(ids.0, ids.1, self.parts.source))
        });
        let shared = &self.parts.shared;
        shared.updates.note(shared.buffer(), slot, change);
    }

    /// Sets an attribute of a span that the SDK records.
    #[inline]
    fn set_recorded_attribute(&mut self, attribute: KeyValue) {
        let key = attribute.key.as_str();
        let may_be_known = self.keys.insert(key);
        if may_be_known || key.starts_with(PROGRESS) {
            self.hold(attribute);
        } else if self.attributes >= self.parts.limits.attributes() {
            self.overflow(attribute);
        } else {
            self.attributes += 1;
            if !TOTALS.contains(&key) {
                let news = attribute.clone();
                self.note(|changes| changes.set_attribute(news));
            }
            self.sdk.set_attribute(attribute);
        }
    }

    /// Keeps an attribute for the end of the span.
    #[inline]
    fn hold(&mut self, attribute: KeyValue) {
        if let Some(held) = held_of(&mut self.held, &attribute.key) {
            held.value = attribute.value.clone();
        } else if self.attributes >= self.parts.limits.attributes() {
            return self.overflow(attribute);
        } else {
            self.attributes += 1;
            self.held.push(attribute.clone());
        }
        self.note(|changes| changes.set_attribute(attribute));
    }

    #[cold]
    fn overflow(&mut self, attribute: KeyValue) {
        if self.overflow.len() < OVERFLOW_MAX && !self.held.is_empty() {
            self.overflow.push(attribute);
        } else {
            self.sdk.set_attribute(attribute);
        }
    }

    /// Hands on what was kept for the end, and tells what changed last.
    #[inline]
    fn finish(&mut self) {
        for attribute in mem::take(&mut self.held)
            .into_iter()
            .chain(mem::take(&mut self.overflow))
        {
            self.sdk.set_attribute(attribute);
        }
        if let Some(slot) = self.slot.take() {
            self.parts.shared.enqueue_last_changes(&slot);
        }
    }

    #[cold]
    fn end_unrecorded(&mut self, timestamp: SystemTime) {
        if let Some(unrecorded) = self.unrecorded.take() {
            unrecorded.end(&self.parts, timestamp);
        }
    }
}

#[inline]
fn held_of<'a>(held: &'a mut [KeyValue], key: &Key) -> Option<&'a mut KeyValue> {
    held.iter_mut().find(|pair| pair.key == *key)
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
            && unrecorded.set_attribute(&attribute, self.parts.limits.attributes())
        {
            self.note(|changes| changes.set_attribute(attribute));
        }
    }

    fn set_status(&mut self, status: Status) {
        // The rule of the SDK, which keeps the higher one.
        if self.is_shown && status > self.status && self.is_recording() {
            self.status = status.clone();
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
            let has_room = self.links < self.parts.limits.links();
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
        self.end_unrecorded(timestamp);
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
