//! Checks which spans count as requests to our routes.

use super::*;

fn span(number: u8, path: Option<&str>) -> SpanFields<'_> {
    SpanFields {
        trace_id: [1; 16],
        span_id: [number; 8],
        parent: None,
        parent_remote: false,
        received: None,
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
fn the_worker_waits_only_while_spans_may_lack_their_path() {
    let processing_delay = Arc::new(ProcessingDelay::default());
    let mounts = Arc::new(MountPrefixes::new(Arc::clone(&processing_delay)));
    let mut own_requests = OwnRequestSpans::new(Arc::clone(&mounts));
    assert_eq!(
        processing_delay.get(),
        Duration::ZERO,
        "the worker delays spans although the app has made no router"
    );
    mounts.expect_request();
    assert_eq!(
        processing_delay.get(),
        IDENTIFY_DELAY,
        "the worker does not delay spans although a request may arrive"
    );
    mounts.learn("/live/sse", "/sse", Some("localhost:4380"));
    assert!(own_requests.hides_start(&span(1, Some("/live/sse"))));
    assert!(!own_requests.hides_start(&span(2, Some("/live-shows"))));
    assert_eq!(
        processing_delay.get(),
        Duration::ZERO,
        "the worker delays spans although all have the path of their request"
    );
    own_requests.hide([3; 8]);
    assert!(own_requests.hides_start(&span(3, None)));
    assert_eq!(
        processing_delay.get(),
        IDENTIFY_DELAY,
        "the worker does not delay spans although some have no path"
    );
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
            "one of the newest spans was forgotten"
        );
        assert!(
            !own_requests.hides_end(span.to_be_bytes()),
            "a hidden span is still remembered after its end"
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
fn host_and_path_are_found_in_an_address() {
    for (text, expected) in [
        (
            "http://localhost:3000/live/sse?x=1",
            (Some("localhost:3000"), "/live/sse"),
        ),
        ("/live/sse?x=1", (None, "/live/sse")),
        ("http://localhost:3000", (Some("localhost:3000"), "/")),
        ("http://me:pw@h/live#top", (Some("h"), "/live")),
        ("/live?next=http://h/x", (None, "/live")),
    ] {
        assert_eq!(split(text), expected, "{text}");
    }
}

type Case<'a> = (SpanKind, bool, &'a [(&'a str, &'a str)]);

fn is_hidden(
    mounts: &Arc<MountPrefixes>,
    &(kind, has_local_parent, attributes): &Case<'_>,
) -> bool {
    OwnRequestSpans::new(Arc::clone(mounts)).hides_start(&SpanFields {
        kind,
        parent: has_local_parent.then_some([9; 8]),
        attributes: attributes
            .iter()
            .map(|(key, text)| (*key, Value::Text(text)))
            .collect(),
        ..span(1, None)
    })
}

fn mounted_at_live() -> Arc<MountPrefixes> {
    let mounts = Arc::new(MountPrefixes::default());
    mounts.learn("/live/sse", "/sse", Some("shop.example:4380"));
    mounts
}

#[test]
fn spans_that_serve_a_request_to_us_are_hidden_by_path() {
    use SpanKind::{Internal, Server};
    let mounts = mounted_at_live();
    let ours: [Case<'_>; 8] = [
        (Server, true, &[("url.path", "/live/sse")]),
        (Server, false, &[("http.target", "/live/traces?limit=5")]),
        (
            Server,
            false,
            &[("url.full", "http://shop.example:4380/live")],
        ),
        (
            Server,
            false,
            &[
                ("url.path", "/live/sse"),
                ("server.address", "Shop.Example"),
            ],
        ),
        (
            Server,
            false,
            &[("http.host", "shop.example:4380"), ("uri", "/live/sse")],
        ),
        (
            Server,
            false,
            &[
                ("net.host.name", "0.0.0.0"),
                ("http.host", "shop.example:4380"),
                ("uri", "/live/sse"),
            ],
        ),
        (
            Internal,
            false,
            &[
                ("method", "GET"),
                ("uri", "/live/sse"),
                ("version", "HTTP/1.1"),
            ],
        ),
        (
            Internal,
            false,
            &[("uri", "/live/sse"), ("http.request.method", "GET")],
        ),
    ];
    for case in &ours {
        assert!(is_hidden(&mounts, case), "{case:?}");
    }
    assert_eq!(mounts.hidden(), ours.len() as u64);
}

#[test]
fn spans_of_other_kinds_and_hosts_are_shown_whatever_their_path() {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    let mounts = mounted_at_live();
    let foreign: [Case<'_>; 11] = [
        (
            Client,
            false,
            &[("url.full", "http://shop.example:4380/live/sse")],
        ),
        (
            Client,
            true,
            &[("http.request.method", "GET"), ("uri", "/live/sse")],
        ),
        (Producer, false, &[("url.path", "/live/sse")]),
        (Consumer, false, &[("url.path", "/live/sse")]),
        (Internal, false, &[("uri", "/live/sse")]),
        (Internal, true, &[("method", "GET"), ("uri", "/live/sse")]),
        (Server, false, &[("path", "/live/sse")]),
        (
            Server,
            false,
            &[("url.full", "https://api.stripe.com/live/sse")],
        ),
        (
            Server,
            false,
            &[
                ("url.path", "/live/sse"),
                ("server.address", "other.example"),
            ],
        ),
        (
            Server,
            false,
            &[("http.host", "shop.example:8080"), ("uri", "/live/sse")],
        ),
        (Server, false, &[("uri", "/lively")]),
    ];
    for case in &foreign {
        assert!(!is_hidden(&mounts, case), "{case:?}");
    }
    assert_eq!(mounts.hidden(), 0);
}

#[test]
fn the_paths_of_a_router_at_the_root_hide_nothing() {
    let mounts = Arc::new(MountPrefixes::default());
    mounts.learn("/status", "/status", Some("localhost"));
    for path in ["/", "/status", "/traces/1", "http://localhost/sse"] {
        let case: Case<'_> = (SpanKind::Server, false, &[("uri", path)]);
        assert!(!is_hidden(&mounts, &case), "{path}");
    }
    let mut own_requests = OwnRequestSpans::new(Arc::clone(&mounts));
    own_requests.hide([1; 8]);
    assert!(own_requests.hides_start(&span(1, Some("/status"))));
    assert_eq!(mounts.hidden(), 1);
}

#[test]
fn hosts_and_mount_points_of_many_requests_are_bounded() {
    let mounts = MountPrefixes::default();
    let long = "h".repeat(AUTHORITY_BYTES_MAX + 1);
    mounts.learn("/live/sse", "/sse", Some(&long));
    assert!(read(&mounts.authorities).is_empty());
    for number in 0..100 {
        mounts.learn(
            &format!("/{number}/sse"),
            "/sse",
            Some(&format!("h{number}")),
        );
    }
    assert_eq!(read(&mounts.authorities).len(), AUTHORITIES_MAX);
    assert_eq!(read(&mounts.prefixes).len(), PREFIXES_MAX);
    assert!(
        !mounts.knows("h99"),
        "an authority beyond the bound was remembered"
    );
}
