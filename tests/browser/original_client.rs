//! A page written for `@oselvar/ssetarget` 4.0.5, served by a local workflow engine. That package has
//! no browser code. Its clients use an `EventSource` with listeners for `started` and `ended`, and
//! the package's types of these events. This page reads the same events and fields. It starts and
//! resumes a workflow as the package's README does.

use std::io;

use axum::{response::Html, routing::get};
use livespan::{
    LiveSpans,
    local_workflow::{Engine, Instance, StepError},
};
use serde_json::json;

use crate::driver::Browser;

/// Builds a tree from the fields in the package's types, in which an `ended` event has neither name
/// nor parent. The root's span id is the trace id, which is the instance. Faults of the events are
/// added to `window.faults`.
const PAGE: &str = "<!doctype html><title>workflow</title><script>
window.faults = [];
window.onerror = (message) => { window.faults.push(String(message)); };
const isText = (value) => typeof value === 'string' && value !== '';
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
function check(holds, what) { if (!holds) window.faults.push(what); }
function common(instance, data, event) {
  check(data.traceId === instance, 'traceId ' + data.traceId);
  check(isText(data.spanId), 'spanId');
  check(isObject(data.attributes), 'attributes');
  check(!Number.isNaN(new Date(data.timestamp).getTime()), 'timestamp ' + data.timestamp);
  check(isText(event.lastEventId), 'id');
}
async function watch() {
  const created = await fetch('/', { method: 'POST' });
  const instance = created.headers.get('Location').slice(1);
  const spans = new Map();
  window.state = () => [...spans.values()].map(({ name, parent, status }) =>
    [name, parent === null ? null : spans.get(parent).name, status]);
  window.instance = instance;
  const source = new EventSource('/' + instance + '/sse');
  source.addEventListener('started', (event) => {
    const data = JSON.parse(event.data);
    common(instance, data, event);
    check(!spans.has(data.spanId), 'started twice: ' + data.name);
    check(data.parentSpanId === null ? data.spanId === instance : spans.has(data.parentSpanId), 'parent of ' + data.name);
    spans.set(data.spanId, { name: data.name, parent: data.parentSpanId, status: null });
  });
  source.addEventListener('ended', (event) => {
    const data = JSON.parse(event.data);
    common(instance, data, event);
    const span = spans.get(data.spanId);
    check(span.status === null, 'ended twice: ' + span.name);
    span.status = data.status.code === 'OK' ? 'OK' : data.status.code + ': ' + data.status.message;
    if (data.spanId === instance) window.done = true;
  });
}
watch();
</script>";

async fn my_workflow(wf: Instance, _input: serde_json::Value) -> Result<(), StepError> {
    let done = || async { Ok::<_, io::Error>(()) };
    wf.step("step-1", done).await?;
    let failed = wf
        .step("doomed", || async { Err::<(), _>("no luck") })
        .await;
    failed.unwrap_err();
    wf.wait_for_event::<serde_json::Value>("approval").await?;
    wf.step("step-2", done).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_original_reads_a_local_workflow_to_its_end() {
    let live = LiveSpans::builder().build().unwrap();
    let engine = Engine::builder(&live).build("MyWorkflow", my_workflow);
    let app = engine.router().route("/page", get(|| async { Html(PAGE) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let browser = Browser::open().await;
    browser.goto(&format!("http://{address}/page")).await;
    let waits = "return window.state && window.state().some(([name]) => name === 'approval')";
    browser.until("the approval started", waits).await;
    let before = json!([
        ["MyWorkflow", null, null],
        ["step-1", "MyWorkflow", "OK"],
        ["doomed", "MyWorkflow", "ERROR: no luck"],
        ["approval", "MyWorkflow", null],
    ]);
    assert_eq!(browser.ask("return window.state()").await, before);
    browser
        .ask("fetch('/' + window.instance + '/event', { method: 'POST' })")
        .await;
    browser
        .until("the workflow ended", "return window.done")
        .await;
    let after = json!([
        ["MyWorkflow", null, "OK"],
        ["step-1", "MyWorkflow", "OK"],
        ["doomed", "MyWorkflow", "ERROR: no luck"],
        ["approval", "MyWorkflow", "OK"],
        ["step-2", "MyWorkflow", "OK"],
    ]);
    assert_eq!(browser.ask("return window.state()").await, after);
    assert_eq!(browser.ask("return window.faults").await, json!([]));
    browser.close().await;
    live.shutdown().unwrap();
    server.abort();
}
