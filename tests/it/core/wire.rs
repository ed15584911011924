//! An independent SSE client understands every byte that is sent, whatever is dispatched and
//! wherever the bytes are split.

use std::convert::Infallible;

use bytes::Bytes;
use eventsource_stream::{Event, Eventsource as _};
use futures_util::{StreamExt as _, stream};
use livespan::{SseEvent, SseTarget, sse::Subscribe};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::{
    connection::Connection,
    test_event::{Note, builder, put},
};
use crate::support::block_on;

/// Reads the stream of these payloads in chunks of these sizes, used in a cycle.
fn received(payloads: &[String], chunks: &[usize]) -> Vec<Event> {
    let target = builder().build().unwrap();
    put(&target, payloads.iter().map(Note::new));
    let mut rest = Bytes::from(Connection::open(&target, Subscribe::all()).bytes());
    let pieces = chunks.iter().cycle().map_while(|size| {
        let size = (*size).min(rest.len());
        (!rest.is_empty()).then(|| Ok::<Bytes, Infallible>(rest.split_to(size)))
    });
    let events = stream::iter(pieces.collect::<Vec<_>>()).eventsource();
    let events: Vec<Event> = block_on(events.map(Result::unwrap).collect());
    assert_eq!(events[0].event, "hello");
    events.into_iter().skip(1).collect()
}

fn check(payloads: &[String], chunks: &[usize]) {
    let events = received(payloads, chunks);
    let ids: Vec<u64> = events
        .iter()
        .map(|event| super::connection::sequence(&event.id))
        .collect();
    assert_eq!(ids, (1..=payloads.len() as u64).collect::<Vec<_>>());
    for (event, payload) in events.iter().zip(payloads) {
        assert_eq!(event.event, "note");
        assert_eq!(
            event.data,
            payload.replace("\r\n", "\n").replace('\r', "\n")
        );
    }
}

/// Text with characters that could confuse an SSE parser, or any other text.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\0".to_owned()),
        Just("\u{feff}".to_owned()),
        Just(":".to_owned()),
        Just(" ".to_owned()),
        Just("data: ".to_owned()),
        Just("id: 7\n\n".to_owned()),
        Just("\nevent: end\n".to_owned()),
        Just("\u{2028}\u{85}".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(Config {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_122),
        ..Config::default()
    })]

    #[test]
    fn any_text_arrives_with_its_line_breaks_as_lf(
        payloads in proptest::collection::vec(text(), 1..6),
        chunks in proptest::collection::vec(1_usize..64, 1..8),
    ) {
        check(&payloads, &chunks);
    }

    #[test]
    fn json_arrives_intact(
        values in proptest::collection::vec(text(), 1..6),
        chunks in proptest::collection::vec(1_usize..64, 1..8),
    ) {
        let payloads: Vec<String> = values.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
        let events = received(&payloads, &chunks);
        let data: Vec<String> = events.into_iter().map(|event| event.data).collect();
        assert_eq!(data, payloads);
    }
}

#[test]
fn payloads_at_the_edges_of_the_format_arrive() {
    let edges = [
        "",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        ":",
        " leading",
        "trailing ",
        "\u{feff}bom",
        "a\0b",
        "data: x",
        "ü€😀",
    ];
    check(&edges.map(str::to_owned), &[1]);
}

#[test]
fn a_subscription_gives_the_payload_as_a_browser_would_see_it() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("a\r\nb\rc\n"), Note::new("plain")]);
    let messages: Vec<livespan::sse::Message> =
        block_on(target.subscribe(Subscribe::all()).take(2).collect());
    let payloads: Vec<&[u8]> = messages
        .iter()
        .map(|message| match message {
            livespan::sse::Message::Event(event) => &event.payload[..],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(payloads, [&b"a\nb\nc\n"[..], &b"plain"[..]]);
}

#[test]
fn a_name_outside_the_alphabet_is_refused() {
    let target = builder().build().unwrap();
    let long = "n".repeat(65);
    for name in [
        "",
        "a\nb",
        "a\rb",
        "é",
        "a b",
        "a:b",
        "a\0b",
        "\u{feff}",
        "a,b",
        "a/b",
        long.as_str(),
    ] {
        let error = target
            .try_dispatch(&Note::new("x").named(name))
            .unwrap_err();
        assert!(error.is_invalid(), "{name:?}");
        assert!(
            block_on(target.dispatch(&Note::new("x").named(name)))
                .unwrap_err()
                .is_invalid(),
            "{name:?}"
        );
    }
    let longest = "n".repeat(64);
    put(
        &target,
        ["a", "A.b_c-9", longest.as_str()].map(|name| Note::new("x").named(name)),
    );
    assert_eq!(target.head().sequence().get(), 3);
    assert_eq!(target.dropped(), livespan::sse::Dropped::default());
}

#[test]
fn a_payload_larger_than_the_bound_or_not_text_is_refused() {
    struct Raw(Vec<u8>);
    impl SseEvent for Raw {
        fn name(&self) -> &'static str {
            "raw"
        }
        fn encode(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.0);
        }
    }
    let target = SseTarget::<Raw>::builder().build().unwrap();
    assert!(
        target
            .try_dispatch(&Raw(vec![b'x'; SseTarget::<()>::PAYLOAD_BYTES_MAX + 1]))
            .unwrap_err()
            .is_invalid()
    );
    assert!(
        target
            .try_dispatch(&Raw(vec![0xff]))
            .unwrap_err()
            .is_invalid()
    );
    target
        .try_dispatch(&Raw(vec![b'x'; SseTarget::<()>::PAYLOAD_BYTES_MAX]))
        .unwrap();
    target
        .try_dispatch(&Raw(vec![b'\n'; SseTarget::<()>::PAYLOAD_BYTES_MAX]))
        .unwrap();
    target.flush(crate::support::PATIENCE).unwrap();
    assert_eq!(target.head().sequence().get(), 2);
}
