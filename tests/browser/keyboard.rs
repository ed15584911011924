//! The dashboard's keys, focus, roles for screen readers, reduced motion and addresses.

use opentelemetry::{
    Context,
    trace::{TraceContextExt as _, Tracer as _},
};
use serde_json::json;

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

async fn press(browser: &Browser, key: &str) {
    let event = format!(
        "new KeyboardEvent('keydown', {{ key: {key:?}, bubbles: true, cancelable: true }})"
    );
    let target = "(document.activeElement ?? document.body)";
    browser
        .ask(&format!("{target}.dispatchEvent({event})"))
        .await;
}

/// Starts the span `order`, which stays open, with two ended children. Returns its context.
fn order(app: &App) -> Context {
    let tracer = app.tracer();
    let root = open(&tracer, "order", &Context::new());
    for name in ["cart", "charge"] {
        let span = tracer.start_with_context(name, &root);
        root.with_span(span).span().end();
    }
    app.provider.force_flush().unwrap();
    root
}

const ROWS: &str =
    "return document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])').length === 3";

fn focused(name: &str) -> String {
    format!(
        "const row = document.activeElement;
         return row.getAttribute('role') === 'row' && row.tabIndex === 0
            && row.querySelector('.span-name')?.textContent === {name:?}
            && document.querySelectorAll('#tree-rows [tabindex=\"0\"]:not([hidden])').length === 1"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_on_the_help_sheet_has_an_effect() {
    let app = App::start().await;
    let root = order(&app);
    let browser = Browser::open().await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    browser.until("the spans are drawn", ROWS).await;
    let idle =
        "return [...document.querySelectorAll('#help-keys kbd')].map(node => node.dataset.key)
        .filter(key => key !== '?' && key !== 'Escape' && key !== 'x')
        .filter(key => {
            document.activeElement.blur();
            const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
            return !event.defaultPrevented;
        })";
    assert_eq!(browser.ask(idle).await, json!([]));
    // The key `x` works only in the list of records.
    browser
        .goto(&app.url(&format!("?trace={}&view=logs", trace_of(&root))))
        .await;
    let time = |text: &str| {
        format!(
            "return [...document.querySelectorAll('#logs .log-extra button')].some(button => button.textContent === {text:?})"
        )
    };
    browser
        .until(
            "records show their time within the trace",
            &time("+ in trace"),
        )
        .await;
    press(&browser, "x").await;
    browser
        .until("x switches to the time of day", &time("Clock"))
        .await;
    browser.ask("document.activeElement.blur()").await;
    press(&browser, "?").await;
    let sheet = "return document.querySelector('#help').open";
    browser.until("the help dialog is open", sheet).await;
    browser.picture("keys").await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_has_the_focus_and_it_moves_with_the_arrows() {
    let app = App::start().await;
    let root = order(&app);
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    let list = "return document.querySelectorAll('#traces-rows [data-trace-id]:not([hidden])').length === 1";
    browser.until("the list is drawn", list).await;
    press(&browser, "j").await;
    let row =
        "return document.activeElement.dataset.traceId && document.activeElement.tabIndex === 0";
    browser.until("a row of the list has the focus", row).await;
    press(&browser, "Enter").await;
    browser.until("the trace is open", ROWS).await;
    press(&browser, "ArrowDown").await;
    browser
        .until("the first row has the focus", &focused("order"))
        .await;
    press(&browser, "ArrowDown").await;
    browser
        .until("the second row has the focus", &focused("cart"))
        .await;
    press(&browser, "End").await;
    browser
        .until("the last row has the focus", &focused("charge"))
        .await;
    press(&browser, "ArrowLeft").await;
    browser
        .until("the parent has the focus", &focused("order"))
        .await;
    press(&browser, "ArrowLeft").await;
    let collapsed = "return document.activeElement.getAttribute('aria-expanded') === 'false'
        && document.querySelector('#tree-rows').getAttribute('aria-rowcount') === '1'";
    browser.until("the parent is collapsed", collapsed).await;
    press(&browser, "Escape").await;
    let closed = "return document.querySelector('#inspector').hidden";
    browser.until("the inspector is closed", closed).await;
    press(&browser, "Escape").await;
    browser.until("the list is back", list).await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_reader_hears_counts_and_not_rows() {
    let app = App::start().await;
    let root = order(&app);
    let browser = Browser::open().await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    let counts = "return document.querySelector('#live').textContent === '3 spans, 1 open, 0 errors, 0 lost'";
    browser.until("the counts are announced", counts).await;
    let roles = "const tree = document.querySelector('#tree-rows');
        return tree.getAttribute('role') === 'treegrid' && tree.closest('[aria-live]') === null
            && [...tree.querySelectorAll('[aria-live]')].length === 0
            && [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')].every(row => row.getAttribute('role') === 'row'
                && row.hasAttribute('aria-level') && row.hasAttribute('aria-rowindex') && row.hasAttribute('aria-selected'))";
    browser
        .until("rows have a role, a level and an index", roles)
        .await;
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn reduced_motion_stops_all_animations() {
    let app = App::start().await;
    let root = order(&app);
    let browser = Browser::open().await;
    let wish = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    browser.command("Emulation.setEmulatedMedia", wish).await;
    let url = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&url).await;
    browser.until("the spans are drawn", ROWS).await;
    let still = "return document.getAnimations().length === 0";
    browser.until("nothing is animated", still).await;
    // Without reduced motion, the stripes of the running bar would have moved while its label
    // counted up.
    let query = "const running = document.querySelector('#tree-rows [data-state=running]:not([hidden])');
        const canvas = document.querySelector('#tree-rows > .row-canvas');
        const x = document.querySelector('#axis').getBoundingClientRect().left - canvas.getBoundingClientRect().left;
        const y = running.getBoundingClientRect().top - canvas.getBoundingClientRect().top + 8;
        const label = running.lastElementChild.getAttribute('aria-label');
        const ink = [...canvas.getContext('2d').getImageData(x, y, 8, 1).data].join();";
    let before = browser
        .until(
            "a running span has a bar and a label",
            &format!("{query} return label && [label, ink]"),
        )
        .await;
    let after = format!("{query} return label !== {} && [ink]", before[0]);
    let after = browser
        .until("the running span's label has changed", &after)
        .await;
    assert_eq!(after[0], before[1]);
    root.span().end();
    browser.close().await;
    app.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_restores_the_view() {
    let app = App::start().await;
    let root = order(&app);
    root.span().end();
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    let plain = app.url(&format!("?trace={}", trace_of(&root)));
    browser.goto(&plain).await;
    browser.until("the spans are drawn", ROWS).await;
    let wide = "return document.querySelector('#axis').clientWidth > 300";
    browser.until("there is a time axis", wide).await;
    press(&browser, "w").await;
    let zoomed = "return location.search.includes('from=') && location.search.includes('to=') && document.querySelector('#zoom-fit').textContent";
    let zoom = browser.until("the zoom is in the address", zoomed).await;
    let address = browser.ask("return location.href").await;
    browser.goto(&app.url("")).await;
    browser.goto(address.as_str().unwrap()).await;
    let same = format!("return document.querySelector('#zoom-fit').textContent === {zoom}");
    browser.until("the zoom is the same", &same).await;

    let garbage = "&from=x&to=5&at=soon&view=pie&span=%00&order=up&find=";
    browser.goto(&format!("{plain}{garbage}")).await;
    browser.until("the spans are drawn", ROWS).await;
    let whole = "return document.querySelector('#zoom-fit').hidden && document.querySelector('#inspector').hidden
        && document.querySelector('#tree').dataset.view === 'waterfall'";
    browser.until("invalid parameters are ignored", whole).await;
    browser.close().await;
    app.stop();
}
