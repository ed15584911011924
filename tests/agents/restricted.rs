//! A reader of some traces learns nothing about other traces from any tool.

use livespan::{Access, Auth, LiveSpans, SpanEvent, span::SpanStatus};
use serde_json::{Value as Json, json};

use super::client::{App, call, span, trace};

/// Texts that occur only in the traces of others.
const SECRETS: [&str; 3] = ["secret", "02020202", "03030303"];

fn app() -> App {
    let auth = Auth::check(|_request| Access::traces([trace(1)]));
    let app = App::serve(LiveSpans::builder().auth(auth).build().unwrap());
    let failed = || SpanStatus::Error("secret message".to_owned());
    app.put([
        SpanEvent::started(trace(2), span(20), "secret open").service("secret-service"),
        SpanEvent::started(trace(3), span(30), "mine").service("shop"),
        SpanEvent::ended(trace(3), span(31), "secret failed", failed()).parent(span(30)),
        SpanEvent::ended(trace(3), span(30), "mine", SpanStatus::Ok).service("shop"),
        SpanEvent::started(trace(1), span(1), "mine").service("shop"),
        SpanEvent::started(trace(1), span(2), "below")
            .parent(span(1))
            .service("shop"),
    ]);
    app
}

#[test]
fn no_tool_reveals_other_traces() {
    let app = app();
    let url = app.url();
    let mine = trace(1).to_string();
    for arguments in [json!({}), json!({"q": "secret"}), json!({"q": "-mine"})] {
        for tool in ["running", "find_traces", "problems", "wait"] {
            for format in ["text", "json"] {
                let mut arguments = arguments.clone();
                arguments["format"] = format.into();
                if tool == "wait" {
                    arguments["timeout_s"] = 0.into();
                }
                let (text, _) = call(&url, tool, &arguments);
                // The page's address contains the search text itself.
                let text = text.replace("?q=secret", "");
                let leaked = SECRETS.into_iter().find(|secret| text.contains(secret));
                assert_eq!(leaked, None, "{tool}: {text}");
            }
        }
    }
    // The answers for an existing and a missing trace are the same.
    let refused = |id: &str| {
        format!("no trace {id} is there for this reader: `find_traces` and `running` print ids")
    };
    for id in [
        trace(2).to_string(),
        trace(9).to_string(),
        "0202".into(),
        "0909".into(),
    ] {
        for (tool, arguments) in [
            ("running", json!({"trace": id})),
            ("trace", json!({"trace": id})),
            ("span", json!({"trace": id, "spans": ["a000000000000014"]})),
            ("compare", json!({"trace": id})),
            ("compare", json!({"trace": mine, "with": id})),
            ("wait", json!({"until": "end", "trace": id, "timeout_s": 0})),
        ] {
            assert_eq!(call(&url, tool, &arguments), (refused(&id), true), "{tool}");
        }
    }
    let (other, is_error) = call(&url, "compare", &json!({"trace": mine}));
    assert_eq!(
        (other.as_str(), is_error),
        (
            "no other trace of this name has ended: give its id as `with`",
            true
        )
    );
    let (own, _) = call(&url, "running", &json!({"format": "json"}));
    let own: Json = serde_json::from_str(&own).unwrap();
    assert_eq!(own["open"], json!({"traces": 1, "spans": 2}));
}
