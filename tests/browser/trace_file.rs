//! Traces in one file, opened from disk by a browser without a network.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, Status, Tracer as _},
};
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

const HOSTILE: &str = "</script><script>window.ran = 1</script><!--<img src=x onerror='window.ran = 2'>\u{2028}\u{1}\"'&amp;";
/// A script that returns names and states of the visible rows, in order.
const ROWS: &str =
    "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
    .map(row => [row.querySelector('.span-name').textContent, row.dataset.state])";
/// A script that returns the resources that the page has loaded, the violations of its Content
/// Security Policy, and the variable that a script in [`HOSTILE`] would set.
const TROUBLE: &str = "return [performance.getEntriesByType('resource').map(entry => entry.name), window.refused ?? [], window.ran ?? null]";

/// Tests run concurrently, so each file has its own name.
static FILES: AtomicUsize = AtomicUsize::new(0);

/// A trace file in the temporary folder, removed on drop.
struct SavedFile(PathBuf);

impl SavedFile {
    async fn of(app: &App, route: &str) -> Self {
        let answer = reqwest::get(app.url(route)).await.unwrap();
        assert_eq!(
            answer.headers()["content-disposition"]
                .to_str()
                .unwrap()
                .split(';')
                .next(),
            Some("attachment")
        );
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("livespan-file-{}-{number}.html", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, answer.bytes().await.unwrap()).unwrap();
        Self(file)
    }

    fn url(&self, hash: &str) -> String {
        format!("file://{}{hash}", self.0.display())
    }
}

impl Drop for SavedFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Opens a browser without a network.
async fn offline() -> Browser {
    let browser = Browser::open().await;
    browser.command("Network.enable", json!({})).await;
    let none =
        json!({ "offline": true, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0 });
    browser
        .command("Network.emulateNetworkConditions", none)
        .await;
    let watch = "window.refused = []; addEventListener('securitypolicyviolation', event => window.refused.push(event.blockedURI))";
    browser
        .command(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": watch }),
        )
        .await;
    browser
}

fn rows_are(rows: &Value) -> String {
    format!("return JSON.stringify((() => {{ {ROWS} }})()) === JSON.stringify({rows})")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replays_its_trace_and_runs_no_script_of_its_texts() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, HOSTILE, &Context::new());
    let mut failed = tracer.start_with_context("load", &root);
    failed.set_attribute(KeyValue::new(HOSTILE, HOSTILE));
    failed.add_event(
        "exception",
        vec![KeyValue::new("exception.message", HOSTILE)],
    );
    failed.set_status(Status::error(HOSTILE));
    let load = failed.span_context().span_id().to_string();
    failed.end();
    tracer.start_with_context("store", &root).end();
    let trace = trace_of(&root);
    app.provider.force_flush().unwrap();
    let file = SavedFile::of(&app, &format!("traces/{trace}?format=html")).await;
    app.stop();
    let browser = offline().await;
    browser.goto(&file.url("")).await;
    let at_the_end = json!([[HOSTILE, "failing"], ["load", "error"], ["store", "ok"]]);
    browser
        .until("the trace's rows are there", &rows_are(&at_the_end))
        .await;
    let status_texts = "return ['.file-tag', '.file-whole', '#status-text'].map(css => document.querySelector(css).textContent)";
    let expected = json!([
        "Trace file",
        "complete: 3 spans, 0 records, 6 events",
        "File"
    ]);
    assert_eq!(browser.ask(status_texts).await, expected);
    let address = "return location.hash";
    assert_eq!(browser.ask(address).await, json!(format!("#trace={trace}")));
    // Goes back in time with the file's own scrubber.
    browser.ask("document.querySelector('.scrubber-slider').dispatchEvent(new KeyboardEvent('keydown', { key: 'Home', bubbles: true, cancelable: true }))").await;
    browser
        .until(
            "the rows of the trace's start are shown",
            &rows_are(&json!([[HOSTILE, "running"]])),
        )
        .await;
    browser.goto("about:blank").await;
    browser
        .goto(&file.url(&format!("#trace={trace}&span={load}&find=load")))
        .await;
    let inspected = "return document.querySelector('#inspector-state')?.textContent === 'error'";
    browser
        .until("the span of the link is shown", inspected)
        .await;
    let details = "const text = (css) => [...document.querySelectorAll(`#inspector ${css}`)].map(node => node.textContent);
        return [text('h2'), text('.message'), text('tr[data-attribute] :is(th, .value)')]";
    let expected = json!([["load"], [HOSTILE], [HOSTILE, HOSTILE]]);
    assert_eq!(browser.ask(details).await, expected);
    for view in ["flame", "logs", "waterfall"] {
        browser.click(&format!("#view-{view}")).await;
        let is_shown = format!(
            "return location.hash.includes('view={view}') || {}",
            view == "waterfall"
        );
        browser.until(view, &is_shown).await;
    }
    assert_eq!(browser.ask(TROUBLE).await, json!([[], [], null]));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_traces_in_one_file_are_a_list() {
    let app = App::start().await;
    let tracer = app.tracer();
    let ids: Vec<String> = ["first", "second"]
        .into_iter()
        .map(|name| {
            let mut span = tracer.start_with_context(name, &Context::new());
            span.end();
            span.span_context().trace_id().to_string()
        })
        .collect();
    app.provider.force_flush().unwrap();
    let route = format!("traces?format=html&traceId={}&traceId={}", ids[0], ids[1]);
    let file = SavedFile::of(&app, &route).await;
    app.stop();
    let browser = offline().await;
    browser.goto(&file.url("")).await;
    let names = "const names = [...document.querySelectorAll('#traces-rows [data-trace-id]:not([hidden]) .trace-link')].map(node => node.textContent); return names.length === 2 && names.sort()";
    assert_eq!(
        browser.until("two traces are listed", names).await,
        json!(["first", "second"])
    );
    browser
        .click("#traces-rows [data-trace-id] .trace-link")
        .await;
    browser
        .until(
            "the page shows one row",
            &format!("return (() => {{ {ROWS} }})().length === 1"),
        )
        .await;
    browser.ask("history.back()").await;
    browser.until("the list is shown again", names).await;
    assert_eq!(browser.ask(TROUBLE).await, json!([[], [], null]));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_says_so() {
    let app = App::start().await;
    let root = open(&app.tracer(), "job", &Context::new());
    app.provider.force_flush().unwrap();
    let file = SavedFile::of(&app, &format!("traces/{}?format=html", trace_of(&root))).await;
    app.stop();
    let text = std::fs::read_to_string(&file.0).unwrap();
    let (page, rest) = text.split_once("application/gzip\">").unwrap();
    let (data, script) = rest.split_once('<').unwrap();
    let half = data.len() / 8 * 4;
    std::fs::write(
        &file.0,
        format!("{page}application/gzip\">{}<{script}", &data[..half]),
    )
    .unwrap();
    let browser = offline().await;
    browser.goto(&file.url("")).await;
    let error_text = "const bar = document.querySelector('#file-bar[data-kind=error] span'); return bar?.textContent.split(':')[0] ?? ''";
    assert_eq!(
        browser
            .until("the page says that the file is damaged", error_text)
            .await,
        json!("This file is damaged or incomplete, so nothing is shown")
    );
    browser.close().await;
}
