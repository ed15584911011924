//! A stream without events, with a clock that the test advances.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Waker},
    time::Duration,
};

use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use livespan::{
    SseTarget,
    sse::{SseBody, Subscribe},
};
use tokio::time::Instant;

use super::{
    connection::{Connection, Wakes, normal},
    stores::VecStore,
    test_event::{Note, builder, key, put},
};
use crate::support::PATIENCE;

struct Client {
    body: SseBody,
    epoch: String,
}

impl Client {
    fn new(target: &SseTarget<Note>, options: Subscribe) -> Self {
        let response = target.respond(options, &HeaderMap::new(), &http::Uri::from_static("/"));
        Self {
            body: response.into_body(),
            epoch: target.head().epoch().to_string(),
        }
    }

    /// Returns the next piece, and the time that it took.
    async fn piece(&mut self) -> (String, Duration) {
        let begun = Instant::now();
        let Some(frame) = self.body.frame().await else {
            return (String::new(), begun.elapsed());
        };
        let bytes = frame.unwrap().into_data().unwrap();
        (normal(&bytes, &self.epoch), begun.elapsed())
    }
}

fn ping(head: u64, known: &str) -> String {
    format!(
        "event: ping\ndata: {{\"type\":\"ping\",\"head\":\"EPOCH-{head}\",\"now\":\"NOW\",\
         \"dropped\":{{\"starts\":0,\"ends\":0,\"other\":0}}{known}}}\n\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_stream_pings_after_fifteen_seconds_of_quiet() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1")]);
    let mut client = Client::new(&target, Subscribe::all());
    assert!(
        client
            .piece()
            .await
            .0
            .starts_with("retry: JITTER\n\nevent: hello\n")
    );
    assert_eq!(
        client.piece().await,
        (
            "event: note\nid: EPOCH-1\ndata: 1\n\n".to_owned(),
            Duration::ZERO
        )
    );
    assert_eq!(client.piece().await, (ping(1, ""), SseBody::PING_INTERVAL));
    assert_eq!(client.piece().await, (ping(1, ""), SseBody::PING_INTERVAL));
    tokio::time::advance(Duration::from_secs(10)).await;
    put(&target, [Note::new("2")]);
    assert_eq!(
        client.piece().await.0,
        "event: note\nid: EPOCH-2\ndata: 2\n\n"
    );
    assert_eq!(
        client.piece().await,
        (ping(2, ""), SseBody::PING_INTERVAL),
        "the event did not restart the time until the ping"
    );
}

/// So ten thousand idle streams use no CPU time between their pings.
#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_not_woken_before_its_ping() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1")]);
    let mut client = Client::new(&target, Subscribe::all());
    drop((client.piece().await, client.piece().await));
    tokio::time::advance(Duration::from_secs(10)).await;
    put(&target, [Note::new("2")]);
    drop(client.piece().await);
    let woken = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&woken));
    let next = Pin::new(&mut client.body).poll_frame(&mut Context::from_waker(&waker));
    assert!(next.is_pending());
    for _ in 1..SseBody::PING_INTERVAL.as_secs() {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(woken.count(), 0);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(woken.count(), 1);
    assert_eq!(client.piece().await, (ping(2, ""), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_within_a_busy_log_moves_its_clients_cursor() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1").on("a")]);
    let mut client = Client::new(&target, Subscribe::to(key("a")));
    drop((client.piece().await, client.piece().await));
    put(
        &target,
        (2..=9).map(|number| Note::new(number.to_string()).on("b")),
    );
    let (bytes, waited) = client.piece().await;
    assert_eq!(
        (bytes, waited),
        (ping(9, "") + "id: EPOCH-9\n\n", SseBody::PING_INTERVAL)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_an_unknown_key_reports_this_and_ends_after_five_minutes() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1").on("other")]);
    let begun = Instant::now();
    let mut client = Client::new(&target, Subscribe::to(key("nobody")));
    assert!(
        client
            .piece()
            .await
            .0
            .starts_with("retry: JITTER\n\nevent: hello\n")
    );
    assert_eq!(
        client.piece().await,
        (ping(1, ",\"known\":false"), Duration::ZERO)
    );
    for _ in 1..20 {
        assert_eq!(
            client.piece().await,
            (
                ping(1, ",\"known\":false") + "id: EPOCH-1\n\n",
                SseBody::PING_INTERVAL
            )
        );
    }
    let end = "event: end\ndata: {\"type\":\"end\",\"reason\":\"unknown\"}\n\n";
    assert_eq!(
        client.piece().await,
        (end.to_owned(), SseBody::PING_INTERVAL)
    );
    assert_eq!(begun.elapsed(), SseBody::UNKNOWN_STREAM_TIMEOUT);
    assert_eq!(client.piece().await, (String::new(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_becomes_known_stays_so() {
    let target = builder().build().unwrap();
    let mut client = Client::new(&target, Subscribe::to(key("late")));
    drop((client.piece().await, client.piece().await));
    put(&target, [Note::new("1").on("late")]);
    assert_eq!(
        client.piece().await.0,
        "event: note\nid: EPOCH-1\ndata: 1\n\n"
    );
    for _ in 0..30 {
        assert_eq!(
            client.piece().await,
            (ping(1, "") + "id: EPOCH-1\n\n", SseBody::PING_INTERVAL)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_read_delays_one_reader_until_the_shutdown_at_most() {
    let (store, kept) = VecStore::new(10).with_history(600, |_| None).share();
    let target = builder().store(store).build().unwrap();
    kept.hangs.store(true, Ordering::SeqCst);
    let mut stuck = Client::new(&target, Subscribe::all());
    stuck.piece().await;
    assert_eq!(stuck.piece().await, (ping(600, ""), SseBody::PING_INTERVAL));
    let mut other = Connection::resume(&target, Subscribe::all(), "600");
    put(&target, [Note::new("601")]);
    assert_eq!(other.transcript(), ["note 601 601"]);
    target.shutdown(PATIENCE).unwrap();
    let end = "retry: JITTER\n\nevent: end\ndata: {\"type\":\"end\",\"reason\":\"shutdown\"}\n\n";
    assert_eq!(
        stuck.piece().await,
        (end.to_owned(), SseBody::PING_INTERVAL)
    );
    assert_eq!(stuck.piece().await.0, "");
}
