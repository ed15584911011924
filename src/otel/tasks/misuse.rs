//! Reports two mistakes of tasks as log records: a guard of a span held across an `.await` (once for each place in the
//! code), and a worker blocked outside of any span. With such a guard, the work of other tasks appears inside its span,
//! as the documentation of `tracing` explains.

use std::{collections::HashSet, mem, sync::Mutex};

use opentelemetry::trace::SpanContext;
use tracing::{Metadata, callsite::Identifier};

use crate::{
    otel::{diagnostics, log_registry},
    span::record::{self, LogHead, LogPairs},
    util::{sync::lock, time::Timestamp},
};

/// Upper bound on the remembered places in the code. Further places are not reported.
const PLACES_MAX: usize = 1_024;

/// A span that is still entered although the span around it was exited, or although all tasks of its thread wait.
#[derive(Debug)]
pub(super) struct HeldGuard {
    pub(super) span: SpanContext,
    pub(super) metadata: &'static Metadata<'static>,
}

/// Held guards that were not reported yet.
#[derive(Debug, Default)]
pub(super) struct HeldGuards(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashSet<Identifier>,
    new: Vec<HeldGuard>,
}

impl HeldGuards {
    /// Notes a held guard, unless one from the same place in the code was noted before.
    #[cold]
    pub(super) fn note(&self, span: &SpanContext, metadata: &'static Metadata<'static>) {
        let mut state = lock(&self.0);
        if state.known.len() < PLACES_MAX && state.known.insert(metadata.callsite()) {
            state.new.push(HeldGuard {
                span: span.clone(),
                metadata,
            });
        }
    }

    pub(super) fn take_new(&self) -> Vec<HeldGuard> {
        mem::take(&mut lock(&self.0).new)
    }
}

/// Reports a held guard.
pub(super) fn report_held(guard: &HeldGuard) {
    let (name, file) = (guard.metadata.name(), guard.metadata.file().unwrap_or("?"));
    let place = format!("{file}:{}", guard.metadata.line().unwrap_or_default());
    let text = format!(
        "the guard of span `{name}` ({place}) is held across an .await, so other tasks appear inside of it: \
         use .instrument(span)"
    );
    diagnostics::report_held_guard(name, &place);
    log(&guard.span, &text);
}

/// Reports workers that are blocked outside of any watched span.
pub(super) fn report_blocked(count: usize) {
    let text = format!(
        "{count} of the workers of a tokio runtime did nothing but one poll for half a second, outside of any span"
    );
    log(&SpanContext::NONE, &text);
}

/// Writes a warning into every log.
fn log(span: &SpanContext, text: &str) {
    let mut pairs = LogPairs::default();
    pairs.text("message", text);
    log_registry::for_each(|log| {
        let head = LogHead {
            source: log.processes.newest().unwrap_or_default(),
            severity: 13,
            trace_id: span.trace_id().to_bytes(),
            span_id: span.span_id().to_bytes(),
            time: Timestamp::now(),
            observed: None,
            target: "livespan::tasks",
            scope: "",
            event_name: "",
            severity_text: "",
        };
        log.enqueue_log(|buf| record::write_log_pairs(buf, &head, &pairs));
    });
}
