//! Keeps viewers out of what they view: the host's own middleware makes a span for every request, also for those to
//! our routes. The first request through a mounted router teaches us where it is mounted; from then on a span that
//! says it serves such a path is left out, with its children. The span around that first request, and one that says
//! nothing of its path, is left out by its id, which the router hands in before the worker looks at the span: until it
//! is known that the host's spans tell their paths, the worker looks a little later.

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

/// Mount points that are remembered; an app has one or two.
const PREFIXES_MAX: usize = 16;
/// Viewers' spans that are remembered until they end: at least half as many, the newest ones. Some never end for us,
/// because their end was dropped or the host's filter hides them anyway.
const OWN_REQUESTS_MAX: usize = 65_536;
/// How long the worker waits with a span, so that our router hears of the request around which it was made.
const IDENTIFY_DELAY: Duration = Duration::from_millis(100);
/// Attributes in which HTTP middleware writes the path or the whole address of a request.
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
/// The first parts of our routes' paths, beside that of the page.
pub(crate) const ROUTES: &[&str] = &["sse", "traces", "stats", "status", "assets", "workflows"];

/// Where our routes are mounted in the host's app.
#[derive(Debug, Default)]
pub(crate) struct MountPrefixes {
    prefixes: RwLock<Vec<String>>,
    processing_delay: Arc<ProcessingDelay>,
    /// Whether the host makes spans for viewers that do not tell their path.
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

    /// A router was made: until its first request tells its place, the worker looks a little later.
    pub(crate) fn expect_request(&self) {
        if read(&self.prefixes).is_empty() {
            self.processing_delay.set(IDENTIFY_DELAY);
        }
    }

    /// A request reached our routes at `path`, which the host knows as `original`.
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

    /// The host makes no span around this request, or one that tells its path: ids are not needed.
    pub(crate) fn require_no_ids(&self) {
        if !self.host_spans_lack_paths.load(Ordering::Relaxed) {
            self.processing_delay.set(Duration::ZERO);
        }
    }

    /// The host made a span that only its id gives away.
    fn require_ids(&self) {
        self.host_spans_lack_paths.store(true, Ordering::Relaxed);
        self.processing_delay.set(IDENTIFY_DELAY);
    }

    /// Whether one of these texts is the path of a request to our routes.
    fn cover<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> bool {
        let prefixes = read(&self.prefixes);
        !prefixes.is_empty()
            && texts.any(|text| {
                let path = path_of(text);
                prefixes.iter().any(|prefix| is_ours(prefix, path))
            })
    }
}

/// The worker's memory of viewers' open spans.
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

    /// The router was heard of after readers saw the span.
    pub(crate) fn identified_too_late(&self) {
        self.mounts.require_ids();
    }

    /// Whether a span that starts is a viewer's, as far as its ids say.
    pub(crate) fn contains(&self, span_id: [u8; 8], parent: Option<[u8; 8]>) -> bool {
        parent.is_some_and(|parent| self.is_hidden(parent)) || self.is_hidden(span_id)
    }

    /// Whether one of these is the path of a viewer's request.
    pub(crate) fn covers<'a>(&self, paths: impl Iterator<Item = &'a str>) -> bool {
        self.mounts.cover(paths)
    }

    /// Whether a value with this key may tell the path of a request.
    pub(crate) fn is_path(key: &str) -> bool {
        PATH_KEYS.contains(&key)
    }

    /// Whether a span that starts is a viewer's.
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

    /// Whether a span that ends is a viewer's; it is then forgotten.
    pub(crate) fn hides_end(&mut self, span_id: [u8; 8]) -> bool {
        let newer = self.spans.remove(&span_id);
        self.older.remove(&span_id) || newer
    }
}

/// What may tell the path of a request.
fn paths<'a>(attributes: &Pairs<'a>) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter_map(|(key, value)| match value {
        Value::Text(text) if OwnRequestSpans::is_path(key) => Some(*text),
        _ => None,
    })
}

/// The path in what may be a path, a path with a query, or a whole address.
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
