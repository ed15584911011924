//! Configures a log of spans and connects its store, worker, index and processor. It runs on the caller's thread.

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
    access::{stream_limits::StreamLimits, token_signer::TokenSigner},
    live_spans::read_permits::ReadPermits,
};

use crate::live_spans::{LiveSpans, LiveSpansShared};
#[cfg(feature = "otlp")]
use crate::{
    access::AuthRule,
    otlp::{OtlpReceiver, receiver::Receiver},
};

/// Configures [`LiveSpans`]. [`build`](Self::build) opens the log.
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
    /// `None`: the default.
    pub(super) redaction: Option<Redaction>,
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
    /// Targets of the internals of HTTP libraries. The default filter hides the spans of these targets and of their
    /// modules.
    pub const DEFAULT_HIDDEN_TARGETS: &'static [&'static str] = filter::DEFAULT_HIDDEN_TARGETS;
    /// Default bound on the bytes that wait for the log's thread: 16 MiB. The buffer reserves twice as much address
    /// space.
    pub const DEFAULT_BUFFER_BYTES: usize = buffer::DEFAULT_BUFFER_BYTES;
    /// Default bound on the records that wait for the log's thread: 131,072.
    pub const DEFAULT_BUFFER_EVENTS: usize = buffer::DEFAULT_BUFFER_EVENTS;
    /// Default bound on the streams that are open over HTTP at once: 16,384.
    pub const DEFAULT_SUBSCRIBERS_MAX: usize = access::DEFAULT_SUBSCRIBERS_MAX;
    /// Default bound on the streams that the clients of one address have open at once: 1,024. It does not apply to
    /// loopback addresses.
    pub const DEFAULT_SUBSCRIBERS_PER_ADDRESS: usize = access::DEFAULT_SUBSCRIBERS_PER_ADDRESS;

    /// Stores the log's events in `store`. The default is a store in memory.
    pub fn store(mut self, store: impl EventStore) -> Self {
        self.store = Some(StoreKind::new(store));
        self
    }

    /// Bounds the default store, which is in memory. It does not apply to a store that is set with
    /// [`store`](Self::store).
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Records only the spans that `filter` accepts. The filter runs on the host's threads, before the buffer: at every
    /// start, and at an end unless livespan knows that the filter accepted the start. It must be quick and must not
    /// block. The default hides internal spans of HTTP libraries
    /// ([`DEFAULT_HIDDEN_TARGETS`](Self::DEFAULT_HIDDEN_TARGETS)); your filter replaces it.
    pub fn filter(
        mut self,
        filter: impl Fn(&SpanFacts<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = SpanFilter::new(filter);
        self
    }

    /// Masks secrets before anything is stored. The default is [`Redaction::default`]. Your redaction replaces it, so
    /// derive yours from the default unless you want to store the values that it masks.
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.redaction = Some(redaction);
        self
    }

    /// Sets who may read the log over HTTP. By default a request must name a loopback host, and a client that the
    /// server knows to be on another machine is refused. An app that mounts [`router`](LiveSpans::router) must call
    /// this before it listens beyond loopback.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.access.auth = Some(auth);
        self
    }

    /// Also answers requests with these `Host` names, without port, in addition to loopback names. Use it for names of
    /// this machine. It does not keep out clients on other machines, because a client can send any name. With
    /// [`auth`](Self::auth), every name is accepted by default, and this call restricts the names to these.
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
    /// of its own. Cookies of the visitor's browser are ignored, even in [`Auth::check`], and `withCredentials` is not
    /// supported. So a mistake in that page cannot expose data that only its visitor may read. Without `auth`, or with
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

    /// Limits what holders of [tickets](LiveSpans::ticket) see of their trace to this view. The default is
    /// [`View::default`]: every span, without attributes and messages.
    pub fn ticket_view(mut self, view: View) -> Self {
        self.access.ticket_view = view;
        self
    }

    /// Bounds the streams that are open over HTTP at once (default
    /// [`DEFAULT_SUBSCRIBERS_MAX`](Self::DEFAULT_SUBSCRIBERS_MAX)). A further stream opens, sends a `retry` delay, and
    /// ends with the reason `overload`.
    pub fn subscribers(mut self, max: usize) -> Self {
        self.access.subscribers_max = max;
        self
    }

    /// Bounds the streams that clients of one address have open at once. An IPv6 network of 64 bits counts as one
    /// address. The default is [`DEFAULT_SUBSCRIBERS_PER_ADDRESS`](Self::DEFAULT_SUBSCRIBERS_PER_ADDRESS). Loopback
    /// addresses have no bound by default, because a local proxy may connect for many clients. The bound applies to
    /// connections that [`serve`](LiveSpans::serve) accepts. Behind a proxy they all have the proxy's address, so set a
    /// high bound. In an app of your own, your server must enforce such a bound.
    pub fn subscribers_per_address(mut self, max: usize) -> Self {
        self.access.subscribers_per_address = Some(max);
        self
    }

    /// Bounds the bytes that wait for the log's thread; by default
    /// [`DEFAULT_BUFFER_BYTES`](Self::DEFAULT_BUFFER_BYTES). Starts and records other than ends may fill 11/16 of them;
    /// the rest is reserved for ends.
    pub fn buffer_bytes(mut self, max: usize) -> Self {
        self.settings.buffer_bytes = max;
        self
    }

    /// Bounds the records that wait for the log's thread; by default
    /// [`DEFAULT_BUFFER_EVENTS`](Self::DEFAULT_BUFFER_EVENTS). As with [bytes](Self::buffer_bytes), 5/16 of them are
    /// reserved for ends.
    pub fn buffer_events(mut self, max: usize) -> Self {
        self.settings.buffer_events = max;
        self
    }

    /// Names processes that may still be running and whose events are dispatched to
    /// [`encoded_target`](LiveSpans::encoded_target). Their open spans in the store stay open. By default, opening a
    /// log ends all spans that an earlier run left open as *lost*. Call [`end_process`](LiveSpans::end_process) when
    /// such a process turns out to be gone. If the start of an open span is no longer among the newest events in
    /// memory, it is appended again.
    pub fn running_processes<P: Into<String>>(
        mut self,
        processes: impl IntoIterator<Item = P>,
    ) -> Self {
        let processes = processes.into_iter().map(Into::into);
        self.running_processes.extend(processes);
        self
    }

    /// Accepts OTLP from other processes: serves `POST /v1/traces`, `/v1/logs` and `/v1/metrics` beside the other
    /// routes. By default these routes do not exist. Metrics are accepted and discarded.
    #[cfg(feature = "otlp")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otlp")))]
    pub fn otlp(mut self, receiver: OtlpReceiver) -> Self {
        self.otlp = Some(receiver);
        self
    }

    /// Sets how old a record must be before the log's thread encodes it. Serving the log's routes overrides it.
    #[cfg(feature = "testing")]
    pub(crate) fn processing_delay(self, delay: Duration) -> Self {
        self.settings.processing_delay.set(delay);
        self
    }

    /// Opens the store and starts the log's thread.
    ///
    /// # Errors
    /// Returns an error if the store cannot be opened, the thread cannot be started, an origin is malformed, or the
    /// ticket key is too short. It also returns one if a token is empty, not set, or has characters that a header
    /// cannot carry. The same holds if everybody may read ([`Auth::public`]) while the OTLP receiver has no token.
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
        let receiver = receiver_of(self.otlp, &config, (&processes, self.redaction.as_ref()))?;
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
            .redacting(move || self.redaction.unwrap_or_default())
            .counting_ends(Arc::clone(&ended_count))
            .with_update_queue(Arc::clone(&updates))
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
    (processes, redaction): (&Arc<Processes>, Option<&Redaction>),
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
    let redaction = redaction.cloned().unwrap_or_default();
    let receiver = Receiver::new(receiver, Arc::clone(processes), redaction)?;
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

/// Suppresses telemetry on a thread of the log, so that a store's client library makes no spans there.
fn suppress_telemetry() -> Box<dyn Any> {
    Box::new(Context::enter_telemetry_suppressed_scope())
}
