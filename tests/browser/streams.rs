//! The page's streams: shared by several tabs, cut, restarted, paused, and closed when it is left.

use livespan::LiveSpans;
use opentelemetry::{
    Context,
    trace::{Span as _, TraceContextExt as _, Tracer as _},
};
use serde_json::json;

use crate::{
    app::{App, open, trace_of},
    cut::Wire,
    driver::{Browser, PATIENCE},
};

const IS_LIVE: &str = "return document.querySelector('#status').dataset.state === 'live'";
const TEXT: &str = "return document.querySelector('#status-text').textContent";
const ROWS: &str = "document.querySelector('#tree-rows').getAttribute('aria-rowcount')";

/// Returns a script that returns whether the shown trace has this number of spans.
fn has_spans(count: usize) -> String {
    format!("return {ROWS} === '{count}'")
}

fn shows(text: &str) -> String {
    format!(
        "return [document.querySelector('#status-text').textContent,
            ...[...document.querySelectorAll('#status-detail li:not([hidden])')].map(li => li.textContent)]
            .some(line => line.includes({text:?}))"
    )
}

fn subscribers(live: &LiveSpans) -> usize {
    live.status().subscribers
}

/// Waits until the server has this number of streams.
async fn server_has(live: &LiveSpans, browser: &Browser, count: usize) {
    let counted = async {
        while subscribers(live) != count {
            browser
                .until(
                    "the page is loaded",
                    "return document.readyState === 'complete'",
                )
                .await;
        }
    };
    let counted = tokio::time::timeout(PATIENCE, counted).await;
    counted.expect("the server's number of streams did not become the expected one");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_tabs_share_two_streams_whichever_of_them_is_closed() {
    let app = App::start().await;
    let tracer = app.tracer();
    let roots: Vec<Context> = (0..7)
        .map(|_| open(&tracer, "job", &Context::new()))
        .collect();
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    browser.until("the list is live", IS_LIVE).await;
    let list = browser.page.window().await.unwrap();
    let mut windows = Vec::new();
    for root in &roots {
        let url = app.url(&format!("?trace={}", trace_of(root)));
        windows.push(browser.window(&url).await);
        browser.until("the trace is live", IS_LIVE).await;
        browser
            .until("the root's row is there", &has_spans(1))
            .await;
    }
    assert_eq!(
        subscribers(&app.live),
        2,
        "expected one stream of traces and one of the list"
    );

    // The list was opened first, then the first trace. One of their two tabs held the connection;
    // both are closed now.
    for window in [&list, &windows[0]] {
        browser.go_to(window).await;
        browser.page.close_window().await.unwrap();
    }
    for root in &roots {
        for number in 0..20 {
            tracer
                .start_with_context(format!("row {number}"), root)
                .end();
        }
    }
    for window in &windows[1..] {
        browser.go_to(window).await;
        browser.until("all rows have arrived", &has_spans(21)).await;
    }
    server_has(&app.live, &browser, 1).await;
    let latest = browser.window(&app.server.url()).await;
    browser.until("a new list is live", IS_LIVE).await;
    browser.go_to(&latest).await;
    for root in &roots {
        root.span().end();
    }
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tabs_find_a_restarted_server_and_say_so() {
    let app = App::start().await;
    let address = app.server.local_addr().to_string();
    let roots: Vec<Context> = (0..3)
        .map(|_| open(&app.tracer(), "job", &Context::new()))
        .collect();
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    let list = browser.page.window().await.unwrap();
    let mut windows = Vec::new();
    for root in &roots {
        let url = app.url(&format!("?trace={}", trace_of(root)));
        windows.push(browser.window(&url).await);
        browser
            .until("the root's row is there", &has_spans(1))
            .await;
    }
    let server = app.server.clone();
    app.live.shutdown().unwrap();
    server.wait().await;
    for window in &windows {
        browser.go_to(window).await;
        let cut = "return document.querySelector('#status').dataset.state === 'ended'";
        browser.until("the tab shows the program's end", cut).await;
    }
    let app = App::on(&address).await;
    let next = open(&app.tracer(), "after the restart", &Context::new());
    for window in &windows {
        browser.go_to(window).await;
        browser
            .until(
                "the tab reports the restart",
                &shows("the log was restarted"),
            )
            .await;
        let is_lost =
            "return document.querySelector('#tree-rows [data-span-id]').dataset.state === 'lost'";
        browser
            .until("the old root is shown as lost", is_lost)
            .await;
    }
    browser.go_to(&list).await;
    let listed =
        "return document.querySelector('#traces-rows').textContent.includes('after the restart')";
    browser.until("the new trace is listed", listed).await;
    next.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_heals_by_itself_and_says_so() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let wire = Wire::to(app.server.local_addr()).await;
    let browser = Browser::open().await;
    let url = format!("http://{}/?trace={}", wire.address, trace_of(&root));
    browser.goto(&url).await;
    browser.until("the trace is live", IS_LIVE).await;
    browser
        .until("the root's row is there", &has_spans(1))
        .await;
    wire.cut();
    for number in 0..50 {
        tracer
            .start_with_context(format!("row {number}"), &root)
            .end();
    }
    browser
        .until("the missed spans have arrived", &has_spans(51))
        .await;
    browser
        .until(
            "the page reports the lost connection",
            &shows("the connection was lost"),
        )
        .await;
    let text = browser.ask(TEXT).await;
    assert!(
        text.as_str().unwrap().starts_with("Live"),
        "the page is not live: {text}"
    );
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_page_does_not_change_and_catches_up_when_resumed() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let browser = Browser::open().await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    browser.until("the trace is live", IS_LIVE).await;
    browser
        .until("the root's row is there", &has_spans(1))
        .await;
    browser.click("#pause").await;
    for number in 0..10 {
        tracer
            .start_with_context(format!("row {number}"), &root)
            .end();
    }
    browser
        .until(
            "the page counts the events that wait",
            &format!("{TEXT} === 'Paused · 20 new'"),
        )
        .await;
    assert_eq!(browser.ask(&has_spans(1)).await, true);
    browser.picture("paused").await;
    browser.click("#pause").await;
    browser.until("all rows have arrived", &has_spans(11)).await;
    browser.until("the page is live", IS_LIVE).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_shared_workers_shows_everything_too() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let browser = Browser::open().await;
    let source = json!({ "source": "delete window.SharedWorker" });
    browser
        .command("Page.addScriptToEvaluateOnNewDocument", source)
        .await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    assert_eq!(browser.ask("return typeof SharedWorker").await, "undefined");
    browser.until("the trace is live", IS_LIVE).await;
    tracer.start_with_context("row", &root).end();
    browser.until("the row has arrived", &has_spans(2)).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

/// Leaves the page, calls `meanwhile`, and returns through the back-forward cache.
async fn leave_and_come_back(app: &App, browser: &Browser, meanwhile: impl FnOnce()) {
    browser.ask("window.isTheSame = true").await;
    browser.goto("about:blank").await;
    server_has(&app.live, browser, 0).await;
    meanwhile();
    browser.page.back().await.unwrap();
    browser.until("the page is live again", IS_LIVE).await;
    assert_eq!(
        browser.ask("return window.isTheSame").await,
        json!(true),
        "the browser loaded the page anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_left_has_no_stream_and_catches_up_on_return() {
    for without_shared_workers in [false, true] {
        let app = App::start().await;
        let tracer = app.tracer();
        let root = open(&tracer, "job", &Context::new());
        let browser = Browser::open().await;
        if without_shared_workers {
            let source = json!({ "source": "delete window.SharedWorker" });
            browser
                .command("Page.addScriptToEvaluateOnNewDocument", source)
                .await;
        }
        browser
            .goto(&app.url(&format!("?trace={}", trace_of(&root))))
            .await;
        browser
            .until("the root's row is there", &has_spans(1))
            .await;
        let more = || drop(tracer.start_with_context("row", &root));
        leave_and_come_back(&app, &browser, more).await;
        browser.until("the row has arrived", &has_spans(2)).await;
        tracer.start_with_context("row", &root).end();
        browser
            .until("the stream has delivered another row", &has_spans(3))
            .await;

        browser.goto(&app.server.url()).await;
        browser.until("the list is live", IS_LIVE).await;
        let other = || drop(open(&tracer, "another job", &Context::new()));
        leave_and_come_back(&app, &browser, other).await;
        let shown = "return document.body.innerText.includes('another job')";
        browser.until("the other job is in the list", shown).await;
        root.span().end();
        browser.close().await;
        app.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_left_opens_its_streams_again() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let browser = Browser::open().await;
    // Three seconds after `beforeunload`, the page decides that it was not left. This test controls
    // that timer, because on a busy machine it might fire before the server has noticed.
    let held = "const later = setTimeout; window.held = [];
        window.setTimeout = (run, delay, ...rest) => delay === 3_000 ? held.push(run) : later(run, delay, ...rest)";
    browser
        .command(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": held }),
        )
        .await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    browser
        .until("the root's row is there", &has_spans(1))
        .await;
    browser
        .ask("dispatchEvent(new Event('beforeunload'))")
        .await;
    server_has(&app.live, &browser, 0).await;
    let stays = "const due = held.splice(0); for (const run of due) run(); return due.length";
    assert_eq!(browser.ask(stays).await, json!(1));
    tracer.start_with_context("row", &root).end();
    browser.until("the row has arrived", &has_spans(2)).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

/// Replaces the response of `GET /status` by one with a sender.
const SENDER: &str = r#"const ask = window.fetch; window.asked = 0;
    const status = { now: "2026-01-01T00:00:09Z", otlp: { refusedRequests: 0, openSpansNotFollowed: 0, senders: [{
        service: "<b>pay</b>", language: "go", sdk: "opentelemetry", sdkVersion: "1.38.0", lastHeard: "2026-01-01T00:00:04Z",
        spans: 7, logRecords: 0, openSpans: 0, rejected: 0, endedOnly: true }] } };
    window.fetch = (to, ...rest) => String(to).endsWith("/status") ? (asked += 1, Promise.resolve(Response.json(status))) : ask(to, ...rest);"#;

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_requested_only_while_the_details_are_shown() {
    let app = App::start().await;
    let browser = Browser::open().await;
    browser
        .command(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": SENDER }),
        )
        .await;
    browser.goto(&app.server.url()).await;
    browser.until("the list is live", IS_LIVE).await;
    assert_eq!(browser.ask("return asked").await, json!(0));
    let senders = "return document.querySelector('#status-detail').checkVisibility({ checkVisibilityCSS: true })
        && [...document.querySelectorAll('#status-detail li:not([hidden])')].map(line => line.textContent).slice(2)";
    let place = browser
        .ask("const box = document.querySelector('#status').getBoundingClientRect(); return [box.left + 5, box.top + 5]")
        .await;
    let moved = json!({ "type": "mouseMoved", "x": place[0], "y": place[1] });
    browser.command("Input.dispatchMouseEvent", moved).await;
    let senders_shown =
        format!("const lines = (() => {{ {senders} }})(); return lines.length > 0 && lines");
    assert_eq!(
        browser
            .until("the page lists the sender", &senders_shown)
            .await,
        json!([
            "OTLP from <b>pay</b> (go, opentelemetry 1.38.0): last request 5 s ago, 7 spans",
            "<b>pay</b>: only ended spans are received. With a start sender, spans appear while they are open: see “Other languages” in livespan's guide",
        ])
    );
    assert_eq!(browser.ask("return asked").await, json!(1));
    browser.close().await;
    app.stop();
}
