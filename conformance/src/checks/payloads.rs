//! Checks that payloads, names and stream keys come back unchanged, up to the greatest length that the log allows.

use livespan::{SseTarget, store::StreamKey};

use crate::{
    context::CheckContext,
    handle::{ANY, streams},
    model::{Model, Scope},
    report::Outcome,
    test_event::{TestEvent, random_bytes, stream},
};

/// Upper bound on the bytes of a payload, as the log enforces it.
const PAYLOAD_BYTES_MAX: usize = SseTarget::<()>::PAYLOAD_BYTES_MAX;

pub(crate) fn keeps_payloads(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let each: Vec<TestEvent> = every_byte
        .iter()
        .map(|byte| TestEvent::new([*byte]))
        .collect();
    handle.put(&mut model, &each)?;
    let texts: [&[u8]; 12] = [
        b"",
        b"\n",
        b"\n\n",
        b"a\nb\n\nc\n",
        b"data: x\n\nid: 7\nevent: forged\n\n",
        b" leading and trailing ",
        b"\0\0\0",
        b"{\"a\":\"\\u0000\"}",
        "\u{feff}\u{1f600}\u{0}é".as_bytes(),
        b"\xff\xfe\xc3\x28",
        b"'; DROP TABLE events; --",
        b"$3\r\nfoo\r\n%s%n",
    ];
    handle.put(&mut model, &texts.map(TestEvent::new))?;
    handle.put(&mut model, &[TestEvent::new(every_byte.clone())])?;
    let mut random = context.random();
    let sizes = [
        1,
        2,
        127,
        128,
        255,
        256,
        4095,
        4096,
        4097,
        65_535,
        65_536,
        65_537,
        PAYLOAD_BYTES_MAX - 1,
    ];
    for size in sizes {
        let event = TestEvent::new(random_bytes(&mut random, size)).on(stream("random"));
        handle.put(&mut model, &[event])?;
    }
    let turning: Vec<u8> = every_byte
        .iter()
        .copied()
        .cycle()
        .take(PAYLOAD_BYTES_MAX)
        .collect();
    let largest = [
        TestEvent::new(turning).on(stream("random")),
        TestEvent::new(vec![0; PAYLOAD_BYTES_MAX]),
        TestEvent::new(vec![0xff; PAYLOAD_BYTES_MAX]),
        TestEvent::new(Vec::new()),
    ];
    handle.put(&mut model, &largest)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    handle.check(&model, &streams(&[stream("random")]), 0, ANY)
}

pub(crate) fn keeps_names(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    let lengths = (1..=64).map(|length| alphabet.chars().cycle().take(length).collect());
    let rotated =
        (0..alphabet.len()).map(|from| alphabet.chars().cycle().skip(from).take(64).collect());
    let names: Vec<TestEvent> = lengths
        .chain(rotated)
        .map(|name: String| TestEvent::new("named").named(name))
        .collect();
    handle.put(&mut model, &names)?;

    let keys = keys();
    let events: Vec<TestEvent> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| TestEvent::new(place.to_string()).on(*key))
        .collect();
    handle.put(&mut model, &events)?;
    handle.put(&mut model, &events)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    let from = names.len() as u64;
    for key in &keys {
        handle.check(&model, &streams(&[*key]), from, ANY)?;
    }
    Ok(())
}

/// Returns keys that a careless comparison would confuse, every key of one byte outside printable ASCII, and keys of
/// every length.
fn keys() -> Vec<StreamKey> {
    let alike: [&[u8]; 16] = [
        b"a",
        b"A",
        b"a\0",
        b"a\0\0",
        b"\0",
        b"\0\0",
        b"\0a",
        b" a",
        b"a ",
        b"\xff",
        b"\xff\xff",
        b"1",
        b"01",
        b"1.0",
        b"a:b",
        b"{a}",
    ];
    let patterns: [&[u8]; 6] = [b"%", b"_", b"*", b"?", b"[a]", b"\\"];
    let bytes = (1..=u8::MAX)
        .filter(|byte| !byte.is_ascii() || byte.is_ascii_control())
        .filter(|byte| *byte != 0xff)
        .map(|byte| vec![byte]);
    let lengths = (2..=StreamKey::LENGTH_MAX).map(|length| vec![b'k'; length]);
    let ends = [0, b'k' - 1, b'k' + 1, 0xff].map(|end| {
        let mut key = vec![b'k'; StreamKey::LENGTH_MAX - 1];
        key.push(end);
        key
    });
    alike
        .into_iter()
        .chain(patterns)
        .map(<[u8]>::to_vec)
        .chain(bytes)
        .chain(lengths)
        .chain(ends)
        .map(stream)
        .collect()
}
