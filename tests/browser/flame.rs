//! The flame view in a browser: it has the waterfall's spans, selection and zoom, drawn on a
//! canvas.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    Context,
    trace::{Span as _, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;

use crate::{
    app::{App, trace_of},
    driver::Browser,
};

const SECOND: Duration = Duration::from_secs(1);

/// Opens a span that began ten seconds ago.
fn open_long_ago(tracer: &SdkTracer, name: &'static str, parent: &Context) -> Context {
    let span = tracer
        .span_builder(name)
        .with_start_time(SystemTime::now() - SECOND * 10)
        .start_with_context(tracer, parent);
    parent.with_span(span)
}

/// Makes an ended span that lasted five seconds.
fn done(tracer: &SdkTracer, name: &'static str, parent: &Context) {
    let start = SystemTime::now() - SECOND * 10;
    let mut span = tracer
        .span_builder(name)
        .with_start_time(start)
        .start_with_context(tracer, parent);
    span.end_with_timestamp(start + SECOND * 5);
}

fn selected(name: &str) -> String {
    format!(
        "return document.querySelector('.flame-canvas').getAttribute('aria-label').startsWith('Flame view: {name},')"
    )
}

async fn press(browser: &Browser, key: &str) {
    let event = format!(
        "new KeyboardEvent('keydown', {{ key: {key:?}, bubbles: true, cancelable: true }})"
    );
    browser
        .ask(&format!("document.body.dispatchEvent({event})"))
        .await;
}

/// Presses the mouse on the canvas, at a fraction of its width, in the middle of a row.
async fn click(browser: &Browser, share: f64, row: u32) {
    let place = "const box = document.querySelector('.flame-canvas').getBoundingClientRect(); return [box.left, box.top, box.width]";
    let place: Vec<f64> = serde_json::from_value(browser.ask(place).await).unwrap();
    let (x, y) = (
        place[0] + place[2] * share,
        place[1] + f64::from(row) * 22.0 + 11.0,
    );
    browser.press_mouse([x, y]).await;
}

const PAINTED: &str = "const canvas = document.querySelector('.flame-canvas');
    return canvas.width > 300 && canvas.getContext('2d').getImageData(0, 0, canvas.width, 60).data.some(value => value > 0)";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_a_flame_with_the_selection_of_the_waterfall() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open_long_ago(&tracer, "order", &Context::new());
    done(&tracer, "charge", &root);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    let row = "return document.querySelector('#tree-rows [data-span-id]:not([hidden])') !== null";
    browser.until("the waterfall is drawn", row).await;

    browser.click("#view-flame").await;
    browser.until("the flame is painted", PAINTED).await;
    let aligned = "return Math.abs(document.querySelector('.flame-canvas').getBoundingClientRect().width
        - document.querySelector('#axis').clientWidth) < 1 && document.querySelector('#tree-scroller').offsetParent === null";
    browser
        .until(
            "the flame is as wide as the axis, and the waterfall is hidden",
            aligned,
        )
        .await;
    click(&browser, 0.1, 1).await;
    browser
        .until("a click selects the span", &selected("charge"))
        .await;
    let inspector = "return document.querySelector('#inspector h2').textContent === 'charge'";
    browser
        .until("the inspector shows the selected span", inspector)
        .await;
    let tip = "return document.querySelector('.flame-tip strong').textContent === 'charge'";
    browser
        .until("a tip names the span under the pointer", tip)
        .await;

    press(&browser, "ArrowLeft").await;
    browser
        .until("the left arrow selects the parent", &selected("order"))
        .await;
    press(&browser, "ArrowRight").await;
    browser
        .until("the right arrow selects the child", &selected("charge"))
        .await;
    press(&browser, "f").await;
    let zoomed = "return document.querySelector('#zoom-fit').hidden === false";
    browser.until("f zooms in on the span", zoomed).await;
    browser.picture("flame").await;

    browser.click("#view-waterfall").await;
    let waterfall = "return document.querySelector('#flame').hidden
        && document.querySelector('#tree-rows [aria-selected=true] .span-name')?.textContent === 'charge'";
    browser
        .until("the waterfall has the selection", waterfall)
        .await;
    browser.ask("history.back()").await;
    let flame = "return !document.querySelector('#flame').hidden";
    browser.until("going back shows the flame", flame).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_flame_is_one_canvas_and_shows_its_deepest_span() {
    let app = App::start().await;
    let tracer = app.tracer();
    let mut levels = vec![open_long_ago(&tracer, "top", &Context::new())];
    for _ in 1..2_000 {
        let below = open_long_ago(&tracer, "level", levels.last().unwrap());
        levels.push(below);
    }
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    let deepest = levels.last().unwrap();
    let span = deepest.span().span_context().span_id();
    let url = app.url(&format!(
        "?trace={}&view=flame&span={span}",
        trace_of(deepest)
    ));
    browser.goto(&url).await;
    browser.until("the flame is painted", PAINTED).await;
    let shown = "const flame = document.querySelector('#flame');
        return flame.scrollTop > 2000 * 22 - flame.clientHeight - 44 && flame.querySelectorAll('*').length === 2";
    browser.until("the deepest span is in view", shown).await;
    for level in levels.iter().rev() {
        level.span().end();
    }
    browser.close().await;
    app.stop();
}
