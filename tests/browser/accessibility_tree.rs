//! The page as a screen reader gets it: Chromium's accessibility tree, not the attributes that it is made from.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::{Value, json};

use crate::{
    app::{App, trace_of},
    driver::{Browser, PATIENCE},
};

/// Chromium's accessibility tree of a page.
struct Tree {
    nodes: HashMap<String, Value>,
    root: String,
}

impl Tree {
    async fn of(browser: &Browser) -> Self {
        let answer = browser
            .command("Accessibility.getFullAXTree", json!({}))
            .await;
        let list = answer["nodes"]
            .as_array()
            .expect("the browser returned no list of nodes")
            .clone();
        let id = |node: &Value| node["nodeId"].as_str().unwrap_or_default().to_owned();
        Self {
            root: list.first().map(id).unwrap_or_default(),
            nodes: list.into_iter().map(|node| (id(&node), node)).collect(),
        }
    }

    /// Returns the nodes with these roles below a node, in order. Does not search below a found node.
    fn below<'tree>(&'tree self, id: &str, roles: &[&str]) -> Vec<&'tree str> {
        let children = self
            .nodes
            .get(id)
            .and_then(|node| node["childIds"].as_array());
        let mut found = Vec::new();
        for child in children.into_iter().flatten().filter_map(Value::as_str) {
            if self.is(child, roles) {
                found.push(child);
            } else {
                found.extend(self.below(child, roles));
            }
        }
        found
    }

    fn is(&self, id: &str, roles: &[&str]) -> bool {
        let Some(node) = self.nodes.get(id) else {
            return false;
        };
        let role = node["role"]["value"].as_str().unwrap_or_default();
        node["ignored"] != json!(true) && roles.contains(&role)
    }

    fn name(&self, id: &str) -> String {
        self.nodes[id]["name"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns a property, such as `live`, or null.
    fn property(&self, id: &str, name: &str) -> Value {
        let properties = self.nodes[id]["properties"].as_array();
        let mut all = properties.into_iter().flatten();
        let found = all.find(|property| property["name"] == json!(name));
        found.map_or(Value::Null, |property| property["value"]["value"].clone())
    }

    /// Returns each row's name with the names of its named cells. Returns no rows if there is no such
    /// grid.
    fn rows(&self, grid: &str) -> Vec<(String, Vec<String>)> {
        let grids = self.below(&self.root, &["grid", "treegrid"]);
        let Some(grid) = grids.into_iter().find(|id| self.name(id) == grid) else {
            return Vec::new();
        };
        let cells = |row: &str| {
            let cells = self.below(row, &["gridcell", "cell"]);
            let names = cells.into_iter().map(|cell| self.name(cell));
            names.filter(|name| !name.is_empty()).collect()
        };
        let rows = self.below(grid, &["row"]);
        rows.into_iter()
            .map(|row| (self.name(row), cells(row)))
            .collect()
    }

    /// Returns whether the polite live regions contain all these texts. A screen reader reads out
    /// changes of such a region.
    fn announces(&self, wanted: &[&str]) -> bool {
        let regions = self.below(&self.root, &["status"]);
        let polite = regions
            .into_iter()
            .filter(|id| self.property(id, "live") == json!("polite"));
        let texts = polite.flat_map(|id| self.below(id, &["StaticText"]));
        let announced: Vec<String> = texts.map(|id| self.name(id)).collect();
        let announced: Vec<&str> = announced.iter().flat_map(|text| text.split(". ")).collect();
        wanted.iter().all(|text| announced.contains(text))
    }
}

/// Waits until `ask` returns `expected` for the page's tree.
async fn tree_says<T: PartialEq + std::fmt::Debug>(
    browser: &Browser,
    what: &str,
    ask: impl Fn(&Tree) -> T,
    expected: T,
) {
    let mut last = None;
    let poll = async {
        loop {
            let answer = ask(&Tree::of(browser).await);
            if answer == expected {
                return;
            }
            last = Some(answer);
            browser.until("a frame", "return true").await;
        }
    };
    if tokio::time::timeout(PATIENCE, poll).await.is_err() {
        assert_eq!(last, Some(expected), "{what}");
    }
}

/// Starts a span at the given time.
fn start(tracer: &SdkTracer, name: &'static str, parent: &Context, at: SystemTime) -> Context {
    let span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Server)
        .with_start_time(at);
    parent.with_span(span.start_with_context(tracer, parent))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_state_name_service_and_duration() {
    let app = App::start().await;
    let tracer = app.tracer();
    let begin = SystemTime::now() - Duration::from_secs(5);
    let after = |milliseconds| begin + Duration::from_millis(milliseconds);
    let root = start(&tracer, "order", &Context::new(), begin);
    let charge = start(&tracer, "charge", &root, after(10));
    charge.span().set_attribute(KeyValue::new("card", "visa"));
    charge.span().set_status(Status::error("card declined"));
    charge.span().end_with_timestamp(after(260));
    let ship = start(&tracer, "ship", &root, after(300));
    ship.span().end_with_timestamp(after(1_300));
    root.span().end_with_timestamp(after(2_000));
    let other = start(&tracer, "import", &Context::new(), begin);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    browser.goto(&app.url("")).await;
    let names = |tree: &Tree| -> Vec<String> {
        let rows = tree.rows("Traces");
        rows.into_iter().map(|(name, _)| name).collect()
    };
    let list = [
        "running, import, shop, 1 span",
        "ok, errors below, order, shop, 2.00 s, 3 spans, 1 error, card declined in charge",
    ];
    tree_says(
        &browser,
        "the rows of the list",
        names,
        list.map(String::from).to_vec(),
    )
    .await;
    // A running trace's duration is in its cell and not in the row's name, because screen readers read
    // a name out whenever it changes.
    let ticks = |tree: &Tree| tree.rows("Traces")[0].1.iter().any(|cell| is_seconds(cell));
    tree_says(
        &browser,
        "the running trace's row has a duration",
        ticks,
        true,
    )
    .await;

    browser
        .goto(&app.url(&format!("?trace={}", trace_of(&root))))
        .await;
    let rows = |tree: &Tree| tree.rows("Spans");
    let row = |name: &str, cells: &[&str]| {
        (
            name.to_owned(),
            cells.iter().copied().map(String::from).collect(),
        )
    };
    let spans = vec![
        row(
            "ok, errors below, order, shop, 2.00 s",
            &["order shop", "2.00 s"],
        ),
        row(
            "error, charge, card=visa, shop, 250 ms",
            &["charge card=visa card declined", "250 ms"],
        ),
        row("ok, ship, shop, 1.00 s", &["ship", "1.00 s"]),
    ];
    tree_says(&browser, "the rows of the waterfall", rows, spans).await;
    other.span().end();
    browser.close().await;
    app.stop();
}

/// Returns whether a text is a number of seconds, such as `5.1 s`.
fn is_seconds(text: &str) -> bool {
    text.strip_suffix(" s")
        .is_some_and(|number| number.parse::<f64>().is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_state_are_announced() {
    let app = App::start().await;
    let tracer = app.tracer();
    let now = SystemTime::now();
    let root = start(&tracer, "order", &Context::new(), now);
    let charge = start(&tracer, "charge", &root, now);
    app.provider.force_flush().unwrap();
    let browser = Browser::open().await;
    let id = charge.span().span_context().span_id();
    browser
        .goto(&app.url(&format!("?trace={}&span={id}", trace_of(&root))))
        .await;
    let shown = "return document.querySelector('#inspector-state')?.textContent === 'running'";
    browser.until("the span is inspected", shown).await;
    charge.span().set_status(Status::error("card declined"));
    charge.span().end();
    let failed = |tree: &Tree| tree.announces(&["order: failing", "charge: error"]);
    tree_says(&browser, "the span's failure is announced", failed, true).await;
    root.span().end();
    let done = |tree: &Tree| tree.announces(&["order: ok, errors below"]);
    tree_says(&browser, "the trace's end is announced", done, true).await;

    let import = start(&tracer, "import", &Context::new(), SystemTime::now());
    browser.goto(&app.url("")).await;
    let listed = "return document.querySelector('#list-counts').textContent.startsWith('2 ·')";
    browser.until("both traces are listed", listed).await;
    browser.press_key("ArrowDown").await;
    let focused = "return document.activeElement.getAttribute('aria-label') === 'running, import, shop, 1 span'";
    browser.until("a row has the focus", focused).await;
    import.span().end();
    let done = |tree: &Tree| tree.announces(&["import: ok"]);
    tree_says(
        &browser,
        "the end of the focused trace is announced",
        done,
        true,
    )
    .await;
    browser.close().await;
    app.stop();
}
