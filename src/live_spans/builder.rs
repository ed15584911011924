//! Configures a log of spans, and connects its store, worker, index and processor. `build` runs on the caller's thread.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

#[cfg(feature = "testing")]
use std::time::Duration;

use opentelemetry::Context;

use crate::{
    access::{
        self, Auth,
        config::{AccessConfig, SecretBytes},
        view::View,
    },
    encoder::SpanEncoder,
    engine::worker::{LogRuntime, WorkerSettings},
    error::Error,
    ingest::buffer,
    log::retention::Retention,
    otel::{
        diagnostics,
        filter::{self, SpanFacts, SpanFilter},
        log_registry,
        shared::{self, PlugIns, ProcessorShared},
        span_override::LogIdentity,
    },
    span::{
        dropped_ends::DroppedEnds,
        own_requests::{MountPrefixes, OwnRequestSpans},
        process::Processes,
        redact::Redaction,
        updates::UpdateQueue,
    },
    sse::target::SseTarget,
    store::{EventStore, MemoryEventStore, kind::StoreKind},
    trace::index::TraceIndex,
};
#[cfg(feature = "http")]
use crate::{
    access::{signing::TokenSigner, stream_limits::StreamLimits},
    live_spans::read_permits::ReadPermits,
};

use crate::live_spans::{LiveSpans, LiveSpansShared};
#[cfg(feature = "otlp")]
use crate::{
    access::AuthRule,
    otlp::{OtlpReceiver, receiver::Receiver},
};

/// Configures [`LiveSpans`]: each method sets one thing, and [`build`](Self::build) opens the log.
///
/// The guide: [limits and defaults](crate::_guide::limits).
///
/// ```
/// use livespan::{LiveSpans, Redaction, Retention};
///
/// let live = LiveSpans::builder()
///     .retention(Retention::default().events(10_000))
///     .redact(Redaction::default().deny(["card number"]))
///     .build()?;
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[must_use]
pub struct LiveSpansBuilder {
    pub(super) store: Option<StoreKind>,
    pub(super) retention: Retention,
    pub(super) filter: SpanFilter,
    pub(super) access: AccessConfig,
    pub(super) redaction: Redaction,
    pub(super) settings: WorkerSettings,
    pub(super) running_processes: Vec<String>,
    #[cfg(feature = "otlp")]
    pub(super) otlp: Option<OtlpReceiver>,
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

    /// Keeps the log in this store. The default store is in memory.
    pub fn store(mut self, store: impl EventStore) -> Self {
        self.store = Some(StoreKind::new(store));
        self
    }

    /// Bounds the default store, which is in memory. A store given with [`store`](Self::store) has bounds of its own.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Watches only spans that `filter` accepts. It runs on the host's threads, before the buffer: at every start, and
    /// at an end unless the start is known to have been shown. So it must be quick and must not block. The default
    /// hides spans of HTTP libraries' internals ([`DEFAULT_HIDDEN_TARGETS`](Self::DEFAULT_HIDDEN_TARGETS)). Your filter
    /// replaces the default.
    pub fn filter(
        mut self,
        filter: impl Fn(&SpanFacts<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = SpanFilter::new(filter);
        self
    }

    /// Masks secrets before anything is stored. The default is [`Redaction::default`]. Yours replaces it, so derive
    /// yours from it unless you want to store what it masks.
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// Sets who may read the log over HTTP. By default only clients that name a loopback host may read, and none that
    /// the server knows to be on another machine. An app that mounts [`router`](LiveSpans::router) needs this before it
    /// listens beyond loopback.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.access.auth = Some(auth);
        self
    }

    /// Also answers requests with these `Host` names, without port, in addition to loopback names. Use it for names of
    /// this machine. It does not keep clients on other machines out: a client chooses the name that it sends. With
    /// [`auth`](Self::auth), every name is accepted by default, and this narrows the names to these.
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
    /// If [`auth`](Self::auth) is set, such a page must send a [ticket](LiveSpans::ticket) or an `Authorization` header
    /// of its own. Cookies of the visitor's browser are ignored, also in [`Auth::check`], and `withCredentials` is not
    /// supported: a mistake in that page must not expose what its visitor may read here. Without `auth`, and with
    /// [`Auth::public`], these pages can read the *whole log* in any browser that can reach it.
    pub fn allowed_origins<O: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = O>,
    ) -> Self {
        self.access
            .allowed_origins
            .extend(origins.into_iter().map(Into::into));
        self
    }

    /// Signs [tickets](LiveSpans::ticket) with this key of at least 16 bytes. Tickets are then valid on every process
    /// that has the key, and after a restart. By default the key is derived from the token of [`Auth::token`]. Without
    /// a token it is random, so a ticket is valid in this process only.
    pub fn ticket_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.access.ticket_key = Some(SecretBytes(key.into()));
        self
    }

    /// Shows the holders of [tickets](LiveSpans::ticket) their trace through this view. The default is
    /// [`View::default`]: every span, without attributes and messages.
    pub fn ticket_view(mut self, view: View) -> Self {
        self.access.ticket_view = view;
        self
    }

    /// Bounds the streams that are open over HTTP at once (default
    /// [`DEFAULT_SUBSCRIBERS_MAX`](Self::DEFAULT_SUBSCRIBERS_MAX)). A further stream opens and ends with the reason
    /// `overload`, and tells its client when to come back.
    pub fn subscribers(mut self, max: usize) -> Self {
        self.access.subscribers_max = max;
        self
    }

    /// Bounds the streams that clients of one address have open at once. An IPv6 network of 64 bits counts as one
    /// address. The default is [`DEFAULT_SUBSCRIBERS_PER_ADDRESS`](Self::DEFAULT_SUBSCRIBERS_PER_ADDRESS). For loopback
    /// addresses there is no bound by default, because a proxy may connect for many clients. The addresses are those of
    /// connections that [`serve`](LiveSpans::serve) accepts. So set it high behind a proxy; in an app of your own, your
    /// server must enforce such a bound.
    pub fn subscribers_per_address(mut self, max: usize) -> Self {
        self.access.subscribers_per_address = Some(max);
        self
    }

    /// Bounds the bytes that wait for the worker thread; by default
    /// [`DEFAULT_BUFFER_BYTES`](Self::DEFAULT_BUFFER_BYTES). Starts may use two thirds; the rest is reserved for ends.
    pub fn buffer_bytes(mut self, max: usize) -> Self {
        self.settings.buffer_bytes = max;
        self
    }

    /// Bounds the events that wait for the worker thread; by default
    /// [`DEFAULT_BUFFER_EVENTS`](Self::DEFAULT_BUFFER_EVENTS). They are divided like the [bytes](Self::buffer_bytes).
    pub fn buffer_events(mut self, max: usize) -> Self {
        self.settings.buffer_events = max;
        self
    }

    /// Names processes whose events come through [`encoded_target`](LiveSpans::encoded_target), and that may run on: the
    /// spans that they have open in the store stay open. By default, opening a log ends all spans that an earlier run
    /// left open as *lost*. Call [`end_process`](LiveSpans::end_process) for a process that turns out to be gone. A
    /// start that is not among the newest events, which are kept in memory, is appended again.
    pub fn running_processes<P: Into<String>>(
        mut self,
        processes: impl IntoIterator<Item = P>,
    ) -> Self {
        let processes = processes.into_iter().map(Into::into);
        self.running_processes.extend(processes);
        self
    }

    /// Takes OTLP from other processes: `POST /v1/traces`, `/v1/logs` and `/v1/metrics` are served beside the other
    /// routes. By default they are not. Metrics are accepted and left out.
    #[cfg(feature = "otlp")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otlp")))]
    pub fn otlp(mut self, receiver: OtlpReceiver) -> Self {
        self.otlp = Some(receiver);
        self
    }

    /// Sets how old a record is when the log's thread makes an event of it. A log whose routes are served sets it anew.
    #[cfg(feature = "testing")]
    pub(crate) fn processing_delay(self, delay: Duration) -> Self {
        self.settings.processing_delay.set(delay);
        self
    }

    /// Opens the store and starts the log's thread.
    ///
    /// # Errors
    /// Returns an error if the store cannot be opened, or the thread cannot be started. Also if the token is empty, not
    /// set, or has characters that a header cannot carry, if an origin is malformed, or if the ticket key is too short.
    /// Also if everybody may read ([`Auth::public`]) and the OTLP receiver has no token.
    pub fn build(self) -> Result<LiveSpans, Error> {
        let config = self.access.validated()?;
        #[cfg(feature = "http")]
        let signer = Arc::new(signer_of(&config)?);
        let store = self.store.unwrap_or_else(|| memory(self.retention));
        let processing_delay = Arc::clone(&self.settings.processing_delay);
        let mounts = Arc::new(MountPrefixes::new(Arc::clone(&processing_delay)));
        let index = Arc::<TraceIndex>::default();
        let processes = Arc::<Processes>::default();
        let dropped_ends = Arc::<DroppedEnds>::default();
        let ended_count = Arc::<AtomicU64>::default();
        let updates = Arc::<UpdateQueue>::default();
        #[cfg(feature = "otlp")]
        let receiver = receiver_of(self.otlp, &config, &processes)?;
        let settings = WorkerSettings {
            on_thread: Arc::new(suppress_telemetry),
            on_diagnostic: Some(Arc::new(diagnostics::report)),
            ..self.settings
        };
        let runtime = Arc::new(LogRuntime::start(store, settings, |log| {
            let own_requests = OwnRequestSpans::new(Arc::clone(&mounts));
            let encoder = SpanEncoder::new(
                log,
                Arc::clone(&index),
                Arc::clone(&processes),
                own_requests,
                Arc::clone(&dropped_ends),
            )
            .redacting(self.redaction)
            .counting_ends(Arc::clone(&ended_count))
            .telling(Arc::clone(&updates))
            .with_running_processes(&self.running_processes);
            #[cfg(feature = "otlp")]
            let encoder = encoder.receiving(receiver.as_deref().map(Receiver::encoder));
            encoder
        })?);
        let target = SseTarget::from_runtime(Arc::clone(&runtime));
        let parts = Arc::new(ProcessorShared {
            log_number: shared::next_log_number(),
            runtime,
            processes,
            filter: self.filter,
            dropped_ends,
            ended_count,
            updates,
            log_identity: LogIdentity::default(),
            plug_ins: PlugIns::default(),
        });
        log_registry::register(&parts);
        let shared = LiveSpansShared {
            parts,
            index,
            mounts,
            #[cfg(feature = "http")]
            signer,
            #[cfg(feature = "http")]
            stream_limits: Arc::new(StreamLimits::of(&config)),
            #[cfg(feature = "http")]
            read_permits: ReadPermits::default(),
            #[cfg(feature = "http")]
            invalid_credentials: AtomicU64::new(0),
            #[cfg(feature = "otlp")]
            receiver,
            access: config,
            target,
            on_shutdown: Mutex::default(),
        };
        Ok(LiveSpans {
            shared: Arc::new(shared),
        })
    }
}

#[cfg(feature = "otlp")]
fn receiver_of(
    receiver: Option<OtlpReceiver>,
    config: &AccessConfig,
    processes: &Arc<Processes>,
) -> Result<Option<Arc<Receiver>>, Error> {
    let Some(receiver) = receiver else {
        return Ok(None);
    };
    let receiver = receiver.validated()?;
    if matches!(config.auth, Some(Auth(AuthRule::Public))) && receiver.token.is_none() {
        return Err(Error::invalid(
            "everybody may read this log, so the OTLP receiver needs a token: say who may write with \
             OtlpReceiver::token(..)",
        ));
    }
    let receiver = Receiver::new(receiver, Arc::clone(processes))?;
    Ok(Some(Arc::new(receiver)))
}

#[cfg(feature = "http")]
fn signer_of(config: &AccessConfig) -> Result<TokenSigner, Error> {
    let key = config
        .ticket_key
        .as_ref()
        .map(|SecretBytes(key)| key.as_slice());
    TokenSigner::new(config.token(), key)
}

fn memory(retention: Retention) -> StoreKind {
    StoreKind::new(MemoryEventStore::with_retention(retention))
}

/// Suppresses telemetry on the worker thread, because the observer never observes itself.
fn suppress_telemetry() -> Box<dyn Any> {
    Box::new(Context::enter_telemetry_suppressed_scope())
}
