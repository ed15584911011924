//! The events of one run of a workflow.

use std::{
    cell::Cell,
    error::Error,
    future::{Ready, pending, ready},
    io,
    pin::pin,
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use livespan::workflow::{
    Failure, Step, StepKind, StepSpan, Workflow, Workflows, attributes, marker,
};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{
    error_with_cause::Declined,
    event_lines::{event, logged_lines, parent, turn},
};
use crate::{spans::live_provider::Watched, support::block_on};

fn order(watched: &Watched) -> Workflow {
    Workflows::new(&watched.live)
        .namespace("orders")
        .instance("order-42")
}

fn done() -> Ready<Result<(), io::Error>> {
    ready(Ok(()))
}

#[test]
fn a_workflow_is_one_trace_with_nested_steps() {
    let watched = Watched::new();
    let wf = order(&watched);
    let run = wf.run("Order", async {
        wf.step("charge", done()).await?;
        let ship = wf.scope("ship", |wf| async move {
            wf.step("label", done()).await?;
            wf.step("pick up", done()).await
        });
        ship.await
    });
    block_on(run).unwrap();
    let expected = [
        "started Order",
        "started charge",
        "ended charge",
        "started ship",
        "started label",
        "ended label",
        "started pick up",
        "ended pick up",
        "ended ship",
        "ended Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    // Nested steps stay nested. `@oselvar/ssetarget` flattens them.
    let events = watched.events();
    assert_eq!(parent(&events, "label"), "ship");
    assert_eq!(parent(&events, "ship"), "Order");
    let trace = wf.trace_id().to_string();
    assert!(events.iter().skip(1).all(|one| one["traceId"] == trace));
    assert!(events.iter().skip(1).all(|one| one["durable"] == true));
    let root = event(&events, "started", "Order");
    assert_eq!(root["parentSpanId"], json!(null));
    let expected = json!({
        "workflow.instance.id": "order-42",
        "workflow.definition.name": "Order",
        "workflow.namespace": "orders",
    });
    assert_eq!(root["attributes"], expected);
}

/// `@oselvar/ssetarget` does not say what a step does.
#[test]
fn steps_say_what_they_do_and_what_they_wait_for() {
    let watched = Watched::new();
    let wf = order(&watched);
    block_on(async {
        wf.step(
            Step::new("charge").attempt(2).attribute("cents", 999),
            ready(()),
        )
        .await;
        wf.sleep(
            Step::new("nap").lasting(Duration::from_millis(1500)),
            ready(()),
        )
        .await;
        wf.sleep_until(
            "dawn",
            UNIX_EPOCH + Duration::from_secs(1_795_347_540),
            ready(()),
        )
        .await;
        wf.wait("approval", ready("yes")).await;
        let vote = Step::new("vote")
            .event("votes/42")
            .timeout(Duration::from_secs(60));
        wf.wait(vote, ready(Some(1))).await;
        wf.scope("ship", |_| ready(())).await;
    });
    let events = watched.events();
    let id = json!("order-42");
    let expected = [
        (
            "charge",
            json!({"workflow.instance.id": id, "workflow.step.kind": "do", "workflow.step.attempts": 2, "cents": 999}),
        ),
        (
            "nap",
            json!({"workflow.instance.id": id, "workflow.step.kind": "sleep", "workflow.sleep.duration_ms": 1500}),
        ),
        (
            "dawn",
            json!({"workflow.instance.id": id, "workflow.step.kind": "sleep", "workflow.sleep.until": "2026-11-22T11:39:00.000000000Z"}),
        ),
        (
            "approval",
            json!({"workflow.instance.id": id, "workflow.step.kind": "wait", "workflow.wait.event": "approval"}),
        ),
        (
            "vote",
            json!({"workflow.instance.id": id, "workflow.step.kind": "wait", "workflow.wait.event": "votes/42", "workflow.wait.timeout_ms": 60000}),
        ),
        (
            "ship",
            json!({"workflow.instance.id": id, "workflow.step.kind": "scope"}),
        ),
    ];
    for (name, attributes) in expected {
        assert_eq!(event(&events, "ended", name)["attributes"], attributes);
    }
    // The end of a sleep and the time-out of a wait are computed from the time of the start. A
    // replay starts at another time, so only the first `started` event has them.
    for (name, key) in [
        ("nap", attributes::SLEEP_UNTIL),
        ("vote", attributes::WAIT_UNTIL),
    ] {
        let started = event(&events, "started", name);
        let until = started["attributes"][key].as_str().unwrap();
        assert!(until > started["timestamp"].as_str().unwrap(), "{started}");
    }
}

/// `@oselvar/ssetarget` hides the attempts of a step.
#[test]
fn attempts_of_a_step_are_reported_as_they_fail() {
    let watched = Watched::new();
    let wf = order(&watched);
    let charge = |span: StepSpan| async move {
        span.retry(&"no answer");
        span.retry(&io::Error::other("no answer yet"));
        span.set_attribute("receipt", "r-1");
        Ok::<_, io::Error>(span)
    };
    let late = block_on(wf.step_with("charge", charge)).unwrap();
    late.retry(&"after its end");
    late.set_attribute("after", "its end");
    let expected = [
        "started charge",
        "updated charge",
        "updated charge",
        "updated charge",
        "ended charge",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let events = watched.events();
    let attempts: Vec<_> = events
        .iter()
        .filter(|one| one["type"] == "updated")
        .map(|one| one["attributes"].clone())
        .collect();
    let expected = [
        json!({"workflow.step.attempts": 2}),
        json!({"workflow.step.attempts": 3}),
        json!({"receipt": "r-1"}),
    ];
    assert_eq!(attempts, expected);
    let ended = event(&events, "ended", "charge");
    let expected = json!({
        "workflow.instance.id": "order-42", "workflow.step.kind": "do", "workflow.step.attempts": 3, "receipt": "r-1",
    });
    assert_eq!(ended["attributes"], expected);
    let retries: Vec<_> = ended["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].clone(), one["attributes"].clone()))
        .collect();
    let expected = [
        (
            json!("retry"),
            json!({"attempt": 1, "exception.message": "no answer"}),
        ),
        (
            json!("retry"),
            json!({"attempt": 2, "exception.message": "no answer yet"}),
        ),
    ];
    assert_eq!(retries, expected);
}

#[test]
fn the_reports_of_a_step_are_bounded() {
    let watched = Watched::new();
    let wf = order(&watched);
    let chatty = |span: StepSpan| async move {
        for number in 0..200 {
            span.retry(&number);
            span.set_attribute(format!("key{number}"), number);
        }
    };
    block_on(wf.step_with("charge", chatty));
    let ended = event(&watched.events(), "ended", "charge");
    assert_eq!(
        ended["dropped"],
        json!({"attributes": 72, "events": 72, "links": 0})
    );
    assert_eq!(ended["events"].as_array().unwrap().len(), 128);
    assert_eq!(ended["attributes"].as_object().unwrap().len(), 128 + 3);
}

/// A type that is not an error itself, but can be viewed as one in two ways, like the errors of
/// `anyhow` and of some engines.
#[derive(Debug)]
struct Dressed(Declined);

impl AsRef<dyn Error + Send + Sync> for Dressed {
    fn as_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &self.0
    }
}

impl AsRef<dyn Error> for Dressed {
    fn as_ref(&self) -> &(dyn Error + 'static) {
        &self.0
    }
}

#[test]
fn a_failure_is_reported_with_its_causes_in_whatever_form_it_comes() {
    let watched = Watched::new();
    let wf = order(&watched);
    let declined = || Declined(io::Error::other("bank is closed"));
    block_on(async {
        wf.step("error", ready(Err::<(), _>(declined())))
            .await
            .unwrap_err();
        let boxed: Box<dyn Error + Send + Sync> = Box::new(declined());
        wf.step("boxed", ready(Err::<(), _>(boxed)))
            .await
            .unwrap_err();
        let local: Box<dyn Error> = Box::new(declined());
        wf.step("local", ready(Err::<(), _>(local)))
            .await
            .unwrap_err();
        wf.step("dressed", ready(Err::<(), _>(Dressed(declined()))))
            .await
            .unwrap_err();
        wf.step("text", ready(Err::<(), _>("no money".to_owned())))
            .await
            .unwrap_err();
        wf.step("failure", ready(Err::<(), _>(Failure::new("no luck"))))
            .await
            .unwrap_err();
        let judged = wf.step_classified("response", ready(Response(500)), |response| {
            (response.0 >= 500).then(|| Failure::new(format!("status {}", response.0)))
        });
        judged.await;
        wf.step("mine", ready(Mine)).await;
    });
    let events = watched.events();
    let chain = "card declined: bank is closed";
    let messages = [
        ("error", chain),
        ("boxed", chain),
        ("local", chain),
        ("dressed", chain),
        ("text", "no money"),
        ("failure", "no luck"),
        ("response", "status 500"),
    ];
    for (name, message) in messages {
        let ended = event(&events, "ended", name);
        assert_eq!(
            ended["status"],
            json!({"code": "ERROR", "message": message}),
            "{name}"
        );
    }
    let exception = &event(&events, "ended", "error")["events"][0];
    assert_eq!(exception["name"], "exception");
    let expected = json!({
        "exception.type": std::any::type_name::<Declined>(),
        "exception.message": "card declined",
        "exception.stacktrace": "card declined\ncaused by: bank is closed",
    });
    assert_eq!(exception["attributes"], expected);
    assert_eq!(
        event(&events, "ended", "mine")["status"],
        json!({"code": "OK"})
    );
}

struct Response(u16);

/// A type of the app that is never a failure.
struct Mine;

impl livespan::workflow::Outcome<marker::Plain> for Mine {}

#[test]
fn a_cancelled_run_ends_its_dropped_spans_as_cancelled() {
    let watched = Watched::new();
    let wf = order(&watched);
    {
        let mut run = pin!(wf.run("Order", async {
            wf.wait("approval", pending::<()>()).await;
        }));
        assert!(turn(run.as_mut()).is_pending());
        wf.cancel("the customer left");
    }
    let failed = wf.step(
        "refund",
        ready(Err::<(), _>(Failure::cancelled("too late"))),
    );
    block_on(failed).unwrap_err();
    let expected = [
        "started Order",
        "started approval",
        "waiting approval",
        "cancelled approval",
        "cancelled Order",
        "started refund",
        "cancelled refund",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let events = watched.events();
    let status = json!({"code": "ERROR", "message": "the customer left"});
    assert_eq!(event(&events, "ended", "Order")["status"], status);
    assert_eq!(event(&events, "ended", "Order")["events"], json!(null));
}

#[test]
fn the_parent_of_a_step_in_a_hidden_one_is_the_nearest_visible_step() {
    let watched = Watched::new();
    let shown = order(&watched);
    let run = |wf: Workflow| async move {
        wf.run("Order", async {
            let wf = &wf;
            wf.scope("outer", |wf| async move {
                wf.scope(
                    "internal",
                    |wf| async move { wf.step("label", ready(())).await },
                )
                .await;
            })
            .await;
        })
        .await;
    };
    block_on(run(shown));
    let plain = watched.events();

    let watched = Watched::new();
    let tracer = watched.tracer();
    let wf = order(&watched)
        .emit_if(|step: &Step| !(step.name() == "internal" && step.kind() == StepKind::Scope));
    block_on(wf.run("Order", async {
        let tracer = &tracer;
        wf.scope("outer", |wf| async move {
            let inner = wf.scope("internal", |wf| async move {
                drop(tracer.start("query"));
                wf.step("label", ready(())).await;
            });
            inner.await;
        })
        .await;
    }));
    let events = watched.events();
    assert_eq!(parent(&events, "label"), "outer");
    assert_eq!(parent(&events, "query"), "outer");
    assert!(
        !logged_lines(&watched)
            .iter()
            .any(|line| line.contains("internal"))
    );
    // Hiding a span does not change any id.
    let id = |events| event(events, "started", "label")["spanId"].clone();
    assert_eq!(id(&events), id(&plain));
}

#[test]
fn spans_opened_inside_a_step_become_its_children_across_pauses() {
    let watched = Watched::new();
    let tracer = watched.provider.tracer("app");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer.clone());
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let wf = order(&watched);
    block_on(wf.run("Order", async {
        drop(tracing::info_span!("by tracing in the root").entered());
        let charge = wf.step("charge", async {
            tracer.start("by opentelemetry").end();
            tokio::task::yield_now().await;
            tracer.start("after a pause").end();
            let _span = tracing::info_span!("by tracing").entered();
            tracer.start("below tracing").end();
        });
        charge.await;
        // The step has ended, so its context is no longer current.
        tracer.start("beside").end();
    }));
    let events = watched.events();
    let parents = [
        "by tracing in the root",
        "by opentelemetry",
        "after a pause",
        "by tracing",
        "below tracing",
        "beside",
    ]
    .map(|name| parent(&events, name));
    assert_eq!(
        parents,
        ["Order", "charge", "charge", "charge", "by tracing", "Order"]
    );
    assert!(!events.iter().any(|one| one["parentRemote"] == true));
    assert!(!Context::current().span().span_context().is_valid());
}

#[test]
fn a_workflow_that_is_started_in_a_trace_links_to_it() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let wf = order(&watched);
    tracer.in_span("request", |cx| {
        cx.span()
            .set_attribute(KeyValue::new("http.route", "/orders"));
        block_on(wf.run("Order", ready(())));
    });
    let events = watched.events();
    let request = event(&events, "started", "request");
    let root = event(&events, "started", "Order");
    assert_eq!(root["parentSpanId"], json!(null));
    assert_eq!(root["links"][0]["traceId"], request["traceId"]);
    assert_eq!(root["links"][0]["spanId"], request["spanId"]);
    assert_ne!(root["traceId"], request["traceId"]);
}

/// `@oselvar/ssetarget` calls the step before it sends the start.
#[test]
fn a_start_is_reported_before_the_work_begins() {
    let watched = Watched::new();
    let wf = order(&watched);
    let seen = Cell::new(false);
    let step = wf.step("charge", async {
        let lines = logged_lines(&watched);
        seen.set(lines == ["started charge"]);
        assert_eq!(lines, ["started charge"]);
    });
    assert_eq!(
        logged_lines(&watched),
        [""; 0],
        "an event was sent before the first poll"
    );
    block_on(step);
    assert!(seen.get());
}

#[test]
fn futures_of_one_thread_and_of_many_are_wrapped() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let watched = Watched::new();
    let wf = order(&watched);
    let run = is_send(wf.run("Order", async { wf.step("charge", done()).await }));
    block_on(run).unwrap();
    let local = Rc::new(Cell::new(0));
    let turns = Rc::clone(&local);
    let wf = Workflows::new(&watched.live)
        .instance("other")
        .replaying(move || turns.get() > 9);
    block_on(wf.step("count", async { local.set(local.get() + 1) }));
    assert_eq!(local.get(), 1);
}

#[test]
fn a_log_without_a_provider_shows_workflows_as_a_process_of_their_own() {
    let live = livespan::LiveSpans::builder().build().unwrap();
    let wf = Workflows::new(&live).instance("order-42");
    block_on(wf.run("Order", ready(())));
    live.target().flush(crate::support::PATIENCE).unwrap();
    let mut all = live.target().subscribe(livespan::sse::Subscribe::all());
    let transcript = crate::spans::live_provider::transcript(
        &crate::spans::live_provider::payloads(&crate::spans::live_provider::read(&mut all)),
    );
    assert_eq!(transcript, ["process", "started Order", "ended Order"]);
}
