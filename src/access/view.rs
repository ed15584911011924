//! What an end user may see of a trace. A view is used by many readers at once: it decides and rewrites each event once and
//! keeps the result for the others, bounded. No lock is held while the app's own function decides.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    access::projection::{self, StatusMessages, ViewFields},
    log::{block::BlockEvent, event::StreamKey},
    span::event::SpanId,
    sse::body::{Projected, Projection},
    util::sync::{catch_panic, lock},
    wire::{control, frame, id::EventId},
};

/// Bytes of rewritten events that a view keeps for further readers, with 128 more for each event.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
const ENTRY_BYTES: usize = 128;
/// Spans whose start a view remembers to have shown or not.
const SPANS_MAX: usize = 65_536;

/// What an end user may see of a trace: which spans, by scope, name and kind, and which of their attributes: none unless
/// allowed. Span names and SQL texts of a shop are not for its customers.
///
/// Shown of a span: its ids, name, kind, times, whether it failed, was cancelled or lost, and the allowed attributes. Never
/// shown: service, resource, scope, span events (where exceptions stand), links, log records.
///
/// Keep one view and use it for all readers: each event is decided and encoded once for all of them. Cloning shares that.
///
/// The guide: [a customer's page](crate::_guide::customer_page).
///
/// ```
/// use livespan::View;
///
/// let customers = View::new(|span| span.scope() == "shop::orders").attributes(["order.step", "order.steps"]);
/// # drop(customers);
/// ```
#[derive(Clone)]
#[must_use]
pub struct View(Arc<ViewInner>);

struct ViewInner {
    rule: SpanRule,
    attributes: HashSet<String>,
    messages: StatusMessages,
    cache: Mutex<ViewCache>,
}

type Predicate = Arc<dyn Fn(&ViewedSpan<'_>) -> bool + Send + Sync>;

#[derive(Clone)]
enum SpanRule {
    Everything,
    Accepts(Predicate),
}

#[derive(Default)]
struct ViewCache {
    events: HashMap<EventId, Projected>,
    order: VecDeque<EventId>,
    bytes: usize,
    spans: HashMap<SpanKey, bool>,
    span_order: VecDeque<SpanKey>,
}

type SpanKey = (StreamKey, SpanId);

/// What became of one event.
#[derive(Default)]
struct ViewDecision {
    /// The span that it decides about, and whether that is shown.
    decided: Option<(SpanKey, bool)>,
    /// Its payload as it is shown, if it is.
    rewritten: Option<Vec<u8>>,
}

/// A span that a [`View`] decides about.
#[derive(Debug)]
pub struct ViewedSpan<'a>(ViewFields<'a>);

impl ViewedSpan<'_> {
    /// Returns the name of the instrumentation scope, such as `shop::cart`. At the start of a span it is empty when the
    /// provider's sampler is a [`LiveSampler`](crate::LiveSampler), which does not see it.
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// Returns the name of the span.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the kind as the wire format names it: `INTERNAL`, `SERVER`, `CLIENT`, `PRODUCER` or `CONSUMER`.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("everything", &matches!(self.0.rule, SpanRule::Everything))
            .field("attributes", &self.0.attributes)
            .finish_non_exhaustive()
    }
}

impl Default for View {
    /// Every span, without attributes and status messages.
    fn default() -> Self {
        Self::new(|_| true)
    }
}

impl View {
    /// Shows the spans that `shows` accepts, without attributes and status messages. It is asked once for each start and
    /// end, or again by readers that come to the same event at the same time; what changes while a span runs is shown when its start was. A child of a span that is not shown keeps its
    /// parent's id.
    pub fn new(shows: impl Fn(&ViewedSpan<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::of(SpanRule::Accepts(Arc::new(shows)))
    }

    /// Shows everything, as [`Access::traces`](crate::Access::traces) does: for your own colleagues.
    pub fn everything() -> Self {
        Self::of(SpanRule::Everything)
    }

    fn of(rule: SpanRule) -> Self {
        Self(Arc::new(ViewInner {
            rule,
            attributes: HashSet::new(),
            messages: StatusMessages::Omitted,
            cache: Mutex::default(),
        }))
    }

    /// Shows attributes with these keys, too.
    pub fn attributes<K: Into<String>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        self.with(|inner| inner.attributes.extend(keys.into_iter().map(Into::into)))
    }

    /// Shows the messages of failed spans, too: what your errors say.
    pub fn status_messages(self) -> Self {
        self.with(|inner| inner.messages = StatusMessages::Included)
    }

    /// A changed view is a new one: it starts with an empty cache, since what was cached may differ now.
    fn with(self, change: impl FnOnce(&mut ViewInner)) -> Self {
        let mut inner = ViewInner {
            rule: self.0.rule.clone(),
            attributes: self.0.attributes.clone(),
            messages: self.0.messages,
            cache: Mutex::default(),
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// How a reader sees through it; `None` when it sees everything.
    pub(crate) fn projection(&self) -> Option<Box<dyn Projection>> {
        match self.0.rule {
            SpanRule::Everything => None,
            SpanRule::Accepts(_) => Some(Box::new(self.clone())),
        }
    }

    /// Decides about an event without the lock, as the app's own function does.
    fn decide(&self, (name, trace): (&str, StreamKey), payload: &[u8]) -> ViewDecision {
        let Some(fields) = projection::view_fields(payload) else {
            return ViewDecision::default();
        };
        let span = (trace, fields.span);
        let (is_shown, decided) = match name {
            "started" | "ended" => {
                let is_shown = self.accepts(fields);
                (is_shown, Some((span, is_shown)))
            }
            // Where its start is not known any more, it is not shown.
            "updated" => (lock(&self.0.cache).shows(&span), None),
            _ => (false, None),
        };
        let rewritten = is_shown
            .then(|| projection::project_span(payload, &self.0.attributes, self.0.messages));
        ViewDecision { decided, rewritten }
    }

    fn accepts(&self, fields: ViewFields<'_>) -> bool {
        let SpanRule::Accepts(shows) = &self.0.rule else {
            return true;
        };
        // The app's own function: where it panics, nothing is shown.
        let span = ViewedSpan(fields);
        catch_panic(|| shows(&span)).unwrap_or_default()
    }
}

impl Projection for View {
    fn project(&mut self, id: EventId, event: &BlockEvent<'_>) -> Projected {
        let name = event.name();
        let Some(key) = event.key() else {
            // What was lost is told to all; what processes there are is not.
            return if name == control::GAP {
                Projected::Unchanged
            } else {
                Projected::Hidden
            };
        };
        if let Some(seen) = lock(&self.0.cache).events.get(&id) {
            return seen.clone();
        }
        if event.with_payload(|payload| control::is_damaged(name, payload)) {
            return Projected::Unchanged;
        }
        let decision = event.with_payload(|payload| self.decide((name, key), payload));
        let seen = decision.rewritten.map_or(Projected::Hidden, |payload| {
            let mut out = Vec::with_capacity(payload.len() + 96);
            frame::event(&mut out, name, id.epoch(), id.sequence().get(), &payload);
            Projected::Replaced(Bytes::from(out))
        });
        let mut cache = lock(&self.0.cache);
        // Another reader may have been quicker: all are to see the same.
        if let Some(seen) = cache.events.get(&id) {
            return seen.clone();
        }
        if let Some((span, is_shown)) = decision.decided {
            cache.remember(span, is_shown);
        }
        cache.insert(id, seen.clone());
        seen
    }
}

impl ViewCache {
    fn shows(&self, span: &SpanKey) -> bool {
        self.spans.get(span).copied().unwrap_or_default()
    }

    fn remember(&mut self, span: SpanKey, is_shown: bool) {
        if self.spans.insert(span, is_shown).is_none() {
            self.span_order.push_back(span);
        }
        if self.span_order.len() > SPANS_MAX
            && let Some(oldest) = self.span_order.pop_front()
        {
            self.spans.remove(&oldest);
        }
    }

    fn insert(&mut self, id: EventId, seen: Projected) {
        self.bytes += seen.size() + ENTRY_BYTES;
        self.events.insert(id, seen);
        self.order.push_back(id);
        while self.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(seen) = self.events.remove(&oldest) {
                self.bytes -= seen.size() + ENTRY_BYTES;
            }
        }
    }
}
