//! The layer that shows events of `tracing` as log records, each at most once. It is wrapped around the OpenTelemetry
//! layer, which gets the spans and no events. It runs on the host's threads, and must never wait, panic or emit.
//!
//! While the OpenTelemetry layer starts a span, it holds a lock of the span, and calls the host's sampler and
//! processors. If one of these emits an event, looking up the span would deadlock. So [`BeforeOtel`] and [`LogLayer`]
//! run before and after the OpenTelemetry layer, and count the calls that are inside it. An event within such a call
//! looks up no span.

mod event_fields;

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::trace::{Status, TraceContextExt as _};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::WeakDispatch,
    span::{Attributes, Id, Record},
};
use tracing_log::NormalizeEvent as _;
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    ingest::buffer::RecordClass,
    init::log_layer::event_fields::EventFields,
    otel::shared::ProcessorShared,
    span::{
        ending,
        record::{self, LogHead, LogPairs},
        shown_event::EventRoute,
    },
    util::time::Timestamp,
};

/// Upper bound on the memory that a thread keeps for the next event, in bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    /// Number of this thread's calls that are inside the OpenTelemetry layer.
    static INSIDE_OTEL: Cell<u32> = const { Cell::new(0) };
    static HAS_MEMORY: Cell<bool> = const { Cell::new(false) };
    /// The memory for the fields of an event. While it is in use, an event emitted by the formatting of a value
    /// allocates its own memory.
    static MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The ids of a trace and a span; zeros if there are none.
type Ids = ([u8; 16], [u8; 8]);

const NO_IDS: Ids = ([0; 16], [0; 8]);

/// The ids of a started span. Used where the OpenTelemetry layer cannot be asked for them.
struct KnownIds(Ids);

/// Counts the calls that enter the OpenTelemetry layer. This layer is called just before the OpenTelemetry layer.
#[derive(Debug)]
pub(super) struct BeforeOtel;

impl BeforeOtel {
    fn enter() {
        INSIDE_OTEL.set(INSIDE_OTEL.get() + 1);
    }
}

impl<S: Subscriber> Layer<S> for BeforeOtel {
    fn on_new_span(&self, _attrs: &Attributes<'_>, _id: &Id, _ctx: Context<'_, S>) {
        Self::enter();
    }

    fn on_record(&self, _span: &Id, _values: &Record<'_>, _ctx: Context<'_, S>) {
        Self::enter();
    }

    fn on_follows_from(&self, _span: &Id, _follows: &Id, _ctx: Context<'_, S>) {
        Self::enter();
    }

    fn on_enter(&self, _id: &Id, _ctx: Context<'_, S>) {
        Self::enter();
    }

    fn on_exit(&self, _id: &Id, _ctx: Context<'_, S>) {
        Self::enter();
        // The OpenTelemetry layer has not exited the span yet, so the span is current.
        if ending::is_cancelling() {
            opentelemetry::Context::map_current(|context| {
                ending::mark_exited(context.span().span_context());
            });
        }
    }

    fn on_close(&self, _id: Id, _ctx: Context<'_, S>) {
        Self::enter();
    }
}

/// Shows events as log records. It is called just after the OpenTelemetry layer.
pub(super) struct LogLayer<S> {
    shared: Arc<ProcessorShared>,
    source: u32,
    dispatch: OnceLock<WeakDispatch>,
    /// Whether the subscriber hides the OpenTelemetry layer, as a `reload` layer around it does. The ids of a span are
    /// then remembered when the span is first entered.
    remembers_ids: AtomicBool,
    subscriber: PhantomData<fn(S)>,
}

impl<S> fmt::Debug for LogLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<S> LogLayer<S> {
    /// Creates the layer. Its log records belong to the process of `source`.
    pub(super) fn new(shared: Arc<ProcessorShared>, source: u32) -> Self {
        let plug_ins = &shared.plug_ins;
        plug_ins.has_log_layer.store(true, Ordering::Relaxed);
        Self {
            shared,
            source,
            dispatch: OnceLock::new(),
            remembers_ids: AtomicBool::new(true),
            subscriber: PhantomData,
        }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> LogLayer<S> {
    fn show(&self, event: &Event<'_>, ctx: &Context<'_, S>) {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let severity = severity_of(metadata);
        if !self.shared.filter.wants_log(severity, metadata.target()) {
            return;
        }
        let Some(ids) = self.ids(event, ctx) else {
            return;
        };
        let time = Timestamp::now();
        let (plug_ins, number) = (&self.shared.plug_ins, self.shared.log_number);
        let name = event.metadata().name();
        if plug_ins.is_shown_already(number, name, EventRoute::Layer, time) {
            return;
        }
        let memory = MEMORY.try_with(Cell::take).unwrap_or_default();
        HAS_MEMORY.set(true);
        let mut pairs = LogPairs::reusing(memory);
        event.record(&mut EventFields {
            pairs: &mut pairs,
            is_of_log_crate: normalized.is_some(),
        });
        let (trace_id, span_id) = ids;
        let head = LogHead {
            source: self.source,
            severity,
            trace_id,
            span_id,
            time,
            observed: None,
            target: metadata.target(),
            scope: "",
            event_name: if normalized.is_some() {
                ""
            } else {
                LogHead::given_name(metadata.name())
            },
            severity_text: "",
        };
        self.shared
            .enqueue_log(|buf| record::write_log_pairs(buf, &head, &pairs));
        let memory = pairs.into_memory();
        if memory.capacity() <= KEPT_BYTES_MAX {
            let _is_kept = MEMORY.try_with(|kept| kept.set(memory)).is_ok();
        }
    }

    /// Returns the ids of the event's span, or `None` if telemetry is suppressed. Outside the OpenTelemetry layer, an
    /// event of level ERROR also sets the status of its span, as that layer would.
    fn ids(&self, event: &Event<'_>, ctx: &Context<'_, S>) -> Option<Ids> {
        let current = current_ids()?;
        let is_error = *event.metadata().level() == Level::ERROR;
        let is_inside = INSIDE_OTEL.get() > 0;
        if event.is_contextual() {
            if is_error
                && !is_inside
                && let Some(span) = ctx.lookup_current()
            {
                let context = self.otel_context(&span.id());
                set_error(&context.unwrap_or_else(opentelemetry::Context::current));
            }
            return Some(current);
        }
        let Some(span) = event.parent().and_then(|id| ctx.span(id)) else {
            return Some(NO_IDS);
        };
        let known = span.extensions().get::<KnownIds>().map(|known| known.0);
        if let Some(known) = known {
            if is_error && !is_inside && known == current {
                set_error(&opentelemetry::Context::current());
            }
            return Some(known);
        }
        // If the span was never entered, this call starts it, as starting a child of the span would.
        let context = (!is_inside)
            .then(|| self.otel_context(&span.id()))
            .flatten();
        let Some(context) = context else {
            return Some(NO_IDS);
        };
        if is_error {
            set_error(&context);
        }
        Some(ids_of(&context))
    }

    fn otel_context(&self, span: &Id) -> Option<opentelemetry::Context> {
        let dispatch = self.dispatch.get()?.upgrade()?;
        BeforeOtel::enter();
        let context = get_otel_context(span, &dispatch);
        leave_otel();
        context
    }

    /// Remembers the ids of a span that was just entered.
    #[cold]
    fn remember_ids(span: &Id, ctx: &Context<'_, S>) {
        let (Some(ids), Some(span)) = (current_ids(), ctx.span(span)) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        if extensions.get_mut::<KnownIds>().is_none() {
            extensions.insert(KnownIds(ids));
        }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for LogLayer<S> {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _is_first = self.dispatch.set(subscriber.downgrade()).is_ok();
        let is_hidden = subscriber.downcast_ref::<Self>().is_none();
        self.remembers_ids.store(is_hidden, Ordering::Relaxed);
    }

    fn on_new_span(&self, _attrs: &Attributes<'_>, _id: &Id, _ctx: Context<'_, S>) {
        leave_otel();
    }

    fn on_record(&self, _span: &Id, _values: &Record<'_>, _ctx: Context<'_, S>) {
        leave_otel();
    }

    fn on_follows_from(&self, _span: &Id, _follows: &Id, _ctx: Context<'_, S>) {
        leave_otel();
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        // A host's value may panic when it is formatted. The panic is caught, and the record is counted as dropped.
        let shown = catch_unwind(AssertUnwindSafe(|| self.show(event, &ctx)));
        if shown.is_err() {
            self.shared.buffer().count_dropped(RecordClass::Other, 1);
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        leave_otel();
        if self.remembers_ids.load(Ordering::Relaxed) {
            Self::remember_ids(id, &ctx);
        }
    }

    fn on_exit(&self, _id: &Id, _ctx: Context<'_, S>) {
        leave_otel();
    }

    fn on_close(&self, _id: Id, _ctx: Context<'_, S>) {
        leave_otel();
    }
}

fn leave_otel() {
    INSIDE_OTEL.set(INSIDE_OTEL.get().saturating_sub(1));
}

/// Returns the ids of the current span, or `None` if telemetry is suppressed, as on our own threads.
fn current_ids() -> Option<Ids> {
    // When a thread ends, its thread-locals are dropped, and reading a dropped context would panic. Each thread uses
    // the context before `MEMORY` for the first time, so it drops `MEMORY` before the context: while `MEMORY` exists,
    // the context exists, too.
    let is_ending = HAS_MEMORY.get() && MEMORY.try_with(|_| ()).is_err();
    if is_ending {
        return Some(NO_IDS);
    }
    opentelemetry::Context::map_current(|context| {
        (!context.is_telemetry_suppressed()).then(|| ids_of(context))
    })
}

fn ids_of(context: &opentelemetry::Context) -> Ids {
    let span = context.span();
    let span = span.span_context();
    (span.trace_id().to_bytes(), span.span_id().to_bytes())
}

fn set_error(context: &opentelemetry::Context) {
    context.span().set_status(Status::error(""));
}

/// Returns OpenTelemetry's number of the level.
fn severity_of(metadata: &Metadata<'_>) -> u8 {
    match *metadata.level() {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}
