//! A provider whose spans go to a log, and helpers that read the log as a reader does.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::Stream as _;
use livespan::{
    Error, EventStore, LiveSpans, LiveSpansBuilder, MemoryEventStore, Retention,
    sse::{Message, Sequence, StreamKey, Subscribe, Subscription},
    store::{Appended, Batch, EpochStart, PageLimit, ReadFuture},
};
use opentelemetry::{
    KeyValue, SpanId, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, TracerProviderBuilder},
};
use serde_json::Value as Json;

use crate::support::{PATIENCE, until};

/// A log, and a provider whose spans go to the log.
pub(crate) struct Watched {
    pub(crate) live: LiveSpans,
    pub(crate) provider: SdkTracerProvider,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self::with(LiveSpans::builder())
    }

    pub(crate) fn with(builder: LiveSpansBuilder) -> Self {
        let live = builder.build().unwrap();
        let provider = provider_of(&live).build();
        Self { live, provider }
    }

    /// Returns a log, and a provider with ids that no other test uses. All logs of a process share
    /// the state that is stored by span id, so equal ids would mix up tests.
    pub(crate) fn with_random_ids() -> Self {
        let live = LiveSpans::builder().build().unwrap();
        let provider = provider_of(&live)
            .with_id_generator(RandomIdGenerator::default())
            .build();
        Self { live, provider }
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("test")
    }

    /// Flushes. Returns everything that a new reader gets.
    pub(crate) fn events(&self) -> Vec<Json> {
        // A flush may fail once more because of an earlier failure of the store.
        until(|| self.live.target().flush(PATIENCE).is_ok());
        payloads(&read(&mut self.live.target().subscribe(Subscribe::all())))
    }

    /// Returns [`Self::events`] as short lines.
    pub(crate) fn transcript(&self) -> Vec<String> {
        transcript(&self.events())
    }

    pub(crate) fn open_spans(&self) -> usize {
        self.live.status().open
    }
}

/// Returns a provider that writes only to this log. Its ids are 1, 2, 3 …, and its resource is the
/// same on every machine.
pub(crate) fn provider_of(live: &LiveSpans) -> TracerProviderBuilder {
    bare_provider().with_span_processor(live.span_processor())
}

/// Returns a provider as [`provider_of`] does, but without a processor.
pub(crate) fn bare_provider() -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_id_generator(Counting::default())
        .with_resource(
            Resource::builder_empty()
                .with_attributes([
                    KeyValue::new("service.name", "shop"),
                    KeyValue::new("host.cores", 4),
                ])
                .build(),
        )
}

/// Generates ids that a test can predict.
#[derive(Debug, Default)]
struct Counting {
    traces: AtomicU64,
    spans: AtomicU64,
}

impl IdGenerator for Counting {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(u128::from(self.traces.fetch_add(1, Ordering::Relaxed) + 1))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Returns the context of a request from another process.
pub(crate) fn remote_parent() -> opentelemetry::Context {
    let (trace, span) = (TraceId::from(0xabc), SpanId::from(0xdef));
    let parent = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);
    opentelemetry::Context::new().with_remote_span_context(parent)
}

pub(crate) fn stream_of(event: &Json) -> StreamKey {
    let trace: livespan::TraceId = event["traceId"].as_str().unwrap().parse().unwrap();
    trace.stream_key()
}

/// Returns all messages that a subscription has now.
pub(crate) fn read(subscription: &mut Subscription) -> Vec<Message> {
    struct Rung(AtomicBool);
    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let rung = Arc::new(Rung(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&rung));
    let mut cx = Context::from_waker(&waker);
    let mut messages = Vec::new();
    loop {
        match Pin::new(&mut *subscription).poll_next(&mut cx) {
            Poll::Ready(Some(message)) => messages.push(message),
            Poll::Pending if rung.0.swap(false, Ordering::SeqCst) => {}
            Poll::Ready(None) | Poll::Pending => return messages,
        }
    }
}

/// Returns the payloads of the messages, which must all be events.
pub(crate) fn payloads(messages: &[Message]) -> Vec<Json> {
    let payload = |message: &Message| match message {
        Message::Event(event) => serde_json::from_slice(&event.payload).unwrap(),
        other => panic!("{other:?} is not an event"),
    };
    messages.iter().map(payload).collect()
}

/// Returns a line for each event: its type, the span's name, and the reason if the span is lost.
pub(crate) fn transcript(events: &[Json]) -> Vec<String> {
    let line = |event: &Json| {
        let name = event["name"].as_str().unwrap_or_default();
        match (
            event["type"].as_str().unwrap(),
            event["lost"]["reason"].as_str(),
        ) {
            ("ended", Some(reason)) => format!("lost {name}: {reason}"),
            ("process", _) => "process".to_owned(),
            (kind, _) => format!("{kind} {name}").trim().to_owned(),
        }
    };
    events.iter().map(line).collect()
}

/// A memory store whose appends can hang, fail, or first run a function.
pub(crate) struct GatedStore {
    memory: MemoryEventStore,
    gate: Arc<Gate>,
}

/// The test's control over the store.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    waiting: usize,
    before_append: Option<Box<dyn FnMut() -> Result<(), Error> + Send>>,
    breaks_thread: bool,
}

impl fmt::Debug for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatedStore")
    }
}

impl GatedStore {
    pub(crate) fn new(retention: Retention) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (
            Self {
                memory: MemoryEventStore::with_retention(retention),
                gate: Arc::clone(&gate),
            },
            gate,
        )
    }
}

impl Gate {
    /// Makes appends hang from now on.
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().shut = true;
    }

    /// Lets every append continue.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().shut = false;
        self.changed.notify_all();
    }

    /// Waits until the log's thread hangs in the store.
    pub(crate) fn wait_until_held(&self) {
        let state = self.state.lock().unwrap();
        let held = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.waiting == 0)
            .unwrap();
        assert!(
            !held.1.timed_out(),
            "the worker did not call the store in time"
        );
    }

    /// Calls `run` before each append. If `run` returns an error, the append fails with it.
    pub(crate) fn before_append(&self, run: impl FnMut() -> Result<(), Error> + Send + 'static) {
        self.state.lock().unwrap().before_append = Some(Box::new(run));
    }

    /// Makes the log's own thread panic at every batch. The panic happens in a call whose panics
    /// the log does not catch, because every store answers that call at once.
    pub(crate) fn break_thread(&self) {
        self.state.lock().unwrap().breaks_thread = true;
    }

    fn panic_on_its_thread(&self) {
        let breaks = self.state.lock().unwrap().breaks_thread;
        let is_its = std::thread::current().name() == Some("livespan");
        assert!(!(breaks && is_its), "the log's thread panics for a test");
    }

    fn pass(&self) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.shut).unwrap();
        state.waiting -= 1;
        let run = state.before_append.take();
        drop(state);
        // Called without the lock, because it may panic.
        let Some(mut run) = run else { return Ok(()) };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut run));
        self.state.lock().unwrap().before_append.get_or_insert(run);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl EventStore for GatedStore {
    fn kind(&self) -> &'static str {
        "gated"
    }

    fn open(&self) -> Result<Sequence, Error> {
        self.memory.open()
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.gate.panic_on_its_thread();
        self.memory.epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        self.gate.pass()?;
        self.memory.append(first, batch)
    }

    fn oldest(&self) -> Sequence {
        self.memory.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.memory.read_after(after, limit)
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.memory.read_streams_after(keys, after, limit)
    }

    fn append_timeout(&self) -> Option<std::time::Duration> {
        self.memory.append_timeout()
    }

    fn tail_retention(&self) -> Retention {
        self.memory.tail_retention()
    }
}
