//! Hides the spans of requests to our own routes. The host's HTTP middleware makes a span for each of these requests,
//! and a reader would otherwise get events of its own reading.
//!
//! - **By id.** For each request that it serves, the router sends the worker the id of the span around the request. An
//!   id is certain, but it arrives after the start of that span. So the worker waits [`IDENTIFY_DELAY`] before it
//!   encodes a span. It stops waiting once it is known that paths are enough.
//! - **By path.** The first request through a mounted router reveals the mount point. From then on, a span of a request
//!   to this process ([`RequestTarget`]) with such a path is hidden, with its children. Paths do not identify requests
//!   to a router at the root: the host and its other servers may have their own `/` and `/status`. Such requests are
//!   found by id only.
//!
//! A span whose start readers already have is not hidden: they get its end, too. Each hidden span is counted, and
//! `/status` shows the number. Request handlers call [`MountPrefixes`]; only the worker thread uses
//! [`OwnRequestSpans`].

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    engine::worker::ProcessingDelay,
    span::{
        event::SpanKind,
        json::{SpanFields, Value},
    },
    util::{
        hash::Set,
        sync::{read, write},
    },
};

/// Upper bound on remembered mount points.
const PREFIXES_MAX: usize = 16;
/// Upper bound on hidden spans that are remembered until they end. When it is reached, the older half is forgotten. The
/// worker never sees the ends of some of these spans, because the end was dropped or the host's filter hides it.
const OWN_REQUESTS_MAX: usize = 65_536;
/// How long the worker waits before it encodes a span, so that our router can report the request around it first.
const IDENTIFY_DELAY: Duration = Duration::from_millis(100);
/// Upper bound on remembered host names under which clients asked for our routes. Requests under further names are
/// found by id.
const AUTHORITIES_MAX: usize = 16;
/// Upper bound on the bytes of a remembered host name, because a client may send any `Host`.
const AUTHORITY_BYTES_MAX: usize = 255;
/// Attributes in which HTTP middleware writes the path or the whole URL of a request.
const TARGET_KEYS: &[&str] = &[
    "uri",
    "url.path",
    "url.full",
    "http.target",
    "http.url",
    "http.uri",
    "http.path",
];
/// Attributes in which HTTP middleware writes the host that a client asked for, the most exact first.
const HOST_KEYS: &[&str] = &["http.host", "server.address", "net.host.name"];
/// Attributes in which HTTP middleware writes the method of a request.
const METHOD_KEYS: &[&str] = &["method", "http.request.method", "http.method"];
/// The first path segments of our routes, except that of the page itself.
pub(crate) const ROUTES: &[&str] = &[
    "sse",
    "traces",
    "logs",
    "operations",
    "running",
    "mcp",
    "stats",
    "status",
    "assets",
    "workflows",
];

/// The routes of OTLP, where they are turned on.
#[cfg(feature = "otlp")]
pub(crate) const OTLP_ROUTES: &[&str] = &["v1/traces", "v1/logs", "v1/metrics"];

/// The services of OTLP over gRPC. Each has one method, `Export`.
#[cfg(feature = "otlp-grpc")]
pub(crate) const GRPC_SERVICES: &[&str] = &[
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
];

/// Where our routes are mounted in the host's app.
#[derive(Debug, Default)]
pub(crate) struct MountPrefixes {
    prefixes: RwLock<Vec<String>>,
    /// Whether a router is mounted elsewhere than at the root. Only then can a path identify a request to our routes.
    has_prefix: AtomicBool,
    /// The hosts under which clients asked for our routes.
    authorities: RwLock<Vec<String>>,
    processing_delay: Arc<ProcessingDelay>,
    /// Whether some of the host's spans for requests to our routes can be found by id only.
    needs_ids: AtomicBool,
    hidden: AtomicU64,
}

impl MountPrefixes {
    pub(crate) fn new(processing_delay: Arc<ProcessingDelay>) -> Self {
        Self {
            processing_delay,
            ..Self::default()
        }
    }

    /// Called when a router is created. Until its first request reveals the mount point, the worker waits before it
    /// encodes.
    pub(crate) fn expect_request(&self) {
        if read(&self.prefixes).is_empty() {
            self.processing_delay.set(IDENTIFY_DELAY);
        }
    }

    /// Learns a mount point from a request to our routes: `path` is its path within our router, `original` its path in
    /// the host's app, and `authority` the host that the client asked for.
    pub(crate) fn learn(&self, original: &str, path: &str, authority: Option<&str>) {
        let prefix = original.strip_suffix(path).or_else(|| {
            // A request to `/live` reaches a nested router as `/`.
            (path == "/").then_some(original)
        });
        if let Some(prefix) = prefix {
            let prefix = prefix.trim_end_matches('/');
            add(&self.prefixes, prefix, PREFIXES_MAX);
            if !prefix.is_empty() {
                self.has_prefix.store(true, Ordering::Relaxed);
            }
        }
        if let Some(authority) = authority.filter(|one| one.len() <= AUTHORITY_BYTES_MAX) {
            add(&self.authorities, authority, AUTHORITIES_MAX);
        }
    }

    /// Called when the host made no span around a request, or made one that has the request's path. From then on the
    /// worker does not wait for ids, unless some span needs them.
    pub(crate) fn require_no_ids(&self) {
        if !self.needs_ids.load(Ordering::Relaxed) {
            self.processing_delay.set(Duration::ZERO);
        }
    }

    /// Returns how many spans of requests to our routes were hidden.
    pub(crate) fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }

    /// Called when only the id of a span shows that it belongs to one of our requests.
    fn require_ids(&self) {
        self.needs_ids.store(true, Ordering::Relaxed);
        self.processing_delay.set(IDENTIFY_DELAY);
    }

    /// Returns whether the request is to our routes.
    fn cover(&self, request: &RequestTarget<'_>) -> bool {
        let Some(path) = request.path else {
            return false;
        };
        request.host.is_none_or(|host| self.knows(host))
            && read(&self.prefixes)
                .iter()
                .any(|prefix| !prefix.is_empty() && is_ours(prefix, path))
    }

    /// Returns whether a client has used this host for our routes. `host` may lack the port.
    fn knows(&self, host: &str) -> bool {
        read(&self.authorities)
            .iter()
            .flat_map(|known| [known.as_str(), without_port(known)])
            .any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// Adds a text if it is new and the list has room.
fn add(texts: &RwLock<Vec<String>>, text: &str, max: usize) {
    let is_known = |known: &[String]| known.len() >= max || known.iter().any(|one| one == text);
    if is_known(&read(texts)) {
        return;
    }
    let mut texts = write(texts);
    if !is_known(&texts) {
        texts.push(text.to_owned());
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The request of a span, read from its attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestTarget<'a> {
    path: Option<&'a str>,
    host: Option<&'a str>,
    has_method: bool,
}

impl<'a> RequestTarget<'a> {
    /// Reads the request from the attributes with text values.
    pub(crate) fn of(attributes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut target = Self::default();
        let mut host_rank = HOST_KEYS.len();
        for (key, text) in attributes {
            if TARGET_KEYS.contains(&key) {
                let (host, path) = split(text);
                target.path = target.path.or(Some(path));
                if host.is_some() {
                    target.host = host;
                    host_rank = 0;
                }
            } else if let Some(rank) = HOST_KEYS.iter().position(|one| *one == key) {
                if rank < host_rank {
                    target.host = Some(text);
                    host_rank = rank;
                }
            } else if METHOD_KEYS.contains(&key) {
                target.has_method = true;
            }
        }
        target
    }

    /// Returns whether the span is certainly a request that this process serves. The span of a client, a message or
    /// other work may have the same path. `tracing` spans are internal by default: middleware such as `TraceLayer`
    /// makes an internal span without a local parent, with the method and the URI of the request.
    fn is_served(&self, kind: SpanKind, has_local_parent: bool) -> bool {
        match kind {
            SpanKind::Server => true,
            SpanKind::Internal => self.has_method && !has_local_parent,
            SpanKind::Client | SpanKind::Producer | SpanKind::Consumer => false,
        }
    }
}

/// Returns whether an attribute with this key may identify the request of a span.
fn is_target_key(key: &str) -> bool {
    TARGET_KEYS.contains(&key)
}

/// The open spans of requests to our routes that the worker has identified.
#[derive(Debug)]
pub(crate) struct OwnRequestSpans {
    mounts: Arc<MountPrefixes>,
    spans: Set<[u8; 8]>,
    older: Set<[u8; 8]>,
}

impl OwnRequestSpans {
    pub(crate) fn new(mounts: Arc<MountPrefixes>) -> Self {
        Self {
            mounts,
            spans: Set::default(),
            older: Set::default(),
        }
    }

    pub(crate) fn hide(&mut self, span_id: [u8; 8]) {
        if self.spans.len() >= OWN_REQUESTS_MAX / 2 {
            self.older = std::mem::take(&mut self.spans);
        }
        self.spans.insert(span_id);
    }

    fn is_hidden(&self, span_id: [u8; 8]) -> bool {
        self.spans.contains(&span_id) || self.older.contains(&span_id)
    }

    /// Called when the router reported the request after readers had seen its span.
    pub(crate) fn identified_too_late(&self) {
        self.mounts.require_ids();
    }

    /// Returns whether the ids of a starting span show that it belongs to one of our requests.
    pub(crate) fn contains(&self, span_id: [u8; 8], parent: Option<[u8; 8]>) -> bool {
        parent.is_some_and(|parent| self.is_hidden(parent)) || self.is_hidden(span_id)
    }

    /// Returns whether paths can identify our requests. Most programs never mount a router.
    pub(crate) fn judges_by_path(&self) -> bool {
        self.mounts.has_prefix.load(Ordering::Relaxed)
    }

    /// Returns whether a span of this kind with this target is a request to our routes.
    pub(crate) fn covers(
        &self,
        kind: SpanKind,
        has_local_parent: bool,
        target: &RequestTarget<'_>,
    ) -> bool {
        target.is_served(kind, has_local_parent) && self.mounts.cover(target)
    }

    /// Returns whether a span of this kind with an attribute of this key may be a request.
    pub(crate) fn may_cover(kind: SpanKind, key: &str) -> bool {
        matches!(kind, SpanKind::Server | SpanKind::Internal) && is_target_key(key)
    }

    /// Returns whether a starting span belongs to one of our requests. Such a span is counted, and remembered until it
    /// ends.
    pub(crate) fn hides_start(&mut self, span: &SpanFields<'_>) -> bool {
        let texts = span
            .attributes
            .iter()
            .filter_map(|(key, value)| match value {
                Value::Text(text) => Some((*key, *text)),
                _ => None,
            });
        let has_local_parent = span.parent.is_some() && !span.parent_remote;
        let may_cover = |(key, _): &(&str, _)| Self::may_cover(span.kind, key);
        let by_path = self.judges_by_path()
            && span.attributes.iter().any(may_cover)
            && self.covers(span.kind, has_local_parent, &RequestTarget::of(texts));
        let by_parent = span.parent.is_some_and(|parent| self.is_hidden(parent));
        let by_id = self.is_hidden(span.span_id);
        if by_path {
            self.mounts.require_no_ids();
        } else if by_id && !by_parent {
            self.mounts.require_ids();
        }
        let hidden = by_path || by_parent || by_id;
        if hidden {
            self.mounts.hidden.fetch_add(1, Ordering::Relaxed);
            self.hide(span.span_id);
        }
        hidden
    }

    /// Returns whether an ending span belongs to one of our requests, and forgets the span.
    pub(crate) fn hides_end(&mut self, span_id: [u8; 8]) -> bool {
        let newer = self.spans.remove(&span_id);
        self.older.remove(&span_id) || newer
    }
}

/// Returns the host, if the text has one, and the path. The text is a path, a path with a query, or a whole URL.
fn split(text: &str) -> (Option<&str>, &str) {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let Some((_, rest)) = text.split_once("://") else {
        return (None, text);
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    (Some(host), path)
}

fn is_ours(prefix: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    match rest.strip_prefix('/') {
        None => rest.is_empty(),
        Some("") => true,
        Some(rest) => {
            let first = rest.split('/').next().unwrap_or_default();
            #[cfg(feature = "otlp")]
            if OTLP_ROUTES.iter().any(|route| rest.starts_with(route)) {
                return true;
            }
            #[cfg(feature = "otlp-grpc")]
            if GRPC_SERVICES.contains(&first) {
                return true;
            }
            ROUTES.contains(&first)
        }
    }
}

#[cfg(test)]
mod tests;
