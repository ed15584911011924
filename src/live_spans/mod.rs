//! The handle that an app keeps. It connects store, worker, index and processor, and returns handles of these parts.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing reads some parts")
)]

pub(crate) mod builder;
pub(crate) mod completion;
mod encoded;
mod keep;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(feature = "http")]
pub(crate) mod read_permits;
mod trace_ends;

pub use crate::live_spans::builder::LiveSpansBuilder;
use crate::live_spans::completion::{CompleteByEvents, CompleteByIndex};

#[cfg(feature = "http")]
use std::sync::atomic::AtomicU64;
use std::{
    fmt,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{HeaderMap, Response, Uri};
use opentelemetry::Context;
use opentelemetry_sdk::trace::{ShouldSample, TracerProviderBuilder};

#[cfg(feature = "http")]
use crate::access::{stream_limits::StreamLimits, token_signer::TokenSigner};
#[cfg(feature = "http")]
use crate::live_spans::read_permits::ReadPermits;
#[cfg(feature = "logs")]
use crate::otel::log_processor::LiveLogProcessor;
#[cfg(feature = "otlp")]
use crate::otlp::receiver::Receiver;
use crate::{
    access::{config::AccessConfig, view::View},
    engine::{
        log::{Log, Status},
        worker::{FAILING_STORE_TIMEOUT, WorkerSettings},
    },
    error::Error,
    log::retention::Retention,
    otel::{
        filter::SpanFilter, processor::LiveSpanProcessor, provider::LiveTracerProvider,
        sampler::LiveSampler, shared::ProcessorShared,
    },
    reader::{OpenGlobalEvents, subscription::Subscribe},
    span::{
        event::{SpanEvent, TraceId},
        own_requests::MountPrefixes,
    },
    sse::{
        body::{SseBody, resume_point},
        target::SseTarget,
    },
    trace::{index::TraceIndex, operations::table::Operations, stored::StoredTrace},
    util::sync::lock,
    wire::id::ResumePoint,
};

/// A log of spans with its processor, its index and its server: the handle that an app keeps. Cloning is cheap.
///
/// The guide: [an app of your own](crate::_guide::app), [production](crate::_guide::production).
///
/// ```
/// use livespan::LiveSpans;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let live = LiveSpans::builder().build()?;
/// let provider = SdkTracerProvider::builder().with_span_processor(live.span_processor()).build();
/// # drop(provider);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone)]
pub struct LiveSpans {
    pub(crate) shared: Arc<LiveSpansShared>,
}

pub(crate) struct LiveSpansShared {
    pub(crate) parts: Arc<ProcessorShared>,
    pub(crate) index: Arc<TraceIndex>,
    pub(crate) mounts: Arc<MountPrefixes>,
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only HTTP has readers")
    )]
    pub(crate) access: AccessConfig,
    #[cfg(feature = "http")]
    pub(crate) signer: Arc<TokenSigner>,
    #[cfg(feature = "http")]
    pub(crate) stream_limits: Arc<StreamLimits>,
    #[cfg(feature = "http")]
    pub(crate) read_permits: ReadPermits,
    /// Number of requests with an invalid token, cookie or ticket.
    #[cfg(feature = "http")]
    pub(crate) invalid_credentials: AtomicU64,
    #[cfg(feature = "otlp")]
    pub(crate) receiver: Option<Arc<Receiver>>,
    target: SseTarget<SpanEvent>,
    on_shutdown: Mutex<ShutdownHooks>,
}

/// The hooks of `shutdown`. Each gets the deadline.
#[derive(Default)]
struct ShutdownHooks {
    /// Each tells a server to stop, without waiting.
    stop: Vec<Box<dyn FnOnce(Instant) + Send>>,
    /// Each waits until a server has stopped.
    wait: Vec<Box<dyn FnOnce(Instant) + Send>>,
}

impl fmt::Debug for LiveSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpans")
            .field("target", &self.shared.target)
            .finish_non_exhaustive()
    }
}

impl LiveSpans {
    /// Upper bound on the time that [`shutdown`](Self::shutdown) takes for the store, the streams and the servers
    /// together: 5 seconds. The store gets four of these seconds: even if it hangs, clients still get their `end`.
    pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long [`shutdown`](Self::shutdown), and the shutdown of a provider, wait for a store that is known to fail:
    /// half a second.
    pub const FAILING_STORE_TIMEOUT: Duration = FAILING_STORE_TIMEOUT;
    /// Upper bound on the operations (span names of a service) with statistics: 1,000. A new name replaces one that was
    /// not used recently.
    pub const OPERATIONS_MAX: usize = Operations::OPERATIONS_MAX;
    /// Upper bound on the query of a request, in bytes: 8 KiB. A longer one is answered with status 414.
    pub const QUERY_LENGTH_MAX: usize = 8 * 1024;
    /// Lower bound on the time between two messages of the live list of traces: 250 milliseconds. A trace that changed
    /// several times in between is sent once.
    pub const LIST_INTERVAL: Duration = Duration::from_millis(250);
    /// How long a request for a page of traces or log records waits while other pages are read from the store: 10
    /// seconds. Then it gets status 503.
    pub const LIST_PERMIT_TIMEOUT: Duration = Duration::from_secs(10);
    /// Upper bound on the responses to `GET /traces/{traceId}` and `GET /running` that are made at once: 8. The
    /// response with a trace uses at most 32 MiB of memory, and less than 1 MiB for a trace of up to 10,000 spans. A
    /// further request waits for [`TRACE_PERMIT_TIMEOUT`](Self::TRACE_PERMIT_TIMEOUT).
    pub const TRACES_AT_ONCE_MAX: usize = 8;
    /// How long a request for a trace or for running spans waits while others are answered: 10 seconds. Then it gets
    /// status 503.
    pub const TRACE_PERMIT_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long the client of a trace response may read nothing: 60 seconds. Then the response is cut off.
    pub const TRACE_STALL_TIMEOUT: Duration = Duration::from_secs(60);

    /// Returns a builder for a log of spans.
    pub fn builder() -> LiveSpansBuilder {
        LiveSpansBuilder {
            store: None,
            retention: Retention::default(),
            filter: SpanFilter::default(),
            access: AccessConfig::default(),
            redaction: None,
            settings: WorkerSettings::default(),
            running_processes: Vec::new(),
            #[cfg(feature = "otlp")]
            otlp: None,
        }
    }

    /// Returns a processor for one tracer provider. Each call adds a *process* to the log.
    pub fn span_processor(&self) -> LiveSpanProcessor {
        LiveSpanProcessor::new(Arc::clone(&self.shared.parts))
    }

    /// Returns a processor for one logger provider.
    #[cfg(feature = "logs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "logs")))]
    pub fn log_processor(&self) -> LiveLogProcessor {
        LiveLogProcessor::new(Arc::clone(&self.shared.parts))
    }

    /// Builds the SDK's provider with our processor and wraps it, so that readers also see changes of its spans while
    /// they run. Each call adds a *process* to the log. Our processor runs after those of the builder.
    pub fn tracer_provider(&self, builder: TracerProviderBuilder) -> LiveTracerProvider {
        LiveTracerProvider::new(self.span_processor(), builder)
    }

    /// Wraps the sampler of the provider, so that spans are shown even if the sampler drops them.
    pub fn sampler<S: ShouldSample + Clone + 'static>(&self, inner: S) -> LiveSampler<S> {
        let plug_ins = &self.shared.parts.plug_ins;
        plug_ins.has_sampler.store(true, Ordering::Relaxed);
        LiveSampler::new(inner, Arc::clone(&self.shared.parts))
    }

    /// Returns the log itself, to dispatch span events of your own or to subscribe in Rust.
    pub fn target(&self) -> &SseTarget<SpanEvent> {
        &self.shared.target
    }

    /// Answers a request of your own route with the stream of one trace, until the trace is complete. Before the call,
    /// *you* must check that the client may see the trace. The [`View`] selects what the client sees: span names and
    /// SQL texts are seldom meant for customers. The resume point is read from the request. If the client already has a
    /// complete trace, the response is `204`, which tells an `EventSource` not to reconnect.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime with time enabled, because the stream has a timer for its pings.
    pub fn respond(
        &self,
        trace: TraceId,
        view: &View,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Response<SseBody> {
        let resume = resume_point(headers, uri);
        let response = self.respond_until_end(trace, resume, OpenGlobalEvents::default());
        response.map(|body| body.with_projection(view.projection()))
    }

    pub(crate) fn respond_until_end(
        &self,
        trace: TraceId,
        resume: ResumePoint,
        open_global_events: OpenGlobalEvents,
    ) -> Response<SseBody> {
        let id = trace.to_bytes();
        let log = self.log();
        if log.is_shared() || (!log.is_in_memory() && !self.shared.index.knows(&id)) {
            return self.respond_until_read_end(trace, resume, open_global_events);
        }
        let start = log.resolve(resume);
        let resumed = !matches!(resume, ResumePoint::Oldest | ResumePoint::Live);
        if resumed && !start.is_unknown && self.shared.index.is_complete(id, start.after) {
            return SseBody::no_content();
        }
        let options = Subscribe::to(trace.stream_key()).resume(resume);
        let reader = options.open_global_events(open_global_events).reader(log);
        let complete = CompleteByIndex {
            index: Arc::clone(&self.shared.index),
            id,
        };
        SseBody::new(
            reader,
            resume == ResumePoint::Live,
            Some(Box::new(complete)),
        )
        .into_response()
    }

    /// Like [`respond_until_end`](Self::respond_until_end), for a trace that only the store may have as a whole. Reads
    /// the trace from its beginning, and sends the events that the client does not have yet.
    fn respond_until_read_end(
        &self,
        trace: TraceId,
        resume: ResumePoint,
        open_global_events: OpenGlobalEvents,
    ) -> Response<SseBody> {
        let log = self.log();
        let bound = if log.is_shared() {
            u64::MAX
        } else {
            log.head()
        };
        let start = log.resolve_below(resume, bound);
        let is_fresh = matches!(resume, ResumePoint::Oldest | ResumePoint::Live);
        let had = match resume {
            ResumePoint::Live => log.head(),
            _ => start.after,
        };
        let mut options = Subscribe::to(trace.stream_key()).open_global_events(open_global_events);
        if start.is_unknown {
            options = options.resume(ResumePoint::Malformed);
        } else if !is_fresh {
            options = options.gaps_reported_until(had);
        }
        let complete = CompleteByEvents {
            fold: StoredTrace::default(),
            id: trace.to_bytes(),
            had,
        };
        SseBody::new(options.reader(log), false, Some(Box::new(complete))).into_response()
    }

    /// Returns the state of the log.
    pub fn status(&self) -> Status {
        self.shared.target.status()
    }

    /// Ends every HTTP stream of the log, including those of [`respond`](Self::respond) and all later streams. The log
    /// still accepts spans. Each stream sends the events that it has ready, a `retry` delay that spreads the clients'
    /// reconnects, and `end` (`shutdown`). Call it before the graceful shutdown of an axum server of your own, because
    /// that server waits for its streams. The server can then answer the requests in flight, and their spans are shown,
    /// stored and exported. The call does not wait and cannot be undone.
    ///
    /// ```no_run
    /// # async fn serve(
    /// #     live: livespan::LiveSpans,
    /// #     provider: opentelemetry_sdk::trace::SdkTracerProvider,
    /// #     listener: tokio::net::TcpListener,
    /// #     app: axum::Router,
    /// #     terminated: impl Future + Send + 'static,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let streams = live.clone();
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         terminated.await;
    ///         streams.end_streams();
    ///     })
    ///     .await?;
    /// let exported = provider.shutdown();
    /// live.shutdown()?;
    /// exported?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn end_streams(&self) {
        self.log().end_streams();
    }

    /// Stores the buffered events, ends every stream with `end` (`shutdown`) and stops the servers. Shut the tracer
    /// provider down first: spans that are still open are then shown as lost. Call this even if the provider's shutdown
    /// failed, for example because of an exporter. It blocks until everything is done, at most for
    /// [`Self::SHUTDOWN_TIMEOUT`]. A second call has no effect. A server of [`serve`](Self::serve) runs on your
    /// runtime. This call tells it to stop and does not wait for it: await
    /// [`LiveServer::wait`](crate::LiveServer::wait) before the runtime ends. If a server of your own still has
    /// requests in flight, call [`end_streams`](Self::end_streams) first, and this after the server has ended.
    ///
    /// # Errors
    /// Returns an error if the store did not answer in time ([`is_timeout`](Error::is_timeout)), or has failed for
    /// [`Self::FAILING_STORE_TIMEOUT`] ([`is_store`](Error::is_store)). In both cases the log ends only when its store
    /// answers. Also returns an error if the log had already [ended by itself](Status::ended).
    pub fn shutdown(&self) -> Result<(), Error> {
        self.shutdown_within(Self::SHUTDOWN_TIMEOUT)
    }

    /// Like [`shutdown`](Self::shutdown), with `timeout` as the limit for all its steps together.
    pub(crate) fn shutdown_within(&self, timeout: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        let runtime = &self.shared.parts.runtime;
        let result = runtime.shutdown_unless_failing(timeout.saturating_sub(timeout / 5));
        if runtime.buffer.is_forked() {
            // The servers belong to the parent process.
            return result;
        }
        if result.is_err() {
            // Otherwise the log would end the streams only after its store has answered.
            self.end_streams();
        }
        let deadline = begun + timeout;
        let hooks = std::mem::take(&mut *lock(&self.shared.on_shutdown));
        for hook in hooks.stop.into_iter().chain(hooks.wait) {
            hook(deadline);
        }
        self.close_trace_ends(deadline);
        result
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.shared.parts.runtime.log
    }
}

#[cfg(feature = "http")]
impl LiveSpans {
    /// Registers a function that `shutdown` calls before it waits for any server. It must not block.
    pub(crate) fn on_shutdown(&self, stop: impl FnOnce(Instant) + Send + 'static) {
        lock(&self.shared.on_shutdown).stop.push(Box::new(stop));
    }

    /// Registers a function that `shutdown` calls after it has told every server to stop. The function must return by
    /// the deadline that it is given.
    pub(crate) fn before_shutdown_returns(&self, wait: impl FnOnce(Instant) + Send + 'static) {
        lock(&self.shared.on_shutdown).wait.push(Box::new(wait));
    }
}

/// Returns the trace of the span that is current on this thread, or `None` outside of spans. A handler can send it to a
/// client that wants to follow the work.
///
/// With `tracing`, the span is current inside an instrumented function when `tracing-opentelemetry` activates contexts,
/// which is its default.
pub fn current_trace_id() -> Option<TraceId> {
    use opentelemetry::trace::TraceContextExt as _;
    let context = Context::current();
    let span = context.span();
    TraceId::from_bytes(span.span_context().trace_id().to_bytes())
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use std::sync::mpsc;

    use opentelemetry::{
        KeyValue,
        trace::{Span as _, Tracer as _, TracerProvider as _},
    };
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::{
        log::{block::Slice, tail::TailRead},
        otel::{LiveSpan, LiveTracerProvider},
        store::{
            Appended, Batch, EpochStart, EventStore, MemoryEventStore, PageLimit, ReadFuture,
            Sequence, StreamKey,
        },
    };

    /// A store whose append returns only when the sender is dropped.
    #[derive(Debug)]
    struct Hung {
        memory: MemoryEventStore,
        released: Mutex<mpsc::Receiver<()>>,
    }

    impl EventStore for Hung {
        fn kind(&self) -> &'static str {
            "hung"
        }

        fn open(&self) -> Result<Sequence, Error> {
            self.memory.open()
        }

        fn epochs(&self) -> Arc<[EpochStart]> {
            self.memory.epochs()
        }

        fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
            // Nothing is ever sent: the wait ends when the sender is dropped.
            let _released = lock(&self.released).recv();
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

        fn append_timeout(&self) -> Option<Duration> {
            None
        }
    }

    type Calls = Arc<Mutex<Vec<(&'static str, Instant)>>>;

    /// Records the hooks that `shutdown` calls, for two servers.
    fn record_hooks(live: &LiveSpans) -> Calls {
        let calls = Calls::default();
        for _ in 0..2 {
            let (stops, waits) = (Arc::clone(&calls), Arc::clone(&calls));
            live.on_shutdown(move |deadline| lock(&stops).push(("stop", deadline)));
            live.before_shutdown_returns(move |deadline| lock(&waits).push(("wait", deadline)));
        }
        calls
    }

    #[test]
    fn shutdown_stops_every_server_before_it_waits_for_one() {
        let (release, released) = mpsc::channel();
        let hung = Hung {
            memory: MemoryEventStore::new(),
            released: Mutex::new(released),
        };
        let live = LiveSpans::builder().store(hung).build().unwrap();
        let calls = record_hooks(&live);
        let trace = TraceId::from_bytes([1; 16]).unwrap();
        let span = crate::span::event::SpanId::from_bytes([1; 8]).unwrap();
        let event = SpanEvent::started(trace, span, "job");
        live.target().try_dispatch(&event).unwrap();
        let timeout = Duration::from_millis(250);
        let begun = Instant::now();
        let error = live.shutdown_within(timeout).unwrap_err();
        let latest = Instant::now() + timeout;
        assert_eq!(
            error.to_string(),
            "shut down the event log took longer than 200ms"
        );
        let calls = lock(&calls).clone();
        let (names, deadlines): (Vec<&str>, Vec<Instant>) = calls.into_iter().unzip();
        assert_eq!(names, ["stop", "stop", "wait", "wait"]);
        assert!(begun + timeout <= deadlines[0] && deadlines[0] < latest);
        assert_eq!(deadlines, [deadlines[0]; 4]);
        // Clients get their `end` although the log has not ended.
        assert_eq!(live.log().streams_end_at(), Some(0));
        drop(release);
    }

    /// Returns the events of this name in memory.
    fn events(live: &LiveSpans, name: &str) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        let mut after = live.log().tail.stats().oldest - 1;
        while let TailRead::Events(slices) = live.log().tail.read_after(after) {
            for event in slices.iter().flat_map(Slice::events) {
                after = event.sequence();
                if event.name() == name {
                    found.push(serde_json::from_slice(&event.payload()).unwrap());
                }
            }
        }
        found
    }

    /// Starts a span and changes it twice. Returns when the log has the changes. The provider must outlive the span.
    fn changed_span(live: &LiveSpans) -> (LiveTracerProvider, LiveSpan) {
        let provider = live.tracer_provider(SdkTracerProvider::builder());
        let mut span = provider.tracer("test").start("job");
        let changes = [("n", 1), ("n", 2)];
        for (round, (key, value)) in changes.into_iter().enumerate() {
            span.set_attribute(KeyValue::new(key, value));
            span.add_event("tick", vec![]);
            let deadline = Instant::now() + Duration::from_secs(60);
            while events(live, "updated").len() <= round {
                live.target().flush(Duration::from_secs(60)).unwrap();
                assert!(Instant::now() < deadline, "the update does not come");
            }
        }
        (provider, span)
    }

    /// Waits for the end of the lost span. Returns its attributes, the names of its events, and the reason of the loss.
    fn lost_end(live: &LiveSpans) -> serde_json::Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        let ended = loop {
            live.target().flush(Duration::from_secs(60)).unwrap();
            if let Some(ended) = events(live, "ended").pop() {
                break ended;
            }
            assert!(Instant::now() < deadline, "the lost span does not end");
        };
        let ticks = ended["events"].as_array().unwrap().iter();
        let ticks: Vec<&serde_json::Value> = ticks.map(|tick| &tick["name"]).collect();
        serde_json::json!([ended["attributes"], ticks, ended["lost"]["reason"]])
    }

    #[test]
    fn a_span_that_is_lost_at_shutdown_ends_with_its_updates() {
        let live = LiveSpans::builder().build().unwrap();
        let (provider, span) = changed_span(&live);
        provider.shutdown().unwrap();
        live.target().flush(Duration::from_secs(60)).unwrap();
        let expected = serde_json::json!([{"n": 2}, ["tick", "tick"], "shutdown"]);
        assert_eq!(lost_end(&live), expected);
        drop(span);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_span_of_a_program_that_died_ends_with_its_updates() {
        let name = format!("livespan-lost-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let open = || {
            let store = crate::store::SqliteEventStore::new(folder.join("events.db"));
            LiveSpans::builder().store(store).build().unwrap()
        };
        let live = open();
        let (provider, span) = changed_span(&live);
        // The log ends before the span does, as if the program had died.
        live.shutdown().unwrap();
        drop((live, span, provider));
        let live = open();
        live.target().flush(Duration::from_secs(60)).unwrap();
        let expected = serde_json::json!([{"n": 2}, ["tick", "tick"], "crashed"]);
        assert_eq!(lost_end(&live), expected);
        live.shutdown().unwrap();
        drop(live);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
