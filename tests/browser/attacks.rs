//! Attacks on a log from pages of other sites, in a real browser. The log's own users can still sign
//! in and read.

use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use livespan::{Auth, LiveServer, LiveSpans, LiveSpansBuilder, SpanEvent, SpanId, TraceId};
use serde_json::{Value, json};

use crate::driver::Browser;

const TOKEN: &str = "correct horse battery";

/// Serves a page on a new port, under any host name.
async fn page(text: String) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().route("/", get(move || std::future::ready(Html(text))));
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

fn trace() -> TraceId {
    "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()
}

async fn serve(builder: LiveSpansBuilder) -> (LiveSpans, LiveServer) {
    let live = builder.build().unwrap();
    let span: SpanId = "00f067aa0ba902b7".parse().unwrap();
    let started = SpanEvent::started(trace(), span, "a secret").service("vault");
    live.target().try_dispatch(&started).unwrap();
    live.target().flush(Duration::from_secs(30)).unwrap();
    let server = live.serve("127.0.0.1:0").await.unwrap();
    (live, server)
}

/// Tries to read from `victim` with `fetch`, `EventSource` and elements. Returns the outcome of each
/// attempt.
const ATTACKS: &str = "
const done = arguments[arguments.length - 1];
const victim = arguments[0];
const style = arguments[1];
const tried = {};
const attempt = async (name, act) => {
  try { tried[name] = await act(); } catch (error) { tried[name] = error.name; }
};
const element = (tag, attributes) => new Promise(resolve => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.onload = () => resolve('loaded');
  made.onerror = () => resolve('error');
  document.body.append(made);
});
(async () => {
  for (const credentials of ['omit', 'include']) {
    await attempt(`fetch ${credentials}`, async () => (await fetch(`${victim}traces`, { credentials })).text());
  }
  await attempt('fetch with a header', async () =>
    (await fetch(`${victim}traces`, { headers: { 'Last-Event-ID': '0' } })).text());
  await attempt('fetch no-cors', async () => (await fetch(`${victim}traces`, { mode: 'no-cors' })).text());
  for (const withCredentials of [false, true]) {
    await attempt(`EventSource ${withCredentials}`, () => new Promise(resolve => {
      const source = new EventSource(`${victim}sse`, { withCredentials });
      source.onopen = () => resolve('opened');
      source.onerror = () => { source.close(); resolve('error'); };
    }));
  }
  await attempt('image', () => element('img', { src: `${victim}sse` }));
  await attempt('script', () => element('script', { src: `${victim}traces` }));
  await attempt('style', () => element('link', { rel: 'stylesheet', href: `${victim}${style}` }));
  await attempt('frame', async () => {
    await element('iframe', { src: victim });
    // The frame holds the document of another site, or an error page if the site forbids frames.
    // This page must not be able to read its address.
    return frames[0].location.href;
  });
  done(tried);
})();";

async fn attack(browser: &Browser, victim: &str) -> Value {
    let page = include_str!("../../src/dashboard/bundle/index.html");
    let style = page
        .split('"')
        .find(|text| text.starts_with("assets/app-") && text.contains(".css"));
    let arguments = vec![
        json!(victim),
        json!(style.expect("the page has no style sheet")),
    ];
    let answer = browser.page.execute_async(ATTACKS, arguments).await;
    answer.expect("the script with the attacks failed")
}

/// Returns the outcomes of an attack that reads nothing.
fn nothing() -> Value {
    json!({
        "fetch omit": "TypeError",
        "fetch include": "TypeError",
        "fetch with a header": "TypeError",
        "fetch no-cors": "TypeError",
        "EventSource false": "error",
        "EventSource true": "error",
        "image": "error",
        "script": "error",
        "style": "error",
        "frame": "SecurityError",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_reads_nothing_and_keeps_no_stream_open() {
    let (live, server) = serve(LiveSpans::builder()).await;
    let (public, open) = serve(LiveSpans::builder().auth(Auth::public())).await;
    let port = page("<!doctype html><title>evil</title><body></body>".to_owned()).await;
    let browser = Browser::open().await;
    browser.goto(&format!("http://evil.example:{port}/")).await;
    assert_eq!(attack(&browser, &server.url()).await, nothing());
    assert_eq!(attack(&browser, &open.url()).await, nothing());
    // No reader has an open stream, not even the page in the frame.
    assert_eq!(
        (live.status().subscribers, public.status().subscribers),
        (0, 0)
    );
    browser.close().await;
}

/// The page and the log are on the same site, like `shop.example.com` and `ops.example.com`, so
/// browsers send even a `SameSite=Strict` cookie.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_reads_nothing_in_the_browser_of_an_operator() {
    let port = page("<!doctype html><title>shop</title><body></body>".to_owned()).await;
    let shop = format!("http://127.0.0.1:{port}");
    let builder = LiveSpans::builder()
        .auth(Auth::token(TOKEN))
        .allowed_origins([&*shop]);
    let (_live, server) = serve(builder).await;
    let browser = Browser::open().await;
    browser.goto(&server.login_url().unwrap()).await;
    browser
        .until(
            "the operator has signed in",
            "return document.body.innerText.includes('a secret')",
        )
        .await;
    browser.goto(&format!("{shop}/")).await;
    let tried = attack(&browser, &server.url()).await;
    let refused = "{\"error\":\"readers need the token: send it as \\\"Authorization: Bearer …\\\", or sign in on the page\"}";
    let mut expected = nothing();
    expected["fetch omit"] = json!(refused);
    expected["fetch with a header"] = json!(refused);
    assert_eq!(tried, expected);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_name_that_resolves_to_this_machine_reads_nothing() {
    let (_live, server) = serve(LiveSpans::builder()).await;
    let browser = Browser::open().await;
    let rebound = format!("http://rebound.example:{}/", server.local_addr().port());
    browser.goto(&rebound).await;
    let text = browser.ask("return document.body.innerText").await;
    assert!(
        text.as_str().unwrap().contains("is not a loopback host"),
        "{text}"
    );
    let read = "const done = arguments[0]; fetch('/traces').then(r => r.text()).then(done, error => done(error.name))";
    let read = browser.page.execute_async(read, Vec::new()).await.unwrap();
    assert!(!read.as_str().unwrap().contains("secret"), "{read}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_link_of_another_site_signs_in_and_leaves_no_trace() {
    let (live, server) = serve(LiveSpans::builder().auth(Auth::token(TOKEN))).await;
    let own = format!("http://ops.example:{}/", server.local_addr().port());
    let link = live.login_link(&own).unwrap();
    let mail = page(format!(
        "<!doctype html><title>mail</title><a href=\"{link}\">your link</a>"
    ))
    .await;
    let browser = Browser::open().await;
    browser.goto(&format!("http://mail.example:{mail}/")).await;
    browser.click("a").await;
    browser
        .until(
            "the list is shown",
            "return document.body.innerText.includes('a secret')",
        )
        .await;
    browser.picture("signed-in").await;
    assert_eq!(browser.ask("return location.href").await, json!(own));
    assert_eq!(
        browser.ask("return document.cookie").await,
        json!(""),
        "a script can read the session cookie"
    );
    // The browser has the cookie, but it must not help a page of another site.
    let port = page("<!doctype html><title>evil</title><body></body>".to_owned()).await;
    browser.goto(&format!("http://evil.example:{port}/")).await;
    let left = async {
        while live.status().subscribers > 0 {
            browser.ask("return 1").await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(30), left).await;
    left.expect("the page that was left still has a stream");
    assert_eq!(attack(&browser, &own).await, nothing());
    assert_eq!(live.status().subscribers, 0);
    browser.goto(&own).await;
    browser
        .until(
            "the operator is still signed in",
            "return document.body.innerText.includes('a secret')",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_the_token_and_a_foreign_form_does_not() {
    let (_live, server) = serve(LiveSpans::builder().auth(Auth::token(TOKEN))).await;
    let own = format!("http://ops.example:{}/", server.local_addr().port());
    let forged = format!(
        "<!doctype html><title>evil</title><form method=\"post\" action=\"{own}\">\
         <input name=\"token\" value=\"{TOKEN}\"><button>win</button></form>"
    );
    let port = page(forged).await;
    let browser = Browser::open().await;
    browser.goto(&format!("http://evil.example:{port}/")).await;
    browser.click("button").await;
    browser
        .until(
            "the server refuses the form",
            "return document.body.innerText.includes('a page of another site may not do this')",
        )
        .await;
    browser.goto(&own).await;
    browser
        .until(
            "the sign-in form is shown",
            "return document.querySelector('input[type=password]')",
        )
        .await;
    // The login page's policy allows its inline style.
    assert_eq!(
        browser
            .ask("return getComputedStyle(document.querySelector('button')).display")
            .await,
        json!("block")
    );
    browser.picture("sign-in").await;
    let type_in = async |token: &str| {
        let script = format!("document.querySelector('input').value = '{token}'");
        browser.ask(&script).await;
        browser.click("button").await;
    };
    type_in("guess").await;
    browser
        .until(
            "the page refuses the token",
            "return document.body.innerText.includes('That is not the token.')",
        )
        .await;
    type_in(TOKEN).await;
    browser
        .until(
            "the list is shown",
            "return document.body.innerText.includes('a secret')",
        )
        .await;
    assert_eq!(browser.ask("return location.href").await, json!(own));
    browser.close().await;
}

const PRODUCT: &str = "<!doctype html><title>product</title><script>
window.seen = [];
const source = new EventSource(decodeURIComponent(location.hash.slice(1)));
source.addEventListener('started', event => window.seen.push(JSON.parse(event.data).name));
source.addEventListener('error', () => window.failed = true);
</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_product_page_of_an_allowed_origin_reads_with_its_ticket_and_no_other_page_does() {
    let port = page(PRODUCT.to_owned()).await;
    let shop = format!("http://shop.example:{port}");
    let builder = LiveSpans::builder()
        .auth(Auth::token(TOKEN))
        .allowed_origins([&*shop]);
    let (live, server) = serve(builder).await;
    let ticket = live.ticket(trace(), Duration::from_secs(600));
    let api = format!(
        "http://api.example:{}/traces/{}/sse",
        server.local_addr().port(),
        trace()
    );
    let browser = Browser::open().await;
    let read = async |origin: &str, address: &str| {
        let page = format!("{origin}/#{address}");
        browser.goto("about:blank").await;
        browser.goto(&page).await;
        browser
            .until(
                "the page has read an event, or failed",
                "return window.failed ? 'failed' : window.seen[0]",
            )
            .await
    };
    assert_eq!(
        read(&shop, &format!("{api}?ticket={ticket}")).await,
        json!("a secret")
    );
    assert_eq!(
        read(&shop, &api).await,
        json!("failed"),
        "the page read the trace without a ticket"
    );
    let evil = format!("http://evil.example:{port}");
    assert_eq!(
        read(&evil, &format!("{api}?ticket={ticket}")).await,
        json!("failed")
    );
    browser.close().await;
}
