//! A workflow that was recorded with `@oselvar/ssetarget`. It is run locally, and read as a client
//! of that package would.

use std::{
    collections::HashMap,
    io,
    time::{Duration, SystemTime},
};

use livespan::{
    LiveSpans,
    local_workflow::{Engine, Instance, StepError, StepOptions},
};
use serde_json::Value as Json;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
};

use crate::{
    http::app::{Stream, client},
    support::block_on,
};

/// The events that the package sent for this workflow, one per line.
const RECORDED: &str = include_str!("recorded.jsonl");

async fn done() -> Result<(), io::Error> {
    Ok(())
}

/// The recorded workflow. Its two parallel steps end one after the other, as in the recording.
async fn my_workflow(wf: Instance, (): ()) -> Result<(), StepError> {
    wf.step("step-1", done).await?;
    wf.sleep("wait", Duration::from_millis(1)).await;
    wf.sleep_until("wait-until", SystemTime::now() + Duration::from_millis(1))
        .await;
    let mut attempts = 0;
    let flaky = StepOptions::new("flaky")
        .retries(1)
        .delay(Duration::from_millis(1));
    wf.step(flaky, || {
        attempts += 1;
        let failed = attempts == 1;
        async move { if failed { Err("not yet") } else { Ok(()) } }
    })
    .await?;
    let (b_began, a_ended) = (Notify::new(), Notify::new());
    let a = async {
        let work = || async {
            b_began.notified().await;
            done().await
        };
        let result = wf.step("par-a", work).await;
        a_ended.notify_one();
        result
    };
    let b = wf.step("par-b", || async {
        b_began.notify_one();
        a_ended.notified().await;
        done().await
    });
    tokio::try_join!(a, b)?;
    wf.step("par-a", done).await?;
    wf.wait_for_event::<Json>("approval").await?;
    wf.step("step-2", done).await
}

/// The tree that a client of the package builds, event by event. The client listens for `started`
/// and `ended`, and reads only these fields. Ids are numbered in the order of their arrival; the
/// instance has the number 0.
fn tree(instance: &str, events: &[(String, Json)]) -> Vec<String> {
    let mut numbers = HashMap::from([(instance.to_owned(), 0)]);
    let mut number = |id: &Json| {
        let next = numbers.len();
        *numbers
            .entry(id.as_str().unwrap().to_owned())
            .or_insert(next)
    };
    let line = |(kind, data): &(String, Json)| {
        assert!(
            data["attributes"].is_object() && data["timestamp"].as_str().unwrap().ends_with('Z')
        );
        let (trace, span) = (number(&data["traceId"]), number(&data["spanId"]));
        match kind.as_str() {
            "started" => {
                let parent = &data["parentSpanId"];
                let parent = if parent.is_null() {
                    "-".to_owned()
                } else {
                    number(parent).to_string()
                };
                format!(
                    "{trace} started {span} in {parent}: {}",
                    data["name"].as_str().unwrap()
                )
            }
            "ended" => format!(
                "{trace} ended {span}: {}",
                data["status"]["code"].as_str().unwrap()
            ),
            other => panic!("{other} is nothing that the client listens for"),
        }
    };
    events.iter().map(line).collect()
}

fn recorded() -> Vec<(String, Json)> {
    let lines = RECORDED
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap());
    let events = lines.filter(|line| line["event"] != "ping");
    events
        .map(|line| {
            (
                line["event"].as_str().unwrap().to_owned(),
                line["data"].clone(),
            )
        })
        .collect()
}

#[test]
fn the_commands_in_the_readme_of_the_package_show_the_recorded_tree() {
    let live = LiveSpans::builder().build().unwrap();
    let engine = Engine::builder(&live).build("MyWorkflow", my_workflow);
    let (instance, events) = block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let router = engine.router();
        let server = tokio::spawn(async move {
            let server = axum::serve(listener, router);
            server
                .with_graceful_shutdown(async { drop(stopped.await) })
                .await
        });
        let client = client();
        // curl -v -X POST http://localhost:9875
        let created = client.post(&url).send().await.unwrap();
        assert_eq!(created.status(), 201);
        let location = created.headers()["location"].to_str().unwrap().to_owned();
        // curl http://localhost:9875/<instance-id>/sse
        let streamed = client
            .get(format!("{url}{location}/sse"))
            .send()
            .await
            .unwrap();
        assert_eq!(streamed.headers()["content-type"], "text/event-stream");
        let mut stream = Stream::of(streamed);
        let mut events = Vec::new();
        let instance = location.strip_prefix('/').unwrap().to_owned();
        loop {
            let frame = stream.next().await.unwrap();
            match frame.event.as_str() {
                "started" | "ended" => events.push((frame.event.clone(), frame.json())),
                // curl -X POST http://localhost:9875/<instance-id>/event
                "updated" if frame.json()["state"] == "waiting" && events.len() == 16 => {
                    let sent = client
                        .post(format!("{url}{location}/event"))
                        .send()
                        .await
                        .unwrap();
                    assert_eq!(sent.status(), 204);
                }
                _ => {}
            }
            if events
                .last()
                .is_some_and(|(kind, data)| kind == "ended" && data["spanId"] == *instance)
            {
                break;
            }
        }
        drop((stream, stop));
        server.await.unwrap().unwrap();
        (instance, events)
    });
    let recorded = recorded();
    let was = recorded[0].1["traceId"].as_str().unwrap();
    assert_eq!(recorded.len(), 20);
    assert_eq!(tree(&instance, &events), tree(was, &recorded));
}
