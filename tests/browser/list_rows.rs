//! Rows of the list and of the waterfall under a pointer: they stay in place so that they can be
//! clicked, and they show tools.

use opentelemetry::{
    Context,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _},
};
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

const FIRST_ROW: &str =
    "document.querySelector('#traces-rows [aria-rowindex=\"1\"]:not([hidden])')";

/// Records every vertical position at which the first row is drawn, frame by frame.
const PLACES: &str = "globalThis.places = [];
    (function look() {
        const row = document.querySelector('#traces-rows [aria-rowindex=\"1\"]:not([hidden])');
        const top = row?.getBoundingClientRect().top;
        if (top !== undefined && !places.includes(top)) places.push(top);
        requestAnimationFrame(look);
    })();";

fn listed(count: usize) -> String {
    format!("return document.querySelector('#list-counts').textContent.startsWith('{count} ·')")
}

async fn mouse(browser: &Browser, kind: &str, [x, y]: [f64; 2]) {
    let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
    browser.command("Input.dispatchMouseEvent", event).await;
}

/// Returns the middle of the element that an expression returns, once the element is drawn.
async fn middle_of(browser: &Browser, element: &str) -> [f64; 2] {
    let place = format!(
        "const box = {element}?.getBoundingClientRect();
         return box?.width > 0 ? [box.left + box.width / 2, box.top + box.height / 2] : null"
    );
    serde_json::from_value(browser.until(element, &place).await).unwrap()
}

/// Waits until rows are no longer held in place for a pointer that has stopped moving.
async fn wait_beyond_the_hold(browser: &Browser) {
    browser.ask("globalThis.pressed = performance.now()").await;
    let passed = "return performance.now() > pressed + 1500";
    browser
        .until("the pointer has been pressed for 1.5 s", passed)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_the_list_moves_when_the_chips_appear() {
    let app = App::start().await;
    let tracer = app.tracer();
    let browser = Browser::with_size(400, 800).await;
    let early = json!({ "source": PLACES });
    browser
        .command("Page.addScriptToEvaluateOnNewDocument", early)
        .await;
    browser.goto(&app.server.url()).await;
    let live = "return document.querySelector('#status').dataset.state === 'live'";
    browser.until("the page is live", live).await;
    open(&tracer, "request", &Context::new()).span().end();
    let chips = "return places.length > 0
        && document.querySelector('#list-chips').checkVisibility()
        && document.querySelector('#traffic').checkVisibility()";
    browser
        .until("the row, the chart and the chips are shown", chips)
        .await;
    assert_eq!(browser.ask("return places.length").await, json!(1));
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_list_stays_below_a_pointer_that_presses_it() {
    let app = App::start().await;
    let tracer = app.tracer();
    let pressed = open(&tracer, "pressed", &Context::new());
    pressed.span().end();
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    let place = middle_of(&browser, FIRST_ROW).await;
    mouse(&browser, "mouseMoved", place).await;
    mouse(&browser, "mousePressed", place).await;
    for _ in 0..4 {
        open(&tracer, "newer", &Context::new()).span().end();
    }
    browser
        .until("the newer traces are counted", &listed(5))
        .await;
    wait_beyond_the_hold(&browser).await;
    // The page adds a chip for a state that no trace had before.
    let running = open(&tracer, "running", &Context::new());
    browser
        .until("the running trace is counted", &listed(6))
        .await;
    mouse(&browser, "mouseReleased", place).await;
    let opened = format!("return location.search.includes({:?})", trace_of(&pressed));
    browser.until("the pressed trace is opened", &opened).await;
    running.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_waterfall_stays_below_a_pointer_that_presses_it() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "order", &Context::new());
    let above = open(&tracer, "above", &root);
    let pressed = open(&tracer, "pressed", &root);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    let row = "[...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
        .find(row => row.querySelector('.span-name').textContent === 'pressed')";
    let place = middle_of(&browser, &format!("{row}?.querySelector('.span-name')")).await;
    mouse(&browser, "mouseMoved", place).await;
    mouse(&browser, "mousePressed", place).await;
    for _ in 0..3 {
        tracer.start_with_context("newer", &above).end();
    }
    let counts = "return document.querySelector('#trace-counts').textContent.startsWith('6 spans')";
    browser.until("the newer spans are counted", counts).await;
    wait_beyond_the_hold(&browser).await;
    mouse(&browser, "mouseReleased", place).await;
    let id = pressed.span().span_context().span_id().to_string();
    let selected = format!("return document.querySelector('#inspector').dataset.spanId === {id:?}");
    browser
        .until("the pressed span is selected", &selected)
        .await;
    let rows = "return document.querySelector('#tree-rows').getAttribute('aria-rowcount') === '6'";
    browser.until("the newer spans have their rows", rows).await;
    for context in [pressed, above, root] {
        context.span().end();
    }
    browser.close().await;
    app.stop();
}

fn tool(name: &str) -> String {
    format!("document.querySelector('.list-tools [aria-label=\"{name}\"]')")
}

/// A script that returns the trace whose row has the tools, and the names of the visible tools.
const TOOLS: &str = "const tools = document.querySelector('.list-tools');
    return [tools?.closest('.list-row').dataset.traceId ?? null,
        [...(tools?.querySelectorAll('button') ?? [])].filter(one => one.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })).map(one => one.ariaLabel)]";

async fn tools_are(browser: &Browser, what: &str, expected: Value) {
    let script = format!(
        "return JSON.stringify((() => {{ {TOOLS} }})()) === {:?}",
        expected.to_string()
    );
    browser.until(what, &script).await;
}

/// Returns whether the server keeps the trace.
async fn is_kept(browser: &Browser, trace: &Context) -> Value {
    let script = format!(
        "const done = arguments[0]; fetch('traces?limit=1&traceId={}').then(answer => answer.json()).then(({{ traces }}) => done(traces[0].kept))",
        trace_of(trace)
    );
    let kept = browser.page.execute_async(&script, Vec::new()).await;
    kept.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_below_the_pointer_has_tools() {
    let app = App::start().await;
    let tracer = app.tracer();
    let before = open(&tracer, "order", &Context::new());
    before.span().end();
    let ended = open(&tracer, "order", &Context::new());
    ended.span().end();
    let running = open(&tracer, "import", &Context::new());
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    browser.until("three traces are listed", &listed(3)).await;
    let row = |of: &Context| {
        format!(
            "document.querySelector('#traces-rows [data-trace-id=\"{}\"]')",
            trace_of(of)
        )
    };
    assert_eq!(browser.ask(TOOLS).await, json!([null, []]));

    let place = middle_of(&browser, &row(&running)).await;
    mouse(&browser, "mouseMoved", place).await;
    let all = ["Keep", "Compare with the previous run", "Notify me"];
    tools_are(
        &browser,
        "the running trace's row has three tools",
        json!([trace_of(&running), all]),
    )
    .await;
    browser.click_on(&tool("Notify me")).await;
    let rung = format!(
        "return {}.getAttribute('aria-pressed') === 'true'",
        tool("Notify me")
    );
    browser.until("the bell's button is pressed", &rung).await;
    browser
        .click_on(&tool("Compare with the previous run"))
        .await;
    let comparison = "return document.querySelector('.tool-answer:not([hidden])')?.textContent
        === 'No earlier run of this name is kept'";
    browser
        .until("the row says that there is no earlier run", comparison)
        .await;

    let place = middle_of(&browser, &row(&ended)).await;
    mouse(&browser, "mouseMoved", place).await;
    let both = json!([trace_of(&ended), all[..2]]);
    tools_are(&browser, "the ended trace's row has two tools", both).await;
    browser.click_on(&tool("Keep")).await;
    let kept = format!(
        "return {}.getAttribute('aria-pressed') === 'true'",
        tool("Keep")
    );
    browser.until("the keep button is pressed", &kept).await;
    assert_eq!(is_kept(&browser, &ended).await, json!(true));
    browser.picture("row-tools").await;
    browser
        .click_on(&tool("Compare with the previous run"))
        .await;
    let compared = format!(
        "const at = new URLSearchParams(location.search);
         return at.get('trace') === {:?} && at.get('compare') === {:?} && document.querySelector('#compare-page').checkVisibility()",
        trace_of(&ended), trace_of(&before)
    );
    browser.until("the runs are compared", &compared).await;
    running.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_that_has_the_focus_has_tools() {
    let app = App::start().await;
    let tracer = app.tracer();
    let first = open(&tracer, "first", &Context::new());
    let second = open(&tracer, "second", &Context::new());
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    browser.until("both traces are listed", &listed(2)).await;
    browser.press_key("ArrowDown").await;
    let all = ["Keep", "Compare with the previous run", "Notify me"];
    tools_are(
        &browser,
        "the focused row has three tools",
        json!([trace_of(&second), all]),
    )
    .await;
    browser.press_key("Tab").await;
    browser.press_key("Tab").await;
    browser.press_key("Tab").await;
    // A third trace is inserted above. The tools stay with their row, and so does the focus.
    let third = open(&tracer, "third", &Context::new());
    browser.until("a third is listed", &listed(3)).await;
    tools_are(
        &browser,
        "the focused row keeps its tools",
        json!([trace_of(&second), all]),
    )
    .await;
    let at = "return document.activeElement.ariaLabel";
    assert_eq!(browser.ask(at).await, json!("Notify me"));
    // A key event presses a focused button only if it has the character that Enter types.
    let enter = json!({ "type": "keyDown", "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 });
    browser.command("Input.dispatchKeyEvent", enter).await;
    let rung = format!(
        "return {}.getAttribute('aria-pressed') === 'true'",
        tool("Notify me")
    );
    browser.until("the bell's button is pressed", &rung).await;
    assert_eq!(browser.ask(at).await, json!("Notify me"));
    for context in [third, second, first] {
        context.span().end();
    }
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_says_on_a_narrow_screen_why_its_trace_failed() {
    let app = App::start().await;
    let tracer = app.tracer();
    let failed = open(&tracer, "failed", &Context::new());
    let message = "no exchange rate for XAF ".repeat(9);
    failed.span().set_status(Status::error(message.clone()));
    failed.span().end();
    let browser = Browser::with_size(400, 800).await;
    browser.goto(&app.url("")).await;
    let row = format!(
        "const row = {FIRST_ROW};
         if (row?.dataset.state !== 'error') return null;
         const shown = [...row.querySelectorAll('.reason')].filter(one => one.checkVisibility());
         const [outer, box] = [row, shown[0]].map(one => one.getBoundingClientRect());
         return [
             shown.map(one => one.textContent.trim()), row.querySelector('.c-services').checkVisibility(),
             box.left >= outer.left && box.right <= outer.right && box.bottom <= outer.bottom,
             box.height < 24 && shown[0].scrollWidth > shown[0].clientWidth, outer.height >= 24,
             getComputedStyle(shown[0]).textOverflow,
         ]"
    );
    let shown = browser.until("the failed trace has a row", &row).await;
    let words = shown[0][0].as_str().unwrap().trim_end_matches('…');
    assert!(message.starts_with(words) && words.len() > 100, "{words}");
    let rest = Value::from(shown.as_array().unwrap()[1..].to_vec());
    assert_eq!(rest, json!([false, true, true, true, "ellipsis"]));
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_still_follows_when_the_browser_limits_the_scroll_position() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "job", &Context::new());
    let steps: Vec<Context> = (0..60)
        .map(|step| open(&tracer, format!("step {step}").leak(), &root))
        .collect();
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    let end = "const { scrollTop, clientHeight, scrollHeight } = document.querySelector('#tree-scroller');
         return scrollTop > 200 && scrollTop + clientHeight > scrollHeight - 40";
    browser.until("the newest span is in view", end).await;
    // Without the lines above it the tree is taller, so its greatest scroll position becomes smaller.
    let grow = "document.querySelector('#tree-scroller').addEventListener('scroll', () => globalThis.scrolled = true);
        for (const line of document.querySelectorAll('#trace-page > .toolbar')) line.style.display = 'none'";
    browser.ask(grow).await;
    let scrolled = "return globalThis.scrolled === true";
    browser.until("the browser has scrolled", scrolled).await;
    let follows = "return document.querySelector('#follow').getAttribute('aria-pressed')";
    assert_eq!(browser.ask(follows).await, json!("true"));
    for context in steps {
        context.span().end();
    }
    root.span().end();
    browser.close().await;
    app.stop();
}
