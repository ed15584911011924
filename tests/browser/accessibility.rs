//! Accessibility at three widths: each control can be clicked where it is drawn, axe-core finds no
//! fault in either theme, and the keyboard focus is never lost.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use serde_json::{Value, json};

use crate::{
    app::{App, open, trace_of},
    driver::Browser,
};

/// Lists the controls that cannot be clicked where they are drawn.
const CONTROLS: &str = include_str!("controls.js");
const WIDTHS: [u32; 3] = [1440, 1024, 400];
const ROWS: &str =
    "return document.querySelector('#tree-rows [data-span-id]:not([hidden])') !== null";

/// The accessibility rules of axe-core. `scripts/test` installs it.
fn axe() -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../node_modules/axe-core/axe.min.js"
    );
    std::fs::read_to_string(path).expect("axe-core is installed (`npm ci --ignore-scripts`)")
}

/// A browser that visits all views, and the faults found so far.
struct Visit {
    browser: Browser,
    axe: String,
    width: u32,
    faults: Vec<String>,
}

impl Visit {
    async fn set_width(&mut self, width: u32) {
        self.width = width;
        let height = if width < 500 { 800 } else { 900 };
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.browser
            .command("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Opens an address, and waits until the script `shown` returns true there.
    async fn goto(&self, url: &str, shown: &str) {
        self.browser.goto(url).await;
        self.browser.until("the view is drawn", shown).await;
    }

    /// Adds the faults of the current view. axe-core runs only at the widest and the narrowest
    /// width: its results differ by width only for elements that are hidden at some width.
    async fn audit(&mut self, view: &str) {
        let settled = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))";
        self.browser
            .page
            .execute_async(settled, Vec::new())
            .await
            .expect("the page drew no frame");
        let mut faults: Vec<String> =
            serde_json::from_value(self.browser.ask(CONTROLS).await).unwrap();
        let fits = "return document.documentElement.scrollWidth <= innerWidth";
        if self.browser.ask(fits).await != json!(true) {
            faults.push("the page is wider than its window".to_owned());
        }
        if self.width != WIDTHS[1] {
            for theme in ["light", "dark"] {
                faults.extend(self.rules_broken(theme).await);
            }
        }
        self.browser
            .picture(&format!("{view}-{}", self.width))
            .await;
        self.faults.extend(
            faults
                .into_iter()
                .map(|fault| format!("{view}, {} pixels: {fault}", self.width)),
        );
    }

    async fn rules_broken(&self, theme: &str) -> Vec<String> {
        let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.browser
            .command("Emulation.setEmulatedMedia", wish)
            .await;
        if self.browser.ask("return window.axe === undefined").await == json!(true) {
            // Loaded as a classic script, in which `this` is the window.
            self.browser
                .ask(&format!("(function () {{ {} }}).call(window)", self.axe))
                .await;
        }
        let run = "const done = arguments[0];
            axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations.map(({ id, impact, nodes }) =>
                `${impact} ${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`)), (error) => done([String(error)]))";
        let broken = self.browser.page.execute_async(run, Vec::new()).await;
        serde_json::from_value(broken.expect("axe-core did not run")).unwrap()
    }
}

/// Starts a trace whose names and values are too long for their columns. Returns its root and all
/// its open spans.
fn busy(app: &App) -> (Context, Vec<Context>) {
    let tracer = app.tracer();
    let root = open(
        &tracer,
        "a root span with a name that goes on and on and on",
        &Context::new(),
    );
    let mut open_spans = Vec::new();
    for branch in 0..6 {
        let provider = SdkTracerProvider::builder()
            .with_resource(
                Resource::builder()
                    .with_service_name(format!("service-number-{branch}-of-many"))
                    .build(),
            )
            .with_span_processor(app.live.span_processor())
            .build();
        let tracer = provider.tracer("shop::branch");
        let mut parent = root.clone();
        for level in 0..5 {
            let span = tracer
                .span_builder(format!(
                    "level {level} of branch {branch} with a long name/and/a/path"
                ))
                .start_with_context(&tracer, &parent);
            parent = parent.with_span(span);
            open_spans.push(parent.clone());
        }
    }
    let mut failed = tracer.start_with_context("charge card", &root);
    failed.set_attribute(KeyValue::new("http.response.status_code", 402));
    failed.set_attribute(KeyValue::new("a.key_that/goes-on", "v".repeat(3_000)));
    failed.add_event(
        "exception",
        vec![KeyValue::new("exception.stacktrace", "at x\n".repeat(40))],
    );
    failed.add_link(
        Link::with_context(root.span().span_context().clone()).span_context,
        Vec::new(),
    );
    failed.set_status(Status::error("card declined"));
    failed.end();
    open_spans.push(root.clone());
    (root, open_spans)
}

/// Returns an ended trace with many names on its critical path.
fn finished(app: &App) -> Context {
    let tracer = app.tracer();
    let root = open(&tracer, "many names", &Context::new());
    for step in 0..9 {
        tracer
            .span_builder(format!("operation {step} with a long name of its own"))
            .start_with_context(&tracer, &root)
            .end();
    }
    root.span().end();
    root
}

impl Visit {
    /// Clicks, and waits until the script `then` returns true.
    async fn click(&self, css: &str, then: &str) {
        self.browser.click(css).await;
        self.browser.until(css, then).await;
    }

    async fn audit_list(&mut self, app: &App) {
        let listed = "return document.querySelectorAll('#traces-rows [data-trace-id]:not([hidden])').length === 2";
        self.goto(&app.url(""), listed).await;
        self.audit("list").await;
        if self.width == 400 {
            let is_open = "return document.querySelector('#more-items:popover-open') !== null";
            self.click("#more", is_open).await;
            self.audit("more").await;
        }
        let tail = "return document.querySelector('#tail .log-bar').checkVisibility()";
        self.goto(&app.url("?page=logs"), tail).await;
        self.audit("all-logs").await;
        let wrong = "return !document.querySelector('#filter-wrong').hidden";
        self.goto(&app.url("?q=state:gone"), wrong).await;
        self.audit("wrong-search").await;
    }

    async fn audit_running_trace(&mut self, trace: &str) {
        self.goto(trace, ROWS).await;
        self.audit("trace").await;
        // On a phone, the trace's menu is behind a button.
        let more = "const more = document.querySelector('#trace-more');
            if (more.checkVisibility()) more.click(); return true";
        self.browser.ask(more).await;
        let is_open = "return document.querySelector('.menu-items:popover-open') !== null";
        self.click("#export", is_open).await;
        self.audit("export").await;
        self.browser.press_key("Escape").await;
        let closed = "return document.querySelector(':popover-open') === null && location.search.includes('trace=')";
        self.browser
            .until("Escape closes the menu, and the trace stays open", closed)
            .await;
        let scrubber = "return document.querySelector('#scrubber:not([hidden])') !== null";
        self.click("#history", scrubber).await;
        self.audit("history").await;
        self.goto(&format!("{trace}&find=charge"), ROWS).await;
        let inspected =
            "return document.querySelector('#inspector-state')?.textContent === 'error'";
        self.click("#find-next", inspected).await;
        // Opened by script, because these elements are outside of the visible part.
        self.browser
            .ask("for (const details of document.querySelectorAll('#inspector details')) details.open = true")
            .await;
        self.audit("inspector").await;
        let flame = "return document.querySelector('.flame-canvas').clientHeight > 100";
        self.click("#view-flame", flame).await;
        self.audit("flame").await;
        let records = "return document.querySelector('#logs .log-row:not([hidden])') !== null";
        self.click("#view-logs", records).await;
        self.audit("logs").await;
        let open =
            "return document.querySelector('#logs .log-detail:not([hidden]) .go-to') !== null";
        self.click(".log-row:not([hidden])", open).await;
        self.audit("record").await;
    }

    async fn audit_ended_trace(&mut self, app: &App, trace: &str) {
        self.goto(trace, ROWS).await;
        let path =
            "return document.querySelector('#waiting-for .lead').textContent === 'Critical path'";
        self.browser.until("the critical path is shown", path).await;
        self.audit("ended").await;
        self.browser.press_key("?").await;
        let sheet = "return document.querySelector('#help').open";
        self.browser.until("the help dialog is open", sheet).await;
        self.audit("help").await;
        let unknown = app.url(&format!("?trace={}", "1".repeat(32)));
        let waits = "return document.querySelector('#trace-empty').textContent.includes('Waiting')";
        self.goto(&unknown, waits).await;
        self.audit("unknown").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_control_can_be_clicked_and_axe_finds_no_fault() {
    let app = App::start().await;
    let (root, open_spans) = busy(&app);
    let ended = finished(&app);
    app.provider.force_flush().unwrap();
    let mut visit = Visit {
        browser: Browser::open().await,
        axe: axe(),
        width: 0,
        faults: Vec::new(),
    };
    let address = |context: &Context| app.url(&format!("?trace={}", trace_of(context)));
    for width in WIDTHS {
        visit.set_width(width).await;
        visit.audit_list(&app).await;
        visit.audit_running_trace(&address(&root)).await;
        visit.audit_ended_trace(&app, &address(&ended)).await;
    }
    assert_eq!(visit.faults, Vec::<String>::new());
    for context in open_spans.iter().rev() {
        context.span().end();
    }
    visit.browser.close().await;
    app.stop();
}

/// Describes the focused element as text.
const FOCUS: &str = "const at = document.activeElement;
    return at === document.body ? 'nothing' : at.getAttribute('aria-label') ?? at.textContent";

async fn focus_is(browser: &Browser, what: &str, begins: &str) {
    assert_ne!(begins, "", "every text begins with an empty one");
    let script = format!("return (() => {{ {FOCUS} }})().startsWith({begins:?})");
    browser.until(what, &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_stays_on_the_page_and_rows_say_what_they_are() {
    let app = App::start().await;
    let tracer = app.tracer();
    let root = open(&tracer, "order", &Context::new());
    let first = open(&tracer, "reserve", &root);
    let second = open(&tracer, "audit", &root);
    let mut failed = tracer.start_with_context("charge", &root);
    failed.set_status(Status::error("declined"));
    failed.end();
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    let listed =
        "return document.querySelector('#traces-rows [data-trace-id]:not([hidden])') !== null";
    browser.until("the list is drawn", listed).await;
    browser.press_key("ArrowDown").await;
    focus_is(
        &browser,
        "a row of the list has the focus",
        "failing, order, shop, 4 spans, 1 error",
    )
    .await;
    browser.press_key("Enter").await;
    focus_is(
        &browser,
        "the trace's first row has the focus",
        "failing, order, shop",
    )
    .await;
    browser.press_key("]").await;
    focus_is(
        &browser,
        "the failed span's row has the focus",
        "error, charge, shop, ",
    )
    .await;
    browser.press_key("Enter").await;
    focus_is(&browser, "the inspector has the focus", "Span").await;
    browser.press_key("Escape").await;
    focus_is(
        &browser,
        "the failed span's row has the focus again",
        "error, charge",
    )
    .await;
    the_waiting_line_keeps_its_elements(&browser, &first).await;
    the_tree_keeps_the_focus_while_it_is_scrolled(&browser, &tracer, &root).await;
    second.span().end();
    root.span().end();
    let announced =
        "return document.querySelector('#live').textContent.includes('order: ok, errors below')";
    browser
        .until("the trace's end is announced", announced)
        .await;
    browser
        .ask("document.querySelector('#tree-rows').focus()")
        .await;
    browser.press_key("Escape").await;
    browser.press_key("Escape").await;
    focus_is(
        &browser,
        "the row of the list has the focus again",
        "ok, errors below, order, shop, ",
    )
    .await;
    assert_eq!(browser.ask("return location.search").await, Value::from(""));
    browser.close().await;
    app.stop();
}

async fn the_tree_keeps_the_focus_while_it_is_scrolled(
    browser: &Browser,
    tracer: &SdkTracer,
    root: &Context,
) {
    browser.click("#follow").await;
    browser
        .ask("document.querySelector('#tree-rows [tabindex=\"0\"]:not([hidden])').focus()")
        .await;
    for number in 0..80 {
        let mut row = tracer.start_with_context(format!("row {number}"), root);
        row.set_status(Status::error("no"));
        row.end();
    }
    let all = "return document.querySelector('#tree-rows').getAttribute('aria-rowcount') === '84'";
    browser.until("the trace has 84 rows", all).await;
    let inside = "return document.querySelector('#tree-rows').contains(document.activeElement)";
    browser.until("the tree still has the focus", inside).await;
    browser.press_key("Tab").await;
    assert_ne!(browser.ask(FOCUS).await, json!("nothing"));
}

async fn the_waiting_line_keeps_its_elements(browser: &Browser, first: &Context) {
    browser.click("#waiting-for .chip").await;
    focus_is(browser, "the clicked chip keeps the focus", "+1 more").await;
    let kept = "const links = [...document.querySelectorAll('#waiting-for .link')];
        window.kept ??= links; return links.every((link, at) => link === window.kept[at]) && links.length > 0";
    assert_eq!(browser.ask(kept).await, json!(true));
    first.span().end();
    let went_on = "return document.querySelector('#waiting-for .leaf').textContent === 'audit'";
    browser
        .until("the line shows the next open span", went_on)
        .await;
    assert_eq!(
        browser.ask(kept).await,
        json!(true),
        "the line's links were replaced"
    );
    let is_somewhere = format!("return (() => {{ {FOCUS} }})() !== 'nothing'");
    let what = "an element has the focus after its button is gone";
    browser.until(what, &is_somewhere).await;
}
