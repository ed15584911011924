//! The dashboard and its files under any prefix, loaded as by a browser.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use reqwest::Url;

use super::app::{App, client, log};

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Returns the values of `name="…"` in the page.
fn values<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!(" {name}=\"");
    page.split(&open)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

/// Returns the files of the workers that a script starts.
fn workers(script: &str) -> Vec<&str> {
    let named = script.split("new URL(\"").skip(1);
    let named = named.map(|rest| rest.split('"').next().unwrap());
    named
        .filter(|name| name.rsplit('.').next() == Some("js"))
        .collect()
}

/// Returns the name of a file without its hash.
fn plain(name: &str) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap();
    let (stem, hash) = stem.rsplit_once('-').unwrap();
    assert_eq!(hash.len(), 16, "{name}");
    format!("{stem}.{ending}")
}

/// Loads the page, the files that it names, and the workers that these start. Imports of modules are not followed.
/// Returns the files' names, without their hashes.
async fn load(page: &str) -> BTreeSet<String> {
    let client = client();
    let page = Url::parse(page).unwrap();
    let response = client.get(page.clone()).send().await.unwrap();
    assert_eq!(response.status(), 200, "{page}");
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8",
        "{page}"
    );
    let text = response.text().await.unwrap();
    let base = text
        .split("<base href=\"")
        .nth(1)
        .map(|rest| rest.split('"').next().unwrap());
    let base = page.join(base.unwrap_or("")).unwrap();
    let references = values(&text, "src")
        .into_iter()
        .chain(values(&text, "href"));
    let mut queue: VecDeque<Url> = references
        .filter(|link| link.starts_with("assets/"))
        .map(|link| base.join(link).unwrap())
        .collect();
    let mut names = BTreeSet::new();
    while let Some(url) = queue.pop_front() {
        let name = url.path_segments().unwrap().next_back().unwrap().to_owned();
        if !names.insert(plain(&name)) {
            continue;
        }
        let response = client.get(url.clone()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        let expected = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("a file of type {other}"),
        };
        assert_eq!(response.headers()["content-type"], expected, "{url}");
        let text = response.text().await.unwrap();
        let started = workers(&text).into_iter();
        queue.extend(started.map(|worker| url.join(worker).unwrap()));
    }
    // Later requests of the page are relative to the same base.
    for (route, expected) in [
        ("status", "application/json"),
        ("traces", "application/json"),
        ("sse", "text/event-stream"),
    ] {
        let response = client.get(base.join(route).unwrap()).send().await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["content-type"]
            ),
            (200, &expected.parse().unwrap())
        );
    }
    names
}

/// Returns the files that `load` must find.
fn served() -> BTreeSet<String> {
    let names = [
        "app.css",
        "app.js",
        "core.js",
        "favicon.svg",
        "hub-worker.js",
        "import-worker.js",
    ];
    names.map(str::to_owned).into()
}

fn app() -> Router {
    Router::new().route("/hello", get(async || "hello"))
}

#[tokio::test]
async fn the_dashboard_works_on_our_own_server() {
    let app = App::start().await;
    assert_eq!(load(&app.server.url()).await, served());
    assert_eq!(
        load(&format!("{}?trace=x#y", app.server.url())).await,
        served()
    );
}

#[tokio::test]
async fn the_dashboard_works_wherever_it_is_mounted() {
    let live = log();
    let nested_twice = Router::new().nest("/tools", Router::new().nest("/live", live.router()));
    let nested_services =
        Router::new().nest_service("/tools", Router::new().nest_service("/live", live.router()));
    for (app, pages) in [
        (
            app().nest_service("/live", live.router()),
            vec!["/live", "/live/", "/live?trace=x", "/live/?trace=x"],
        ),
        // With `nest`, axum routes only one of `/live` and `/live/`: the one that `nest` is given.
        (
            app().nest("/live", live.router()),
            vec!["/live", "/live?trace=x"],
        ),
        (
            app().nest("/live/", live.router()),
            vec!["/live/", "/live/?trace=x"],
        ),
        (app().merge(nested_twice), vec!["/tools/live"]),
        (
            app().merge(nested_services),
            vec!["/tools/live", "/tools/live/"],
        ),
        (
            app().nest("/{user}/live", live.router()),
            vec!["/ann/live", "/a@b.c/live", "/a%20b/live"],
        ),
        (
            app().nest_service("/{user}/live", live.router()),
            vec!["/ann/live", "/ann/live/"],
        ),
        (
            app().fallback(async || "mine").merge(live.router()),
            vec!["", "/"],
        ),
        (
            app().fallback_service(live.router()),
            vec!["", "/", "/?trace=x"],
        ),
        (app().merge(live.router()), vec!["", "/"]),
    ] {
        let address = serve(app).await;
        for page in pages {
            assert_eq!(
                load(&format!("http://{address}{page}")).await,
                served(),
                "{page}"
            );
        }
        let hello = client()
            .get(format!("http://{address}/hello"))
            .send()
            .await
            .unwrap();
        assert_eq!(hello.text().await.unwrap(), "hello");
    }
}

#[derive(Clone)]
struct Proxy {
    upstream: SocketAddr,
    prefix: &'static str,
    sends_prefix: bool,
}

/// Removes the proxy's prefix and forwards the request, like a reverse proxy in front of an app.
async fn pass_on(State(proxy): State<Proxy>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().as_str();
    let path = path.strip_prefix(proxy.prefix).unwrap_or(path);
    let url = format!("http://{}/{}", proxy.upstream, path.trim_start_matches('/'));
    let mut upstream = client().get(url);
    if proxy.sends_prefix {
        upstream = upstream.header("x-forwarded-prefix", proxy.prefix);
    }
    let answer = upstream.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .unwrap()
}

#[tokio::test]
async fn the_dashboard_works_behind_a_proxy_that_strips_a_prefix() {
    let live = log();
    let own = live.serve("127.0.0.1:0").await.unwrap();
    let mounted = serve(app().nest_service("/live", live.router())).await;
    for (upstream, sends_prefix, pages) in [
        (
            own.local_addr(),
            true,
            vec!["/tools/spans", "/tools/spans/", "/tools/spans?trace=x"],
        ),
        // Without the header, the proxy must redirect to the address with the slash.
        (own.local_addr(), false, vec!["/tools/spans/"]),
        (
            mounted,
            true,
            vec!["/tools/spans/live", "/tools/spans/live/"],
        ),
        (mounted, false, vec!["/tools/spans/live/"]),
    ] {
        let proxy = Proxy {
            upstream,
            prefix: "/tools/spans",
            sends_prefix,
        };
        let address = serve(Router::new().fallback(pass_on).with_state(proxy)).await;
        for page in pages {
            assert_eq!(
                load(&format!("http://{address}{page}")).await,
                served(),
                "{page} differs (the proxy sends the prefix: {sends_prefix})"
            );
        }
    }
}

#[tokio::test]
async fn no_header_and_no_path_can_put_markup_or_another_host_into_the_page() {
    let app = App::start().await;
    for prefix in [
        "//evil.example",
        "https://evil.example/",
        "/\"><script>alert(1)</script>",
        "/a b",
        "evil",
        "/a\\b",
        "",
    ] {
        let request = app
            .client
            .get(app.server.url())
            .header("x-forwarded-prefix", prefix);
        let page = request.send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("<base"), "{prefix}");
        assert!(
            !page.contains("evil") && !page.contains("alert("),
            "{prefix}"
        );
    }
}

#[tokio::test]
async fn the_page_may_run_nothing_but_its_own_files() {
    let app = App::start().await;
    let page = app.get("/").await;
    assert_eq!(
        page.headers()["content-security-policy"],
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    );
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let text = page.text().await.unwrap();
    for forbidden in [
        "http://",
        "https://",
        "<style",
        "style=",
        "onclick",
        "javascript:",
    ] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
}
