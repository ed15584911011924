//! An address has the same meaning however it is percent-encoded, on every route and in every
//! parameter.

use livespan::SpanEvent;

use super::app::{App, Frame, checkout, done, log, put, replay, span, trace};

const OWN: &str = "00000000000000000000000000000001";

fn names(frames: &[Frame]) -> Vec<(String, String)> {
    let name = |frame: &Frame| frame.json()["name"].as_str().unwrap_or_default().to_owned();
    frames
        .iter()
        .map(|frame| (frame.event.clone(), name(frame)))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(event, name): &(&str, &str)| ((*event).to_owned(), (*name).to_owned());
    pairs.iter().map(owned).collect()
}

#[tokio::test]
async fn a_stream_resumes_after_an_id_however_it_is_encoded() {
    let live = log();
    put(&live, checkout(1));
    let id = replay(&live, "/sse").await[1].id.clone();
    let (epoch, sequence) = id.split_once('-').unwrap();
    let first = u32::from(epoch.chars().next().unwrap());
    let rest = pairs(&[("ended", "charge"), ("ended", "checkout")]);
    let all = pairs(&[
        ("started", "checkout"),
        ("started", "charge"),
        ("ended", "charge"),
        ("ended", "checkout"),
    ]);
    let gap_and_all = [pairs(&[("gap", "")]), all.clone()].concat();
    for (query, expected) in [
        (format!("lastEventId={id}"), &rest),
        (format!("lastEventId={epoch}%2D{sequence}"), &rest),
        (format!("lastEventId={epoch}%2d{sequence}"), &rest),
        (format!("lastEventId=%{first:02x}{}", &id[1..]), &rest),
        (format!("last%45ventId={id}"), &rest),
        (format!("lastEventId=&lastEventId={id}"), &rest),
        (format!("lastEventId={id}&lastEventId=1"), &rest),
        (format!("x=1&&y&lastEventId={id}"), &rest),
        ("lastEventId=%32".to_owned(), &rest),
        // A malformed id stands for the beginning, and is never an error.
        (format!("lastEventId={epoch}+{sequence}"), &gap_and_all),
        ("lastEventId=2%00".to_owned(), &gap_and_all),
        ("lastEventId=%FF".to_owned(), &gap_and_all),
        ("lastEventId=%".to_owned(), &gap_and_all),
        ("replay=n%6Fne".to_owned(), &Vec::new()),
        ("replay=%FF".to_owned(), &all),
    ] {
        let shown = replay(&live, &format!("/traces/{OWN}/sse?{query}")).await;
        assert_eq!(names(&shown), *expected, "{query}");
    }
}

#[tokio::test]
async fn a_route_is_found_however_its_path_is_encoded() {
    let live = log();
    put(&live, checkout(1));
    let app = App::serve(live).await;
    for path in [
        format!("/traces/{OWN}"),
        format!("/traces/%30{}", &OWN[1..]),
        format!("/traces/{}%31", &OWN[..31]),
        format!("/trac%65s/{OWN}"),
        format!("/traces?traceId=%30{}", &OWN[1..]),
    ] {
        let answer = app.json(&path).await;
        let text = answer.to_string();
        assert!(text.contains(OWN), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_not_utf_8_is_refused_by_name() {
    let app = App::start().await;
    for (path, error) in [
        (
            "/traces?name=%FF",
            "the parameter name is not percent-encoded UTF-8",
        ),
        (
            "/traces?q=a&q=%C3",
            "the parameter q is not percent-encoded UTF-8",
        ),
        (
            "/sse?service=%ff",
            "the parameter service is not percent-encoded UTF-8",
        ),
        (
            "/traces/%FF",
            "the path segment \"%FF\" is not percent-encoded UTF-8",
        ),
        (
            "/workflows/a/%FF/sse",
            "the path segment \"%FF\" is not percent-encoded UTF-8",
        ),
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status(), 400, "{path}");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body, serde_json::json!({"error": error}), "{path}");
    }
}

#[tokio::test]
async fn a_filter_means_the_same_however_it_is_encoded() {
    let live = log();
    put(&live, done(1, "a+b c", 1));
    put(&live, done(2, "käse", 1));
    put(&live, [SpanEvent::started(trace(3), span(1), "other")]);
    let app = App::serve(live).await;
    for (query, count) in [
        ("name=a%2Bb%20c", 1),
        ("name=a%2bb+c", 1),
        ("name=a+b+c", 0),
        ("name=k%C3%A4se", 1),
        ("name=k%c3%a4se&name=other", 2),
        ("n%61me=other", 1),
        ("q=duration%3E0ms", 3),
        ("q=name%3Aother", 1),
    ] {
        let page = app.json(&format!("/traces?{query}")).await;
        assert_eq!(page["traces"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_encoded_gets_an_answer_that_explains_the_error() {
    let app = App::start().await;
    let request = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    };
    let answer = app.raw_answer(&request("/traces?q=duration>10ms")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(head.lines().next(), Some("HTTP/1.1 400 Bad Request"));
    assert_eq!(
        body,
        r#"{"error":"the address is not percent-encoded: write %3E for '>'"}"#
    );
    let answer = app.raw_answer(&request("/traces?q=duration%3E10ms")).await;
    assert_eq!(answer.lines().next(), Some("HTTP/1.1 200 OK"));
}
