//! The stream of a workflow, addressed by the instance's own id.

use std::{
    future::{pending, ready},
    pin::pin,
};

use livespan::workflow::Workflows;
use serde_json::json;

use super::event_lines::turn;
use crate::{
    http::app::App,
    support::{PATIENCE, block_on},
};

/// Returns an app with the events of an instance, and the path of its stream.
async fn shown() -> (App, &'static str) {
    let app = App::start().await;
    let wf = Workflows::new(&app.live)
        .namespace("shop/orders")
        .instance("ä 42/7");
    wf.run("Order", async { wf.step("charge", ready(())).await })
        .await;
    app.live.target().flush(PATIENCE).unwrap();
    (app, "/workflows/shop%2Forders/%C3%A4%2042%2F7/sse")
}

/// Returns the types and names of the events, up to the end of the root.
async fn lines(app: &App, path: &str) -> Vec<String> {
    let mut stream = app.stream(path).await;
    let mut lines = Vec::new();
    while lines.last().is_none_or(|last| last != "ended Order") {
        let frame = stream.next().await.unwrap();
        match frame.event.as_str() {
            "hello" | "" => {}
            "gap" => lines.push(format!("gap {}", frame.json()["reason"].as_str().unwrap())),
            kind => {
                let name = frame.json()["name"].as_str().unwrap_or_default().to_owned();
                lines.push(format!("{kind} {name}").trim().to_owned());
            }
        }
    }
    lines
}

const ALL: [&str; 5] = [
    "process",
    "started Order",
    "started charge",
    "ended charge",
    "ended Order",
];

#[test]
fn an_instance_is_streamed_by_its_own_id() {
    block_on(async {
        let (app, path) = shown().await;
        assert_eq!(lines(&app, path).await, ALL);
        // The stream equals that of its trace, and ends in the same way.
        let trace = Workflows::new(&app.live)
            .namespace("shop/orders")
            .trace_id("ä 42/7");
        assert_eq!(lines(&app, &format!("/traces/{trace}/sse")).await, ALL);
        let mut stream = app.stream(&format!("{path}?until=end")).await;
        while stream.next().await.unwrap().event != "end" {}
    });
}

/// `@oselvar/ssetarget` ignores the query and replays everything. After a malformed id it replays
/// nothing, and after an unknown id it sends no bytes at all.
#[test]
fn a_resume_point_is_taken_from_the_query_and_a_bad_one_replays_everything() {
    block_on(async {
        let (app, path) = shown().await;
        // The `process` event comes first on every stream. The events after it begin at the resume
        // point.
        let resumed = lines(&app, &format!("{path}?lastEventId=3")).await;
        assert_eq!(resumed.last().unwrap(), "ended Order");
        assert!(
            !resumed.contains(&"started charge".to_owned()),
            "{resumed:?}"
        );
        let all = [&["gap epoch"], &ALL[..]].concat();
        for id in ["abc", "999"] {
            assert_eq!(lines(&app, &format!("{path}?lastEventId={id}")).await, all);
        }
    });
}

/// `@oselvar/ssetarget` keeps state for every guessed id.
#[test]
fn an_unknown_instance_opens_a_stream_and_leaves_no_state() {
    block_on(async {
        let app = App::start().await;
        let before = app.live.status().retained_streams;
        let mut stream = app.stream("/workflows/orders/guess/sse").await;
        stream.event("hello").await;
        drop(stream);
        assert_eq!(app.live.status().retained_streams, before);
        assert_eq!(app.json("/traces").await["traces"], json!([]));
    });
}

#[test]
fn a_path_that_is_no_text_is_refused() {
    block_on(async {
        let app = App::start().await;
        let answer = app.get("/workflows/orders/%FF/sse").await;
        assert_eq!(answer.status(), 400);
        let error = "the path segment \"%FF\" is not percent-encoded UTF-8";
        assert_eq!(
            answer.json::<serde_json::Value>().await.unwrap(),
            json!({"error": error})
        );
        assert_eq!(app.get("/workflows/orders/sse").await.status(), 404);
    });
}

#[test]
fn the_list_shows_a_suspended_workflow_as_waiting() {
    block_on(async {
        let app = App::start().await;
        let flows = Workflows::new(&app.live);
        let state = || async {
            app.live.target().flush(PATIENCE).unwrap();
            app.json("/traces").await["traces"][0]["state"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let wf = flows.instance("42");
        {
            let mut run = pin!(wf.run("Order", async {
                wf.step("charge", ready(())).await;
                wf.wait("approval", pending::<()>()).await;
            }));
            assert!(turn(run.as_mut()).is_pending());
            // The root is open only because its child is open, and the child waits.
            assert_eq!(state().await, "waiting");
        }
        assert_eq!(state().await, "waiting");
        assert_eq!(
            app.json("/traces?state=waiting").await["traces"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        wf.cancel("too late");
        {
            let mut run = pin!(wf.run("Order", async {
                wf.wait("approval", pending::<()>()).await;
            }));
            assert!(turn(run.as_mut()).is_pending());
        }
        assert_eq!(state().await, "cancelled");
        assert_eq!(
            app.json("/traces?state=cancelled").await["traces"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    });
}
