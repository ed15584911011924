//! The part of a trace that an end user may see. Many readers share one view. It caches, within a bound, its decision
//! about each event and the rewritten event. It runs on the readers' tasks. No lock is held while the app's own
//! function decides.

use std::{
    borrow::Cow,
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

/// Upper bound on the bytes of the decisions that a view caches. A decision counts as [`ENTRY_BYTES`] and the length of
/// its rewritten event.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
const ENTRY_BYTES: usize = 128;
/// Upper bound on the spans for which a view remembers whether it showed them.
const SPANS_MAX: usize = 65_536;
/// Upper bound on the bytes of a name that is remembered with a hidden span. A span that was hidden under a longer name
/// stays hidden when it ends.
const NAME_BYTES_MAX: usize = 256;

/// The part of a trace that an end user may see: the spans that a rule accepts, with the allowed attributes (none by
/// default). The rule reads a span's scope, name and kind. A view keeps a shop's internal span names and SQL texts from
/// its customers.
///
/// A visible span has its ids, name, kind, times, outcome (failed, panicked, cancelled or lost) and the allowed
/// attributes. Only [`everything`](Self::everything) shows service, resource, scope, span events (which hold
/// exceptions), links, log records, and the operation that a span waits for. Updates of a visible span have only the
/// allowed attributes, the status and the state. A new name is shown when the span ends, if the rule accepts that name.
/// A span whose start was hidden stays hidden while the view remembers the start. If that start had no scope, the rule
/// decides again at the end, under both the old and the new name. The view remembers 65,536 spans. For a forgotten
/// span, only the end counts.
///
/// Create one view and use it for all readers: each event is then usually checked and encoded only once. Clones share
/// the cache.
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
    spans: HashMap<SpanKey, SeenSpan>,
    span_order: VecDeque<SpanKey>,
}

type SpanKey = (StreamKey, SpanId);

/// The decision of a view about the latest event of a span.
#[derive(Clone)]
enum SeenSpan {
    Shown,
    Hidden,
    /// Hidden when it started, with this name and without a scope. Its end may have a scope that the rule accepts.
    HiddenWithoutScope(Box<str>),
}

/// The decision about one event.
#[derive(Default)]
struct ViewDecision {
    /// The span that the event belongs to, and the decision about it.
    decided: Option<(SpanKey, SeenSpan)>,
    /// The payload to send, or `None` if the event is hidden.
    rewritten: Option<Vec<u8>>,
}

/// The span that the rule of a [`View`] decides about.
#[derive(Debug)]
pub struct ViewedSpan<'a>(ViewFields<'a>);

impl ViewedSpan<'_> {
    /// Returns the name of the instrumentation scope, such as `shop::cart`. It is empty at the start of a span if the
    /// provider's sampler is a [`LiveSampler`](crate::LiveSampler), because a sampler does not see the scope.
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
    /// Returns a view that shows every span, without attributes and status messages.
    fn default() -> Self {
        Self::new(|_| true)
    }
}

impl View {
    /// Shows the spans that `shows` accepts, without attributes and status messages. `shows` is usually called once for
    /// each start and each end. It is called again if several readers reach the same event at the same time, or if the
    /// event is no longer in the cache. Updates of a running span are shown if its start was shown. A child of a hidden
    /// span keeps its parent's id.
    pub fn new(shows: impl Fn(&ViewedSpan<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::of(SpanRule::Accepts(Arc::new(shows)))
    }

    /// Shows everything in the trace, as [`Access::traces`](crate::Access::traces) does. It is meant for your own
    /// colleagues.
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

    /// Also shows the attributes with these keys.
    pub fn attributes<K: Into<String>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        self.with(|inner| inner.attributes.extend(keys.into_iter().map(Into::into)))
    }

    /// Also shows the status messages of failed spans, that is, the texts of your errors.
    pub fn status_messages(self) -> Self {
        self.with(|inner| inner.messages = StatusMessages::Included)
    }

    /// Returns the changed view with an empty cache, because a cached decision may differ now.
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

    /// Returns the projection for a reader, or `None` if the reader sees everything.
    pub(crate) fn projection(&self) -> Option<Box<dyn Projection>> {
        match self.0.rule {
            SpanRule::Everything => None,
            SpanRule::Accepts(_) => Some(Box::new(self.clone())),
        }
    }

    /// Decides about an event. The caller must not hold the cache's lock, because this calls the app's own function.
    fn decide(&self, (name, trace): (&str, StreamKey), payload: &[u8]) -> ViewDecision {
        let Some(fields) = projection::view_fields(payload) else {
            return ViewDecision::default();
        };
        let span = (trace, fields.span);
        let (is_shown, decided) = match name {
            "started" => {
                let name = (fields.scope.is_empty() && fields.name.len() <= NAME_BYTES_MAX)
                    .then(|| Box::from(&*fields.name));
                let is_shown = self.accepts(fields);
                let hidden = name.map_or(SeenSpan::Hidden, SeenSpan::HiddenWithoutScope);
                let seen = if is_shown { SeenSpan::Shown } else { hidden };
                (is_shown, Some((span, seen)))
            }
            "ended" => {
                let seen = lock(&self.0.cache).spans.get(&span).cloned();
                let is_shown = self.accepts_end(fields, seen.as_ref());
                let hidden = seen.unwrap_or(SeenSpan::Hidden);
                let seen = if is_shown { SeenSpan::Shown } else { hidden };
                (is_shown, Some((span, seen)))
            }
            // If the view no longer remembers the span's start, the update is hidden.
            "updated" => (lock(&self.0.cache).shows(&span), None),
            _ => (false, None),
        };
        let rewritten = is_shown.then(|| {
            let (attributes, messages) = (&self.0.attributes, self.0.messages);
            if name == "updated" {
                projection::project_update(payload, attributes, messages)
            } else {
                Some(projection::project_span(payload, attributes, messages))
            }
        });
        let rewritten = rewritten.flatten();
        ViewDecision { decided, rewritten }
    }

    /// Decides about the end of a span. If its start was hidden, the span stays hidden, with one exception: the start
    /// had no scope. Then the rule must accept the end, both under the old name and the new one.
    fn accepts_end(&self, fields: ViewFields<'_>, seen: Option<&SeenSpan>) -> bool {
        match seen {
            Some(SeenSpan::Hidden) => false,
            Some(SeenSpan::HiddenWithoutScope(name)) if **name != *fields.name => {
                let before = ViewFields {
                    name: Cow::Borrowed(name),
                    kind: Cow::Borrowed(&*fields.kind),
                    scope: Cow::Borrowed(&*fields.scope),
                    ..fields
                };
                self.accepts(before) && self.accepts(fields)
            }
            Some(SeenSpan::HiddenWithoutScope(_) | SeenSpan::Shown) | None => self.accepts(fields),
        }
    }

    fn accepts(&self, fields: ViewFields<'_>) -> bool {
        let SpanRule::Accepts(shows) = &self.0.rule else {
            return true;
        };
        // If the app's own function panics, the span is hidden.
        let span = ViewedSpan(fields);
        catch_panic(|| shows(&span)).unwrap_or_default()
    }
}

impl Projection for View {
    fn project(&mut self, id: EventId, event: &BlockEvent<'_>) -> Projected {
        let name = event.name();
        let Some(key) = event.key() else {
            // Every reader gets gaps. `process` events are hidden.
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
        // Another reader may have stored a decision first. All readers must use the same decision.
        if let Some(seen) = cache.events.get(&id) {
            return seen.clone();
        }
        if let Some((span, seen)) = decision.decided {
            cache.remember(span, seen);
        }
        cache.insert(id, seen.clone());
        seen
    }
}

impl ViewCache {
    fn shows(&self, span: &SpanKey) -> bool {
        matches!(self.spans.get(span), Some(SeenSpan::Shown))
    }

    fn remember(&mut self, span: SpanKey, seen: SeenSpan) {
        if self.spans.insert(span, seen).is_none() {
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
