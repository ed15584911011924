//! Finding things: the list and its history, searches, the await point of a trace, usual durations,
//! and the inspector of a span.

use std::time::{Duration, SystemTime};

use fantoccini::Locator;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanContext, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
    paint::{BAR, USUAL, painted},
};

const IS_LIVE: &str = "return document.querySelector('#status').dataset.state === 'live'";
const LISTED: &str =
    "return [...document.querySelectorAll('#traces-rows [data-trace-id]:not([hidden]) .trace-link')]
        .map(link => link.textContent)";
const SELECTED: &str = "return document.querySelector(
    '#tree-rows [aria-selected=true]:not([hidden]) .span-name')?.textContent ?? null";
const FOUND: &str = "return document.querySelector('#find').hidden ? ''
    : document.querySelector('#find-count').textContent";

// Key codes of WebDriver.
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// Returns a script that returns whether `script` returns this value.
fn becomes(script: &str, value: &Value) -> String {
    format!("return JSON.stringify((() => {{ {script} }})()) === JSON.stringify({value})")
}

async fn is(browser: &Browser, what: &str, script: &str, value: Value) {
    browser.until(what, &becomes(script, &value)).await;
}

/// Replaces the text of the search field.
async fn search(browser: &Browser, text: &str) {
    browser
        .ask("const field = document.querySelector('#filter'); field.focus(); field.select();")
        .await;
    let field = browser.page.find(Locator::Css("#filter")).await.unwrap();
    field.send_keys(text).await.unwrap();
}

async fn press(browser: &Browser, key: &str) {
    let active = browser.page.active_element().await.unwrap();
    active.send_keys(key).await.unwrap();
}

async fn leave_the_field(browser: &Browser) {
    browser.ask("document.activeElement.blur()").await;
}

/// Opens the trace on the page, and waits until its root is drawn.
async fn show(browser: &Browser, app: &App, root: &Context, more: &[(&str, &str)]) {
    let trace = trace_of(root);
    let mut url = Url::parse(&app.server.url()).unwrap();
    url.query_pairs_mut()
        .append_pair("trace", &trace)
        .extend_pairs(more);
    browser.goto(url.as_str()).await;
    let drawn = "return document.querySelector('#tree-rows [data-span-id]:not([hidden])') !== null";
    browser.until("the trace is drawn", drawn).await;
}

/// Returns an open span that began this long ago.
fn since(tracer: &SdkTracer, name: &'static str, ago: Duration, parent: &Context) -> Span {
    tracer
        .span_builder(name)
        .with_start_time(SystemTime::now() - ago)
        .start_with_context(tracer, parent)
}

/// Makes an ended span of this duration.
fn took(tracer: &SdkTracer, name: &'static str, duration: Duration, parent: &Context) {
    let mut span = since(tracer, name, duration, parent);
    span.end_with_timestamp(SystemTime::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_loads_history_and_searches_it() {
    let app = App::start().await;
    let tracer = app.tracer();
    for number in 0..900 {
        let mut span = tracer
            .span_builder(format!("job-{number}-"))
            .start_with_context(&tracer, &Context::new());
        if number % 300 == 7 {
            span.set_status(Status::error("no"));
        }
        span.end();
    }
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    let rows = "return document.querySelector('#traces-rows').getAttribute('aria-rowcount')";
    is(&browser, "500 traces are listed", rows, json!("500")).await;
    let drawn = browser
        .ask("return document.querySelectorAll('#traces-rows [data-trace-id]').length")
        .await;
    assert!(drawn.as_u64().unwrap() < 60, "{drawn} rows are drawn");
    let bottom = "const scroller = document.querySelector('#traces-scroller');
        scroller.scrollTop = scroller.scrollHeight;
        return document.querySelector('#traces-rows').getAttribute('aria-rowcount')";
    is(
        &browser,
        "scrolling loads all 900 traces",
        bottom,
        json!("900"),
    )
    .await;

    search(&browser, "state:error").await;
    let wanted = json!(["job-607-", "job-307-", "job-7-"]);
    is(
        &browser,
        "the search finds the three failed traces",
        LISTED,
        wanted.clone(),
    )
    .await;
    let query = browser
        .ask("return new URLSearchParams(location.search).get('q')")
        .await;
    assert_eq!(query, "state:error");
    browser.page.refresh().await.unwrap();
    is(&browser, "a reload shows the same traces", LISTED, wanted).await;

    search(&browser, "job-12- state:gone").await;
    let wrong = "const at = document.querySelector('#filter-wrong');
        return at.hidden ? null : [at.querySelector('mark').textContent, at.lastChild.textContent.trim()]";
    let mistakes = json!([
        "state:gone",
        "the state \"gone\" is not one of running, waiting, ok, error, panicked, cancelled, lost, failing, below, at character 9"
    ]);
    is(
        &browser,
        "the page marks and explains the wrong word",
        wrong,
        mistakes,
    )
    .await;
    search(&browser, "job-12-").await;
    is(
        &browser,
        "the corrected search finds its trace",
        LISTED,
        json!(["job-12-"]),
    )
    .await;
    browser.picture("list-search").await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_trace_is_first_and_its_row_is_updated() {
    let app = App::start().await;
    let tracer = app.tracer();
    let slow = Context::new().with_span(since(
        &tracer,
        "slow",
        Duration::from_secs(90),
        &Context::new(),
    ));
    took(&tracer, "quick", Duration::from_millis(5), &Context::new());
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    is(
        &browser,
        "the running trace is first",
        LISTED,
        json!(["slow", "quick"]),
    )
    .await;
    let mut failed = tracer.start_with_context("step", &slow);
    failed.set_status(Status::error("no"));
    failed.end();
    let row = "const row = document.querySelector('#traces-rows [data-state=failing]');
        if (row === null) return null;
        return [row.querySelector('.c-spans').textContent, row.querySelector('.c-spans').title, row.querySelector('.c-services .chip').dataset.errors,
            row.querySelector('.c-services .chip').textContent, row.querySelector('.c-errors').textContent,
            /^\\d+ m \\d\\d s$/.test(row.querySelector('.duration-text').textContent), /\\d\\d:\\d\\d:\\d\\d/.test(row.querySelector('.c-started').textContent)]";
    let expected = json!(["2", "1 open", "", "shop 2 !", "1", true, true]);
    is(
        &browser,
        "the row shows spans, services, errors and times",
        row,
        expected,
    )
    .await;
    browser.click("#order-newest").await;
    is(
        &browser,
        "the newest trace is first",
        LISTED,
        json!(["quick", "slow"]),
    )
    .await;
    slow.span().end();
    browser
        .until(
            "the failing row is gone",
            "return document.querySelector('#traces-rows [data-state=failing]') === null",
        )
        .await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_in_a_trace_is_updated_and_steps_between_matches() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "import", &Context::new());
    let row = |name: &'static str, number: i64| {
        let mut span = tracer
            .span_builder(name)
            .with_attributes([
                KeyValue::new("row", number),
                KeyValue::new("http.method", "GET"),
            ])
            .start_with_context(&tracer, &root);
        if number == 2 {
            span.set_status(Status::error("no"));
        }
        span.end();
    };
    for number in 0..5 {
        row(
            ["a", "b", "c", "d", "e"][usize::try_from(number).unwrap()],
            number,
        );
    }
    let browser = Browser::open().await;
    show(&browser, &app, &root, &[("find", "row>=2")]).await;
    is(&browser, "three spans are found", FOUND, json!("3 matches")).await;
    let marked = "return [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
        .map(row => [row.querySelector('.span-name').textContent, row.dataset.match])";
    let marks = json!([
        ["import", "false"],
        ["a", "false"],
        ["b", "false"],
        ["c", "true"],
        ["d", "true"],
        ["e", "true"]
    ]);
    is(&browser, "matching rows are marked", marked, marks).await;
    for (key, name, place) in [
        ("n", "c", "1 of 3"),
        ("n", "d", "2 of 3"),
        ("N", "c", "1 of 3"),
        ("N", "e", "3 of 3"),
        ("n", "c", "1 of 3"),
    ] {
        press(&browser, key).await;
        is(&browser, key, SELECTED, json!(name)).await;
        is(&browser, "the match's rank is shown", FOUND, json!(place)).await;
    }
    row("f", 9);
    is(
        &browser,
        "a new span is counted as a match",
        FOUND,
        json!("1 of 4"),
    )
    .await;
    search(&browser, "status:error").await;
    is(&browser, "one span is found", FOUND, json!("1 of 1")).await;
    search(&browser, "http.method:get -row<5").await;
    press(&browser, ENTER).await;
    is(&browser, "Enter selects the match", SELECTED, json!("f")).await;
    press(&browser, ESCAPE).await;
    is(&browser, "Escape ends the search", FOUND, json!("")).await;
    leave_the_field(&browser).await;
    press(&browser, "]").await;
    is(&browser, "] selects the next error", SELECTED, json!("c")).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_above_shows_the_wait_and_then_the_critical_path() {
    let app = App::start().await;
    let tracer = app.tracer();
    let ago = Duration::from_secs;
    let now = SystemTime::now();
    let root = Context::new().with_span(since(&tracer, "checkout", ago(100), &Context::new()));
    took(&tracer, "price", Duration::from_millis(20), &root);
    let pay = root.with_span(since(&tracer, "pay", ago(75), &root));
    let bank = pay.with_span(since(&tracer, "ask bank", ago(70), &pay));
    let log = root.with_span(since(&tracer, "audit", ago(3), &root));
    let browser = Browser::open().await;
    show(&browser, &app, &root, &[]).await;
    let line = "return [...document.querySelectorAll('#waiting-for .link, #waiting-for .chip')].filter(part => part.checkVisibility()).map(part => part.textContent)";
    let chain = json!(["ask bank", "pay", "checkout", "+1 more"]);
    is(
        &browser,
        "the line begins with the innermost open span",
        line,
        chain,
    )
    .await;
    let time = "return /^\\d+ m \\d\\d s$/.test(document.querySelector('#waiting-for .figure').textContent)";
    browser.until("the time of the wait is shown", time).await;
    browser.picture("waiting").await;
    browser.click("#waiting-for .leaf").await;
    is(&browser, "the leaf is chosen", SELECTED, json!("ask bank")).await;
    browser.click("#waiting-for .chip").await;
    is(&browser, "the chip selects audit", SELECTED, json!("audit")).await;
    bank.span().end_with_timestamp(now);
    is(
        &browser,
        "the line changes when a span ends",
        line,
        json!(["pay", "checkout", "+1 more"]),
    )
    .await;
    for (context, seconds) in [(&log, 1), (&pay, 2), (&root, 3)] {
        context.span().end_with_timestamp(now + ago(seconds));
    }
    let took = "return [...document.querySelectorAll('#waiting-for .link')].filter(part => part.checkVisibility()).map(part => part.textContent)";
    is(
        &browser,
        "the line names the spans that took the time",
        took,
        json!(["ask bank", "checkout", "pay"]),
    )
    .await;
    let drawn = &painted(&format!(
        "[...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
            .filter(row => ink(row, {BAR}) !== null)
            .map(row => row.querySelector('.span-name').textContent)"
    ));
    let all = json!(["checkout", "pay", "ask bank", "audit", "price"]);
    is(&browser, "all bars are opaque", drawn, all.clone()).await;
    press(&browser, "p").await;
    is(
        &browser,
        "spans off the critical path are pale",
        drawn,
        json!(["checkout", "pay", "ask bank"]),
    )
    .await;
    press(&browser, "p").await;
    is(&browser, "all bars are opaque again", drawn, all).await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_takes_longer_than_usual_is_flagged_while_it_runs() {
    let app = App::start().await;
    let tracer = app.tracer();
    for _ in 0..20 {
        took(
            &tracer,
            "query",
            Duration::from_secs(2_000),
            &Context::new(),
        );
    }
    let root = open(&tracer, "report", &Context::new());
    let mut slow = since(&tracer, "query", Duration::from_secs(6_000), &root);
    let mut fresh = tracer.start_with_context("query", &root);
    let browser = Browser::open().await;
    show(&browser, &app, &root, &[]).await;
    let flags = "return [...document.querySelectorAll('#tree-rows .row-flag')].map(flag => [flag.dataset.kind, /× the median$|^~\\d+ m/.test(flag.textContent)])";
    is(
        &browser,
        "one span is slow, one has a time left",
        flags,
        json!([["slow", true], ["eta", true]]),
    )
    .await;
    let slow_row =
        "document.querySelector('#tree-rows .row-flag[data-kind=slow]').closest('.tree-row')";
    let mark = painted(&format!(
        "ink({slow_row}, {USUAL})?.[1] < ink({slow_row}, {BAR})[1] - 20"
    ));
    browser
        .until("the slow span's bar has a mark at its usual end", &mark)
        .await;
    browser
        .until("the line above says that a span is slow", "return document.querySelector('#waiting-for .slow').textContent.startsWith('slower than usual')")
        .await;
    browser
        .click_on(
            "document.querySelector('#tree-rows .row-flag[data-kind=slow]').closest('.tree-row')",
        )
        .await;
    browser
        .until("the inspector says that the span is slow", "return document.querySelector('#inspector [data-slow]')?.textContent.includes('(20 spans)')")
        .await;
    browser.picture("slow").await;
    slow.end();
    fresh.end();
    is(&browser, "ended spans have no flag", flags, json!([])).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

/// Scrolls the inspector by script until the element is in its middle.
async fn scroll_inspector(browser: &Browser, element: &str) {
    let scroll = format!(
        "const [box, node] = [document.querySelector('#inspector'), {element}];
         const [outer, inner] = [box.getBoundingClientRect(), node.getBoundingClientRect()];
         box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2"
    );
    browser.ask(&scroll).await;
}

/// Makes three ended spans: one with something in every section of the inspector, and two that link
/// to it. Returns the context of the first.
fn linked(tracer: &SdkTracer, root: &Context) -> SpanContext {
    let mut first = tracer.start_with_context("reserve", root);
    first.set_attribute(KeyValue::new("status", "old"));
    first.set_attribute(KeyValue::new("status", "two words"));
    first.set_attribute(KeyValue::new("code.file.path", "src/stock.rs"));
    first.set_attribute(KeyValue::new("code.line.number", 30));
    first.add_event("late", vec![KeyValue::new("n", 1.5)]);
    let target = first.span_context().clone();
    first.end();
    tracer
        .span_builder("confirm")
        .with_links(vec![Link::new(
            target.clone(),
            vec![KeyValue::new("why", "again")],
            0,
        )])
        .with_attributes([KeyValue::new("status", "two words")])
        .start_with_context(tracer, root)
        .end();
    tracer
        .span_builder("audit")
        .with_links(vec![Link::with_context(target.clone())])
        .start_with_context(tracer, &Context::new())
        .end();
    target
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_shows_every_section_and_finds_similar_spans() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "order", &Context::new());
    let target = linked(&tracer, &root);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    show(
        &browser,
        &app,
        &root,
        &[("span", &target.span_id().to_string())],
    )
    .await;
    let fields = "const cells = (css) => [...document.querySelectorAll(css)].map(row => [row.querySelector('th').textContent,
            ...[...row.querySelectorAll('.type, .value')].map(cell => cell.textContent)]);
        return [cells('#inspector tr[data-attribute=status]'), cells('#inspector tr[data-field]'), cells('#inspector .timeline tr'),
            [...document.querySelectorAll('#inspector .links a')].map(link => link.textContent)]";
    let expected = json!([
        [["status", "string", "two words"]],
        [["Source", "src/stock.rs:30"]],
        [["n", "number", "1.5"]],
        ["confirm", "audit"]
    ]);
    is(&browser, "every section is filled", fields, expected).await;
    let raw_json = "[...document.querySelectorAll('#inspector summary')].at(-1)";
    scroll_inspector(&browser, raw_json).await;
    browser.click_on(raw_json).await;
    let raw = "return JSON.parse(document.querySelector('#inspector details pre')?.textContent ?? '{}').attributes?.status ?? null";
    is(&browser, "the raw JSON is shown", raw, json!("two words")).await;
    browser.picture("inspector").await;
    // The row's buttons appear under the pointer.
    let row = "document.querySelector('#inspector tr[data-attribute=status] th')";
    scroll_inspector(&browser, row).await;
    browser.click_on(row).await;
    browser
        .click("#inspector tr[data-attribute=status] .filter-by")
        .await;
    is(&browser, "both spans are found", FOUND, json!("1 of 2")).await;
    let find = browser
        .ask("return new URLSearchParams(location.search).get('find')")
        .await;
    assert_eq!(find, "@status:\"two words\"");
    let link = "document.querySelector('#inspector .links a')";
    scroll_inspector(&browser, link).await;
    browser.click_on(link).await;
    is(
        &browser,
        "the link selects the span that links here",
        SELECTED,
        json!("confirm"),
    )
    .await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_and_long_names_are_text_in_every_view() {
    let app = App::start().await;
    let tracer = app.tracer();
    let names = [
        "<img src=x onerror=alert(1)>".to_owned(),
        "x".repeat(10_000),
        "\u{202e}שלום עולם".to_owned(),
        "🛒👩‍👩‍👧‍👦".to_owned(),
    ];
    let mut context = Context::new();
    let mut contexts = Vec::new();
    for name in &names {
        let span = tracer
            .span_builder(name.clone())
            .with_attributes([KeyValue::new(name.clone(), name.clone())])
            .start_with_context(&tracer, &context);
        context = context.with_span(span);
        contexts.push(context.clone());
    }
    let browser = Browser::open().await;
    browser.goto(&app.server.url()).await;
    is(&browser, "the list has the root", LISTED, json!([names[0]])).await;
    browser.until("the list is live", IS_LIVE).await;
    for query in ["name:<img", "name:עולם", "name:🛒", "xxxxxxxxxx"] {
        show(&browser, &app, &contexts[0], &[("find", query)]).await;
        is(&browser, query, FOUND, json!("1 match")).await;
    }
    browser.click("#find-next").await;
    let layout = "const line = document.querySelector('#waiting-for');
        return [document.images.length, document.documentElement.scrollWidth <= innerWidth,
            line.querySelector('.leaf').textContent, document.querySelector('#inspector h2')?.textContent.length]";
    is(
        &browser,
        "names are text, and the page fits its window",
        layout,
        json!([0, true, names[3], 2_000]),
    )
    .await;
    browser.picture("hostile").await;
    for context in contexts.iter().rev() {
        context.span().end();
    }
    browser
        .until(
            "the critical path is shown",
            "return document.querySelector('#waiting-for .lead')?.textContent === 'Critical path'",
        )
        .await;
    assert_eq!(browser.ask("return document.images.length").await, 0);
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_critical_path_shows_all_digits_beside_long_names() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "import", &Context::new());
    let start = SystemTime::now();
    for (number, letter) in (1..=5_u64).zip('A'..) {
        let name = format!("{letter}: reads and writes all there is to import");
        let from = start + Duration::from_millis(number * 1_000);
        let span = tracer.span_builder(name).with_start_time(from);
        let mut span = span.start_with_context(&tracer, &root);
        span.end_with_timestamp(from + Duration::from_millis(900 + number));
    }
    root.span()
        .end_with_timestamp(start + Duration::from_secs(7));
    let browser = Browser::open().await;
    show(&browser, &app, &root, &[]).await;
    let chains = "document.querySelectorAll('#waiting-for .chain:not([hidden])')";
    browser
        .until(
            "three spans of the critical path are shown",
            &format!("return {chains}.length === 3"),
        )
        .await;
    browser.picture("critical-path").await;
    // Parts of the line that are cut off, or that overlap the next part.
    let clipped = "const line = [...document.querySelectorAll('#waiting-for > :not(.chain), #waiting-for .chain > *')].filter(part => part.checkVisibility());
        const end = document.querySelector('#waiting-for').getBoundingClientRect().right;
        return line.filter((part, at) => {
            const right = part.getBoundingClientRect().right;
            const next = line[at + 1]?.getBoundingClientRect().left ?? end;
            return right > next + 0.01 || (part.matches('.figure, .faint') && part.scrollWidth > part.clientWidth);
        }).map(part => part.textContent)";
    assert_eq!(browser.ask(clipped).await, json!([]));
    browser.close().await;
    app.stop();
}
