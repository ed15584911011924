//! The headers for browsers. They decide which origins may read a response, and restrict its other
//! uses.

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response};
use livespan::{Access, Auth, LiveSpans};
use tower::ServiceExt as _;

use super::app::{done, log, put, script, trace};

const SHOP: &str = "https://shop.example";

async fn send(
    live: &LiveSpans,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    live.router().oneshot(request).await.unwrap()
}

fn open_to_the_shop() -> LiveSpans {
    let live = LiveSpans::builder()
        .allowed_origins([SHOP])
        .build()
        .unwrap();
    put(&live, done(1, "checkout", 5));
    live
}

/// Returns the response's headers about other origins. Omits the `vary` that the page's files have
/// for their content coding.
fn cors(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut named: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("access-control-") || *name == "vary")
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .filter(|header| *header != ("vary", "Accept-Encoding"))
        .collect();
    named.sort_unstable();
    named
}

#[tokio::test]
async fn without_a_setting_no_other_origin_reads_an_answer() {
    let live = log();
    for path in ["/sse", "/traces", "/status", "/", script()] {
        let response = send(&live, Method::GET, path, &[("origin", SHOP)]).await;
        assert_eq!(cors(response.headers()), [], "{path}");
        let asked = [("origin", SHOP), ("access-control-request-method", "GET")];
        let response = send(&live, Method::OPTIONS, path, &asked).await;
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(cors(response.headers()), [], "{path}");
    }
}

#[tokio::test]
async fn an_allowed_origin_may_read_and_resume() {
    let live = open_to_the_shop();
    for path in [
        "/sse".to_owned(),
        format!("/traces/{}/sse", trace(1)),
        "/traces".to_owned(),
    ] {
        let shop = [
            ("origin", SHOP),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "cors"),
        ];
        let response = send(&live, Method::GET, &path, &shop).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            cors(response.headers()),
            [("access-control-allow-origin", SHOP), ("vary", "Origin")]
        );
        let asked = [
            ("origin", SHOP),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "last-event-id"),
        ];
        let response = send(&live, Method::OPTIONS, &path, &asked).await;
        assert_eq!(response.status(), 204, "{path}");
        assert_eq!(
            cors(response.headers()),
            [
                (
                    "access-control-allow-headers",
                    "Last-Event-ID, Authorization, Cache-Control, Content-Type, MCP-Protocol-Version, Mcp-Method, Mcp-Name"
                ),
                ("access-control-allow-methods", "GET, HEAD"),
                ("access-control-allow-origin", SHOP),
                ("access-control-max-age", "600"),
                ("vary", "Origin")
            ]
        );
    }
}

/// The headers that a browser sends for a page of an allowed origin: on the same site, on another
/// site, and over plain HTTP, where it sends fewer headers.
const OF_THE_SHOP: [&[(&str, &str)]; 3] = [
    &[
        ("origin", SHOP),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "cors"),
    ],
    &[
        ("origin", SHOP),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "cors"),
    ],
    &[("origin", SHOP)],
];

#[tokio::test]
async fn the_cookie_of_an_operator_opens_nothing_to_a_page_of_an_allowed_origin() {
    let live = LiveSpans::builder()
        .auth(Auth::token("hush"))
        .allowed_origins([SHOP])
        .build()
        .unwrap();
    put(&live, done(1, "checkout", 5));
    let link = live.login_link("/").unwrap();
    let signed_in = send(&live, Method::GET, &link, &[]).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    let own = trace(1);
    let stream = format!("/traces/{own}/sse");
    for path in [
        "/",
        "/sse",
        "/traces",
        "/traces/sse",
        "/status",
        "/stats/durations?service=shop&name=checkout",
        "/workflows/a/b/sse",
        &stream,
    ] {
        for page in OF_THE_SHOP {
            let stolen = [page, &[cookie]].concat();
            let response = send(&live, Method::GET, path, &stolen).await;
            assert_eq!(response.status(), 401, "{path} {page:?}");
            let shown = [page, &[cookie, ("authorization", "Bearer hush")]].concat();
            let response = send(&live, Method::GET, path, &shown).await;
            assert_eq!(response.status(), 200, "{path} {page:?}");
            assert_eq!(
                cors(response.headers()),
                [("access-control-allow-origin", SHOP), ("vary", "Origin")]
            );
        }
        // Requests from the dashboard itself, from a followed link, and from a program.
        for own in [
            &[("sec-fetch-site", "same-origin")][..],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ],
            &[],
        ] {
            let signed_in = [own, &[cookie]].concat();
            let response = send(&live, Method::GET, path, &signed_in).await;
            assert_eq!(response.status(), 200, "{path} {own:?}");
        }
    }
    let ticket = live.ticket(own, std::time::Duration::from_secs(60));
    for page in OF_THE_SHOP {
        let path = format!("{stream}?ticket={ticket}");
        let response = send(&live, Method::GET, &path, page).await;
        assert_eq!(response.status(), 200, "{page:?}");
    }
}

#[tokio::test]
async fn the_apps_rule_sees_no_cookie_from_another_origin() {
    let auth = Auth::check(|request| match request.headers.get("cookie") {
        Some(_) => Access::everything(),
        None => Access::nothing(),
    });
    let live = LiveSpans::builder()
        .auth(auth)
        .allowed_origins([SHOP])
        .build()
        .unwrap();
    let session = ("cookie", "session=1");
    assert_eq!(
        send(&live, Method::GET, "/traces", &[session])
            .await
            .status(),
        200
    );
    for page in OF_THE_SHOP {
        let response = send(&live, Method::GET, "/traces", &[page, &[session]].concat()).await;
        assert_eq!(response.status(), 403, "{page:?}");
    }
    // The app's check gets no cookie, because this page of the same site is not allowed. Such a
    // page could not read the response anyway.
    let script = [
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "no-cors"),
        session,
    ];
    assert_eq!(
        send(&live, Method::GET, "/sse", &script).await.status(),
        403
    );
}

#[tokio::test]
async fn an_origin_is_allowed_exactly_or_not_at_all() {
    let live = open_to_the_shop();
    for origin in [
        "https://shop.example.evil",
        "https://evil-shop.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://SHOP.example",
        "null",
        "",
    ] {
        let response = send(&live, Method::GET, "/traces", &[("origin", origin)]).await;
        assert_eq!(cors(response.headers()), [("vary", "Origin")], "{origin}");
        let cross_site = [
            ("origin", origin),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "cors"),
        ];
        assert_eq!(
            send(&live, Method::GET, "/traces", &cross_site)
                .await
                .status(),
            403,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_can_read_errors() {
    let live = open_to_the_shop();
    let response = send(&live, Method::GET, "/traces/nonsense", &[("origin", SHOP)]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["access-control-allow-origin"], SHOP);
}

#[tokio::test]
async fn a_proxy_may_call_the_server_by_another_name() {
    // nginx behaves like this by default: the page's origin differs from the host that we see. Over
    // plain HTTP, browsers send only the origin, and only for module scripts.
    let live = log();
    let public = [("origin", "http://ops.intranet")];
    for (path, headers) in [
        ("/", &[][..]),
        (script(), &public[..]),
        ("/traces/sse", &[][..]),
    ] {
        let response = send(&live, Method::GET, path, headers).await;
        assert_eq!(response.status(), 200, "{path}");
    }
    let response = send(&live, Method::GET, "/traces/sse", &public).await;
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn a_malformed_origin_is_refused_when_the_log_is_built() {
    let error = LiveSpans::builder()
        .allowed_origins(["*"])
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"*\" is not an origin, such as \"https://shop.example\" or \"http://localhost:3000\""
    );
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let live = log();
    put(&live, done(1, "checkout", 5));
    let own = trace(1);
    for (path, status) in [
        ("/", 200),
        (script(), 200),
        ("/sse", 200),
        ("/traces", 200),
        ("/traces/sse", 200),
        (&*format!("/traces/{own}"), 200),
        (&*format!("/traces/{own}/sse"), 200),
        ("/status", 200),
        ("/traces/nonsense", 400),
        ("/sse/nothing", 404),
    ] {
        let response = send(&live, Method::GET, path, &[]).await;
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(
            headers["cross-origin-resource-policy"], "same-origin",
            "{path}"
        );
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.ends_with("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn a_request_for_a_host_that_is_not_allowed_is_refused() {
    let live = open_to_the_shop();
    let rebound = Request::builder()
        .uri("/traces")
        .header("host", "evil.example");
    let response = live
        .router()
        .oneshot(rebound.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}
