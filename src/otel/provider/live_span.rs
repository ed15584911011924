//! A span of the wrapping provider. It passes every call on to the SDK's span, and notes changes for the worker. The
//! caller may hold the lock of a context's span, so this code calls no part of OpenTelemetry except the wrapped span.
//! It never waits and never panics.

use std::{borrow::Cow, fmt, sync::Arc, time::SystemTime};

use opentelemetry::{
    KeyValue,
    trace::{Event, Link, Span, SpanContext, Status},
};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::{
    otel::provider::{key_sketch::KeySketch, shared::ProviderShared, unrecorded::UnrecordedSpan},
    span::updates::{Changes, NoteResult, UpdateSlot, assign, ids_of, is_same_key},
};

/// Attributes that the `tracing` layer sets at the end of every span. They are totals, so they are not shown as changes
/// of the open span.
const TOTALS: [&str; 2] = ["busy_ns", "idle_ns"];
/// Upper bound on the attributes of one span in `overflow`.
const OVERFLOW_MAX: usize = 128;

/// A span of a [`LiveTracer`](crate::otel::LiveTracer).
pub struct LiveSpan {
    pub(super) sdk: SdkSpan,
    pub(super) provider: Arc<ProviderShared>,
    /// Whether readers see the span. Changes of hidden spans are not noted.
    pub(super) is_shown: bool,
    pub(super) counts: StartCounts,
    /// The changes since the start. Most spans have none.
    pub(super) inside: Option<Box<Inside>>,
    /// The data of the span, if the SDK does not record it.
    pub(super) unrecorded: Option<Box<UnrecordedSpan>>,
}

/// The numbers of attributes and links that the SDK's span already has or will get at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartCounts {
    pub(super) attributes: u32,
    pub(super) links: u32,
}

/// The changes of a span since its start.
pub(super) struct Inside {
    /// The keys of `held`.
    keys: KeySketch,
    events: u32,
    status: Status,
    /// Attributes that the SDK's span gets at the end, each with its last value.
    held: Vec<KeyValue>,
    /// The index in `held` of the attribute that was set last.
    latest: usize,
    /// Attributes beyond the limit. The SDK's span gets them after `held`, so it counts these as dropped, not the held
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
    /// Notes events that were set on the builder, because the `started` event has no events.
    #[cold]
    pub(super) fn with_early_events(mut self, events: Vec<Event>) -> Self {
        for event in events {
            self.note_early_event(event);
        }
        self
    }

    fn note_early_event(&mut self, event: Event) {
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
        if let Some(inside) = &mut self.inside {
            let shared = &self.provider.shared;
            let noted = shared.updates.note(shared.buffer(), &inside.slot, change);
            if noted == NoteResult::Dropped {
                // If the change was the latest attribute, the pending changes lack it. So it must be looked up there
                // when it is set again.
                inside.latest = usize::MAX;
            }
        }
    }

    /// Sets an attribute of a span that the SDK records.
    #[inline(never)]
    fn set_recorded_attribute(&mut self, attribute: KeyValue) {
        if TOTALS.contains(&attribute.key.as_str()) {
            self.counts.attributes = self.counts.attributes.saturating_add(1);
            self.sdk.set_attribute(attribute);
        } else {
            self.hold(attribute);
        }
    }

    /// Sets an attribute if its key is the one that was set last, as in a loop that reports progress. Otherwise returns
    /// `false`.
    #[inline]
    fn set_latest(&mut self, attribute: &KeyValue) -> bool {
        let Some(inside) = &mut self.inside else {
            return false;
        };
        let Some(held) = inside.held.get_mut(inside.latest) else {
            return false;
        };
        let is_latest = is_same_key(&held.key, &attribute.key);
        if is_latest {
            assign(&mut held.value, &attribute.value);
            let shared = &self.provider.shared;
            shared
                .updates
                .note(shared.buffer(), &inside.slot, |changes| {
                    changes.set_latest_attribute(attribute)
                });
        }
        is_latest
    }

    /// Keeps an attribute for the end of the span, because the SDK would keep every value of a key that is set again.
    fn hold(&mut self, attribute: KeyValue) {
        let has_room = self.counts.attributes < self.provider.limits.attributes();
        let inside = self.inside();
        let may_be_known = inside.keys.insert(attribute.key.as_str());
        let is_held = |pair: &KeyValue| is_same_key(&pair.key, &attribute.key);
        let known = may_be_known
            .then(|| inside.held.iter().position(is_held))
            .flatten();
        inside.latest = known.unwrap_or(inside.held.len());
        if let Some(held) = inside.held.get_mut(inside.latest) {
            assign(&mut held.value, &attribute.value);
            self.note(|changes| changes.set_attribute(&attribute));
        } else if has_room {
            inside.held.push(attribute.clone());
            self.counts.attributes += 1;
            self.note(|changes| changes.set_new_attribute(attribute));
        } else {
            self.overflow(attribute);
        }
    }

    #[cold]
    fn overflow(&mut self, attribute: KeyValue) {
        let inside = self.inside();
        if inside.overflow.len() < OVERFLOW_MAX && !inside.held.is_empty() {
            inside.overflow.push(attribute);
            return;
        }
        if let Some(inside) = &mut self.inside {
            // The held attributes come first, because they are within the limit.
            for kept in inside.held.drain(..).chain(inside.overflow.drain(..)) {
                self.sdk.set_attribute(kept);
            }
        }
        self.sdk.set_attribute(attribute);
    }

    /// Passes the kept attributes to the SDK's span, and pushes the last changes.
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
            keys: KeySketch::default(),
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
        // Only a span that is shown and recorded holds attributes, and only until its end.
        if self.set_latest(&attribute) {
            return;
        }
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
        // As in the SDK, the status of higher rank is kept.
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
            let has_room = self.counts.links < self.provider.limits.links();
            self.counts.links = self.counts.links.saturating_add(1);
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
        // The SDK's span is dropped next, which ends it if it is still open.
        self.finish();
        if self.unrecorded.is_some() {
            self.end_unrecorded(opentelemetry::time::now());
        }
    }
}
