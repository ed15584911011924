//! Authentication: tokens, cookies, one-time links, the app's own check, and permissions that end
//! while a stream is open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use http::{Request, Response};
use livespan::{Access, Auth, LiveSpans, SpanEvent};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::app::{App, Frame, Stream, done, log, put, script, span, text, trace};

fn routes() -> [&'static str; 10] {
    [
        "/",
        script(),
        "/sse",
        "/traces",
        "/traces/sse",
        "/traces/00000000000000000000000000000001",
        "/traces/00000000000000000000000000000001/sse",
        "/workflows/a/b/sse",
        "/stats/durations?service=shop&name=a",
        "/status",
    ]
}

fn secured(auth: Auth) -> LiveSpans {
    let live = LiveSpans::builder().auth(auth).build().unwrap();
    put(&live, done(1, "checkout", 5));
    live
}

async fn ask(live: &LiveSpans, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    send(live.router(), "GET", path, headers, Body::empty()).await
}

async fn send(
    router: Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.oneshot(request.body(body).unwrap()).await.unwrap()
}

async fn error(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    (status, body["error"].as_str().unwrap().to_owned())
}

fn cookie_of(response: &Response<Body>) -> String {
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_is_read_without_the_token() {
    let live = secured(Auth::token("hush hush"));
    for path in routes() {
        for headers in [
            vec![],
            vec![("authorization", "Bearer hush")],
            vec![("authorization", "Basic aHVzaCBodXNo")],
            vec![
                ("authorization", "Bearer hush hush"),
                ("authorization", "Bearer x"),
            ],
            vec![("cookie", "livespan-00000000=1.00")],
            // A host name for which a log without access control needs no token.
            vec![("host", "localhost")],
        ] {
            let response = ask(&live, path, &headers).await;
            assert_eq!(response.status(), 401, "{path} {headers:?}");
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"livespan\""
            );
            assert!(!response.headers().contains_key("set-cookie"));
        }
        let good = [
            ("authorization", "bearer hush hush"),
            ("host", "ops.example"),
        ];
        let response = ask(&live, path, &good).await;
        assert_eq!(response.status(), 200, "{path}");
    }
    assert_eq!(
        error(ask(&live, "/status", &[]).await).await,
        (
            401,
            "readers need the token: send it as \"Authorization: Bearer …\", or sign in on the page".to_owned()
        )
    );
}

#[tokio::test]
async fn wrong_credentials_are_counted_and_missing_ones_are_not() {
    let live = secured(Auth::token("hush"));
    let link = live.login_link("/").unwrap();
    let cookie = cookie_of(&ask(&live, &link, &[]).await);
    let forged = format!("{}x", &cookie[..cookie.len() - 1]);
    let stream = format!("/traces/{}/sse", trace(1));
    for (path, headers) in [
        ("/status", vec![("authorization", "Bearer guess")]),
        ("/sse", vec![("authorization", "Basic aHVzaA")]),
        ("/", vec![("cookie", &*forged), ("accept", "text/html")]),
        (&*format!("{stream}?ticket=guess"), vec![]),
        // Requests without credentials, and with credentials that were valid earlier or for another
        // log.
        ("/status", vec![]),
        (&*link, vec![]),
        ("/status", vec![("cookie", "livespan-00000000=1.00")]),
    ] {
        let response = ask(&live, path, &headers).await;
        assert!(response.status().is_client_error(), "{path} {headers:?}");
    }
    let form = Body::from("token=guess");
    let form = send(live.router(), "POST", "/", &[], form).await;
    assert_eq!(form.status(), 401);
    let status = text(ask(&live, "/status", &[("cookie", &cookie)]).await).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["wrongCredentials"], 5);
}

#[tokio::test]
async fn a_token_in_the_address_is_ignored() {
    let live = secured(Auth::token("hush"));
    for query in [
        "token=hush",
        "access_token=hush",
        "login=hush",
        "ticket=hush",
    ] {
        let response = ask(&live, &format!("/status?{query}"), &[]).await;
        assert_eq!(response.status(), 401, "{query}");
    }
}

#[test]
fn a_token_that_cannot_work_is_refused_when_the_log_is_built() {
    let refused = |auth| {
        let error = LiveSpans::builder().auth(auth).build().unwrap_err();
        assert!(error.is_invalid());
        error.to_string()
    };
    assert_eq!(refused(Auth::token("")), "the token is empty");
    assert_eq!(
        refused(Auth::token_from_env("LIVESPAN_NOT_SET")),
        "LIVESPAN_NOT_SET is not set: it must hold the token that readers send"
    );
    // Any variable works that is set and whose value fits into a header.
    let live = LiveSpans::builder()
        .auth(Auth::token_from_env("PATH"))
        .build();
    drop(live.unwrap());
}

#[tokio::test]
async fn a_one_time_link_signs_one_browser_in_and_restarts_keep_it_signed_in() {
    let live = secured(Auth::token("hush"));
    let link = live.login_link("/").unwrap();
    assert_eq!(link.len(), "/?login=".len() + 32);
    // A `HEAD` request, such as that of a link preview, does not use up the link.
    let previewed = send(live.router(), "HEAD", &link, &[], Body::empty()).await;
    assert!(!previewed.headers().contains_key("set-cookie"));
    let signed_in = ask(&live, &link, &[]).await;
    assert_eq!(signed_in.status(), 200);
    let set = signed_in.headers()["set-cookie"].to_str().unwrap();
    let (pair, rest) = set.split_once(';').unwrap();
    assert_eq!(rest, " Max-Age=604800; HttpOnly; SameSite=Strict");
    assert!(
        pair.starts_with("livespan-") && !pair.contains("hush"),
        "{pair}"
    );
    let pair = pair.to_owned();
    // The address to which the browser continues contains no code.
    let page = text(signed_in).await;
    assert!(
        page.contains("<meta http-equiv=\"refresh\" content=\"0;url=./\">"),
        "{page}"
    );
    for path in routes() {
        let other = format!("theme=dark; {pair}; x=y");
        assert_eq!(
            ask(&live, path, &[("cookie", &other)]).await.status(),
            200,
            "{path}"
        );
    }
    let again = ask(&live, &link, &[("accept", "text/html")]).await;
    assert_eq!(again.status(), 401);
    assert!(
        text(again)
            .await
            .contains("This link was used before, or is too old.")
    );
    // The cookie is derived from the token. So a restarted process accepts it, and a process with
    // another token does not.
    let restarted = secured(Auth::token("hush"));
    assert_eq!(
        ask(&restarted, "/status", &[("cookie", &pair)])
            .await
            .status(),
        200
    );
    let changed = secured(Auth::token("other"));
    assert_eq!(
        ask(&changed, "/status", &[("cookie", &pair)])
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn a_browser_that_is_not_signed_in_gets_a_form_for_the_token() {
    let live = secured(Auth::token("hush & \"co\""));
    let page = ask(&live, "/", &[("accept", "text/html,*/*")]).await;
    assert_eq!(page.status(), 401);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(
        page.headers()["content-security-policy"],
        "default-src 'none'; style-src 'sha256-mACrKx1shMYXIOexsTXkh8YxZ5yBNAKwr+oG5/mA5a8='; img-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    assert!(text(page).await.contains("<form method=\"post\">"));
    let own = [("host", "ops.example"), ("origin", "http://ops.example")];
    let form = |token: &str| Body::from(format!("token={token}"));
    let wrong = send(live.router(), "POST", "/", &own, form("hush")).await;
    assert_eq!(wrong.status(), 401);
    assert!(!wrong.headers().contains_key("set-cookie"));
    let right = send(live.router(), "POST", "/", &own, form("hush+%26+%22co%22")).await;
    assert_eq!(right.status(), 200);
    let cookie = cookie_of(&right);
    assert_eq!(
        ask(&live, "/status", &[("cookie", &cookie)]).await.status(),
        200
    );
    // A page of another site cannot sign its visitor in, and a huge form is refused.
    let foreign = [("host", "ops.example"), ("origin", "http://evil.example")];
    let forged = send(
        live.router(),
        "POST",
        "/",
        &foreign,
        form("hush+%26+%22co%22"),
    )
    .await;
    assert_eq!(
        error(forged).await,
        (403, "a page of another site may not do this".to_owned())
    );
    let book = send(live.router(), "POST", "/", &own, form(&"x".repeat(10_000))).await;
    assert_eq!(
        error(book).await,
        (
            413,
            "the form is incomplete, or has more than 8192 bytes".to_owned()
        )
    );
    // Without a token, no sign-in is needed.
    let open = log();
    let refused = send(
        open.router(),
        "POST",
        "/",
        &[("host", "localhost")],
        form("x"),
    )
    .await;
    assert_eq!(refused.status(), 405);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_sent_only_over_tls() {
    let live = secured(Auth::token("hush"));
    let link = live.login_link("/").unwrap();
    let response = ask(&live, &link, &[("x-forwarded-proto", "https")]).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_server_gives_its_operator_a_link() {
    let app = App::serve(secured(Auth::token("hush"))).await;
    let link = app.server.login_url().unwrap();
    assert!(
        link.starts_with(&format!("{}?login=", app.server.url())),
        "{link}"
    );
    assert_eq!(app.client.get(&link).send().await.unwrap().status(), 200);
    assert_eq!(app.client.get(&link).send().await.unwrap().status(), 401);
    let open = App::start().await;
    assert_eq!(open.server.login_url().unwrap(), open.server.url());
}

#[tokio::test]
async fn the_apps_rule_decides_on_every_route() {
    let auth = Auth::check(|request| match request.headers.get("x-role") {
        Some(role) if role == "admin" => Access::everything(),
        Some(role) if role == "late" => Access::everything().until(SystemTime::UNIX_EPOCH),
        Some(role) if role == "broken" => panic!("the app's own mistake"),
        _ => Access::nothing(),
    });
    let live = secured(auth);
    for path in routes() {
        assert_eq!(
            ask(&live, path, &[("x-role", "admin")]).await.status(),
            200,
            "{path}"
        );
        let message = "this reader may not read anything of this log".to_owned();
        for headers in [[("x-role", "guest")], [("x-role", "broken")]] {
            assert_eq!(
                error(ask(&live, path, &headers).await).await,
                (403, message.clone()),
                "{path}"
            );
        }
        let late = ask(&live, path, &[("x-role", "late")]).await;
        if path.ends_with("/sse") {
            assert_eq!(late.status(), 200, "{path}");
            assert_eq!(ended(Stream::of_body(late.into_body())).await, "expired");
        } else {
            let message = "access has expired: sign in again".to_owned();
            assert_eq!(error(late).await, (401, message), "{path}");
        }
    }
}

/// Returns the reason in the `end` of a stream that sent no event.
async fn ended(mut stream: Stream) -> String {
    let frames = stream.rest().await;
    let [retry, end] = frames.as_slice() else {
        panic!("{frames:?}");
    };
    assert!(!retry.retry.is_empty(), "{retry:?}");
    assert_eq!(end.event, "end");
    end.json()["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_slow_rule_decides_too_and_a_rule_that_never_answers_refuses() {
    let auth = Auth::check_async(async |request| {
        match request
            .headers
            .get("x-role")
            .map(http::HeaderValue::as_bytes)
        {
            Some(b"admin") => {
                // The clock advances only while no task can run.
                let waiting =
                    tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>());
                drop(waiting.await);
                Access::everything()
            }
            Some(b"lost") => std::future::pending().await,
            _ => Access::nothing(),
        }
    });
    let live = secured(auth);
    assert_eq!(
        ask(&live, "/status", &[("x-role", "admin")]).await.status(),
        200
    );
    assert_eq!(ask(&live, "/status", &[]).await.status(), 403);
    assert_eq!(
        error(ask(&live, "/status", &[("x-role", "lost")]).await).await,
        (
            503,
            "the app's access check did not answer in time".to_owned()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_app_withdraws_its_permission() {
    let allowed = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(AtomicUsize::new(0));
    let auth = {
        let (allowed, asked) = (Arc::clone(&allowed), Arc::clone(&asked));
        Auth::check(move |_request| {
            asked.fetch_add(1, Ordering::Relaxed);
            if allowed.load(Ordering::Relaxed) {
                Access::everything()
            } else {
                Access::nothing()
            }
        })
    };
    let live = secured(auth);
    for path in [
        "/sse",
        "/traces/sse",
        "/traces/00000000000000000000000000000001/sse",
    ] {
        allowed.store(true, Ordering::Relaxed);
        let response = ask(&live, path, &[]).await;
        assert_eq!(response.status(), 200);
        let mut stream = Stream::of_body(response.into_body());
        stream.event("hello").await;
        let before = asked.load(Ordering::Relaxed);
        // The clock advances only when no task can run, so the check runs exactly when it is due.
        while asked.load(Ordering::Relaxed) < before + 3 {
            stream.next().await.unwrap();
        }
        allowed.store(false, Ordering::Relaxed);
        let begun = tokio::time::Instant::now();
        let rest = stream.rest().await;
        assert_eq!(reason(rest.last().unwrap()), "expired", "{path}");
        assert!(
            begun.elapsed() <= Auth::RECHECK_INTERVAL,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(live.status().subscribers, 0, "{path}");
    }
}

fn reason(end: &Frame) -> String {
    assert_eq!(end.event, "end");
    end.json()["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_stops_answering_ends_the_stream() {
    let asked = Arc::new(AtomicUsize::new(0));
    let live = secured(Auth::check_async(move |_request| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                Access::everything()
            } else {
                std::future::pending().await
            }
        }
    }));
    let response = ask(&live, "/sse", &[]).await;
    let rest = Stream::of_body(response.into_body()).rest().await;
    assert_eq!(reason(rest.last().unwrap()), "expired");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_reader_may_read_less_than_before() {
    let asked = Arc::new(AtomicUsize::new(0));
    let live = secured(Auth::check(move |_request| {
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Access::traces([trace(1), trace(2)]),
            // Additional permissions do not end the stream.
            1 => Access::traces([trace(1), trace(2), trace(3)]),
            _ => Access::traces([trace(1)]),
        }
    }));
    let response = ask(&live, "/sse", &[]).await;
    let mut stream = Stream::of_body(response.into_body());
    let begun = tokio::time::Instant::now();
    let rest = stream.rest().await;
    assert_eq!(reason(rest.last().unwrap()), "expired");
    assert_eq!(
        begun.elapsed().as_secs(),
        2 * Auth::RECHECK_INTERVAL.as_secs()
    );
}

#[tokio::test]
async fn a_ticket_opens_one_trace_for_a_while() {
    let live = secured(Auth::token("hush"));
    put(&live, done(2, "other", 5));
    live.shutdown().unwrap();
    let ticket = live.ticket(trace(1), Duration::from_secs(60));
    let own = format!("/traces/{}/sse", trace(1));
    let response = ask(&live, &format!("{own}?ticket={ticket}"), &[]).await;
    let transcript = Stream::of_body(response.into_body())
        .transcript("shutdown")
        .await;
    let names: Vec<&str> = transcript
        .iter()
        .map(|frame| frame.event.as_str())
        .collect();
    assert_eq!(names, ["started", "ended"]);
    // Other tickets are refused: one for another trace, one of another log, and malformed ones.
    let foreign = live.ticket(trace(2), Duration::from_secs(60));
    let restarted = LiveSpans::builder()
        .auth(Auth::token("hush"))
        .build()
        .unwrap();
    let elsewhere = secured(Auth::token("other")).ticket(trace(1), Duration::from_secs(60));
    for wrong in [&*foreign, &*elsewhere, "1.00", "x"] {
        let response = ask(&live, &format!("{own}?ticket={wrong}"), &[]).await;
        let message = format!("the ticket is not valid for the trace {}", trace(1));
        assert_eq!(error(response).await, (403, message));
    }
    for path in ["/sse", "/traces", "/status", "/", "/traces/sse"] {
        let response = ask(&live, &format!("{path}?ticket={ticket}"), &[]).await;
        assert_eq!(response.status(), 401, "{path}");
    }
    // The ticket key is derived from the token.
    let response = ask(&restarted, &format!("{own}?ticket={ticket}"), &[]).await;
    assert_eq!(response.status(), 200);
    let late = live.ticket(trace(1), Duration::ZERO);
    let response = ask(
        &live,
        &format!("{own}?ticket={late}"),
        &[("last-event-id", "0")],
    )
    .await;
    assert_eq!(response.status(), 200);
    let rest = Stream::of_body(response.into_body()).rest().await;
    assert!(
        ["expired", "shutdown"].contains(&&*reason(rest.last().unwrap())),
        "{rest:?}"
    );
}

#[tokio::test]
async fn a_ticket_that_ends_while_its_stream_runs_ends_the_stream() {
    let live = secured(Auth::public());
    let ticket = live.ticket(trace(1), Duration::from_millis(1));
    let path = format!("/traces/{}/sse?ticket={ticket}", trace(1));
    let response = ask(&live, &path, &[]).await;
    assert_eq!(response.status(), 200);
    let rest = Stream::of_body(response.into_body()).rest().await;
    assert_eq!(reason(rest.last().unwrap()), "expired");
}

#[tokio::test]
async fn a_ticket_works_without_access_control_and_under_any_host_name() {
    // Without access control, only loopback names are answered. A ticket works under any name,
    // because DNS rebinding does not give an attacker a ticket.
    let live = log();
    put(&live, done(1, "checkout", 5));
    let ticket = live.ticket(trace(1), Duration::from_secs(60));
    let path = format!("/traces/{}/sse", trace(1));
    let named = [("host", "api.shop.example")];
    assert_eq!(ask(&live, &path, &named).await.status(), 403);
    let response = ask(&live, &format!("{path}?ticket={ticket}"), &named).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_workflows_stream_accepts_the_ticket_of_its_trace() {
    let live = secured(Auth::token("hush"));
    let flows = livespan::workflow::Workflows::new(&live).namespace("orders");
    let of = flows.trace_id("order 7");
    let ticket = live.ticket(of, Duration::from_secs(60));
    let path = format!("/workflows/orders/order%207/sse?ticket={ticket}");
    assert_eq!(ask(&live, &path, &[]).await.status(), 200);
    let other = format!("/workflows/orders/order%208/sse?ticket={ticket}");
    assert_eq!(ask(&live, &other, &[]).await.status(), 403);
}

#[tokio::test]
async fn processes_that_share_a_ticket_key_accept_each_others_tickets_and_a_short_key_is_refused() {
    let keyed = || {
        let builder = LiveSpans::builder().auth(Auth::check(|_| Access::nothing()));
        builder.ticket_key(*b"0123456789abcdef").build().unwrap()
    };
    let ticket = keyed().ticket(trace(1), Duration::from_secs(60));
    let path = format!("/traces/{}/sse?ticket={ticket}", trace(1));
    assert_eq!(ask(&keyed(), &path, &[]).await.status(), 200);
    let error = LiveSpans::builder()
        .ticket_key("short")
        .build()
        .unwrap_err();
    assert_eq!(error.to_string(), "the ticket key has fewer than 16 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_public_stream_is_never_checked_again() {
    let live = secured(Auth::public());
    let response = ask(&live, "/sse", &[]).await;
    let mut stream = Stream::of_body(response.into_body());
    for _ in 0..10 {
        stream.event("ping").await;
    }
    put(&live, [SpanEvent::started(trace(3), span(1), "late")]);
    let late = stream.event("started").await;
    assert_eq!(late.json()["name"], json!("late"));
}
