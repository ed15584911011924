//! Which spans are watched at all: decided on the host's thread, before the buffer.

use std::{fmt, sync::Arc};

use opentelemetry::Value;
use opentelemetry_sdk::trace::SpanData;

use crate::spans::event::SpanKind;

/// Targets whose spans are internals of HTTP libraries: hidden by default.
pub const DEFAULT_HIDDEN_TARGETS: &[&str] =
    &["h2", "hyper", "hyper_util", "reqwest", "rustls", "tokio", "tonic", "tower"];

/// What a filter may ask about a span.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpanFacts<'a> {
    /// The span's name.
    pub name: &'a str,
    /// The instrumentation scope.
    pub scope: &'a str,
    /// The `tracing` target, which is the module that made the span; empty for other spans.
    pub target: &'a str,
    /// The `tracing` level, when the subscriber's OpenTelemetry layer records it; else empty.
    pub level: &'a str,
    /// The span's kind.
    pub kind: SpanKind,
}

impl<'a> SpanFacts<'a> {
    pub(crate) fn of(span: &'a SpanData) -> Self {
        let text = |key: &str| {
            let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
            match found.map(|pair| &pair.value) {
                Some(Value::String(text)) => text.as_str(),
                _ => "",
            }
        };
        Self {
            name: &span.name,
            scope: span.instrumentation_scope.name(),
            target: text("target"),
            level: text("level"),
            kind: crate::spans::record::kind_of(&span.span_kind),
        }
    }
}

/// Decides which spans are watched.
#[derive(Clone)]
pub(crate) struct SpanFilter(Arc<dyn Fn(&SpanFacts<'_>) -> bool + Send + Sync>);

impl SpanFilter {
    pub(crate) fn new(filter: impl Fn(&SpanFacts<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(filter))
    }

    pub(crate) fn wants(&self, span: &SpanData) -> bool {
        (self.0)(&SpanFacts::of(span))
    }
}

impl Default for SpanFilter {
    fn default() -> Self {
        Self::new(|facts| !is_hidden_target(facts.target))
    }
}

impl fmt::Debug for SpanFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpanFilter")
    }
}

/// Whether the target is one of [`DEFAULT_HIDDEN_TARGETS`] or a module of one.
fn is_hidden_target(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    DEFAULT_HIDDEN_TARGETS.contains(&name)
}
