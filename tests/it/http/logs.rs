//! Log records over HTTP: in their trace, and on their own.

use livespan::SpanEvent;
use serde_json::json;

use super::app::{App, at, done, put, replay, span, trace};

fn line(number: u128, body: &str) -> SpanEvent {
    SpanEvent::log(trace(number), span(1), "INFO", body).at(at(1))
}

#[tokio::test]
async fn a_trace_that_begins_with_a_log_record_is_whole() {
    let app = App::start().await;
    put(
        &app.live,
        [line(1, "early"), line(2, "of a span that is filtered out")],
    );
    put(&app.live, done(1, "job", 5));
    put(&app.live, [line(1, "late")]);
    let list = app.json("/traces").await;
    let names: Vec<_> = list["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| &trace["name"])
        .collect();
    assert_eq!(names, ["job"], "a trace without spans is not listed");
    let document = app.json(&format!("/traces/{}", trace(1))).await;
    let bodies: Vec<_> = document["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| &log["body"])
        .collect();
    assert_eq!(bodies, ["early", "late"]);
    assert_eq!(
        (
            &document["spans"][0]["name"],
            &document["summary"]["state"],
            &document["summary"]["spans"]["total"]
        ),
        (&json!("job"), &json!("ok"), &json!(1))
    );
    assert_eq!(document.get("incomplete"), None);
    let filtered = app.json(&format!("/traces/{}", trace(2))).await;
    assert_eq!(
        filtered["logs"][0]["body"],
        "of a span that is filtered out"
    );
    let frames = replay(&app.live, &format!("/traces/{}/sse", trace(1))).await;
    let kinds: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(kinds, ["log", "started", "ended", "log"]);
}
