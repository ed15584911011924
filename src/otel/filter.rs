//! Decides which spans and log records are shown, before they enter the ingest buffer. It runs on the host's threads,
//! inside the processors' calls. It never blocks, and it catches a panic of the app's own filter.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{KeyValue, Value, trace::SpanId};
use opentelemetry_sdk::trace::SpanData;

use crate::span::{event::SpanKind, record};

/// Targets whose spans are internals of HTTP libraries: hidden by default. [`is_hidden_target`] must list their first
/// letters.
pub(crate) const DEFAULT_HIDDEN_TARGETS: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio",
    "tonic",
    "tower",
];

/// The view of a span that a filter gets. Each field is looked up on demand, so unused fields cost nothing.
#[derive(Clone, Copy)]
pub struct SpanFacts<'a> {
    span: &'a SpanData,
}

impl<'a> SpanFacts<'a> {
    /// Returns the span's name.
    pub fn name(self) -> &'a str {
        &self.span.name
    }

    /// Returns the name of the instrumentation scope.
    pub fn scope(self) -> &'a str {
        self.span.instrumentation_scope.name()
    }

    /// Returns the `tracing` target, which is the module that made the span. It is empty for a span that `tracing` did
    /// not make.
    pub fn target(self) -> &'a str {
        self.attribute("target")
    }

    /// Returns the `tracing` level. It is empty unless the subscriber's OpenTelemetry layer records levels.
    pub fn level(self) -> &'a str {
        self.attribute("level")
    }

    /// Returns the span's kind.
    pub fn kind(self) -> SpanKind {
        record::kind_of(&self.span.span_kind)
    }

    /// Returns the text of an attribute. It is empty if there is no attribute with this key or if its value is not
    /// text.
    pub fn attribute(self, key: &str) -> &'a str {
        text_of(&self.span.attributes, key)
    }
}

/// Returns the text of the first attribute with this key. It is empty if there is none or if its value is not text.
#[inline]
fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match attributes.iter().find(|pair| pair.key.as_str() == key) {
        Some(KeyValue {
            value: Value::String(text),
            ..
        }) => text.as_str(),
        _ => "",
    }
}

impl fmt::Debug for SpanFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanFacts")
            .field("name", &self.name())
            .field("scope", &self.scope())
            .field("target", &self.target())
            .field("level", &self.level())
            .field("kind", &self.kind())
            .finish()
    }
}

/// Decides which spans are shown.
///
/// Invariant: a span whose start was shown gets an end, even if the filter refuses the end because the name or an
/// attribute has changed. A lossy table remembers refused starts. If it has forgotten one, the worker looks up whether
/// the start was shown.
#[derive(Clone)]
pub(crate) struct SpanFilter {
    wants: SpanPredicate,
    /// Ids of spans whose start was refused, one per slot; a newer id overwrites an older one. Allocated at the first
    /// refusal.
    refused: Arc<OnceLock<Box<[AtomicU64]>>>,
}

#[derive(Clone)]
enum SpanPredicate {
    /// Accepts all spans except those of [`DEFAULT_HIDDEN_TARGETS`].
    Default,
    Custom(Arc<dyn Fn(&SpanFacts<'_>) -> bool + Send + Sync>),
}

/// The filter's decision about the end of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndVerdict {
    Show,
    Hide,
    /// Hide the end, unless the start was shown.
    HideUnlessShown,
}

/// Log records of this severity (WARN) and above are shown, whatever their target is.
#[cfg(any(feature = "logs", feature = "tracing"))]
const LOUD_SEVERITY_MIN: u8 = 13;

/// Upper bound on the remembered refused starts, which use 32 KiB.
const REFUSED_STARTS_MAX: usize = 4096;

impl SpanFilter {
    pub(crate) fn new(filter: impl Fn(&SpanFacts<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wants: SpanPredicate::Custom(Arc::new(filter)),
            ..Self::default()
        }
    }

    /// Returns whether this is the default filter, which needs only attributes.
    #[inline]
    pub(crate) fn is_default(&self) -> bool {
        matches!(self.wants, SpanPredicate::Default)
    }

    /// Returns whether a span with these attributes is wanted, or `None` if the filter needs more than attributes.
    pub(crate) fn wants_attributes(&self, attributes: &[KeyValue]) -> Option<bool> {
        self.is_default().then(|| is_shown(attributes))
    }

    #[inline]
    pub(crate) fn wants_start(&self, span: &SpanData) -> bool {
        let wants = self.wants(span);
        if !wants {
            self.remember_refused(span.span_context.span_id());
        }
        wants
    }

    /// Returns whether a log record is wanted. The default filter hides internal records of HTTP libraries below WARN.
    /// An app's own filter applies to spans only.
    #[cfg(any(feature = "logs", feature = "tracing"))]
    pub(crate) fn wants_log(&self, severity: u8, target: &str) -> bool {
        severity >= LOUD_SEVERITY_MIN
            || !matches!(self.wants, SpanPredicate::Default)
            || !is_hidden_target(target)
    }

    /// Remembers that the start of a span was refused.
    pub(crate) fn remember_refused(&self, span: SpanId) {
        if self.refused.get().is_none() {
            let mut slots = Vec::new();
            slots.resize_with(REFUSED_STARTS_MAX, || AtomicU64::new(0));
            // If two threads create a table at the same time, `set` keeps the first table. With `get_or_init`, one
            // thread would wait while the other allocates.
            drop(self.refused.set(slots.into_boxed_slice()));
        }
        if let Some(slot) = self.refused.get().and_then(|refused| slot(refused, span)) {
            slot.store(id(span), Ordering::Relaxed);
        }
    }

    pub(crate) fn judge_end(&self, span: &SpanData) -> EndVerdict {
        if self.wants(span) {
            return EndVerdict::Show;
        }
        let span = span.span_context.span_id();
        let refused = self.refused.get();
        let was_refused = refused
            .and_then(|refused| slot(refused, span))
            .is_some_and(|slot| slot.load(Ordering::Relaxed) == id(span));
        if was_refused {
            EndVerdict::Hide
        } else {
            EndVerdict::HideUnlessShown
        }
    }

    /// Returns whether the filter wants the span. If the filter panics, the span is refused.
    #[inline]
    fn wants(&self, span: &SpanData) -> bool {
        match &self.wants {
            SpanPredicate::Default => is_shown(&span.attributes),
            SpanPredicate::Custom(wants) => {
                catch_unwind(AssertUnwindSafe(|| wants(&SpanFacts { span }))).unwrap_or(false)
            }
        }
    }
}

/// The default filter for a starting span whose attributes are read one by one.
#[derive(Debug, Default)]
pub(crate) struct StartFilter {
    has_target: bool,
    is_hidden: bool,
}

impl StartFilter {
    /// Reads the next attribute.
    #[inline]
    pub(crate) fn see(&mut self, key: &str, value: &Value) {
        // The first target decides.
        if key == "target" && !self.has_target {
            self.has_target = true;
            self.is_hidden =
                matches!(value, Value::String(target) if is_hidden_target(target.as_str()));
        }
    }

    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_hidden
    }
}

fn slot(slots: &[AtomicU64], span: SpanId) -> Option<&AtomicU64> {
    // Span ids are random, so any of their bits can select the slot.
    slots.get(usize::try_from(id(span) % REFUSED_STARTS_MAX as u64).ok()?)
}

fn id(span: SpanId) -> u64 {
    u64::from_be_bytes(span.to_bytes())
}

impl Default for SpanFilter {
    fn default() -> Self {
        Self {
            wants: SpanPredicate::Default,
            refused: Arc::default(),
        }
    }
}

impl fmt::Debug for SpanFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpanFilter")
    }
}

/// Returns whether the default filter wants a span with these attributes.
#[inline]
fn is_shown(attributes: &[KeyValue]) -> bool {
    !is_hidden_target(text_of(attributes, "target"))
}

/// Returns whether the target is one of [`DEFAULT_HIDDEN_TARGETS`] or a module of one.
#[inline]
fn is_hidden_target(target: &str) -> bool {
    // A quick check first: most tracers set no target, and most targets begin with another letter.
    matches!(target.as_bytes(), [b'h' | b'r' | b't', ..]) && is_hidden_name(target)
}

#[inline(never)]
fn is_hidden_name(target: &str) -> bool {
    // A search for one byte is much cheaper than one for `::`. No hidden name has a colon.
    let name = match target.find(':') {
        Some(at) if target.get(at..).is_some_and(|rest| rest.starts_with("::")) => target.get(..at),
        Some(_) => None,
        None => Some(target),
    };
    name.is_some_and(|name| DEFAULT_HIDDEN_TARGETS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_targets_and_their_modules_are_hidden() {
        for name in DEFAULT_HIDDEN_TARGETS {
            assert!(is_hidden_target(name), "{name}");
            assert!(is_hidden_target(&format!("{name}::inner::part")), "{name}");
            assert!(!is_hidden_target(&format!("{name}x")), "{name}");
            assert!(!is_hidden_target(&format!("{name}:inner")), "{name}");
        }
        for shown in ["", "shop", "shop::tokio", "tokio_shop::cart", "r"] {
            assert!(!is_hidden_target(shown), "{shown}");
        }
    }

    #[test]
    fn attributes_read_one_by_one_give_the_same_decision_as_all_at_once() {
        let target = |name: &'static str| KeyValue::new("target", name);
        for attributes in [
            vec![],
            vec![KeyValue::new("key", "hyper")],
            vec![KeyValue::new("a", 1), target("hyper::client")],
            vec![target("shop"), target("hyper")],
            vec![target("hyper"), target("shop")],
            vec![KeyValue::new("target", 1), target("hyper")],
        ] {
            let mut filter = StartFilter::default();
            for pair in &attributes {
                filter.see(pair.key.as_str(), &pair.value);
            }
            let wanted = SpanFilter::default().wants_attributes(&attributes);
            assert_eq!(Some(filter.is_wanted()), wanted, "{attributes:?}");
        }
    }
}
