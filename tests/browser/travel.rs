//! Time travel, and traces that are saved as files and opened again.

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _},
};
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

const IS_LIVE: &str = "return document.querySelector('#status').dataset.state === 'live'";
/// A script that returns names and states of all rows, in order.
const ROWS: &str =
    "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
    .map(row => [row.querySelector('.span-name').textContent, row.dataset.state])";

fn rows_are(rows: &Value) -> String {
    format!("return JSON.stringify((() => {{ {ROWS} }})()) === JSON.stringify({rows})")
}

/// Dispatches a key event on the scrubber.
async fn press(browser: &Browser, key: &str) {
    let script = format!(
        "document.querySelector('.scrubber-slider').dispatchEvent(
            new KeyboardEvent('keydown', {{ key: {key:?}, bubbles: true, cancelable: true }}))"
    );
    browser.ask(&script).await;
}

/// Drops a file on the page.
async fn drop_file(browser: &Browser, name: &str, text: &str) {
    let script = format!(
        "const data = new DataTransfer();
         data.items.add(new File([{}], {name:?}));
         for (const type of ['dragenter', 'dragover', 'drop'])
             document.body.dispatchEvent(new DragEvent(type, {{ dataTransfer: data, bubbles: true, cancelable: true }}));",
        json!(text)
    );
    browser.ask(&script).await;
}

/// Makes a running job with a failed step and an ended one.
fn job(app: &App) -> Context {
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let mut failed = tracer.start_with_context("load", &root);
    failed.add_event(
        "exception",
        vec![KeyValue::new("exception.message", "no such file")],
    );
    failed.set_status(Status::error("no such file"));
    failed.end();
    let mut done = tracer.start_with_context("store", &root);
    done.set_attribute(KeyValue::new("rows", 9_007_199_254_740_993_i64));
    done.end();
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrubber_shows_the_trace_as_it_looked_at_any_moment() {
    let app = App::start().await;
    let root = job(&app);
    let browser = Browser::open().await;
    let address = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&address).await;
    let now = json!([["job", "failing"], ["load", "error"], ["store", "ok"]]);
    browser.until("the rows are there", &rows_are(&now)).await;
    browser.click("#history").await;
    browser
        .until(
            "the scrubber is there",
            "return document.querySelector('.scrubber-slider').getAttribute('aria-valuetext')?.startsWith('Live, 3 spans')",
        )
        .await;
    let moments = [
        ("Home", json!([["job", "running"]])),
        (
            "ArrowRight",
            json!([["job", "running"], ["load", "running"]]),
        ),
        ("ArrowRight", json!([["job", "failing"], ["load", "error"]])),
        (
            "ArrowRight",
            json!([["job", "failing"], ["load", "error"], ["store", "running"]]),
        ),
        ("ArrowLeft", json!([["job", "failing"], ["load", "error"]])),
    ];
    for (key, rows) in &moments {
        press(&browser, key).await;
        browser.until(key, &rows_are(rows)).await;
    }
    let is_at_time = "return document.querySelector('#status-text').textContent.startsWith('At +')";
    browser.until("the status has the moment", is_at_time).await;
    let exact = "const label = document.querySelector('#tree-rows [data-state=failing]:not([hidden])').lastElementChild.getAttribute('aria-label');
        return [label, document.querySelector('#trace-duration').textContent].every(text => /^[\\d.]+ (ns|µs|ms)$/.test(text))";
    browser
        .until("durations at a past moment are exact", exact)
        .await;
    let value_text =
        "return document.querySelector('.scrubber-slider').getAttribute('aria-valuetext')";
    let value_text = browser.ask(value_text).await;
    assert!(
        value_text
            .as_str()
            .unwrap()
            .ends_with(", 2 spans, 1 open, 1 error"),
        "{value_text}"
    );
    browser.picture("time-travel").await;

    // The past does not change while the trace continues.
    let late = open(&app.tracer(), "late", &root);
    app.provider.force_flush().unwrap();
    assert_eq!(browser.ask(&rows_are(&moments[4].1)).await, true);
    press(&browser, "End").await;
    let grown = json!([
        ["job", "failing"],
        ["load", "error"],
        ["store", "ok"],
        ["late", "running"]
    ]);
    browser.until("now is shown again", &rows_are(&grown)).await;
    browser.until("the page is live", IS_LIVE).await;

    press(&browser, "Home").await;
    let beginning = rows_are(&moments[0].1);
    browser.until("the start is shown", &beginning).await;
    browser.click("#scrubber button[aria-label=Play]").await;
    browser.until("replay reaches now", &rows_are(&grown)).await;
    late.span().end();
    root.span().end();
    browser.close().await;
    app.stop();
}

/// Fetches the content that a menu link would save.
async fn exported(browser: &Browser, link: &str) -> String {
    let script = format!(
        "const done = arguments[0];
         fetch(document.querySelector({link:?}).href).then(answer => answer.text()).then(done)"
    );
    let text = browser.page.execute_async(&script, Vec::new()).await;
    text.unwrap().as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_trace_opens_again_and_nothing_is_sent() {
    let app = App::start().await;
    let root = job(&app);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    let live = json!([["job", "failing"], ["load", "error"], ["store", "ok"]]);
    browser
        .until("the trace's rows are there", &rows_are(&live))
        .await;
    let events = exported(&browser, "#export-events").await;
    root.span().end();
    let ended = json!([["job", "below"], ["load", "error"], ["store", "ok"]]);
    browser.until("the trace ended", &rows_are(&ended)).await;
    let otlp = exported(&browser, "#export-otlp").await;

    let asked = "return performance.getEntriesByType('resource')
        .filter(one => !one.name.includes('/assets/')).length";
    let before = browser.ask(asked).await;
    for (name, text, rows) in [
        ("log.jsonl", &events, &live),
        ("trace.otlp.json", &otlp, &ended),
    ] {
        drop_file(&browser, name, text).await;
        let marked = format!(
            "return document.querySelector('#file-bar').textContent.includes('{name}: 1 trace')
                && document.querySelector('#status-text').textContent === 'File'
                && location.search.includes('file%3A')"
        );
        browser.until("the file is open", &marked).await;
        browser
            .until("the file's trace has the same rows", &rows_are(rows))
            .await;
    }
    browser
        .click_on(
            "[...document.querySelectorAll('#tree-rows [data-span-id]')]
                .find(row => row.textContent.includes('store'))",
        )
        .await;
    let exact = "return document.querySelector('#inspector tr[data-attribute=\"rows\"] .value')?.textContent";
    assert_eq!(
        browser.until("the attribute is exact", exact).await,
        "9007199254740993"
    );
    assert_eq!(browser.ask(asked).await, before, "the page sent a request");
    browser.picture("file").await;
    browser.click("#file-bar button").await;
    browser.until("the live list is back", IS_LIVE).await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_malformed_or_hostile_does_no_harm() {
    let app = App::start().await;
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    browser.until("the page is live", IS_LIVE).await;
    let name = "<img src=x onerror=\"window.pwned=1\">\u{202e}";
    let event = |name: &str| {
        json!({
            "type": "ended", "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "parentSpanId": null,
            "name": name, "status": { "code": "ERROR", "message": name }, "attributes": { "__proto__": name, (name): name },
            "startTimestamp": "2026-11-22T11:39:00.000000000Z", "timestamp": "2026-11-22T11:39:01.000000000Z",
        })
        .to_string()
    };
    let shows = |text: &str| {
        format!("return document.querySelector('#file-bar').textContent.includes({text:?})")
    };
    drop_file(
        &browser,
        "broken.jsonl",
        &format!("{}\n{{\"type\"", event("a")),
    )
    .await;
    browser
        .until(
            "the page names the broken line",
            &shows("broken.jsonl was not opened. Line 2: not JSON"),
        )
        .await;
    drop_file(&browser, "empty.json", "").await;
    browser
        .until(
            "the page says that the file is empty",
            &shows("empty.json was not opened. The file is empty"),
        )
        .await;
    browser.until("the page is still live", IS_LIVE).await;

    let folder = std::env::temp_dir().join(format!("livespan-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("hostile.jsonl");
    std::fs::write(&path, event(name)).unwrap();
    let input = fantoccini::Locator::Css("#file-input");
    let input = browser.page.find(input).await.unwrap();
    input.send_keys(path.to_str().unwrap()).await.unwrap();
    browser
        .until("the file is open", &shows("hostile.jsonl: 1 trace"))
        .await;
    let drawn = "return document.querySelector('#tree-rows [data-span-id]')?.textContent.includes('onerror')";
    browser.until("the span is drawn", drawn).await;
    browser.click("#tree-rows [data-span-id]").await;
    browser
        .until(
            "the inspector is open",
            "return !document.querySelector('#inspector').hidden",
        )
        .await;
    let seen = "return [window.pwned ?? null, document.images.length]";
    assert_eq!(browser.ask(seen).await, json!([null, 0]));
    browser.page.refresh().await.unwrap();
    let gone = "return document.querySelector('#trace-empty').textContent.endsWith(
        'This trace came from a file that is no longer loaded. Open the file again.')";
    browser
        .until("the reloaded page says that the file is gone", gone)
        .await;
    std::fs::remove_dir_all(&folder).unwrap();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_shows_the_current_trace_and_the_first_of_many_attributes() {
    let app = App::start().await;
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    browser.until("the page is live", IS_LIVE).await;
    let file = |value: &str, second: u32, attributes: u32| {
        let mut all: serde_json::Map<String, Value> = (0..attributes)
            .map(|at| (format!("key.{at}"), json!(at)))
            .collect();
        all.insert("a".to_owned(), json!(value));
        json!({
            "type": "ended", "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "parentSpanId": null,
            "name": "job", "status": { "code": "OK" }, "attributes": all,
            "startTimestamp": format!("2026-11-22T11:39:0{second}.000000000Z"), "timestamp": "2026-11-22T11:39:09.000000000Z",
        })
        .to_string()
    };
    let lasts = |length: &str| {
        format!("return document.querySelector('#trace-duration').textContent === {length:?}")
    };
    let shows = |value: &str, start: &str| {
        format!(
            "return document.querySelector('#inspector tr[data-attribute=a] .value')?.textContent === {value:?}
                && document.querySelector('#inspector .ids').textContent.includes({start:?})"
        )
    };
    for (name, text) in [("one", file("first", 1, 0)), ("two", file("second", 2, 0))] {
        drop_file(&browser, &format!("{name}.jsonl"), &text).await;
        let length = if name == "one" { "8.00 s" } else { "7.00 s" };
        browser.until("the file is drawn", &lasts(length)).await;
        browser.click("#tree-rows [data-span-id]").await;
        let (value, start) = match name {
            "one" => ("first", "11:39:01"),
            _ => ("second", "11:39:02"),
        };
        browser
            .until(
                "the inspector shows this trace's span",
                &shows(value, start),
            )
            .await;
    }
    drop_file(&browser, "many.jsonl", &file("third", 3, 20_000)).await;
    browser.until("the file is drawn", &lasts("6.00 s")).await;
    browser.click("#tree-rows [data-span-id]").await;
    let rows = |count: u32, left: &str| {
        format!(
            "return document.querySelectorAll('#inspector tr[data-attribute]').length === {count}
                && document.querySelector('#inspector .more-of').textContent === '{left} more'"
        )
    };
    browser
        .until("the first 100 attributes are shown", &rows(100, "19,901"))
        .await;
    browser
        .ask("const box = document.querySelector('#inspector'); box.scrollTop = box.scrollHeight")
        .await;
    browser.click("#inspector .more-of").await;
    browser
        .until("a click shows more rows", &rows(600, "19,401"))
        .await;
    browser.close().await;
    app.stop();
}
