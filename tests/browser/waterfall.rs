//! The waterfall in a browser: zoom, minimap, follow, collapsed gaps, folded branches, groups of
//! siblings, and spans that never ended.

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
    paint::{BAR, LABEL, painted, width_of},
};

/// Opens a span that started this long ago.
fn open_since(tracer: &SdkTracer, name: &'static str, parent: &Context, ago: Duration) -> Context {
    let span = tracer
        .span_builder(name)
        .with_start_time(SystemTime::now() - ago)
        .start_with_context(tracer, parent);
    parent.with_span(span)
}

/// Makes an ended span.
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

/// Moves, presses or releases the mouse.
async fn mouse(browser: &Browser, kind: &str, x: f64, y: f64) {
    let buttons = i32::from(kind == "mouseMoved" || kind == "mousePressed");
    let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 });
    browser.command("Input.dispatchMouseEvent", event).await;
}

async fn drag(browser: &Browser, from: f64, to: f64, y: f64) {
    mouse(browser, "mousePressed", from, y).await;
    for step in 1..=4 {
        let x = from + (to - from) * f64::from(step) / 4.0;
        mouse(browser, "mouseMoved", x, y).await;
    }
    mouse(browser, "mouseReleased", to, y).await;
}

const ZOOMED: &str = "return document.querySelector('#zoom-fit').hidden === false";
const WHOLE: &str = "return document.querySelector('#zoom-fit').hidden";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_zoomed_about_the_cursor_panned_and_fitted() {
    let app = App::start().await;
    let tracer = app.tracer();
    let seconds = Duration::from_secs;
    let root = open_since(&tracer, "order", &Context::new(), seconds(10));
    done(&tracer, "early", &root, seconds(10), seconds(1));
    done(&tracer, "late", &root, seconds(2), seconds(1));
    root.span().end();
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let before = width_of(&browser, "early").await;
    let wheel = "const box = document.querySelector('#axis').getBoundingClientRect();
        for (let step = 0; step < 8; step += 1) document.querySelector('#tree-scroller').dispatchEvent(
            new WheelEvent('wheel', { ctrlKey: true, deltaY: -100, clientX: box.left + 5, clientY: 300, bubbles: true, cancelable: true }));";
    browser.ask(wheel).await;
    browser.until("the view is zoomed in", ZOOMED).await;
    let grown = painted(&format!("width('early') > {before} * 3"));
    browser
        .until("the bar under the cursor has grown", &grown)
        .await;
    let away = painted(&format!(
        "ink(row('late'), {BAR}) === null && ink(row('late'), {LABEL})?.[0] > axisWidth * 0.8"
    ));
    browser
        .until(
            "a label at the edge shows the side of a bar out of view",
            &away,
        )
        .await;
    for _ in 0..60 {
        press(&browser, "d").await;
    }
    let back = painted(&format!(
        "ink(row('early'), {BAR}) === null && ink(row('early'), {LABEL})?.[1] < axisWidth * 0.2"
    ));
    browser
        .until("the view is panned to the other end", &back)
        .await;
    press(&browser, "f").await;
    browser
        .until("the whole trace is in view again", WHOLE)
        .await;
    browser
        .click_on("[...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')].find(row => row.querySelector('.span-name').textContent === 'late')")
        .await;
    let selected = bar("late", ".getAttribute('aria-selected') === 'true'");
    browser.until("the row is selected", &selected).await;
    press(&browser, "f").await;
    let fits = painted("width('late') > axisWidth * 0.6");
    browser
        .until("the selected span fills the width", &fits)
        .await;
    browser.picture("zoom").await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimap_window_is_drawn_moved_and_removed() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open_since(&tracer, "order", &Context::new(), Duration::from_secs(10));
    for index in 0..40_u64 {
        let ago = Duration::from_millis(10_000 - index * 240);
        let name = format!("line {index}");
        done(&tracer, &name, &root, ago, Duration::from_millis(200));
    }
    root.span().end();
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let ink = "const canvas = document.querySelector('.minimap-canvas');
        return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0)";
    browser.until("the minimap is painted", ink).await;
    let place = "const box = document.querySelector('#minimap').getBoundingClientRect(); return [box.left, box.top + 20, box.width]";
    let place: Vec<f64> = serde_json::from_value(browser.ask(place).await).unwrap();
    let (y, at) = (place[1], |share: f64| place[0] + place[2] * share);
    let brush = |from: u32, to: u32| {
        format!(
            "const box = document.querySelector('.brush').getBoundingClientRect();
            const map = document.querySelector('#minimap').getBoundingClientRect();
            const near = (x, share) => Math.abs((x - map.left) / map.width * 100 - share) < 1;
            return near(box.left, {from}) && near(box.right, {to})"
        )
    };
    drag(&browser, at(0.25), at(0.5), y).await;
    browser.until("the view is zoomed in", ZOOMED).await;
    browser
        .until("the minimap's window is where it was drawn", &brush(25, 50))
        .await;
    drag(&browser, at(0.4), at(0.6), y).await;
    browser.until("the window was moved", &brush(45, 70)).await;
    drag(&browser, at(0.7), at(0.9), y).await;
    browser
        .until("the window's right edge was moved", &brush(45, 90))
        .await;
    browser.picture("minimap").await;
    browser.ask("document.querySelector('#minimap').dispatchEvent(new MouseEvent('dblclick', { bubbles: true }))").await;
    browser
        .until("the whole trace is in view again", WHOLE)
        .await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn following_stops_at_any_touch_and_new_rows_are_counted() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "import", &Context::new());
    for index in 0..60 {
        failed(&tracer, &format!("row {index}"), &root);
    }
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let follows = |yes: &str| {
        format!("return document.querySelector('#follow').getAttribute('aria-pressed') === {yes:?}")
    };
    browser
        .until("a running trace is followed", &follows("true"))
        .await;
    failed(&tracer, "the newest", &root);
    let seen = painted("row('the newest') !== undefined");
    browser.until("the newest row is in view", &seen).await;
    for touch in [
        "dispatchEvent(new WheelEvent('wheel', { deltaY: -1, bubbles: true }))",
        "dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }))",
        "querySelector('[data-span-id]:not([hidden])').click()",
        "scrollTo(0, 28)",
    ] {
        browser
            .ask(&format!("document.querySelector('#tree-scroller').{touch}"))
            .await;
        browser
            .until("a touch stops following", &follows("false"))
            .await;
        for _ in 0..137 {
            failed(&tracer, "one more", &root);
        }
        let pill = "return document.querySelector('#resume-follow:not([hidden])')?.textContent === 'Follow again · 137 new'";
        browser.until("the button counts the new rows", pill).await;
        browser.picture("resume").await;
        browser.click("#resume-follow").await;
        browser
            .until("the page follows again", &follows("true"))
            .await;
    }
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_trace_offers_to_compress_the_time_between_spans() {
    let app = App::start().await;
    let tracer = app.tracer();
    let since = Duration::from_secs(40);
    let root = open_since(&tracer, "nightly job", &Context::new(), since);
    let length = Duration::from_millis(400);
    done(&tracer, "prepare", &root, since, length);
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let offer = "return /^\\d\\d\\.\\d s, 9\\d(\\.\\d)? % between spans · compress\\?$/.test(document.querySelector('#gap-offer:not([hidden])')?.textContent)";
    browser
        .until("the page offers to compress the gap", offer)
        .await;
    let before = width_of(&browser, "prepare").await;
    browser.click("#gap-offer").await;
    let band = "return document.querySelector('.gap-band:not([hidden])')?.textContent.endsWith(' between spans')";
    browser
        .until("the gap is a band with its length", band)
        .await;
    let grown = painted(&format!("width('prepare') > {before} * 5"));
    browser
        .until("the span's bar has grown fivefold", &grown)
        .await;
    let text = "return document.querySelector('.gap-text').textContent";
    let length = browser.ask(text).await;
    let goes_on = format!("return document.querySelector('.gap-text').textContent !== {length}");
    browser
        .until("the band's length still grows", &goes_on)
        .await;
    browser.picture("between-spans").await;
    let half = Duration::from_millis(500);
    done(&tracer, "finish", &root, half, half);
    root.span().end();
    let drawn = painted("width('finish') > 20");
    browser
        .until("the end is drawn beyond the gap", &drawn)
        .await;
    press(&browser, "g").await;
    let none = "return document.querySelector('.gap-band:not([hidden])') === null";
    browser.until("the gap is drawn to scale", none).await;
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn folding_hides_rows_and_keeps_the_mark_of_an_error_inside() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "root", &Context::new());
    let a = open(&tracer, "a", &root);
    let inner = open(&tracer, "inner", &a);
    failed(&tracer, "bad", &inner);
    failed(&tracer, "worse", &root);
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    rows_are(&browser, "all branches are open", "root|a|inner|bad|worse").await;
    press(&browser, "C").await;
    rows_are(&browser, "all branches are closed", "root").await;
    let mark = bar("root", ".querySelector('.below:not([hidden])') !== null");
    browser.until("the error inside is marked", &mark).await;
    let summary = bar(
        "root",
        ".querySelector('.hidden-count').textContent === '1 of 2 done · 1 failed · 1 with errors below · 1 running'",
    );
    browser
        .until("the closed row sums up the spans inside", &summary)
        .await;
    for (key, rows) in [
        ("1", "root|a|worse"),
        ("2", "root|a|inner|worse"),
        ("E", "root|a|inner|bad|worse"),
    ] {
        press(&browser, key).await;
        rows_are(&browser, "the tree is open to the chosen depth", rows).await;
    }
    // The mark is painted, so the test finds it by its position in the row.
    let fold = ".dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: document.querySelector('#tree-rows').getBoundingClientRect().left + 32 }))";
    browser.ask(&bar("a", fold)).await;
    rows_are(&browser, "one branch is closed", "root|a|worse").await;
    press(&browser, "]").await;
    rows_are(
        &browser,
        "] opens the branch of the next error",
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
async fn a_group_of_a_thousand_shows_open_failed_and_slowest_spans() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "fan out", &Context::new());
    let short = Duration::from_millis(1);
    for _ in 0..992 {
        done(&tracer, "page", &root, short, short);
    }
    for _ in 0..3 {
        failed(&tracer, "page", &root);
    }
    let running: Vec<Context> = (0..5).map(|_| open(&tracer, "page", &root)).collect();
    let browser = Browser::open().await;
    show(&app, &browser, &root).await;
    let group = "document.querySelector('#tree-rows [data-group]:not([hidden])')";
    let group_text = format!(
        "return /^group, page, 1,000 spans, 3 failed, 5 running, median [^,]+, longest [^,]+$/
           .test({group}?.getAttribute('aria-label'))"
    );
    browser
        .until("the group's row sums up its spans", &group_text)
        .await;
    browser.picture("group").await;
    let count = |rows: usize| {
        format!(
            "return document.querySelector('#tree-rows').getAttribute('aria-rowcount') === '{rows}'"
        )
    };
    browser
        .until("a followed group shows running spans", &count(1 + 2 + 5))
        .await;
    // Clicks the element under a point near the row's left edge, as the pointer would. No mark is
    // painted there.
    let press_at = |what: &str| {
        format!(
            "const {{ left, top, height }} = {what}.getBoundingClientRect();
             const at = document.elementFromPoint(left + 60, top + height / 2);
             at.closest('button, .tree-row').click(); return true"
        )
    };
    browser.ask(&press_at(group)).await;
    browser.until("a click closes the group", &count(2)).await;
    browser.ask(&press_at(group)).await;
    browser
        .until(
            "another click shows failed, open and slowest spans",
            &count(1 + 2 + 3 + 5 + 5),
        )
        .await;
    press(&browser, "]").await;
    let selected = "return document.querySelector('#tree-rows [aria-selected=true]:not([hidden])')?.dataset.state === 'error'";
    browser.until("the next error is shown", selected).await;
    for context in running {
        context.span().end();
    }
    browser
        .until("ended spans have no rows any more", &count(1 + 2 + 3 + 5))
        .await;
    browser.click(".group-chips button:last-child").await;
    browser
        .until("a chip shows all spans of the group", &count(1_003))
        .await;
    press(&browser, "G").await;
    browser
        .until("without groups, the siblings are rolled up", &count(5))
        .await;
    browser.click("#tree-rows [data-roll-up]").await;
    browser.until("all siblings are shown", &count(1_001)).await;
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
    let placeholder = "document.querySelector('#tree-rows [data-state=placeholder]:not([hidden])')";
    let dashed = painted(&format!(
        "ink({placeholder}, {BAR}) === null && ink({placeholder}, {LABEL})?.[2] > 20"
    ));
    browser
        .until("a dashed line stands for the unseen parent", &dashed)
        .await;
    app.provider.shutdown().unwrap();
    let lost = bar("step", ".dataset.state === 'lost'");
    browser.until("the step is lost", &lost).await;
    let label = bar("step", ".lastElementChild.getAttribute('aria-label')");
    let label = browser.until("the bar has a label", &label).await;
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
    browser.until("all rows are drawn", &all).await;
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
    let rows =
        "return document.querySelector('#tree-rows').getAttribute('aria-rowcount') === '2000'";
    browser.until("all levels are rows", rows).await;
    press(&browser, "End").await;
    let last =
        "return document.querySelector('#tree-rows [aria-level=\"2000\"]:not([hidden])') !== null";
    browser.until("the deepest row is in view", last).await;
    let few = browser
        .ask("return document.querySelector('#tree-rows').childElementCount")
        .await;
    assert!(
        few.as_u64().is_some_and(|count| count < 100),
        "the tree has {few} elements"
    );
    while let Some(context) = chain.pop() {
        context.span().end();
    }
    let ended = "return document.querySelector('#trace-page').dataset.state === 'ok'";
    assert_ne!(
        browser.until("the trace has ended", ended).await,
        Value::Null
    );
    browser.close().await;
    app.stop();
}
