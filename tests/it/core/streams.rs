//! No subscriber adds to the cost of another one.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream as _;
use livespan::sse::{Message, ResumePoint, Subscribe};

use super::{
    connection::Wakes,
    test_event::{Note, builder, key, put},
};

#[test]
fn a_reader_of_one_stream_is_not_woken_by_the_traffic_of_others() {
    let target = builder().build().unwrap();
    let mut own = pin!(target.subscribe(Subscribe::to(key("own"))));
    let wakes = Arc::new(Wakes::default());
    let task = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&task);
    assert!(own.as_mut().poll_next(&mut context).is_pending());
    for _ in 0..50 {
        put(&target, [Note::new("x").on("other")]);
    }
    assert_eq!(wakes.count(), 0);
    put(&target, [Note::new("mine").on("own")]);
    assert_eq!(wakes.count(), 1);
    put(&target, [Note::new("mine, too").on("own")]);
    assert_eq!(
        wakes.count(),
        1,
        "a reader that had not read yet was woken again"
    );
    for expected in ["mine", "mine, too"] {
        let Poll::Ready(Some(Message::Event(event))) = own.as_mut().poll_next(&mut context) else {
            panic!("the event {expected:?} did not come")
        };
        assert_eq!(event.payload, expected);
    }
    assert!(own.as_mut().poll_next(&mut context).is_pending());
    put(&target, [Note::new("everyone's")]);
    assert_eq!(
        wakes.count(),
        2,
        "an event of every stream did not wake the reader"
    );
}

#[test]
fn a_subscription_from_the_head_gets_only_later_events() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("old")]);
    let mut messages = pin!(target.subscribe(Subscribe::all().resume(ResumePoint::Live)));
    let waker = Waker::noop();
    let mut context = Context::from_waker(waker);
    assert!(messages.as_mut().poll_next(&mut context).is_pending());
    put(&target, [Note::new("new")]);
    let Poll::Ready(Some(Message::Event(event))) = messages.as_mut().poll_next(&mut context) else {
        panic!("no event came")
    };
    assert_eq!(
        (event.id, event.payload.as_ref()),
        (target.head(), &b"new"[..])
    );
    assert!(messages.as_mut().poll_next(&mut context).is_pending());
}
