//! The limit on open streams. A client beyond it gets a stream that only reports this, because an
//! `EventSource` gives up on errors.

use livespan::LiveSpans;

use super::app::{App, Stream, ask, open, until};
use crate::support::PATIENCE;

/// Returns whether the stream was refused with a single `end`.
async fn overloaded(mut stream: Stream) -> bool {
    let frames = stream.rest().await;
    let [retry, end] = frames.as_slice() else {
        panic!("{frames:?}");
    };
    let retry: u64 = retry.retry.parse().unwrap();
    (10_000..20_000).contains(&retry) && end.data == "{\"type\":\"end\",\"reason\":\"overload\"}"
}

#[tokio::test]
async fn a_stream_beyond_the_bound_opens_and_ends_with_the_reason_overload() {
    let live = LiveSpans::builder().subscribers(3).build().unwrap();
    let trace = "/traces/00000000000000000000000000000001/sse";
    let mut held = vec![
        open(&live, "/sse").await,
        open(&live, "/traces/sse").await,
        open(&live, trace).await,
    ];
    for path in ["/sse", "/traces/sse", trace, "/workflows/a/b/sse"] {
        assert!(overloaded(open(&live, path).await).await, "{path}");
    }
    // Other requests need no permit.
    assert_eq!(ask(live.router(), "/traces").await.status(), 200);
    for stream in &mut held {
        stream.event("hello").await;
    }
    held.pop();
    let mut next = open(&live, "/sse").await;
    next.event("hello").await;
    assert!(overloaded(open(&live, "/sse").await).await);
}

#[tokio::test]
async fn a_closed_stream_of_an_address_makes_room_for_its_next_stream() {
    let live = LiveSpans::builder()
        .subscribers_per_address(2)
        .build()
        .unwrap();
    let app = App::serve(live).await;
    let mut held = vec![app.stream("/sse").await, app.stream("/sse").await];
    assert!(overloaded(app.stream("/sse").await).await);
    drop(held.pop());
    until(|| app.live.status().subscribers == 1).await;
    // The permit is released with the stream, shortly after its reader is dropped.
    let admitted = async {
        loop {
            let mut stream = app.stream("/sse").await;
            let first = stream.next().await.unwrap();
            if first.retry.parse::<u64>().unwrap() < 10_000 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, admitted).await.unwrap();
}
