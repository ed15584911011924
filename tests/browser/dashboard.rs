//! The main functions of the dashboard, with one test for each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use livespan::{LiveSpans, Retention};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
    paint::width_of,
};

fn row(name: &str) -> String {
    format!(
        "return [...document.querySelectorAll('#traces-rows [data-trace-id]:not([hidden])')]
            .find(row => row.textContent.includes({name:?}))?.dataset.state"
    )
}

/// Returns a script that returns whether `script` returns this value.
fn becomes(script: &str, value: &str) -> String {
    format!("return (() => {{ {script} }})() === {value:?}")
}

fn span_row(name: &str) -> String {
    format!(
        "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
            .find(row => row.textContent.includes({name:?}))?.dataset.state"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_appears_while_it_runs_and_ends_without_a_reload() {
    let app = App::start().await;
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    browser
        .until(
            "the page is live",
            "return document.querySelector('#status').dataset.state === 'live'",
        )
        .await;
    browser.ask("window.stillTheSamePage = true").await;

    let root = open(&app.tracer(), "checkout", &Context::new());
    assert_eq!(
        browser.until("the trace is listed", &row("checkout")).await,
        "running"
    );
    let duration = "return document.querySelector('#traces-rows .c-duration')?.textContent";
    let before = browser.until("a duration is shown", duration).await;
    browser
        .until(
            "the duration changes",
            &format!(
                "return document.querySelector('#traces-rows .c-duration').textContent !== {before}"
            ),
        )
        .await;
    root.span().set_status(Status::error("card declined"));
    root.span().end();
    browser
        .until("the trace failed", &becomes(&row("checkout"), "error"))
        .await;
    assert_eq!(browser.ask("return window.stillTheSamePage").await, true);
    browser.picture("list").await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_trace_is_a_live_waterfall_with_details() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "checkout", &Context::new());
    let browser = Browser::open().await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    assert_eq!(
        browser
            .until("the root is drawn", &span_row("checkout"))
            .await,
        "running"
    );

    let mut payment = tracer
        .span_builder("charge card")
        .with_attributes([
            KeyValue::new("card.brand", "visa"),
            KeyValue::new("amount", 42),
        ])
        .start_with_context(&tracer, &root);
    assert_eq!(
        browser
            .until("the child is drawn", &span_row("charge card"))
            .await,
        "running"
    );
    browser
        .until(
            "the page names the span that the trace waits for",
            "return document.querySelector('#waiting-for').textContent.includes('charge card')",
        )
        .await;
    width_of(&browser, "charge card").await;

    payment.add_event(
        "exception",
        vec![KeyValue::new("exception.message", "card declined")],
    );
    payment.set_status(Status::error("card declined"));
    payment.end();
    browser
        .until(
            "the child failed",
            &becomes(&span_row("charge card"), "error"),
        )
        .await;
    assert_eq!(browser.ask(&span_row("checkout")).await, "failing");
    the_inspector_shows_the_failed_payment(&browser).await;
    browser.picture("trace").await;
    root.span().end();
    browser
        .until(
            "the trace ended",
            "return document.querySelector('#trace-page').dataset.state === 'below'",
        )
        .await;
    browser.close().await;
    app.stop();
}

async fn the_inspector_shows_the_failed_payment(browser: &Browser) {
    browser
        .click_on(
            "[...document.querySelectorAll('#tree-rows [data-span-id]')]
                .find(row => row.textContent.includes('charge card'))",
        )
        .await;
    let brand = "return document.querySelector(
        '#inspector tr[data-attribute=\"card.brand\"] .value')?.textContent";
    assert_eq!(browser.until("the attribute is shown", brand).await, "visa");
    let moments = "return [...document.querySelectorAll('#inspector .timeline li')].map(li =>
        [li.dataset.kind, li.textContent.includes('card declined')])";
    assert_eq!(
        browser.ask(moments).await,
        serde_json::json!([["exception", true]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_the_same_trace_and_the_same_span() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "import", &Context::new());
    for number in 0..50 {
        tracer
            .start_with_context(format!("row {number}"), &root)
            .end();
    }
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    let span = root.span().span_context().span_id().to_string();
    browser
        .goto(&app.url(&format!("?trace={}&span={span}", trace_of(&root))))
        .await;
    let rows = "return document.querySelector('#tree-rows').getAttribute('aria-rowcount')";
    browser
        .until("all 51 spans are there", &becomes(rows, "51"))
        .await;
    browser.page.refresh().await.unwrap();
    browser
        .until("all 51 spans are there again", &becomes(rows, "51"))
        .await;
    browser
        .until(
            "the inspector shows the span again",
            &format!("return document.querySelector('#inspector').dataset.spanId === {span:?}"),
        )
        .await;
    root.span().end();
    browser.close().await;
    app.stop();
}

/// Checks the list, and a trace that is opened only after the program has ended.
async fn the_page_says_that_the_program_has_ended(browser: &Browser) {
    let ended = "return /^Program ended at \\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('#status-text').textContent)
        && [...document.querySelectorAll('#status-detail li')].some(line => /^next try in \\d s, the \\d/.test(line.textContent))";
    browser
        .until(
            "the page shows the program's end and the next attempt",
            ended,
        )
        .await;
    let age = "return document.querySelector('#traces-rows .c-started').title";
    let before = browser.ask(age).await;
    let later = format!("return (() => {{ {age} }})() !== {before}");
    browser.until("the trace's age is updated", &later).await;
    browser
        .click("#traces-rows [data-trace-id]:not([hidden]) .trace-link")
        .await;
    let unloaded =
        "return document.querySelector('#trace-empty h2')?.textContent === 'The program has ended'
        && document.querySelector('#status').dataset.state === 'ended'";
    browser
        .until("the trace page says that the program has ended", unloaded)
        .await;
    browser.picture("ended").await;
    browser.click("#back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_found_and_old_spans_no_longer_run() {
    let app = App::start().await;
    let address = app.server.local_addr().to_string();
    let root = open(&app.tracer(), "before the restart", &Context::new());
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    assert_eq!(
        browser
            .until("the trace is listed", &row("before the restart"))
            .await,
        "running"
    );

    let server = app.server.clone();
    app.live.shutdown().unwrap();
    server.wait().await;
    browser
        .until(
            "the page is not live",
            "return document.querySelector('#status').dataset.state !== 'live'",
        )
        .await;
    the_page_says_that_the_program_has_ended(&browser).await;
    let app = App::on(&address).await;
    let next = open(&app.tracer(), "after the restart", &Context::new());
    assert_eq!(
        browser
            .until("the new trace is listed", &row("after the restart"))
            .await,
        "running"
    );
    browser
        .until(
            "the page no longer reconnects",
            "return document.querySelector('#status').dataset.state !== 'reconnecting'",
        )
        .await;
    let old = browser.ask(&row("before the restart")).await;
    assert_ne!(old, "running");
    let restarted = "return document.querySelector('#list-counts').textContent
        .includes('log restarted, 1 earlier trace gone')";
    browser
        .until("the page reports the restart", restarted)
        .await;
    root.span().end();
    next.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_shown_as_text() {
    let app = App::start().await;
    let browser = Browser::open().await;
    let hostile = "<img src=x onerror=\"window.pwned=1\">\u{202e}\0\r\n</script>";
    let tracer = app.tracer();
    let mut span = tracer
        .span_builder(hostile)
        .start_with_context(&tracer, &Context::new());
    span.set_attribute(KeyValue::new(hostile, hostile));
    let trace = span.span_context().trace_id().to_string();
    span.end();
    app.provider.force_flush().unwrap();
    browser.goto(&app.url(&format!("?trace={trace}"))).await;
    browser
        .until("the span is drawn", &span_row("onerror"))
        .await;
    browser.click("#tree-rows [data-span-id]").await;
    browser
        .until(
            "the inspector is open",
            "return !document.querySelector('#inspector').hidden",
        )
        .await;
    let seen = browser
        .ask("return [window.pwned ?? null, document.images.length]")
        .await;
    assert_eq!(seen, serde_json::json!([null, 0]));
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_under_a_prefix_with_and_without_a_slash() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let app = Router::new().nest_service("/tools/live", live.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let span = provider.tracer("test").start("mounted");
    let browser = Browser::open().await;
    for path in ["/tools/live", "/tools/live/"] {
        browser.goto(&format!("http://{address}{path}")).await;
        assert_eq!(
            browser.until("the trace is listed", &row("mounted")).await,
            "running"
        );
    }
    drop(span);
    browser.close().await;
    live.shutdown().unwrap();
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_themes_have_their_own_colours() {
    let app = App::start().await;
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    let colour = "return getComputedStyle(document.body).backgroundColor";
    let mut seen = Vec::new();
    for theme in ["light", "dark"] {
        browser
            .ask(&format!(
                "document.documentElement.dataset.theme = {theme:?}"
            ))
            .await;
        seen.push(browser.ask(colour).await);
    }
    assert_ne!(seen[0], seen[1]);
    browser.click("#theme").await;
    browser
        .until(
            "a theme is chosen",
            "return document.documentElement.dataset.theme",
        )
        .await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_page_stays_usable_while_the_program_is_busy() {
    let app = App::start().await;
    let browser = Browser::with_size(400, 800).await;
    browser.goto(&app.server.url()).await;
    let busy = Arc::new(AtomicBool::new(true));
    let work = {
        let (busy, tracer) = (Arc::clone(&busy), app.tracer());
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while busy.load(Ordering::Relaxed) {
                pace.tick().await;
                let root = open(&tracer, "request", &Context::new());
                tracer.start_with_context("query", &root).end();
                root.span().end();
            }
        })
    };
    browser.until("traces are listed", &row("request")).await;
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.ask(fits).await, true);
    browser
        .click("#traces-rows [data-trace-id]:not([hidden]) .trace-link")
        .await;
    browser
        .until("the trace is drawn", &span_row("request"))
        .await;
    assert_eq!(browser.ask(fits).await, true);
    browser.picture("narrow").await;
    busy.store(false, Ordering::Relaxed);
    work.await.unwrap();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_how_much_of_a_trace_retention_has_removed() {
    let retention = Retention::default().events(40);
    let live = LiveSpans::builder().retention(retention).build().unwrap();
    let app = App::of(live, "127.0.0.1:0").await;
    let tracer = app.tracer();
    let root = open(&tracer, "import", &Context::new());
    for _ in 0..100 {
        tracer.start_with_context("row", &root).end();
        // Flushed as a separate batch, because retention removes only whole blocks.
        app.provider.force_flush().unwrap();
    }
    root.span().end();
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    let listed = "return /^\\d+ of 101 kept$/.test(document.querySelector('#traces-rows .kept:not([hidden])')?.textContent)
        && document.querySelector('#traces-rows .duration-text').textContent.startsWith('≥ ')";
    browser
        .until("the list shows how many spans are kept", listed)
        .await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    let evicted = "return /^\\d+ of 101 spans are no longer kept: retention removed them\\./.test(document.querySelector('#banner:not([hidden])')?.textContent)
        && /^\\d+ of 101 spans kept$/.test(document.querySelector('#trace-counts').textContent)
        && document.querySelector('#critical').hidden && document.querySelector('#gap-offer').hidden
        && document.querySelector('#waiting-for').textContent === 'Critical pathnot shown: spans of this trace are missing'";
    browser
        .until(
            "the trace shows how many spans are kept, and no critical path",
            evicted,
        )
        .await;
    browser.picture("partial").await;
    browser.close().await;
    app.stop();
}
