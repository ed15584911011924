//! Events for instances: early, late, many, and for different steps.

use std::time::Duration;

use livespan::{
    LiveSpans,
    local_workflow::{Engine, EngineError, Instance, InstanceState, StepError, WaitOptions},
};
use serde_json::json;

use crate::{
    spans::live_provider::Watched,
    support::block_on,
    workflow::event_lines::{event, logged_lines},
};

fn log() -> LiveSpans {
    LiveSpans::builder().build().unwrap()
}

/// Waits for two events of one name, then for one of another.
fn three_waits(live: &LiveSpans) -> Engine {
    Engine::builder(live).build("Order", |wf: Instance, (): ()| async move {
        let mut taken = Vec::new();
        for (name, event) in [("one", "a"), ("two", "a"), ("three", "b")] {
            let wait = WaitOptions::new(name).event(event);
            taken.push(wf.wait_for_event::<u32>(wait).await?);
        }
        Ok::<_, StepError>(taken)
    })
}

#[test]
fn events_that_arrive_before_their_waits_are_kept_in_order() {
    let engine = three_waits(&log());
    let state = block_on(async {
        let id = engine.create(()).unwrap();
        for (event, number) in [("b", 3), ("a", 1), ("a", 2)] {
            engine.send_event(&id, event, number).unwrap();
        }
        engine.finished(&id).await.unwrap()
    });
    assert_eq!(state, InstanceState::Done(json!([1, 2, 3])));
}

#[test]
fn each_event_resumes_one_wait() {
    let watched = Watched::new();
    let engine = three_waits(&watched.live);
    let mut lines = Vec::new();
    block_on(async {
        let id = engine.create(()).unwrap();
        for (event, number) in [("a", 1), ("a", 2), ("b", 3)] {
            tokio::task::yield_now().await;
            lines.push(logged_lines(&watched).last().unwrap().clone());
            engine.send_event(&id, event, number).unwrap();
        }
        engine.finished(&id).await.unwrap();
        lines.push(logged_lines(&watched).last().unwrap().clone());
    });
    let expected = ["waiting one", "waiting two", "waiting three", "ended Order"];
    assert_eq!(lines, expected);
    let three = event(&watched.events(), "started", "three");
    assert_eq!(three["attributes"]["workflow.wait.event"], "b");
}

#[test]
fn a_wait_that_times_out_or_is_dropped_loses_no_event() {
    let watched = Watched::new();
    let engine = Engine::builder(&watched.live).build("Order", |wf: Instance, (): ()| async move {
        let wait = WaitOptions::new("short")
            .event("go")
            .timeout(Duration::from_secs(1));
        let error = wf.wait_for_event::<u32>(wait).await.unwrap_err();
        let late = wf
            .wait_for_event::<u32>(WaitOptions::new("long").event("go"))
            .await?;
        Ok::<_, StepError>((error.is_timed_out(), error.to_string(), late))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let state = runtime.block_on(async {
        let id = engine.create(()).unwrap();
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(2)).await;
        while !logged_lines(&watched).contains(&"failed short".to_owned()) {
            tokio::task::yield_now().await;
        }
        engine.send_event(&id, "go", 7).unwrap();
        engine.finished(&id).await.unwrap()
    });
    let message = "the event \"go\" did not arrive within 1s";
    assert_eq!(state, InstanceState::Done(json!([true, message, 7])));
    let events = watched.events();
    let short = event(&events, "ended", "short");
    assert_eq!(
        short["status"],
        json!({"code": "ERROR", "message": message})
    );
    assert_eq!(short["attributes"]["workflow.wait.timeout_ms"], 1000);
}

#[test]
fn a_payload_of_another_shape_fails_the_wait() {
    let engine = three_waits(&log());
    let state = block_on(async {
        let id = engine.create(()).unwrap();
        engine.send_event(&id, "a", "text").unwrap();
        engine.finished(&id).await.unwrap()
    });
    let InstanceState::Failed(failure) = state else {
        panic!("{state:?} is no failure");
    };
    let message = "the event \"a\" has a payload of another type: invalid type: string \"text\", expected u32";
    assert_eq!(failure.to_string(), message);
}

#[test]
fn events_that_no_step_awaits_are_bounded() {
    let engine = three_waits(&log());
    block_on(async {
        engine.create_with_id("many", ()).unwrap();
        for _ in 0..Engine::INBOX_EVENTS_MAX {
            engine.send_event("many", "nobody's", ()).unwrap();
        }
        assert_eq!(engine.send_event("many", "a", 1), Err(EngineError::Full));
        engine.create_with_id("large", ()).unwrap();
        let half = "x".repeat(Engine::INBOX_BYTES_MAX / 2);
        engine
            .send_event("large", "nobody's", half.clone())
            .unwrap();
        assert_eq!(
            engine.send_event("large", "nobody's", half),
            Err(EngineError::Full)
        );
        engine.send_event("large", "a", 1).unwrap();
    });
}

#[test]
fn events_for_unknown_and_ended_instances_are_refused() {
    let engine = three_waits(&log());
    assert_eq!(
        engine.send_event("guess", "a", 1),
        Err(EngineError::Unknown)
    );
    block_on(async {
        let id = engine.create(()).unwrap();
        engine.cancel(&id, "enough").unwrap();
        engine.finished(&id).await.unwrap();
        assert_eq!(engine.send_event(&id, "a", 1), Err(EngineError::Over));
    });
}
