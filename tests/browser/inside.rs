//! How the page shows the events of a running span: progress, panics, dropped futures and log records.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use livespan::{LiveFutureExt as _, SpanEvent, SpanId, TraceId};
use opentelemetry::{
    Context, KeyValue,
    trace::{Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde_json::json;

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

const ROWS: &str =
    "return document.querySelector('#tree-rows [data-span-id]:not([hidden])') !== null";

/// Returns the ids of a span in livespan's types.
fn ids(context: &Context) -> (TraceId, SpanId) {
    let span = context.span();
    let context = span.span_context();
    (
        context.trace_id().try_into().unwrap(),
        context.span_id().try_into().unwrap(),
    )
}

fn dispatch(app: &App, event: &SpanEvent) {
    app.live.target().try_dispatch(event).unwrap();
}

/// Reports progress of a span, with a time in the past.
fn report_progress(app: &App, context: &Context, current: i64, ago: Duration) {
    let (trace, span) = ids(context);
    let update = SpanEvent::updated(trace, span, None)
        .attribute("progress.current", current)
        .attribute("progress.total", 100_i64)
        .attribute("progress.units", "pages")
        .at(SystemTime::now() - ago);
    dispatch(app, &update);
}

/// Writes a log record in a span.
fn write_record(app: &App, context: &Context, severity: &str, body: &str) {
    let (trace, span) = ids(context);
    let record = SpanEvent::log(trace, span, severity, body).attribute("order", 7_i64);
    dispatch(app, &record);
}

async fn show(app: &App, browser: &Browser, root: &Context, rest: &str, shown: &str) {
    app.provider.force_flush().unwrap();
    let url = app.url(&format!("?trace={}{rest}", trace_of(root)));
    browser.goto(&url).await;
    browser.until("the view is drawn", shown).await;
}

/// Returns a script that returns whether the element has this text.
fn shows(css: &str, text: &str) -> String {
    format!("return document.querySelector({css:?})?.textContent === {text:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_in_every_view_and_its_time_left_from_three_updates_on() {
    let app = App::start().await;
    let job = open(&app.tracer(), "job", &Context::new());
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    show(&app, &browser, &job, "", ROWS).await;
    for (current, ago) in [(10, 4_000), (20, 2_000)] {
        report_progress(&app, &job, current, Duration::from_millis(ago));
    }
    let flag = "#tree-rows .row-flag[data-kind='progress']";
    browser
        .until("the amount is beside the name", &shows(flag, "20 of 100"))
        .await;
    let meter = "return document.querySelector('#tree-rows .row-meter')?.style.backgroundSize === '20% 100%'";
    browser.until("the progress bar is 20 % long", meter).await;
    let label = "document.querySelector('#tree-rows [data-span-id] [aria-label*=\" %\"]')?.getAttribute('aria-label')";
    let two = format!("return /^[\\d.]+ m?s · 20 %$/.test({label})");
    browser.until("two updates give no time left", &two).await;
    report_progress(&app, &job, 30, Duration::ZERO);
    let three = format!("return / · 30 % · about \\d+ s left$/.test({label})");
    browser
        .until("three updates give a time left", &three)
        .await;
    browser.click("#tree-rows [data-span-id]").await;
    let inspected = "return /^30 of 100 pages · 30 % · .*left$/.test(document.querySelector('#inspector [data-live=\"Progress\"] span')?.textContent)";
    browser
        .until("the inspector shows the progress", inspected)
        .await;
    let title = "return document.title === '◔ 30 % job · livespan'";
    browser.until("the title shows the progress", title).await;
    // The path in the tab's icon: the hands of a clock while the trace runs, and a tick after its
    // end.
    let icon = "document.querySelector('link[rel=icon]').getAttribute('href').split(\" d='\")[1]?.split(\"'\")[0]";
    let runs = browser.ask(&format!("return {icon}")).await;
    assert_eq!(runs, "M8 4.4V8l2.6 1.8");
    browser.click("#view-flame").await;
    let label = "return document.querySelector('.flame-canvas').getAttribute('aria-label').includes('30 %')";
    browser
        .until("the flame view shows the progress", label)
        .await;
    job.span().end();
    let ended = "return document.title === '✓ job · livespan'";
    browser
        .until("the title shows that the trace has ended", ended)
        .await;
    let done = browser.ask(&format!("return {icon}")).await;
    assert_eq!(done, "M4.8 8.4l2.2 2.2 4.2-4.8");
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_has_its_own_state_in_list_and_trace() {
    let app = App::start().await;
    let tracer = app.tracer();
    let job = open(&tracer, "job", &Context::new());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _ended_by_the_panic = tracer.start_with_context("charge", &job);
        std::panic::resume_unwind(Box::new("no rule"));
    }));
    drop(failed);
    job.span().end();
    let browser = Browser::open().await;
    show(&app, &browser, &job, "&find=state:panicked", ROWS).await;
    let row = "return document.querySelector('#tree-rows [data-match=true]')?.dataset.state === 'panicked'";
    browser
        .until("the search finds the span, and only it", row)
        .await;
    assert_eq!(
        browser
            .ask("return document.querySelectorAll('#tree-rows [data-match=true]').length")
            .await,
        json!(1)
    );
    browser.click("#tree-rows [data-match=true]").await;
    let state = shows("#inspector-state", "panicked");
    browser.until("the inspector shows the panic", &state).await;
    let counts = shows("#trace-counts", "2 spans · 1 error, 1 panicked");
    browser.until("the panicked span is counted", &counts).await;
    browser.press_key("?").await;
    let legend = "return document.querySelector('#help-states [data-state=panicked] strong')?.checkVisibility()";
    browser.until("the legend explains the state", legend).await;
    browser.close().await;
    app.stop();
}

/// A script expression: the texts of the visible records, in order.
const RECORDS: &str =
    "[...document.querySelectorAll('.log-row:not([hidden])')].filter(row => row.checkVisibility())
    .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
    .map(row => row.querySelector('.l-what').textContent).join('|')";

async fn records_are(browser: &Browser, what: &str, expected: &str) {
    let script = format!("return ({RECORDS}) === {expected:?}");
    browser.until(what, &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_trace_are_one_list_linked_with_the_waterfall() {
    let app = App::start().await;
    let tracer = app.tracer();
    let job = open(&tracer, "job", &Context::new());
    let step = open(&tracer, "step", &job);
    app.provider.force_flush().unwrap();
    write_record(&app, &job, "INFO", "job begins");
    write_record(&app, &step, "WARN", "feed is slow");
    write_record(&app, &step, "ERROR", "feed is broken");
    let browser = Browser::open().await;
    show(&app, &browser, &job, "", ROWS).await;
    let count = shows("#logs-count", "3");
    browser.until("the tab shows the number", &count).await;
    browser.click("#view-logs").await;
    records_are(
        &browser,
        "all records are listed",
        "job begins|feed is slow|feed is broken",
    )
    .await;
    write_record(&app, &job, "INFO", "job goes on");
    records_are(
        &browser,
        "the new record is shown, too",
        "job begins|feed is slow|feed is broken|job goes on",
    )
    .await;
    browser.click(".level[data-level=INFO]").await;
    records_are(&browser, "INFO is hidden", "feed is slow|feed is broken").await;
    browser.click(".log-search").await;
    browser
        .command("Input.insertText", json!({ "text": "broken" }))
        .await;
    records_are(&browser, "only matches are listed", "feed is broken").await;
    browser.click(".log-row:not([hidden])").await;
    let opened = shows("#logs .log-message", "feed is broken");
    browser.until("a line opens in place", &opened).await;
    let selected = shows("#inspector-name", "step");
    browser.until("its span is selected", &selected).await;
    browser.click(".log-detail .go-to").await;
    let row = "return document.querySelector('#tree-rows [aria-selected=true] .span-name')?.checkVisibility()
        && document.querySelector('#tree-rows [aria-selected=true] .span-name').textContent === 'step'";
    browser.until("the record leads to its row", row).await;
    browser.click("#inspector .in-logs").await;
    records_are(&browser, "the list is shown again", "feed is broken").await;
    browser.press_key("/").await;
    let focus = "return document.activeElement === document.querySelector('#logs .log-search')";
    browser.until("/ focuses the search", focus).await;
    browser.press_key("Escape").await;
    records_are(
        &browser,
        "both records of the step are listed",
        "feed is slow|feed is broken",
    )
    .await;
    step.span().end();
    job.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_records_follows_until_they_scroll() {
    let app = App::start().await;
    let job = open(&app.tracer(), "job", &Context::new());
    app.provider.force_flush().unwrap();
    for number in 0..200 {
        write_record(&app, &job, "INFO", &format!("record {number}"));
    }
    let browser = Browser::open().await;
    let last = |number: u32| format!("return ({RECORDS}).split('|').at(-1) === 'record {number}'");
    show(&app, &browser, &job, "&view=logs", &last(199)).await;
    write_record(&app, &job, "INFO", "record 200");
    browser
        .until("the newest record is in view", &last(200))
        .await;
    browser
        .ask("document.querySelector('#logs .scroller').scrollTop = 0")
        .await;
    let stopped =
        "return document.querySelector('#logs .log-bar > .button').ariaPressed === 'false'";
    browser.until("scrolling stops following", stopped).await;
    write_record(&app, &job, "INFO", "record 201");
    let pill = shows("#logs .pill", "Follow again · 1 new");
    browser.until("new records are counted", &pill).await;
    browser.click("#logs .pill").await;
    browser.until("a click follows again", &last(201)).await;
    job.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_spans_changes_are_shown_live_and_after_a_reload() {
    let app = App::start().await;
    let provider = app.live.tracer_provider(
        SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name("shop").build()),
    );
    let tracer = provider.tracer("shop::job");
    let job = Context::new().with_span(tracer.start("job"));
    let browser = Browser::open().await;
    provider.force_flush().unwrap();
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&job))))
        .await;
    browser.until("the row is drawn", ROWS).await;
    let span = job.span();
    for current in 0..5_000_i64 {
        span.set_attribute(KeyValue::new("progress.current", current));
    }
    span.set_attribute(KeyValue::new("progress.total", 10_000_i64));
    span.set_attribute(KeyValue::new("feed", "nordic.xml"));
    span.add_event("feed is slow", vec![KeyValue::new("level", "WARN")]);
    span.update_name("job of nordic.xml");
    span.set_status(Status::error("mirror refused"));
    for visit in [
        "the live page shows the span's data",
        "the reloaded page shows the span's data",
    ] {
        let renamed = shows("#tree-rows .span-name", "job of nordic.xml");
        browser.until(visit, &renamed).await;
        let amount = shows(
            "#tree-rows .row-flag[data-kind='progress']",
            "4,999 of 10,000",
        );
        browser.until(visit, &amount).await;
        let failing =
            "return document.querySelector('#tree-rows .tree-row')?.dataset.state === 'failing'";
        browser.until(visit, failing).await;
        let count = shows("#logs-count", "1");
        browser.until(visit, &count).await;
        browser.click("#tree-rows [data-span-id]").await;
        let message = shows("#inspector .message", "mirror refused");
        browser.until(visit, &message).await;
        let feed = shows("#inspector [data-attribute='feed'] .value", "nordic.xml");
        browser.until(visit, &feed).await;
        browser.page.refresh().await.unwrap();
    }
    span.set_status(Status::Ok);
    span.end();
    let ended = "return document.querySelector('#tree-rows .tree-row')?.dataset.state === 'ok'";
    browser.until("the span is shown as ended", ended).await;
    browser.close().await;
    provider.shutdown().unwrap();
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_all_traces_are_on_one_page_and_link_to_their_spans() {
    let app = App::start().await;
    let tracer = app.tracer();
    let jobs = ["import", "export"].map(|name| open(&tracer, name, &Context::new()));
    app.provider.force_flush().unwrap();
    for number in 0..300 {
        write_record(&app, &jobs[0], "DEBUG", &format!("before {number}"));
    }
    write_record(&app, &jobs[0], "ERROR", "earlier");
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    browser.click("#to-logs").await;
    let live = "return location.search === '?page=logs' && document.querySelector('#status').dataset.state === 'live'";
    browser.until("the page is live", live).await;
    for (job, body) in jobs.iter().zip(["reads", "writes"]) {
        write_record(&app, job, "INFO", body);
    }
    let shown = format!("return ({RECORDS}).endsWith('before 299|earlier|reads|writes')");
    browser
        .until("earlier and new records are shown", &shown)
        .await;
    browser.click(".level[data-level=DEBUG]").await;
    records_are(
        &browser,
        "no DEBUG record is listed",
        "earlier|reads|writes",
    )
    .await;
    browser.click(".log-search").await;
    browser
        .command("Input.insertText", json!({ "text": "before 77" }))
        .await;
    browser.click(".level[data-level=DEBUG]").await;
    let oldest = format!("return ({RECORDS}).startsWith('before 77|before 177|before 277')");
    browser
        .until("the server finds the early records with the text", &oldest)
        .await;
    browser
        .ask("const search = document.querySelector('#tail .log-search'); search.value = ''; search.dispatchEvent(new Event('input'))")
        .await;
    browser.click(".level[data-level=DEBUG]").await;
    records_are(
        &browser,
        "all records except DEBUG are listed again",
        "earlier|reads|writes",
    )
    .await;
    let names = "return [...document.querySelectorAll('#tail .log-row:not([hidden]) .l-name')].map(name => name.textContent).sort().join('|') === 'export|import|import'";
    browser.until("each record names its trace", names).await;
    browser.click("#tail .log-row:not([hidden])").await;
    browser.click("#tail .go-to").await;
    let there = shows("#inspector-name", "import");
    browser.until("the record leads to its span", &there).await;
    browser.page.back().await.unwrap();
    let back = "return document.querySelector('#tail').checkVisibility()";
    browser.until("the page of records is back", back).await;
    for job in jobs {
        job.span().end();
    }
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_span_shows_its_await_and_then_its_cancellation() {
    let app = App::start().await;
    let job = open(&app.tracer(), "job", &Context::new());
    let call = open(&app.tracer(), "call", &job);
    let hangs = async { std::future::pending::<()>().awaiting("redis get").await };
    let task = tokio::spawn(hangs.live(call));
    let browser = Browser::open().await;
    show(&app, &browser, &job, "", ROWS).await;
    let flag = shows(
        "#tree-rows .row-flag[data-kind='awaits']",
        "awaits redis get",
    );
    browser.until("the row shows the await", &flag).await;
    let line = "return document.querySelector('#waiting-for .leaf').textContent === 'call'
        && /^awaits redis get for [\\d.]+ m?s$/.test(document.querySelector('#waiting-for .awaits').textContent)";
    browser
        .until("the line above the tree shows the call", line)
        .await;
    browser.click("#waiting-for .leaf").await;
    let since = "return /^redis get for [\\d.]+ m?s$/.test(document.querySelector('#inspector [data-live=Awaits] span')?.textContent)";
    browser.until("the inspector shows the await", since).await;
    task.abort();
    let state = shows("#inspector-state", "cancelled");
    browser
        .until("the dropped future's span is cancelled", &state)
        .await;
    let nothing =
        "return document.querySelector('#tree-rows .row-flag[data-kind=awaits]') === null";
    browser.until("the ended row shows no await", nothing).await;
    job.span().end();
    let counts = shows("#trace-counts", "2 spans · 1 cancelled");
    browser
        .until("the cancelled span is counted", &counts)
        .await;
    browser.close().await;
    app.stop();
}
