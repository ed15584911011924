//! A store with more events than memory holds: replay continues from its pages into memory without a hole.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use livespan::{
    SseTarget,
    sse::{Epoch, Sequence, Subscribe},
    store::EpochStart,
};

use super::{
    connection::{Connection, Frame, sequence},
    stores::{Shared, VecStore},
    test_event::{Note, builder, key, put},
};

/// Events alternate between `a` and `b`; every seventh belongs to every stream.
fn stream_of(sequence: u64) -> Option<&'static str> {
    match sequence {
        _ if sequence.is_multiple_of(7) => None,
        _ if sequence.is_multiple_of(2) => Some("a"),
        _ => Some("b"),
    }
}

fn live(range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Note> {
    range.map(|sequence| {
        let note = Note::new(sequence.to_string());
        stream_of(sequence).map_or(note.clone(), |stream| note.on(stream))
    })
}

fn transcript(connection: &mut Connection) -> Vec<u64> {
    let frames = connection.frames();
    for frame in &frames {
        assert_eq!(
            frame.get("data").unwrap(),
            frame.sequence().unwrap().to_string(),
            "the payload belongs to another event"
        );
    }
    frames.iter().filter_map(Frame::sequence).collect()
}

#[test]
fn replay_crosses_from_the_store_into_memory_without_a_seam_at_every_cursor() {
    let target = builder()
        .store(VecStore::new(7).with_history(600, stream_of).share().0)
        .build()
        .unwrap();
    put(&target, live(601..=640));
    let on = |stream: &'static str| {
        move |sequence: &u64| stream_of(*sequence).is_none_or(|of| of == stream)
    };
    for cursor in 0..=640 {
        let read = |options| {
            transcript(&mut Connection::resume(
                &target,
                options,
                &cursor.to_string(),
            ))
        };
        assert_eq!(
            read(Subscribe::all()),
            (cursor + 1..=640).collect::<Vec<_>>(),
            "after {cursor}"
        );
        let a: Vec<u64> = (cursor + 1..=640).filter(on("a")).collect();
        assert_eq!(read(Subscribe::to(key("a"))), a, "after {cursor}");
        let both: Vec<u64> = (cursor + 1..=640)
            .filter(|one| on("a")(one) || on("b")(one))
            .collect();
        assert_eq!(
            read(Subscribe::to(key("a")).stream(key("b"))),
            both,
            "after {cursor}"
        );
    }
}

#[test]
fn a_reader_that_falls_behind_the_memory_catches_up_through_the_store() {
    let target = builder().store(VecStore::new(5).share().0).build().unwrap();
    let mut all = Connection::open(&target, Subscribe::all());
    let mut keyed = Connection::open(&target, Subscribe::to(key("a")));
    let expected: Vec<u64> = (1..=50).collect();
    for chunk in expected.chunks(10) {
        put(&target, live(chunk[0]..=chunk[9]));
        assert_eq!(transcript(&mut all), chunk);
    }
    let frames: Vec<u64> = keyed.frames().iter().filter_map(Frame::sequence).collect();
    assert_eq!(
        frames,
        (1..=50)
            .filter(|one| stream_of(*one) != Some("b"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_stream_that_only_the_store_knows_is_not_called_unknown() {
    let target = builder()
        .store(VecStore::new(5).with_history(20, stream_of).share().0)
        .build()
        .unwrap();
    let frames = Connection::open(&target, Subscribe::to(key("a"))).frames();
    let events: Vec<&str> = frames
        .iter()
        .filter_map(|frame| frame.get("event"))
        .collect();
    assert_eq!(events, ["note"; 11]);
    let unknown = Connection::resume(&target, Subscribe::to(key("zz")), "14").transcript();
    assert_eq!(
        unknown,
        ["ping {\"dropped\":{\"ends\":0,\"other\":0,\"starts\":0},\"head\":20,\"known\":false}"]
    );
}

#[test]
fn evictions_of_the_store_are_an_exact_gap() {
    let (store, model) = VecStore::new(7).with_history(600, stream_of).share();
    let target = builder().store(store).build().unwrap();
    put(&target, live(601..=640));
    model.evict_before(300);
    let read = |options, id: &str| Connection::resume(&target, options, id).transcript();
    let all = read(Subscribe::all(), "100");
    assert_eq!(
        all[0],
        "gap {\"from\":101,\"lost\":199,\"reason\":\"evicted\",\"to\":299}"
    );
    assert_eq!(all.len(), 1 + 341);
    let keyed = read(Subscribe::to(key("a")), "100");
    assert_eq!(
        keyed[0],
        "gap {\"from\":101,\"lost\":null,\"reason\":\"evicted\",\"to\":299}"
    );
    assert_eq!(keyed[1], "note 300 300");
    // Without a resume point, no event counts as missed.
    assert_eq!(
        Connection::open(&target, Subscribe::all()).transcript(),
        all[1..]
    );
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        keyed[1..]
    );
}

/// Returns a log of 600 stored events. Its store removes the first 400 when the second page is read.
fn shrinking() -> SseTarget<Note> {
    // Reads of the opening are not counted.
    let reads = Arc::new(AtomicU64::new(u64::MAX / 2));
    let model = Arc::new_cyclic(|weak: &Weak<VecStore>| {
        let (weak, reads) = (Weak::clone(weak), Arc::clone(&reads));
        let mut store = VecStore::new(7).with_history(600, stream_of);
        store.on_read = Box::new(move || {
            if reads.fetch_add(1, Ordering::SeqCst) == 1 {
                weak.upgrade().unwrap().evict_before(401);
            }
            Ok(())
        });
        store
    });
    let target = builder().store(Shared(model)).build().unwrap();
    put(&target, live(601..=620));
    reads.store(0, Ordering::SeqCst);
    target
}

#[test]
fn evictions_between_two_pages_are_a_gap() {
    let transcript = Connection::resume(&shrinking(), Subscribe::all(), "0").transcript();
    let notes = |range: std::ops::RangeInclusive<u64>| {
        range
            .map(|one| format!("note {one} {one}"))
            .collect::<Vec<_>>()
    };
    let gap = "gap {\"from\":257,\"lost\":144,\"reason\":\"evicted\",\"to\":400}".to_owned();
    assert_eq!(
        transcript,
        [notes(1..=256), vec![gap], notes(401..=620)].concat()
    );

    // The first page was read before the removal, so none of its events counts as missed, even with
    // a filter.
    let filtered = Subscribe::all().filter(|_, _| true);
    let transcript = Connection::resume(&shrinking(), filtered, "0").transcript();
    let gap = "gap {\"from\":257,\"lost\":null,\"reason\":\"evicted\",\"to\":400}".to_owned();
    assert_eq!(
        transcript,
        [notes(1..=256), vec![gap], notes(401..=620)].concat()
    );

    let transcript = Connection::resume(&shrinking(), Subscribe::to(key("a")), "0").transcript();
    let on_a = |one: &u64| stream_of(*one).is_none_or(|of| of == "a");
    let notes = |range: std::ops::RangeInclusive<u64>| {
        range.filter(on_a).map(|one| format!("note {one} {one}"))
    };
    // A page of one stream reaches further, because it has 256 events of that stream.
    let last = (1..=600).filter(on_a).nth(255).unwrap();
    let gap = (last < 400).then(|| {
        format!(
            "gap {{\"from\":{},\"lost\":null,\"reason\":\"evicted\",\"to\":400}}",
            last + 1
        )
    });
    let expected: Vec<String> = notes(1..=last)
        .chain(gap)
        .chain(notes(last.max(400) + 1..=620))
        .collect();
    assert_eq!(transcript, expected);
}

/// Returns a log of 600 stored events. When its first page is read, the store removes everything
/// before `lacks`; after that read, it removes everything before 401. `is_own` decides whether this
/// log wrote all of the events or none.
fn removing_during_a_read(lacks: u64, is_own: bool) -> SseTarget<Note> {
    let reads = Arc::new(AtomicU64::new(u64::MAX / 2));
    let model = Arc::new_cyclic(|weak: &Weak<VecStore>| {
        let earlier = if is_own { 0 } else { 600 };
        let mut store = VecStore::new(7).with_history(earlier, stream_of);
        let (counted, before) = (Arc::clone(&reads), Weak::clone(weak));
        store.on_read = Box::new(move || {
            if counted.load(Ordering::SeqCst) == 0 {
                before.upgrade().unwrap().evict_before(lacks);
            }
            Ok(())
        });
        let (counted, after) = (Arc::clone(&reads), Weak::clone(weak));
        store.on_page = Box::new(move |_| {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                after.upgrade().unwrap().evict_before(401);
            }
        });
        store
    });
    let target = builder().store(Shared(model)).build().unwrap();
    put(&target, live(if is_own { 1 } else { 601 }..=620));
    reads.store(0, Ordering::SeqCst);
    target
}

/// Reads from the beginning. Returns the gaps, and the runs of events as their first and last
/// sequence.
fn runs(
    target: &SseTarget<Note>,
    options: Subscribe,
    is_wanted: impl Fn(&u64) -> bool,
) -> Vec<String> {
    let wanted: Vec<u64> = (1..=620).filter(is_wanted).collect();
    let mut lines: Vec<String> = Vec::new();
    let mut run: Option<(u64, u64)> = None;
    let close = |run: Option<(u64, u64)>, lines: &mut Vec<String>| {
        lines.extend(run.map(|(first, last)| format!("{first}..={last}")));
    };
    for frame in Connection::resume(target, options, "0").frames() {
        let Some(one) = frame.sequence() else {
            close(run.take(), &mut lines);
            let gap = frame.json();
            let end = |name: &str| sequence(gap[name].as_str().unwrap());
            lines.push(format!(
                "{}..={} lost {}",
                end("from"),
                end("to"),
                gap["lost"]
            ));
            continue;
        };
        let place = wanted.binary_search(&one).unwrap();
        run = match run {
            Some((first, last)) if place > 0 && wanted[place - 1] == last => Some((first, one)),
            before => {
                close(before, &mut lines);
                Some((one, one))
            }
        };
    }
    close(run, &mut lines);
    lines
}

#[test]
fn events_that_were_read_before_their_eviction_are_not_counted_as_lost() {
    for is_own in [true, false] {
        let all = |lacks| {
            let target = removing_during_a_read(lacks, is_own);
            runs(&target, Subscribe::all(), |_| true)
        };
        assert_eq!(all(1), ["1..=256", "257..=400 lost 144", "401..=620"]);
        assert_eq!(
            all(51),
            [
                "1..=50 lost 50",
                "51..=306",
                "307..=400 lost 94",
                "401..=620"
            ]
        );
        let one = |lacks| {
            let target = removing_during_a_read(lacks, is_own);
            let of_a = |one: &u64| stream_of(*one).is_none_or(|of| of == "a");
            runs(&target, Subscribe::to(key("a")), of_a)
        };
        // It is unknown whether the missing events before the first one belonged to this stream.
        assert_eq!(one(1), ["1..=1 lost null", "2..=620"]);
        assert_eq!(one(51), ["1..=51 lost null", "52..=620"]);
    }
}

#[test]
fn ids_of_earlier_epochs_resume_in_place() {
    let epochs: [Epoch; 3] =
        ["aaaaaaaa", "bbbbbbbb", "cccccccc"].map(|epoch| epoch.parse().unwrap());
    let mut store = VecStore::new(4).with_history(300, |_| None);
    store.epochs = [1, 101, 301]
        .into_iter()
        .zip(epochs)
        .map(|(first, epoch)| EpochStart::new(epoch, Sequence::new(first)))
        .collect();
    let target = builder().store(store.share().0).build().unwrap();
    put(&target, live(301..=320));
    let name = |one: u64| match one {
        ..=100 => format!("aaaaaaaa-{one}"),
        101..=300 => format!("bbbbbbbb-{one}"),
        _ => format!("cccccccc-{one}"),
    };
    let ids = |id: &str| -> Vec<String> {
        let frames = Connection::resume(&target, Subscribe::all(), id).frames();
        frames
            .iter()
            .map(|frame| frame.get("id").unwrap().to_owned())
            .collect()
    };
    for cursor in [1, 50, 99, 100, 101, 299, 300, 301, 319, 320] {
        assert_eq!(
            ids(&name(cursor)),
            (cursor + 1..=320).map(name).collect::<Vec<_>>(),
            "{cursor}"
        );
    }
    // An id beyond the last one of its epoch is unknown.
    for id in ["aaaaaaaa-101", "bbbbbbbb-301", "cccccccc-321", "dddddddd-5"] {
        let transcript = Connection::resume(&target, Subscribe::all(), id).transcript();
        assert_eq!(
            transcript[0], "gap {\"lost\":null,\"reason\":\"epoch\"}",
            "{id}"
        );
        assert_eq!(transcript.len(), 321);
    }
    assert_eq!(sequence(&target.head().to_string()), 320);
}
