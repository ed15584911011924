//! Steps, their failures, and the life of instances.

use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use livespan::{
    LiveSpans, Retention,
    local_workflow::{
        Backoff, Engine, EngineError, Instance, InstanceState, StepError, StepOptions, WaitOptions,
    },
};
use serde_json::json;

use crate::{
    spans::live_provider::Watched,
    support::block_on,
    workflow::{
        error_with_cause::Declined,
        event_lines::{event, logged_lines, parent},
    },
};

/// Runs on a paused clock, which advances only while every task waits.
fn on_paused_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

async fn ok() -> Result<(), io::Error> {
    Ok(())
}

#[test]
fn kinds_and_nesting_are_on_the_wire() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        wf.step("charge", ok).await?;
        wf.sleep("cool down", Duration::from_secs(60)).await;
        wf.sleep_until("open", SystemTime::now() + Duration::from_secs(3600))
            .await;
        let ship = wf.scope("ship", |wf| async move { wf.step("label", ok).await });
        ship.await?;
        wf.wait_for_event::<()>("approval").await
    });
    on_paused_time(async {
        let id = engine.create(()).unwrap();
        engine.send_event(&id, "approval", ()).unwrap();
        let state = engine.finished(&id).await.unwrap();
        assert_eq!(state, InstanceState::Done(json!(null)));
    });
    let events = watched.events();
    let kinds = ["charge", "cool down", "open", "ship", "label", "approval"].map(|name| {
        let started = event(&events, "started", name);
        let kind = started["attributes"]["workflow.step.kind"].as_str();
        (name, kind.unwrap().to_owned(), parent(&events, name))
    });
    let expected = [
        ("charge", "do", "Order"),
        ("cool down", "sleep", "Order"),
        ("open", "sleep", "Order"),
        ("ship", "scope", "Order"),
        ("label", "do", "ship"),
        ("approval", "wait", "Order"),
    ];
    let expected = expected.map(|(name, kind, parent)| (name, kind.to_owned(), parent.to_owned()));
    assert_eq!(kinds, expected);
}

#[test]
fn a_retried_step_is_one_span_that_counts_its_attempts() {
    let watched = Watched::new();
    let tried = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tried);
    let engine = Engine::builder(&watched.live).build("Order", move |wf: Instance, (): ()| {
        let tried = Arc::clone(&counted);
        async move {
            let flaky = StepOptions::new("flaky")
                .retries(5)
                .delay(Duration::from_secs(1))
                .backoff(Backoff::Exponential);
            let begun = tokio::time::Instant::now();
            wf.step(flaky, || {
                let attempt = tried.fetch_add(1, Ordering::Relaxed);
                async move {
                    if attempt < 3 {
                        Err("not yet")
                    } else {
                        Ok(attempt)
                    }
                }
            })
            .await?;
            Ok::<_, StepError>(begun.elapsed().as_secs())
        }
    });
    let state = on_paused_time(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    assert_eq!(state, InstanceState::Done(json!(1 + 2 + 4)));
    let updated = "updated flaky";
    let expected = [
        "started Order",
        "started flaky",
        updated,
        updated,
        updated,
        "ended flaky",
        "ended Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let ended = event(&watched.events(), "ended", "flaky");
    assert_eq!(ended["attributes"]["workflow.step.attempts"], 4);
    let retries = ended["events"].as_array().unwrap().iter();
    let retries: Vec<_> = retries.map(|retry| retry["attributes"].clone()).collect();
    let expected =
        [1, 2, 3].map(|attempt| json!({"attempt": attempt, "exception.message": "not yet"}));
    assert_eq!(retries, expected);
}

#[test]
fn a_step_that_fails_reports_its_cause_and_fails_its_instance() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let declined = || async { Err::<(), _>(Declined(io::Error::other("no funds"))) };
        wf.step(StepOptions::new("charge").retries(1), declined)
            .await
    });
    let state = block_on(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let InstanceState::Failed(failure) = state else {
        panic!("{state:?} is no failure");
    };
    assert_eq!(failure.to_string(), "card declined: no funds");
    let events = watched.events();
    let charge = event(&events, "ended", "charge");
    let status = json!({"code": "ERROR", "message": "card declined: no funds"});
    assert_eq!(
        (
            &charge["status"],
            &event(&events, "ended", "Order")["status"]
        ),
        (&status, &status)
    );
    assert_eq!(charge["attributes"]["workflow.step.attempts"], 2);
    let exception = &charge["events"][1]["attributes"];
    let text = exception["exception.stacktrace"].as_str().unwrap();
    assert_eq!(text, "card declined\ncaused by: no funds");
}

#[test]
fn an_attempt_whose_time_is_up_is_dropped_and_tried_again() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let slow = StepOptions::new("slow")
            .retries(1)
            .timeout(Duration::from_secs(30));
        let error = wf
            .step(slow, pending::<Result<(), String>>)
            .await
            .unwrap_err();
        Ok::<_, StepError>((error.is_timed_out(), error.to_string()))
    });
    let state = on_paused_time(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let message = "the attempt did not finish within 30s";
    assert_eq!(state, InstanceState::Done(json!([true, message])));
    let expected = [
        "started Order",
        "started slow",
        "updated slow",
        "failed slow",
        "ended Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let status = json!({"code": "ERROR", "message": message});
    assert_eq!(event(&watched.events(), "ended", "slow")["status"], status);
}

#[test]
fn a_step_that_panics_fails_and_the_engine_goes_on() {
    let watched = Watched::new();
    let engine =
        Engine::builder(&watched.live).build("Order", |wf: Instance, bad: bool| async move {
            let work = || async move {
                assert!(!bad, "out of luck");
                ok().await
            };
            wf.step("charge", work).await
        });
    let states = block_on(async {
        let ids = [true, false].map(|bad| engine.create(bad).unwrap());
        [
            engine.finished(&ids[0]).await.unwrap(),
            engine.finished(&ids[1]).await.unwrap(),
        ]
    });
    let InstanceState::Failed(failure) = &states[0] else {
        panic!("{states:?}");
    };
    assert_eq!(failure.to_string(), "panicked: out of luck");
    let events = watched.events();
    let charge = events
        .iter()
        .find(|event| event["type"] == "ended" && event["name"] == "charge")
        .unwrap();
    assert_eq!(
        (&charge["panicked"], &charge["status"], &charge["panic"]),
        (
            &json!(true),
            &json!({"code": "ERROR", "message": "out of luck"}),
            &json!({"message": "out of luck"})
        )
    );
    assert_eq!(states[1], InstanceState::Done(json!(null)));
}

#[test]
fn a_function_that_panics_leaves_nothing_waiting() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let both = wf.scope("both", |wf| async move {
            let waits = wf.wait_for_event::<()>("approval");
            let panics = async {
                tokio::task::yield_now().await;
                panic!("out of luck")
            };
            tokio::join!(waits, panics).0
        });
        Box::pin(both).await
    });
    block_on(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let expected = [
        "started Order",
        "started both",
        "started approval",
        "waiting approval",
        "cancelled approval",
        "cancelled both",
        "panicked Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn a_cancelled_instance_ends_all_its_spans_with_the_reason() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let outer = wf.scope("outer", |wf| async move {
            wf.wait_for_event::<()>("approval").await
        });
        Box::pin(outer).await
    });
    let (id, state) = block_on(async {
        let id = engine.create(()).unwrap();
        tokio::task::yield_now().await;
        engine.cancel(&id, "changed my mind").unwrap();
        let state = engine.finished(&id).await.unwrap();
        (id, state)
    });
    assert_eq!(
        state,
        InstanceState::Cancelled("changed my mind".to_owned())
    );
    assert_eq!(engine.cancel(&id, "again"), Err(EngineError::Over));
    let expected = [
        "started Order",
        "started outer",
        "started approval",
        "waiting approval",
        "cancelled approval",
        "cancelled outer",
        "cancelled Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let events = watched.events();
    for name in ["approval", "outer", "Order"] {
        let status = json!({"code": "ERROR", "message": "changed my mind"});
        assert_eq!(event(&events, "ended", name)["status"], status, "{name}");
    }
}

#[test]
fn a_step_that_loses_a_race_is_over_not_waiting() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        tokio::select! {
            biased;
            answer = wf.wait_for_event::<()>("answer") => answer?,
            () = wf.sleep("patience", Duration::from_secs(5)) => {}
        }
        wf.step("go on", ok).await
    });
    on_paused_time(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let expected = [
        "started Order",
        "started answer",
        "waiting answer",
        "started patience",
        "waiting patience",
        "ended patience",
        "cancelled answer",
        "started go on",
        "ended go on",
        "ended Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

/// Returns an engine whose workflow waits for its event.
fn waiting(live: &LiveSpans, instances_max: usize) -> Engine {
    let builder = Engine::builder(live).instances_max(instances_max);
    builder.build("Order", |wf: Instance, (): ()| async move {
        wf.wait_for_event::<()>("go").await
    })
}

#[test]
fn running_instances_are_cancelled_with_their_engine() {
    let watched = Watched::new();
    block_on(async {
        let engine = waiting(&watched.live, 10);
        let id = engine.create(()).unwrap();
        let other = engine.clone();
        let finished = tokio::spawn(async move { other.finished(&id).await });
        tokio::task::yield_now().await;
        finished.abort();
        drop((finished.await, engine));
        while logged_lines(&watched).last().unwrap() != "cancelled Order" {
            tokio::task::yield_now().await;
        }
    });
    let expected = [
        "started Order",
        "started go",
        "waiting go",
        "cancelled go",
        "cancelled Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn an_instance_that_ends_with_its_runtime_is_not_shown_as_waiting() {
    let watched = Watched::new();
    let engine = waiting(&watched.live, 10);
    block_on(async {
        engine.create(()).unwrap();
        tokio::task::yield_now().await;
    });
    let expected = [
        "started Order",
        "started go",
        "waiting go",
        "cancelled go",
        "cancelled Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn ended_instances_make_room_and_running_ones_do_not() {
    let watched = Watched::new();
    let engine = waiting(&watched.live, 2);
    block_on(async {
        engine.create_with_id("a", ()).unwrap();
        engine.create_with_id("b", ()).unwrap();
        assert_eq!(engine.create_with_id("c", ()), Err(EngineError::Full));
        engine.send_event("b", "go", ()).unwrap();
        engine.finished("b").await.unwrap();
        engine.create_with_id("c", ()).unwrap();
    });
    assert_eq!(engine.instances(), 2);
    assert_eq!(engine.state("b"), Err(EngineError::Unknown));
    assert_eq!(engine.state("a"), Ok(InstanceState::Running));
}

#[test]
fn an_instance_that_is_run_again_is_not_shown_twice() {
    let watched = Watched::new();
    let engine = waiting(&watched.live, 1);
    block_on(async {
        for id in ["a", "b", "a"] {
            engine.create_with_id(id, ()).unwrap();
            engine.send_event(id, "go", ()).unwrap();
            engine.finished(id).await.unwrap();
        }
    });
    let once = ["started Order", "started go", "ended go", "ended Order"];
    assert_eq!(logged_lines(&watched), [once, once].concat());
}

#[test]
fn neither_the_log_nor_the_engine_grows_with_the_number_of_instances() {
    let watched = Watched::with(LiveSpans::builder().retention(Retention::default().events(100)));
    let engine = waiting(&watched.live, 5);
    block_on(async {
        for _ in 0..200 {
            let id = engine.create(()).unwrap();
            engine.send_event(&id, "go", ()).unwrap();
            engine.finished(&id).await.unwrap();
        }
    });
    watched.events();
    let retained = watched.live.status().retained_events;
    assert!(retained <= 100, "{retained} events are retained");
    assert_eq!(engine.instances(), 5);
}

#[test]
fn a_step_is_reported_before_its_work_begins() {
    let watched = Arc::new(Watched::new());
    let seen = Arc::clone(&watched);
    let engine = Engine::builder(&watched.live).build("Order", move |wf: Instance, (): ()| {
        let seen = Arc::clone(&seen);
        async move {
            wf.step("charge", || async { Ok::<_, String>(logged_lines(&seen)) })
                .await
        }
    });
    let state = block_on(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    assert_eq!(
        state,
        InstanceState::Done(json!(["started Order", "started charge"]))
    );
}

#[test]
fn invalid_and_duplicate_instances_are_refused() {
    let watched = Watched::new();
    let builder = Engine::builder(&watched.live);
    let engine = builder.build("Order", |_: Instance, number: u8| async move {
        Ok::<_, StepError>(number)
    });
    assert_eq!(engine.create(1), Err(EngineError::NoRuntime));
    block_on(async {
        engine.create_with_id("a", 1).unwrap();
        assert_eq!(engine.create_with_id("a", 1), Err(EngineError::Taken));
        let message = "invalid input: invalid value: integer `300`, expected u8";
        assert_eq!(
            engine.create(300),
            Err(EngineError::Invalid(message.to_owned()))
        );
        let message = EngineError::Invalid("an instance id must have 1 to 128 bytes".to_owned());
        assert_eq!(engine.create_with_id("", 1), Err(message.clone()));
        assert_eq!(engine.create_with_id(&"x".repeat(129), 1), Err(message));
    });
    assert_eq!(engine.instances(), 1);
}

#[test]
fn instances_have_random_uuids() {
    let watched = Watched::new();
    let engine = waiting(&watched.live, 10);
    let ids = block_on(async { [(); 2].map(|()| engine.create(()).unwrap()) });
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        let shape: String = id
            .chars()
            .map(|c| if c.is_ascii_hexdigit() { 'x' } else { c })
            .collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}

#[test]
fn spans_of_the_work_are_children_of_its_step() {
    use opentelemetry::trace::{Span as _, Tracer as _};
    let watched = Watched::new();
    let tracer = watched.tracer();
    let engine = Engine::builder(&watched.live).build("Order", move |wf: Instance, (): ()| {
        let tracer = tracer.clone();
        async move {
            let work = || {
                tracer.start("query").end();
                ok()
            };
            wf.step("charge", work).await
        }
    });
    block_on(async {
        let id = engine.create(()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    assert_eq!(parent(&watched.events(), "query"), "charge");
}

#[test]
fn the_root_links_to_the_span_that_created_it() {
    use opentelemetry::{
        Context,
        trace::{TraceContextExt as _, Tracer as _},
    };
    let watched = Watched::new();
    let engine = waiting(&watched.live, 10);
    let context = Context::new().with_span(watched.tracer().start("request"));
    let caller = context.span().span_context().trace_id().to_string();
    block_on(async {
        let attached = context.attach();
        let id = engine.create(()).unwrap();
        drop(attached);
        engine.send_event(&id, "go", ()).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let order = event(&watched.events(), "ended", "Order");
    assert_eq!(order["links"][0]["traceId"], caller);
}

#[test]
fn parallel_waits_take_an_event_each() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let wait = |name: &str| wf.wait_for_event::<u32>(WaitOptions::new(name).event("go"));
        let (first, second) = (wait("first"), wait("second"));
        let (first, second) = tokio::join!(first, second);
        let mut taken = [first?, second?];
        taken.sort_unstable();
        Ok::<_, StepError>(taken)
    });
    let state = block_on(async {
        let id = engine.create(()).unwrap();
        for number in [1, 2] {
            tokio::task::yield_now().await;
            engine.send_event(&id, "go", number).unwrap();
        }
        engine.finished(&id).await.unwrap()
    });
    assert_eq!(state, InstanceState::Done(json!([1, 2])));
}

/// Returns an engine whose workflow charges and waits for an approval.
#[cfg(feature = "sqlite")]
fn approved(live: &LiveSpans) -> Engine {
    Engine::builder(live).build("Order", |wf: Instance, (): ()| async move {
        wf.step("charge", ok).await?;
        wf.wait_for_event::<()>("approval").await
    })
}

/// No engine resumes such an instance, so it must not be shown as waiting for ever.
#[cfg(feature = "sqlite")]
#[test]
fn an_instance_that_waits_when_its_process_dies_is_lost_and_may_run_again() {
    let folder = crate::stores::sqlite::log::Folder::new();
    let open = || Watched::with(LiveSpans::builder().store(folder.store()));
    let before = [
        "started Order",
        "started charge",
        "ended charge",
        "started approval",
        "waiting approval",
    ];
    {
        let watched = open();
        let engine = approved(&watched.live);
        block_on(async {
            engine.create_with_id("order-42", ()).unwrap();
            while logged_lines(&watched).len() < before.len() {
                tokio::task::yield_now().await;
            }
            // From here on, the log gets no more events of the instance, as if the process had been
            // killed.
            watched.live.shutdown().unwrap();
        });
    }
    let watched = open();
    let lost = ["lost Order", "lost approval"];
    // The log recovers open events after it is open.
    crate::support::until(|| logged_lines(&watched).len() >= before.len() + lost.len());
    assert_eq!(logged_lines(&watched), [&before[..], &lost[..]].concat());
    assert_eq!(watched.open_spans(), 0);
    let events = watched.events();
    assert!(events.iter().all(|one| one["durable"].is_null()));
    assert_eq!(
        event(&events, "ended", "Order")["lost"]["reason"],
        "crashed"
    );

    let engine = approved(&watched.live);
    block_on(async {
        engine.create_with_id("order-42", ()).unwrap();
        engine.send_event("order-42", "approval", ()).unwrap();
        engine.finished("order-42").await.unwrap();
    });
    let anew = [
        "started Order",
        "started approval",
        "ended approval",
        "ended Order",
    ];
    let whole = [&before[..], &lost[..], &anew[..]].concat();
    assert_eq!(logged_lines(&watched), whole);
}
