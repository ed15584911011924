//! Crashes and replays: each span starts once and ends once, whichever run reports it.

use std::{
    cell::Cell,
    future::{pending, ready},
    pin::pin,
    task::Poll,
    time::Duration,
};

use livespan::{
    LiveSpans, NullEventStore, Retention,
    workflow::{Step, Workflow, Workflows, attributes},
};
use serde_json::json;

use super::event_lines::{event, logged_lines, turn};
use crate::{
    spans::live_provider::{GatedStore, Watched},
    support::{PATIENCE, block_on, until},
};

fn order(watched: &Watched) -> Workflow {
    Workflows::new(&watched.live)
        .namespace("orders")
        .instance("order-42")
}

/// A workflow that charges, waits for an approval, and ships.
async fn run<R: Fn() -> bool, E: Fn(&Step) -> bool>(
    wf: &Workflow<R, E>,
    approval: impl Future<Output = ()>,
) {
    wf.run("Order", async {
        wf.step("charge", ready(())).await;
        wf.wait("approval", approval).await;
        wf.step("ship", ready(())).await;
    })
    .await;
}

const WHOLE: [&str; 9] = [
    "started Order",
    "started charge",
    "ended charge",
    "started approval",
    "waiting approval",
    "ended approval",
    "started ship",
    "ended ship",
    "ended Order",
];

/// After a restart, `@oselvar/ssetarget` sends the root and finished steps again, and leaves the
/// waiting step open for ever.
#[test]
fn a_replay_after_a_crash_reports_nothing_twice() {
    let watched = Watched::new();
    {
        let wf = order(&watched);
        crash(async move { run(&wf, pending()).await });
    }
    block_on(run(&order(&watched), ready(())));
    assert_eq!(logged_lines(&watched), WHOLE);
    assert_eq!(watched.open_spans(), 0);
}

/// Polls the future once. Then, as in a crash, the future is neither finished nor dropped.
fn crash<F: Future<Output = ()> + 'static>(future: F) {
    let future = Box::leak(Box::new(Box::pin(future)));
    assert!(turn(future.as_mut()).is_pending());
}

#[test]
fn a_suspended_workflow_is_shown_as_waiting_with_what_it_waits_for() {
    let watched = Watched::new();
    {
        let wf = order(&watched);
        let mut suspended = pin!(wf.run("Order", async {
            wf.step("charge", ready(())).await;
            let pause = Step::new("nap").lasting(Duration::from_secs(60));
            wf.sleep(pause, pending::<()>()).await;
        }));
        assert!(turn(suspended.as_mut()).is_pending());
    }
    let expected = [
        "started Order",
        "started charge",
        "ended charge",
        "started nap",
        "waiting nap",
        "waiting Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let events = watched.events();
    let started = event(&events, "started", "nap");
    let until = &started["attributes"][attributes::SLEEP_UNTIL];
    let expected = json!({ attributes::SLEEP_UNTIL: until });
    assert_eq!(event(&events, "updated", "nap")["attributes"], expected);
    // The next run is suspended as well, and adds no event.
    {
        let wf = order(&watched).replaying(|| true);
        let mut again = pin!(wf.run("Order", async {
            wf.step("charge", ready(())).await;
            wf.sleep("nap", pending::<()>()).await;
        }));
        assert!(turn(again.as_mut()).is_pending());
    }
    assert_eq!(watched.events().len(), events.len());
}

#[test]
fn a_suspended_step_that_is_resumed_is_shown_as_working() {
    let watched = Watched::new();
    {
        let wf = order(&watched);
        let mut suspended = pin!(wf.step("charge", pending::<()>()));
        assert!(turn(suspended.as_mut()).is_pending());
    }
    block_on(order(&watched).step("charge", ready(())));
    let expected = [
        "started charge",
        "waiting charge",
        "running charge",
        "ended charge",
    ];
    assert_eq!(logged_lines(&watched), expected);
    let events = watched.events();
    let started = &event(&events, "started", "charge")["timestamp"];
    assert_eq!(
        &event(&events, "ended", "charge")["startTimestamp"],
        started
    );
}

#[test]
fn a_suspended_step_whose_work_continues_elsewhere_is_not_shown_as_waiting() {
    let watched = Watched::new();
    {
        let wf = order(&watched);
        let mut suspended = pin!(wf.step(Step::new("charge").elsewhere(), pending::<()>()));
        assert!(turn(suspended.as_mut()).is_pending());
    }
    assert_eq!(logged_lines(&watched), ["started charge"]);
}

#[test]
fn an_engine_that_knows_when_it_replays_reports_only_new_events() {
    let watched = Watched::with(LiveSpans::builder().store(NullEventStore::new()));
    let turn_of = |answer: Option<()>, done: usize| {
        // The engine replays until there is a new result: the answer.
        let replays = Cell::new(done > 0);
        let wf = order(&watched).replaying(|| replays.get());
        let approval = std::future::poll_fn(|_| match answer {
            Some(()) => {
                replays.set(false);
                Poll::Ready(())
            }
            None => Poll::Pending,
        });
        let mut run = pin!(run(&wf, approval));
        turn(run.as_mut())
    };
    // This store does not deduplicate, so each of these events was sent once.
    assert!(turn_of(None, 0).is_pending());
    assert!(turn_of(Some(()), 1).is_ready());
    let mut expected = WHOLE.to_vec();
    expected.insert(5, "waiting Order");
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn an_end_that_was_lost_with_its_process_is_reported_by_the_replay() {
    let watched = Watched::new();
    {
        // The engine kept the step's result, but died before the end was sent.
        let wf = order(&watched);
        crash(async move {
            wf.run("Order", async {
                wf.step(Step::new("charge").elsewhere(), pending::<()>())
                    .await;
            })
            .await;
        });
    }
    let wf = order(&watched).replaying(|| true);
    block_on(wf.run("Order", async { wf.step("charge", ready(())).await }));
    let expected = [
        "started Order",
        "started charge",
        "ended charge",
        "ended Order",
    ];
    assert_eq!(logged_lines(&watched), expected);
    // Events that are already in the log are not sent again.
    let wf = order(&watched).replaying(|| true);
    block_on(wf.run("Order", async { wf.step("charge", ready(())).await }));
    assert_eq!(logged_lines(&watched), expected);
}

/// The log keeps the first start and the first end of each span, whichever run reported it.
#[test]
fn two_runs_of_one_instance_at_once_are_one_trace() {
    let watched = Watched::new();
    let (one, other) = (order(&watched), order(&watched));
    let gate = Cell::new(false);
    let approval = || {
        std::future::poll_fn(|_| {
            if gate.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    };
    let mut first = pin!(run(&one, approval()));
    let mut second = pin!(run(&other, approval()));
    for round in 0..2 {
        let _first = turn(first.as_mut());
        let _second = turn(second.as_mut());
        gate.set(round == 0);
    }
    assert_eq!(logged_lines(&watched), WHOLE);
}

#[test]
fn a_run_that_is_dropped_after_another_ended_its_spans_changes_nothing() {
    let watched = Watched::new();
    let (one, other) = (order(&watched), order(&watched));
    {
        let mut stale = pin!(run(&one, pending()));
        assert!(turn(stale.as_mut()).is_pending());
        block_on(run(&other, ready(())));
    }
    assert_eq!(logged_lines(&watched), WHOLE);
}

#[test]
fn ids_depend_only_on_names() {
    let watched = Watched::new();
    let flows = Workflows::new(&watched.live).namespace("orders");
    // Outside clients may compute the id, too, so it never changes.
    assert_eq!(
        flows.trace_id("order-42").to_string(),
        "5f77dba1f7eb36eea2f9d9be73eb3171"
    );
    assert_ne!(flows.trace_id("order-43"), flows.trace_id("order-42"));
    let other = Workflows::new(&watched.live).namespace("order");
    assert_ne!(other.trace_id("sorder-42"), flows.trace_id("order-42"));
    let wf = flows.instance("order-42");
    block_on(async {
        for _ in 0..2 {
            wf.step("poll", ready(())).await;
        }
        wf.scope(
            "inner",
            |wf| async move { wf.step("poll", ready(())).await },
        )
        .await;
        // If steps have keys, the order of the calls does not matter.
        let late = wf.step(Step::new("b").key(2), ready(()));
        wf.step(Step::new("a").key(1), ready(())).await;
        late.await;
    });
    let ids = |watched: &Watched| -> std::collections::BTreeSet<String> {
        let events = watched.events();
        let started = events.iter().filter(|one| one["type"] == "started");
        started
            .map(|one| one["spanId"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = ids(&watched);
    assert_eq!(before.len(), 6);
    let wf = flows.instance("order-42");
    block_on(async {
        wf.step(Step::new("a").key(1), ready(())).await;
        wf.step(Step::new("b").key(2), ready(())).await;
    });
    assert_eq!(ids(&watched), before);
}

/// `@oselvar/ssetarget` keeps everything for ever.
#[test]
fn the_events_of_workflows_in_a_log_are_bounded_by_retention() {
    let retention = Retention::default().events(100);
    let watched = Watched::with(LiveSpans::builder().retention(retention));
    let flows = Workflows::new(&watched.live);
    for number in 0..500 {
        let wf = flows.instance(number.to_string());
        block_on(wf.run("Order", async { wf.step("charge", ready(())).await }));
    }
    let events = watched.events();
    assert!(events.len() <= 101, "{}", events.len());
    // The log has forgotten the first instance, so its replay counts as new.
    let wf = flows.instance("0");
    block_on(wf.run("Order", ready(())));
    let last = watched.events().pop().unwrap();
    assert_eq!(last["traceId"], flows.trace_id("0").to_string());
}

/// `@oselvar/ssetarget` holds events back for a batch, and loses the batch in a crash.
#[test]
fn a_start_is_in_the_log_while_its_step_runs() {
    let watched = Watched::new();
    let wf = order(&watched);
    let mut run = pin!(run(&wf, pending()));
    assert!(turn(run.as_mut()).is_pending());
    assert_eq!(logged_lines(&watched), WHOLE[..5]);
}

#[test]
fn a_durable_step_is_not_lost_when_its_provider_is_shut_down() {
    let watched = Watched::new();
    let wf = order(&watched);
    let mut run = pin!(wf.run("Order", async {
        wf.step("charge", pending::<()>()).await;
    }));
    assert!(turn(run.as_mut()).is_pending());
    watched.live.target().flush(PATIENCE).unwrap();
    watched.provider.shutdown().unwrap();
    let expected = [
        "started Order",
        "started charge",
        "waiting Order",
        "waiting charge",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn an_end_that_a_full_buffer_drops_is_lost_until_a_replay_reports_it() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(
        LiveSpans::builder()
            .store(store)
            .buffer_bytes(0)
            .buffer_events(0),
    );
    let flows = Workflows::new(&watched.live);
    let wf = flows.instance("order-42");
    {
        let mut step = pin!(wf.step("charge", async { tokio::task::yield_now().await }));
        assert!(turn(step.as_mut()).is_pending());
        watched.live.target().flush(PATIENCE).unwrap();
        gate.shut();
        // Other ends fill the whole buffer.
        for number in 0..100_000 {
            let other = flows.instance(number.to_string());
            block_on(other.step("other", ready(())));
            if watched.live.status().dropped.ends > 0 {
                break;
            }
        }
        assert!(turn(step.as_mut()).is_ready());
        gate.open();
    }
    let charge = |watched: &Watched| -> Vec<String> {
        logged_lines(watched)
            .into_iter()
            .filter(|line| line.ends_with(" charge"))
            .collect()
    };
    assert_eq!(charge(&watched), ["started charge", "lost charge"]);
    block_on(flows.instance("order-42").step("charge", ready(())));
    assert_eq!(
        charge(&watched),
        ["started charge", "lost charge", "ended charge"]
    );
}

#[cfg(feature = "sqlite")]
#[test]
fn a_workflow_continues_in_a_reopened_sqlite_log() {
    let folder = crate::stores::sqlite::log::Folder::new();
    let open = || Watched::with(LiveSpans::builder().store(folder.store()));
    {
        let watched = open();
        let wf = order(&watched);
        // The step is not a wait, so its process ends without reporting that it waits.
        let mut crashed = pin!(wf.run("Order", async {
            wf.step("charge", ready(())).await;
            wf.step(Step::new("approval").elsewhere(), pending::<()>())
                .await;
        }));
        assert!(turn(crashed.as_mut()).is_pending());
        watched.live.target().flush(PATIENCE).unwrap();
        watched.live.shutdown().unwrap();
    }
    let watched = open();
    let before = [
        "started Order",
        "started charge",
        "ended charge",
        "started approval",
    ];
    let waits = ["waiting Order", "waiting approval"];
    // The log recovers open events after it is open.
    until(|| logged_lines(&watched).len() >= 6);
    assert_eq!(logged_lines(&watched), [&before[..], &waits[..]].concat());
    let wf = order(&watched);
    block_on(wf.run("Order", async {
        wf.step("charge", ready(())).await;
        wf.step(Step::new("approval").elsewhere(), ready(())).await;
    }));
    let ends = [
        "running Order",
        "running approval",
        "ended approval",
        "ended Order",
    ];
    assert_eq!(
        logged_lines(&watched),
        [&before[..], &waits[..], &ends[..]].concat()
    );
    // Another process replays the workflow once more.
    drop(wf);
    watched.live.shutdown().unwrap();
    drop(watched);
    let watched = open();
    let events = watched.events().len();
    let wf = order(&watched);
    block_on(wf.run("Order", async {
        wf.step("charge", ready(())).await;
        wf.step("approval", ready(())).await;
    }));
    assert_eq!(logged_lines(&watched).len(), 10);
    assert_eq!(
        watched.events().len(),
        events + 1,
        "not exactly one `process` event is new"
    );
}
