//! The waterfall in a browser: zoom, minimap, follow, idle gaps, folding, roll-up, and spans that never ended.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    Context,
    trace::{
        Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

/// A span that is over.
fn done(tracer: &SdkTracer, name: &str, parent: &Context, ago: Duration, length: Duration) {
    let start = SystemTime::now() - ago;
    let mut span = tracer
        .span_builder(name.to_owned())
        .with_start_time(start)
        .start_with_context(tracer, parent);
    span.end_with_timestamp(start + length);
}

fn failed(tracer: &SdkTracer, name: &str, parent: &Context) {
    let mut span = tracer
        .span_builder(name.to_owned())
        .start_with_context(tracer, parent);
    span.set_status(Status::error("no"));
    span.end();
}

async fn show(app: &App, browser: &Browser, root: &Context) {
    app.provider.force_flush().unwrap();
    let url = app.url(&format!("?trace={}", trace_of(root)));
    browser.goto(&url).await;
    let rows = "return document.querySelector('#tree-rows [data-span-id]:not([hidden])') !== null";
    browser.until("rows are drawn", rows).await;
}

async fn press(browser: &Browser, key: &str) {
    browser
        .ask(&format!(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: {key:?}, bubbles: true, cancelable: true }}))"
        ))
        .await;
}

fn names() -> &'static str {
    "return [...document.querySelectorAll('#tree-rows .tree-row:not([hidden])')]
        .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
        .map(row => row.querySelector('.span-name').textContent).join('|')"
}

async fn rows_are(browser: &Browser, what: &str, expected: &str) {
    let script = format!("return (() => {{ {} }})() === {expected:?}", names());
    browser.until(what, &script).await;
}

fn bar(name: &str, rest: &str) -> String {
    format!(
        "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
            .find(row => row.querySelector('.span-name').textContent === {name:?})?{rest}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn folding_hides_rows_and_an_error_inside_stays_marked() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "root", &Context::new());
    let a = open(&tracer, "a", &root);
    let inner = open(&tracer, "inner", &a);
    failed(&tracer, "bad", &inner);
    failed(&tracer, "worse", &root);
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    rows_are(&browser, "all is open", "root|a|inner|bad|worse").await;
    press(&browser, "C").await;
    rows_are(&browser, "all is closed", "root").await;
    let mark = bar("root", ".querySelector('.below:not([hidden])') !== null");
    browser.until("the error inside is marked", &mark).await;
    let said = bar(
        "root",
        ".querySelector('.hidden-count').textContent === '1 of 2 done · 1 failed · 1 running'",
    );
    browser.until("what is inside is summed up", &said).await;
    for (key, rows) in [
        ("1", "root|a|worse"),
        ("2", "root|a|inner|worse"),
        ("E", "root|a|inner|bad|worse"),
    ] {
        press(&browser, key).await;
        rows_are(&browser, "it is open to that depth", rows).await;
    }
    browser
        .ask(&bar("a", ".querySelector('.twisty').click()"))
        .await;
    rows_are(&browser, "one is closed", "root|a|worse").await;
    press(&browser, "]").await;
    rows_are(
        &browser,
        "the next error is shown wherever it hides",
        "root|a|inner|bad|worse",
    )
    .await;
    for context in [inner, a, root] {
        context.span().end();
    }
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_children_the_open_and_the_failed_are_seen() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "fan out", &Context::new());
    let short = Duration::from_millis(1);
    for _ in 0..992 {
        done(&tracer, "fine", &root, short, short);
    }
    for _ in 0..3 {
        failed(&tracer, "failed", &root);
    }
    let running: Vec<Context> = (0..5).map(|_| open(&tracer, "running", &root)).collect();
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let sum = "995 of 1,000 done · 3 failed · 5 running";
    let rows =
        format!("fan out|failed|failed|failed|running|running|running|running|running|{sum}");
    rows_are(&browser, "the others are one row", &rows).await;
    browser.picture("roll-up").await;
    for context in running {
        context.span().end();
    }
    rows_are(
        &browser,
        "what is done joins them",
        "fan out|failed|failed|failed|1,000 of 1,000 done · 3 failed",
    )
    .await;
    browser.click("#tree-rows [data-roll-up]").await;
    let all = "return document.querySelector('#tree').getAttribute('aria-rowcount') === '1002'";
    browser.until("a click shows all of them", all).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_never_end_and_parents_never_seen_are_not_drawn_as_running() {
    let app = App::start().await;
    let tracer = app.tracer();
    let remote = SpanContext::new(
        TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        SpanId::from(0x00f0_67aa_0ba9_02b7),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let root = open(
        &tracer,
        "entry",
        &Context::new().with_remote_span_context(remote),
    );
    let step = open(&tracer, "step", &root);
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let placeholder = "const row = document.querySelector('#tree-rows [data-state=placeholder]:not([hidden])');
        return row && [row.querySelector('.span-bar').dataset.kind, getComputedStyle(row.querySelector('.span-bar')).borderTopStyle,
            row.querySelector('.bar-label').textContent].join('|')";
    let drawn = browser
        .until("the parent's place is drawn", placeholder)
        .await;
    assert_eq!(drawn, "placeholder|dashed|");
    app.provider.shutdown().unwrap();
    let lost = bar(
        "step",
        ".querySelector('.span-bar').dataset.kind === 'lost'",
    );
    browser.until("the step is lost", &lost).await;
    let label = browser
        .ask(&bar("step", ".querySelector('.bar-label').textContent"))
        .await;
    assert!(
        label.as_str().unwrap().starts_with("lost, last heard +"),
        "{label}"
    );
    let running =
        "return document.querySelectorAll('#tree-rows [data-state=running]:not([hidden])').length";
    assert_eq!(browser.ask(running).await, 0);
    browser.picture("lost").await;
    drop((step, root));
    browser.close().await;
    app.live.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_text_of_a_bounded_width() {
    let app = App::start().await;
    let tracer = app.tracer();
    let long = "long ".repeat(2_000);
    let hostile = [
        "<img src=x onerror=alert(1)>",
        long.trim_end(),
        "\u{202e}abc \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{2066}",
        "👩‍👩‍👧‍👦💥 e\u{301}\u{301}\u{301}",
        "</script><script>alert(1)</script>",
        "a\nb\tc\u{0}d",
    ];
    let root = open(&tracer, "root", &Context::new());
    for name in hostile {
        done(
            &tracer,
            name,
            &root,
            Duration::from_millis(2),
            Duration::from_millis(1),
        );
    }
    let browser = Browser::with_size(400, 800).await;
    browser.goto(&app.url("")).await;
    browser
        .ask("window.alert = () => { window.alerted = true }")
        .await;
    show(&app, &browser, &root).await;
    let rows = "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden]) .span-name')].map(name => name.textContent)";
    let all = format!(
        "return (() => {{ {rows} }})().length === {}",
        hostile.len() + 1
    );
    browser.until("all are drawn", &all).await;
    let shown: Vec<String> = serde_json::from_value(browser.ask(rows).await).unwrap();
    for name in hostile {
        let start: String = name.chars().take(100).collect();
        assert!(
            shown.iter().any(|text| text.starts_with(&start)),
            "{start:?} is not in {shown:?}"
        );
    }
    let facts = "return [document.querySelector('#tree img, #tree script') === null, window.alerted ?? false,
        document.documentElement.scrollWidth <= window.innerWidth,
        [...document.querySelectorAll('#tree-rows .tree-row:not([hidden])')].every(row => row.getBoundingClientRect().height === 28)]";
    assert_eq!(browser.ask(facts).await, json!([true, false, true, true]));
    browser.picture("hostile").await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_two_thousand_levels_deep_is_shown_to_its_end() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "level", &Context::new());
    let mut chain = vec![root.clone()];
    for _ in 1..2_000 {
        let next = open(&tracer, "level", chain.last().unwrap());
        chain.push(next);
    }
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let rows = "return document.querySelector('#tree').getAttribute('aria-rowcount') === '2001'";
    browser.until("all levels are rows", rows).await;
    press(&browser, "End").await;
    let last =
        "return document.querySelector('#tree-rows [aria-level=\"2000\"]:not([hidden])') !== null";
    browser.until("the last is in view", last).await;
    let few = browser
        .ask("return document.querySelector('#tree-rows').childElementCount")
        .await;
    assert!(
        few.as_u64().is_some_and(|count| count < 100),
        "{few} rows in the page"
    );
    while let Some(context) = chain.pop() {
        context.span().end();
    }
    let ended = "return document.querySelector('#trace-page').dataset.state === 'ok'";
    assert_ne!(browser.until("it ends", ended).await, Value::Null);
    browser.close().await;
    app.stop();
}
