//! The app's handle: wires store, worker, index and processor together, and hands out the parts.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "read over HTTP only")
)]

#[cfg(feature = "metrics")]
pub(crate) mod metrics;

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Response, Uri};
use opentelemetry::Context;
use opentelemetry_sdk::trace::ShouldSample;

#[cfg(feature = "http")]
use crate::access::{signing::TokenSigner, stream_limits::StreamLimits};
use crate::{
    access::{self, AccessConfig, Auth, SecretBytes, view::View},
    encoder::SpanEncoder,
    engine::{
        log::{Log, Status},
        worker::{LogRuntime, ProcessingDelay, WorkerSettings},
    },
    error::Error,
    ingest::buffer,
    log::{block::BlockEvent, retention::Retention},
    otel::{
        diagnostics,
        filter::{self, SpanFacts, SpanFilter},
        processor::LiveSpanProcessor,
        sampler::LiveSampler,
        shared::{self, ProcessorShared},
        span_override::LogIdentity,
    },
    reader::{OpenGlobalEvents, subscription::Subscribe},
    span::{
        dropped_ends::DroppedEnds,
        event::{SpanEvent, TraceId},
        own_requests::{MountPrefixes, OwnRequestSpans},
        process::Processes,
        redact::Redaction,
    },
    sse::{
        body::{Completion, SseBody, resume_point},
        target::SseTarget,
    },
    store::{EventStore, MemoryEventStore, kind::StoreKind},
    trace::{durations, index::TraceIndex, stored::StoredTrace},
    util::sync::lock,
    wire::id::ResumePoint,
};

/// A log of spans with its processor, its index and its server: the handle that an app keeps. Cloning is cheap.
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
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
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
    /// Requests that showed a token, a cookie or a ticket which proves nothing.
    #[cfg(feature = "http")]
    pub(crate) invalid_credentials: AtomicU64,
    target: SseTarget<SpanEvent>,
    /// Run by `shutdown`: how the servers are told.
    on_shutdown: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for LiveSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpans")
            .field("target", &self.shared.target)
            .finish_non_exhaustive()
    }
}

/// Configures [`LiveSpans`].
#[must_use]
pub struct LiveSpansBuilder {
    store: Option<StoreKind>,
    retention: Retention,
    filter: SpanFilter,
    access: AccessConfig,
    redaction: Redaction,
    settings: WorkerSettings,
}

impl fmt::Debug for LiveSpansBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpansBuilder")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl LiveSpansBuilder {
    /// Targets whose spans are internals of HTTP libraries. The default filter hides their spans and those of their
    /// modules.
    pub const DEFAULT_HIDDEN_TARGETS: &'static [&'static str] = filter::DEFAULT_HIDDEN_TARGETS;
    /// Default bound on the bytes that wait for the log's thread: 16 MiB. Twice as much address space is reserved.
    pub const DEFAULT_BUFFER_BYTES: usize = buffer::DEFAULT_BUFFER_BYTES;
    /// Default bound on the records that wait for the log's thread: 131,072.
    pub const DEFAULT_BUFFER_EVENTS: usize = buffer::DEFAULT_BUFFER_EVENTS;
    /// Default bound on the streams that are open over HTTP at once: 16,384.
    pub const DEFAULT_SUBSCRIBERS_MAX: usize = access::DEFAULT_SUBSCRIBERS_MAX;
    /// Default bound on the streams that clients of one address, other than a loopback address, have open at once: 1,024.
    pub const DEFAULT_SUBSCRIBERS_PER_ADDRESS: usize = access::DEFAULT_SUBSCRIBERS_PER_ADDRESS;

    /// Keeps the log in this store; by default in memory.
    pub fn store(mut self, store: impl EventStore) -> Self {
        self.store = Some(StoreKind::new(store));
        self
    }

    /// Bounds the default store, in memory. A store given with [`store`](Self::store) has bounds of its own.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Watches only spans that `filter` accepts. It runs on the host's threads, before the buffer, at every start,
    /// and at an end unless it is known that the start was shown; so it must be quick and must not block. The default hides the spans of HTTP libraries' internals
    /// ([`DEFAULT_HIDDEN_TARGETS`](Self::DEFAULT_HIDDEN_TARGETS)); yours replaces it.
    pub fn filter(
        mut self,
        filter: impl Fn(&SpanFacts<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = SpanFilter::new(filter);
        self
    }

    /// Masks secrets before anything is stored; by default as [`Redaction::default`] says. Yours replaces that, so begin with
    /// it unless you mean to keep what it masks.
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// Says who may read the log over HTTP; by default only clients that name a loopback host and are, as far as the server
    /// tells, on this machine. An app that mounts [`router`](LiveSpans::router) needs it before it listens beyond loopback.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.access.auth = Some(auth);
        self
    }

    /// Answers requests with these `Host` names too, without port, beside the loopback ones: for names of this machine, not for
    /// clients of others, who choose the name that they send. With [`auth`](Self::auth), where
    /// every name is answered otherwise, it narrows them to these.
    pub fn allowed_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.access.allowed_hosts.extend(
            hosts
                .into_iter()
                .map(|host| host.into().to_ascii_lowercase()),
        );
        self
    }

    /// Lets pages of these origins read (CORS): scheme, host and, unless it is the default, port, such as
    /// `https://shop.example`. By default no page of another origin can read anything.
    ///
    /// Where [`auth`](Self::auth) says who may read, such a page shows a [ticket](LiveSpans::ticket) or an `Authorization`
    /// header of its own. Cookies of its visitor's browser are not looked at, not by [`Auth::check`] either, and
    /// `withCredentials` is not answered: a mistake in that page must not open what its visitor may read here. Without
    /// `auth`, and with [`Auth::public`], these pages read the *whole log* in any browser that reaches it.
    pub fn allowed_origins<O: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = O>,
    ) -> Self {
        self.access
            .allowed_origins
            .extend(origins.into_iter().map(Into::into));
        self
    }

    /// Signs [tickets](LiveSpans::ticket) with this key, of at least 16 bytes, so that they are good on every process that
    /// has it, and after a restart. By default the key is made from the token of [`Auth::token`], and without one it is
    /// drawn at random, so that a ticket is good for this process only.
    pub fn ticket_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.access.ticket_key = Some(SecretBytes(key.into()));
        self
    }

    /// Shows the holders of [tickets](LiveSpans::ticket) their trace through this view; by default through
    /// [`View::default`]: every span, without attributes and messages.
    pub fn ticket_view(mut self, view: View) -> Self {
        self.access.ticket_view = view;
        self
    }

    /// Bounds the streams that are open over HTTP at once (default
    /// [`DEFAULT_SUBSCRIBERS_MAX`](Self::DEFAULT_SUBSCRIBERS_MAX)). A further one opens and ends as `overload`, with a time
    /// after which its client comes back.
    pub fn subscribers(mut self, max: usize) -> Self {
        self.access.subscribers_max = max;
        self
    }

    /// Bounds the streams that clients of one address have open at once, an IPv6 network of 64 bits counting as one; by
    /// default [`DEFAULT_SUBSCRIBERS_PER_ADDRESS`](Self::DEFAULT_SUBSCRIBERS_PER_ADDRESS), and none for loopback addresses,
    /// where a proxy may stand for many. Addresses are those that [`serve`](LiveSpans::serve) accepts: behind a proxy set
    /// it high, and in an app of your own this is your server's business.
    pub fn subscribers_per_address(mut self, max: usize) -> Self {
        self.access.subscribers_per_address = Some(max);
        self
    }

    /// Bounds what waits for the worker thread: bytes (default
    /// [`DEFAULT_BUFFER_BYTES`](Self::DEFAULT_BUFFER_BYTES)) and events (default
    /// [`DEFAULT_BUFFER_EVENTS`](Self::DEFAULT_BUFFER_EVENTS)). Two thirds of it are for starts, the rest is reserved
    /// for ends.
    pub fn buffer(mut self, bytes_max: usize, events_max: usize) -> Self {
        self.settings.buffer_bytes = bytes_max;
        self.settings.buffer_events = events_max;
        self
    }

    /// Opens the store and starts the log's thread.
    ///
    /// # Errors
    /// When the store cannot be opened or the thread cannot be started; when a token is empty, not set, or cannot stand in a
    /// header; when an origin is none, or a ticket key too short.
    pub fn build(self) -> Result<LiveSpans, Error> {
        let config = self.access.validated()?;
        #[cfg(feature = "http")]
        let signer = {
            let key = config
                .ticket_key
                .as_ref()
                .map(|SecretBytes(key)| key.as_slice());
            Arc::new(TokenSigner::new(config.token(), key)?)
        };
        let retention = self.retention;
        let store = self
            .store
            .unwrap_or_else(|| StoreKind::new(MemoryEventStore::with_retention(retention)));
        let processing_delay = Arc::new(ProcessingDelay::default());
        let mounts = Arc::new(MountPrefixes::new(Arc::clone(&processing_delay)));
        let index = Arc::new(TraceIndex::default());
        let processes = Arc::new(Processes::default());
        let dropped_ends = Arc::new(DroppedEnds::default());
        let ended_count = Arc::new(AtomicU64::default());
        let settings = WorkerSettings {
            on_thread: Arc::new(suppress_telemetry),
            processing_delay,
            on_diagnostic: Some(Arc::new(diagnostics::report)),
            ..self.settings
        };
        let runtime = LogRuntime::start(store, settings, |log| {
            let own_requests = OwnRequestSpans::new(Arc::clone(&mounts));
            SpanEncoder::new(
                log,
                Arc::clone(&index),
                Arc::clone(&processes),
                own_requests,
                Arc::clone(&dropped_ends),
            )
            .redacting(self.redaction)
            .counting_ends(Arc::clone(&ended_count))
        })?;
        let runtime = Arc::new(runtime);
        let target = SseTarget::from_runtime(Arc::clone(&runtime));
        let parts = Arc::new(ProcessorShared {
            log_number: shared::next_log_number(),
            runtime,
            processes,
            filter: self.filter,
            dropped_ends,
            ended_count,
            log_identity: LogIdentity::default(),
            has_sampler: AtomicBool::new(false),
        });
        let shared = Shared {
            parts,
            index,
            mounts,
            #[cfg(feature = "http")]
            signer,
            #[cfg(feature = "http")]
            stream_limits: Arc::new(StreamLimits::new(
                config.subscribers_max,
                config.subscribers_per_address,
            )),
            #[cfg(feature = "http")]
            invalid_credentials: AtomicU64::new(0),
            access: config,
            target,
            on_shutdown: Mutex::default(),
        };
        Ok(LiveSpans {
            shared: Arc::new(shared),
        })
    }
}

/// A trace that the index knows.
struct Indexed {
    index: Arc<TraceIndex>,
    id: [u8; 16],
}

impl Completion for Indexed {
    fn is_complete(&self, after: u64) -> bool {
        self.index.is_complete(self.id, after)
    }
}

/// A trace that is read from its beginning.
struct Folded {
    fold: StoredTrace,
    id: [u8; 16],
    /// The client has everything up to here.
    had: u64,
}

impl Completion for Folded {
    fn read(&mut self, event: &BlockEvent<'_>) -> bool {
        let sequence = event.sequence();
        event.with_payload(|payload| self.fold.add(sequence, payload, self.id));
        sequence > self.had
    }

    fn is_complete(&self, _after: u64) -> bool {
        self.fold.is_complete()
    }
}

/// The observer never observes itself: nothing on the worker thread makes telemetry.
fn suppress_telemetry() -> Box<dyn Any> {
    Box::new(Context::enter_telemetry_suppressed_scope())
}

impl LiveSpans {
    /// Time that [`shutdown`](Self::shutdown) waits for the store at most: 5 seconds.
    pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
    /// Upper bound on the span names, over all services, whose durations are counted: 4,096. Further names are not
    /// counted.
    pub const DURATION_NAMES_MAX: usize = durations::DURATION_NAMES_MAX;
    /// Upper bound on the query of a request, in bytes: 8 KiB. A longer one is answered with status 414.
    pub const QUERY_LENGTH_MAX: usize = 8 * 1024;
    /// Time between two messages of the live list of traces at least: 250 milliseconds. A trace that changes more often
    /// is sent once.
    pub const LIST_INTERVAL: Duration = Duration::from_millis(250);

    /// Begins to configure a log of spans.
    pub fn builder() -> LiveSpansBuilder {
        LiveSpansBuilder {
            store: None,
            retention: Retention::default(),
            filter: SpanFilter::default(),
            access: AccessConfig::default(),
            redaction: Redaction::default(),
            settings: WorkerSettings::default(),
        }
    }

    /// Returns a processor for one tracer provider. Each call is a further *process* in the log.
    pub fn span_processor(&self) -> LiveSpanProcessor {
        LiveSpanProcessor::new(Arc::clone(&self.shared.parts))
    }

    /// Wraps the sampler of the provider, so that spans it drops are shown all the same.
    pub fn sampler<S: ShouldSample + Clone + 'static>(&self, inner: S) -> LiveSampler<S> {
        self.shared.parts.has_sampler.store(true, Ordering::Relaxed);
        LiveSampler::new(inner, Arc::clone(&self.shared.parts))
    }

    /// Returns the log itself, to dispatch span events of your own or to subscribe in Rust.
    pub fn target(&self) -> &SseTarget<SpanEvent> {
        &self.shared.target
    }

    /// Answers a request of your own route with the stream of one trace, until the trace is complete. *You* decide
    /// before who may see it, and the [`View`] what of it: span names and SQL texts are seldom for customers. The resume
    /// point is read from the request; one at the end of a complete trace is answered with `204`, which tells an
    /// `EventSource` not to come back.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled: the stream has a timer for its pings.
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
        let complete = Indexed {
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

    /// The same where only the store can know the whole trace: it is read from its beginning, and the client gets what
    /// it has not got.
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
        let complete = Folded {
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

    /// Ends every HTTP stream of the log, those of [`respond`](Self::respond) too, and further ones at once, while the log
    /// goes on taking spans: each stream sends what it has at hand, then a `retry` that is spread over their clients, and
    /// `end` (`shutdown`). An axum server of your own, which ends gracefully only when its streams have ended, then still
    /// answers the requests in flight, and their spans are shown, stored and exported as they end. It does not wait, and
    /// cannot be taken back.
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
    /// provider.shutdown()?;
    /// live.shutdown()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn end_streams(&self) {
        self.log().end_streams();
    }

    /// Stores what is buffered, ends every stream with `end` (`shutdown`) and stops the servers. Shut the tracer
    /// provider down first, so that what it leaves open is shown as lost. It blocks until that is done, for at most
    /// [`Self::SHUTDOWN_TIMEOUT`]; a second call does nothing more. A server of your own that still has requests in flight is to
    /// be told [`end_streams`](Self::end_streams) first, and this when it has ended.
    ///
    /// # Errors
    /// When the store did not answer in time; the log then ends by itself when it does.
    pub fn shutdown(&self) -> Result<(), Error> {
        let result = self.shared.target.shutdown(Self::SHUTDOWN_TIMEOUT);
        if self.shared.parts.buffer().is_forked() {
            // The servers are the other process's.
            return result;
        }
        let told = std::mem::take(&mut *lock(&self.shared.on_shutdown));
        for tell in told {
            tell();
        }
        result
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.shared.parts.runtime.log
    }
}

#[cfg(feature = "http")]
impl LiveSpans {
    pub(crate) fn on_shutdown(&self, tell: impl FnOnce() + Send + 'static) {
        lock(&self.shared.on_shutdown).push(Box::new(tell));
    }
}

/// Returns the trace of the span that is current on this thread, if it is in one: what a handler hands to a client
/// that wants to follow the work.
///
/// With `tracing`, the span is current inside an instrumented function when `tracing-opentelemetry` activates contexts,
/// which is its default.
pub fn current_trace_id() -> Option<TraceId> {
    use opentelemetry::trace::TraceContextExt as _;
    let context = Context::current();
    let span = context.span();
    TraceId::from_bytes(span.span_context().trace_id().to_bytes())
}
