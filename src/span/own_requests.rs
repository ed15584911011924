//! Hides the spans of requests to our own routes: the host's HTTP middleware makes a span for each of them, and a
//! reader would otherwise watch itself read.
//!
//! - **By path.** The first request through a mounted router shows where it is mounted. From then on a span with an
//!   attribute that names such a path is hidden, with its children.
//! - **By id.** The span around that first request, and a span without a path, is hidden by its id. The router pushes
//!   the id before the worker encodes the span. Until it is known that the host's spans carry their paths, the worker
//!   therefore waits [`IDENTIFY_DELAY`] before it encodes.
//!
//! A span whose start readers have seen is never hidden afterwards: it gets its end. Request handlers call
//! [`MountPrefixes`]; only the worker thread uses [`OwnRequestSpans`].

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    engine::worker::ProcessingDelay,
    span::json::{Pairs, SpanFields, Value},
    util::{
        hash::Set,
        sync::{read, write},
    },
};

/// Upper bound on remembered mount points; an app has one or two.
const PREFIXES_MAX: usize = 16;
/// Upper bound on hidden spans that are remembered until they end; at least the newest half of them is. Some never end
/// here, because their end was dropped or the host's filter hides them anyway.
const OWN_REQUESTS_MAX: usize = 65_536;
/// How long the worker waits before it encodes a span, so that our router can report the request around it first.
const IDENTIFY_DELAY: Duration = Duration::from_millis(100);
/// Attributes in which HTTP middleware writes the path or the whole URL of a request.
const PATH_KEYS: &[&str] = &[
    "uri",
    "url.path",
    "url.full",
    "http.target",
    "http.url",
    "http.uri",
    "http.path",
    "path",
];
/// The first path segments of our routes, except that of the page itself.
pub(crate) const ROUTES: &[&str] = &["sse", "traces", "stats", "status", "assets", "workflows"];

/// Where our routes are mounted in the host's app.
#[derive(Debug, Default)]
pub(crate) struct MountPrefixes {
    prefixes: RwLock<Vec<String>>,
    processing_delay: Arc<ProcessingDelay>,
    /// Whether the host makes spans for our requests that carry no path.
    host_spans_lack_paths: AtomicBool,
}

impl MountPrefixes {
    pub(crate) fn new(processing_delay: Arc<ProcessingDelay>) -> Self {
        Self {
            prefixes: RwLock::default(),
            processing_delay,
            host_spans_lack_paths: AtomicBool::new(false),
        }
    }

    /// Called when a router is made: until its first request shows where it is mounted, the worker waits before it
    /// encodes.
    pub(crate) fn expect_request(&self) {
        if read(&self.prefixes).is_empty() {
            self.processing_delay.set(IDENTIFY_DELAY);
        }
    }

    /// Learns a mount point from a request that reached our routes at `path`; the host's own path for it is `original`.
    pub(crate) fn learn(&self, original: &str, path: &str) {
        let prefix = original.strip_suffix(path).or_else(|| {
            // `/live` reaches a nested router as `/`.
            (path == "/").then_some(original)
        });
        let Some(prefix) = prefix else { return };
        let prefix = prefix.trim_end_matches('/');
        if read(&self.prefixes).iter().any(|known| known == prefix) {
            return;
        }
        let mut prefixes = write(&self.prefixes);
        if prefixes.len() < PREFIXES_MAX && !prefixes.iter().any(|known| known == prefix) {
            prefixes.push(prefix.to_owned());
        }
    }

    /// Called when the host made no span around a request, or one with its path: the worker need not wait for ids.
    pub(crate) fn require_no_ids(&self) {
        if !self.host_spans_lack_paths.load(Ordering::Relaxed) {
            self.processing_delay.set(Duration::ZERO);
        }
    }

    /// Called when only its id shows that a span belongs to one of our requests.
    fn require_ids(&self) {
        self.host_spans_lack_paths.store(true, Ordering::Relaxed);
        self.processing_delay.set(IDENTIFY_DELAY);
    }

    /// Returns whether one of these texts is the path of a request to our routes.
    fn cover<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> bool {
        let prefixes = read(&self.prefixes);
        !prefixes.is_empty()
            && texts.any(|text| {
                let path = path_of(text);
                prefixes.iter().any(|prefix| is_ours(prefix, path))
            })
    }
}

/// The open spans of requests to our routes, as the worker knows them.
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

    /// Returns whether the ids of a span that starts show that it belongs to one of our requests.
    pub(crate) fn contains(&self, span_id: [u8; 8], parent: Option<[u8; 8]>) -> bool {
        parent.is_some_and(|parent| self.is_hidden(parent)) || self.is_hidden(span_id)
    }

    /// Returns whether one of these is the path of a request to our routes.
    pub(crate) fn covers<'a>(&self, paths: impl Iterator<Item = &'a str>) -> bool {
        self.mounts.cover(paths)
    }

    /// Returns whether an attribute with this key may hold the path of a request.
    pub(crate) fn is_path(key: &str) -> bool {
        PATH_KEYS.contains(&key)
    }

    /// Returns whether a span that starts belongs to one of our requests; it is then remembered until it ends.
    pub(crate) fn hides_start(&mut self, span: &SpanFields<'_>) -> bool {
        let by_path = self.mounts.cover(paths(&span.attributes));
        let by_parent = span.parent.is_some_and(|parent| self.is_hidden(parent));
        let by_id = self.is_hidden(span.span_id);
        if by_path {
            self.mounts.require_no_ids();
        } else if by_id && !by_parent {
            self.mounts.require_ids();
        }
        let hidden = by_path || by_parent || by_id;
        if hidden {
            self.hide(span.span_id);
        }
        hidden
    }

    /// Returns whether a span that ends belongs to one of our requests; it is then forgotten.
    pub(crate) fn hides_end(&mut self, span_id: [u8; 8]) -> bool {
        let newer = self.spans.remove(&span_id);
        self.older.remove(&span_id) || newer
    }
}

/// The attributes that may hold the path of a request.
fn paths<'a>(attributes: &Pairs<'a>) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter_map(|(key, value)| match value {
        Value::Text(text) if OwnRequestSpans::is_path(key) => Some(*text),
        _ => None,
    })
}

/// The path within a text that is a path, a path with a query, or a whole URL.
fn path_of(text: &str) -> &str {
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => text,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

fn is_ours(prefix: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else {
        return false;
    };
    match rest.strip_prefix('/') {
        // Mounted at the root, the page itself is the host's `/` too; it is ours, since we answer it.
        None => rest.is_empty(),
        Some("") => true,
        Some(rest) => ROUTES.contains(&rest.split('/').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::event::SpanKind;

    fn span(number: u8, path: Option<&str>) -> SpanFields<'_> {
        SpanFields {
            trace_id: [1; 16],
            span_id: [number; 8],
            parent: None,
            parent_remote: false,
            unsampled: false,
            durable: false,
            name: "request",
            kind: SpanKind::Server,
            process: "",
            service: "",
            scope: None,
            scope_version: None,
            trace_state: "",
            attributes: path
                .map(|path| ("uri", Value::Text(path)))
                .into_iter()
                .collect(),
            dropped_attributes: 0,
            links: Vec::new(),
            truncated: false,
        }
    }

    #[test]
    fn the_worker_waits_only_while_spans_may_not_tell_their_path() {
        let processing_delay = Arc::new(ProcessingDelay::default());
        let mounts = Arc::new(MountPrefixes::new(Arc::clone(&processing_delay)));
        let mut own_requests = OwnRequestSpans::new(Arc::clone(&mounts));
        assert_eq!(processing_delay.get(), Duration::ZERO, "no router was made");
        mounts.expect_request();
        assert_eq!(
            processing_delay.get(),
            IDENTIFY_DELAY,
            "the first viewer may come"
        );
        mounts.learn("/live/sse", "/sse");
        assert!(own_requests.hides_start(&span(1, Some("/live/sse"))));
        assert!(!own_requests.hides_start(&span(2, Some("/live-shows"))));
        assert_eq!(
            processing_delay.get(),
            Duration::ZERO,
            "spans tell their path"
        );
        own_requests.hide([3; 8]);
        assert!(own_requests.hides_start(&span(3, None)));
        assert_eq!(processing_delay.get(), IDENTIFY_DELAY, "some do not");
        assert!(own_requests.hides_start(&span(4, Some("/live/traces"))));
        assert_eq!(processing_delay.get(), IDENTIFY_DELAY);
        own_requests.identified_too_late();
        assert_eq!(processing_delay.get(), IDENTIFY_DELAY);
    }

    #[test]
    fn spans_that_never_end_do_not_fill_the_memory_of_viewers() {
        let mut own_requests = OwnRequestSpans::new(Arc::new(MountPrefixes::default()));
        let all = 3 * OWN_REQUESTS_MAX as u64;
        for span in 0..all {
            own_requests.hide(span.to_be_bytes());
        }
        assert!(own_requests.spans.len() + own_requests.older.len() <= OWN_REQUESTS_MAX);
        for span in all - OWN_REQUESTS_MAX as u64 / 2..all {
            assert!(
                own_requests.hides_end(span.to_be_bytes()),
                "the newest are remembered"
            );
            assert!(
                !own_requests.hides_end(span.to_be_bytes()),
                "until they end"
            );
        }
    }

    #[test]
    fn only_paths_of_our_routes_are_ours() {
        for (prefix, path) in [
            ("/live", "/live"),
            ("/live", "/live/"),
            ("/live", "/live/sse"),
            ("/live", "/live/traces/4bf9/sse"),
            ("", "/"),
            ("", "/status"),
        ] {
            assert!(is_ours(prefix, path), "{prefix} {path}");
        }
        for (prefix, path) in [
            ("/live", "/lively"),
            ("/live", "/live/stream"),
            ("/live", "/"),
            ("", "/checkout"),
        ] {
            assert!(!is_ours(prefix, path), "{prefix} {path}");
        }
    }

    #[test]
    fn a_path_is_found_in_an_address() {
        assert_eq!(path_of("http://localhost:3000/live/sse?x=1"), "/live/sse");
        assert_eq!(path_of("/live/sse?x=1"), "/live/sse");
        assert_eq!(path_of("http://localhost:3000"), "/");
    }
}
