//! Each failure stays local: stores that refuse, panic or hang, encoders that panic, and reads that
//! fail.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use futures_util::StreamExt as _;
use livespan::{
    Error, SseEvent, SseTarget,
    sse::{EndReason, Message, Pinning, Sequence, StoreHealth, Subscribe},
    store::StoredEvent,
};

use super::{
    connection::Connection,
    stores::{Hook, VecStore},
    test_event::{AT_ONCE, Note, builder, flush, key, put},
};
use crate::support::{PATIENCE, block_on, causes, until};

/// Returns a log whose store calls `fault` on each append while the switch is on.
fn failing(
    fault: impl Fn() -> Result<(), Error> + Send + Sync + 'static,
) -> (SseTarget<Note>, Arc<AtomicBool>) {
    failing_behind(1000, fault)
}

/// Like [`failing`], with this many events in memory in front of the store.
fn failing_behind(
    tail_events: usize,
    fault: impl Fn() -> Result<(), Error> + Send + Sync + 'static,
) -> (SseTarget<Note>, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let mut store = VecStore::new(tail_events);
    store.on_append = Box::new({
        let on = Arc::clone(&on);
        move || {
            if on.load(Ordering::SeqCst) {
                fault()
            } else {
                Ok(())
            }
        }
    });
    (builder().store(store.share().0).build().unwrap(), on)
}

fn refuse() -> Result<(), Error> {
    Err(Error::store(
        "append to the disk",
        std::io::Error::other("it is full"),
    ))
}

fn health(failure: Option<&str>) -> StoreHealth {
    let mut health = StoreHealth::default();
    health.kind = "vec";
    health.failure = failure.map(str::to_owned);
    health
}

const TWO_DROPPED: &str =
    "gap 4 {\"lost\":{\"ends\":0,\"other\":2,\"starts\":0},\"reason\":\"dropped\"}";

/// Dispatches four events. The store keeps the first, refuses the next two, which readers still
/// get, and keeps the last.
fn through_a_failure(target: &SseTarget<Note>, on: &AtomicBool, failure: &str) {
    let mut connection = Connection::open(target, Subscribe::all());
    let mut keyed = Connection::open(target, Subscribe::to(key("a")));
    put(target, [Note::new("kept")]);
    assert_eq!(connection.transcript(), ["note 1 kept"]);
    assert_eq!(keyed.transcript()[0], "note 1 kept");

    on.store(true, Ordering::SeqCst);
    target.try_dispatch(&Note::new("refused")).unwrap();
    assert!(target.flush(PATIENCE).unwrap_err().is_store());
    target
        .try_dispatch(&Note::new("refused, too").on("a"))
        .unwrap();
    assert!(target.flush(PATIENCE).unwrap_err().is_store());
    assert_eq!(target.health(), health(Some(failure)));
    let shown = ["note 2 refused", "note 3 refused, too"];
    assert_eq!(
        connection.transcript(),
        [&["degraded {}"], &shown[..]].concat(),
        "`degraded` did not come exactly once"
    );
    assert_eq!(keyed.transcript(), [&["degraded {}"], &shown[..]].concat());
    let mut late = Connection::open(target, Subscribe::all());
    assert_eq!(
        late.transcript(),
        [&["degraded {}", "note 1 kept"], &shown[..]].concat()
    );

    on.store(false, Ordering::SeqCst);
    let id = block_on(target.dispatch(&Note::new("kept again").on("a"))).unwrap();
    assert_eq!(id.sequence().get(), 5);
    flush(target);
    for connection in [&mut connection, &mut keyed, &mut late] {
        assert_eq!(connection.transcript(), [TWO_DROPPED, "note 5 kept again"]);
    }
    assert_eq!(target.health(), health(None));
    assert_eq!(target.dropped().other, 2);
    // Memory still has the events that the store refused.
    let replay = Connection::resume(target, Subscribe::all(), "0").transcript();
    assert_eq!(
        replay,
        [
            &["note 1 kept"],
            &shown[..],
            &[TWO_DROPPED, "note 5 kept again"]
        ]
        .concat()
    );
}

#[test]
fn a_store_that_refuses_costs_exactly_the_refused_events() {
    let (target, on) = failing(refuse);
    through_a_failure(&target, &on, "append to the disk: it is full");
}

#[test]
fn a_store_that_panics_costs_exactly_the_events_of_the_panic() {
    let (target, on) = failing(|| panic!("the store of a test panics"));
    through_a_failure(&target, &on, "the event store panicked");
}

#[test]
fn a_second_failure_is_reported_again() {
    let (target, on) = failing(refuse);
    let mut connection = Connection::open(&target, Subscribe::all());
    for round in 0..3 {
        on.store(true, Ordering::SeqCst);
        target.try_dispatch(&Note::new("refused")).unwrap();
        assert!(target.flush(PATIENCE).unwrap_err().is_store());
        let shown = format!("note {} refused", round * 3 + 1);
        assert_eq!(connection.transcript(), ["degraded {}", &shown]);
        on.store(false, Ordering::SeqCst);
        block_on(target.dispatch(&Note::new("kept"))).unwrap();
        let gap = format!(
            "gap {} {{\"lost\":{{\"ends\":0,\"other\":1,\"starts\":0}},\"reason\":\"dropped\"}}",
            round * 3 + 2
        );
        assert_eq!(
            connection.transcript(),
            [gap, format!("note {} kept", round * 3 + 3)]
        );
    }
}

#[test]
fn drops_are_reported_though_nothing_more_is_dispatched() {
    let (target, on) = failing(refuse);
    on.store(true, Ordering::SeqCst);
    target.try_dispatch(&Note::new("refused")).unwrap();
    assert!(target.flush(PATIENCE).unwrap_err().is_store());
    let mut messages = target.subscribe(Subscribe::all());
    on.store(false, Ordering::SeqCst);
    block_on(async {
        use futures_util::StreamExt as _;
        assert_eq!(messages.next().await, Some(Message::Degraded));
        for expected in [(1, "note"), (2, "gap")] {
            let Some(Message::Event(event)) = messages.next().await else {
                panic!("no event came instead of {expected:?}")
            };
            assert_eq!((event.id.sequence().get(), event.name.as_str()), expected);
        }
    });
}

#[test]
fn a_dispatch_that_the_store_refuses_is_an_error() {
    let (target, on) = failing(refuse);
    on.store(true, Ordering::SeqCst);
    let error = block_on(target.dispatch(&Note::new("refused"))).unwrap_err();
    assert!(error.is_store(), "{error}");
    on.store(false, Ordering::SeqCst);
    assert!(block_on(target.dispatch(&Note::new("kept"))).is_ok());
}

#[derive(Debug)]
struct Explosive(bool);

impl SseEvent for Explosive {
    fn name(&self) -> &'static str {
        "note"
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"half");
        assert!(!self.0, "the encoder of a test panics");
    }
}

#[test]
fn an_encoder_that_panics_leaves_the_log_usable_from_every_thread() {
    let target = SseTarget::<Explosive>::builder().build().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| target.try_dispatch(&Explosive(true)))).is_err());
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| target.try_dispatch(&Explosive(true)))
            .join()
            .is_err()
    });
    assert!(panicked);
    // The buffer never waits for a writer that the scheduler has suspended. If such writers hold
    // all shards, the buffer refuses the event and counts it. So each thread tries until its event
    // is accepted.
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Err(error) = target.try_dispatch(&Explosive(false)) {
                    assert!(error.is_full(), "{error}");
                    assert!(refused.fetch_add(1, Ordering::Relaxed) < 1_000_000);
                    thread::yield_now();
                }
            });
        }
    });
    target.flush(PATIENCE).unwrap();
    let mut dropped = livespan::sse::Dropped::default();
    dropped.other = refused.into_inner();
    assert_eq!(target.dropped(), dropped);
    // The report of the refused events may have a sequence of its own.
    let head = target.head().sequence().get();
    assert!(head == 16 || (dropped.other > 0 && head > 16), "{head}");
}

/// Returns a hook that runs `fault` at the `nth` call.
fn at(nth: u64, fault: impl Fn() -> Result<(), Error> + Send + Sync + 'static) -> Hook {
    let calls = AtomicU64::new(0);
    Box::new(move || {
        if calls.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            fault()
        } else {
            Ok(())
        }
    })
}

/// Opening a log reads events into memory, in one page here.
const AFTER_OPENING: u64 = 1;

/// Returns a switch that makes the next read fail.
fn breaks_next_read(store: &mut VecStore) -> Arc<AtomicBool> {
    let breaks = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&breaks);
    store.on_read = Box::new(move || {
        if switch.swap(false, Ordering::SeqCst) {
            broken()
        } else {
            Ok(())
        }
    });
    breaks
}

fn broken() -> Result<(), Error> {
    Err(Error::store("read a page", std::io::Error::other("broken")))
}

#[test]
fn a_read_that_fails_in_the_middle_of_a_replay_is_an_exact_gap() {
    let mut store = VecStore::new(10).with_history(600, |_| None);
    store.on_read = at(AFTER_OPENING + 2, broken);
    let target = builder().store(store.share().0).build().unwrap();
    put(
        &target,
        (601..=650).map(|number| Note::new(number.to_string())),
    );
    let mut connection = Connection::open(&target, Subscribe::all());
    let transcript = connection.transcript();
    let page: Vec<String> = (1..=256)
        .map(|number| format!("note {number} {number}"))
        .collect();
    let rest: Vec<String> = (641..=650)
        .map(|number| format!("note {number} {number}"))
        .collect();
    let gap = "gap {\"from\":257,\"lost\":384,\"reason\":\"evicted\",\"to\":640}".to_owned();
    assert_eq!(
        transcript,
        [page, vec!["degraded {}".to_owned(), gap], rest].concat()
    );
    assert_eq!(target.health(), health(None));
    put(&target, [Note::new("on")]);
    assert_eq!(connection.transcript(), ["note 651 on"]);
    // Only that one reader's read failed: the store still has all events.
    assert_eq!(
        Connection::open(&target, Subscribe::all()).frames().len(),
        651
    );
}

#[test]
fn a_read_that_fails_for_one_reader_is_reported_to_no_other() {
    let mut store = VecStore::new(10).with_history(600, |_| Some("a"));
    let breaks = breaks_next_read(&mut store);
    let target = builder().store(store.share().0).build().unwrap();
    let live = |options| Connection::request(&target, options, "/?replay=none", None);
    let mut others = [live(Subscribe::all()), live(Subscribe::to(key("a")))];
    let first = others.each_mut().map(Connection::transcript);
    for options in [Subscribe::all(), Subscribe::to(key("a"))] {
        breaks.store(true, Ordering::SeqCst);
        let mut unlucky = Connection::resume(&target, options, "0");
        let transcript = unlucky.transcript();
        assert_eq!(transcript[0], "degraded {}");
        assert!(
            transcript[1].starts_with("gap {\"from\":1,"),
            "{transcript:?}"
        );
        assert_eq!(target.health(), health(None));
        assert_eq!(unlucky.transcript(), [""; 0]);
    }
    assert_eq!(others.each_mut().map(Connection::transcript), [[""; 0], []]);
    assert_eq!(first, [vec!["cursor 600"], vec!["cursor 600"]]);
    let mut late = Connection::open(&target, Subscribe::all());
    assert_eq!(late.transcript(), notes(1..=600));
}

#[test]
fn a_failed_read_that_loses_no_event_is_not_reported() {
    let mut store = VecStore::new(10).with_history(600, |_| None);
    store.on_read = at(AFTER_OPENING + 1, broken);
    let (store, kept) = store.share();
    let target = builder().store(store).build().unwrap();
    // These events are gone before the reader connects, so they do not count as missed. The next
    // page has the remaining events.
    kept.evict_before(300);
    let mut connection = Connection::open(&target, Subscribe::all());
    assert_eq!(connection.transcript(), notes(300..=600));
}

#[test]
fn evictions_after_a_reader_came_are_a_gap_behind_an_older_event_that_is_kept() {
    let (sequence, open) = (Sequence::new(100), Pinning::Open(7));
    let kept = StoredEvent::new(sequence, "note", None, open, "100");
    let first_page = at(AFTER_OPENING + 1, refuse);
    let gone = Arc::new(AtomicU64::new(0));
    let mut store = VecStore::new(10).with_history(600, |_| None);
    store.on_page = Box::new({
        let gone = Arc::clone(&gone);
        move |page| {
            if first_page().is_err() {
                // Retention runs between the reader's first access to the log and its first page.
                gone.store(400, Ordering::SeqCst);
                page.retain(|event| event.sequence.get() >= 400);
                page.insert(0, kept.clone());
            }
        }
    });
    store.oldest_moves_to = Arc::clone(&gone);
    let (store, vec) = store.share();
    let target = builder().store(store).build().unwrap();
    vec.evict_before(300);
    let transcript = Connection::open(&target, Subscribe::all()).transcript();
    let gap = "gap {\"from\":300,\"lost\":100,\"reason\":\"evicted\",\"to\":399}".to_owned();
    assert_eq!(
        transcript,
        [notes(100..=100), vec![gap], notes(400..=600)].concat()
    );
}

#[test]
fn readers_learn_when_a_store_that_failed_at_opening_works_again() {
    let mut store = VecStore::new(10).with_history(600, |_| None);
    store.on_read = at(AFTER_OPENING, broken);
    let target = builder().store(store.share().0).build().unwrap();
    assert_eq!(target.health(), health(Some("read a page: broken")));
    let mut connection = Connection::open(&target, Subscribe::all());
    let degraded = vec!["degraded {}".to_owned()];
    assert_eq!(connection.transcript(), [degraded, notes(1..=600)].concat());
    put(&target, [Note::new("on")]);
    assert_eq!(target.health(), health(None));
    assert_eq!(connection.transcript(), ["note 601 on", RECOVERED]);
}

#[test]
fn a_gap_in_the_middle_of_an_outage_does_not_end_the_outage() {
    let (target, on) = failing_behind(2, refuse);
    put(&target, [Note::new("kept")]);
    on.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        target.try_dispatch(&Note::new("refused")).unwrap();
        assert!(target.flush(PATIENCE).unwrap_err().is_store());
    }
    let mut connection = Connection::resume(&target, Subscribe::all(), "0");
    assert_eq!(
        connection.transcript(),
        [
            "degraded {}",
            "note 1 kept",
            "gap {\"from\":2,\"lost\":2,\"reason\":\"evicted\",\"to\":3}",
            "degraded {}",
            "note 4 refused",
            "note 5 refused"
        ]
    );
}

#[test]
fn a_read_that_fails_on_one_stream_is_a_gap_of_unknown_size() {
    let mut store = VecStore::new(10).with_history(600, |number| {
        if number % 2 == 0 {
            Some("a")
        } else {
            Some("b")
        }
    });
    let breaks = breaks_next_read(&mut store);
    let target = builder().store(store.share().0).build().unwrap();
    put(
        &target,
        (601..=650).map(|number| Note::new(number.to_string()).on("a")),
    );
    breaks.store(true, Ordering::SeqCst);
    let transcript = Connection::open(&target, Subscribe::to(key("a"))).transcript();
    let gap = "gap {\"from\":1,\"lost\":null,\"reason\":\"evicted\",\"to\":640}".to_owned();
    let rest = (641..=650).map(|number| format!("note {number} {number}"));
    assert_eq!(
        transcript,
        ["degraded {}".to_owned(), gap]
            .into_iter()
            .chain(rest)
            .collect::<Vec<_>>()
    );
}

/// Returns the messages to a reader of a log of 600 events, with only the last ten in memory, whose
/// store damages its pages.
fn transcript_of_damaged_pages(
    on_page: impl Fn(&mut Vec<StoredEvent>) + Send + Sync + 'static,
) -> Vec<String> {
    let spoils = Arc::new(AtomicBool::new(false));
    let mut store = VecStore::new(10).with_history(600, |_| None);
    store.on_page = Box::new({
        let spoils = Arc::clone(&spoils);
        move |page| {
            if spoils.load(Ordering::SeqCst) {
                on_page(page);
            }
        }
    });
    let target = builder().store(store.share().0).build().unwrap();
    spoils.store(true, Ordering::SeqCst);
    Connection::open(&target, Subscribe::all()).transcript()
}

fn notes(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let note = |number| format!("note {number} {number}");
    numbers.map(note).collect()
}

#[test]
fn short_pages_of_a_store_are_read_until_the_end() {
    assert_eq!(
        transcript_of_damaged_pages(|page| page.truncate(1)),
        notes(1..=600)
    );
}

#[test]
fn events_missing_from_pages_of_the_store_are_an_exact_gap() {
    let gap = |from: u64, to: u64| {
        let lost = to - from + 1;
        format!("gap {{\"from\":{from},\"lost\":{lost},\"reason\":\"evicted\",\"to\":{to}}}")
    };
    let transcript = transcript_of_damaged_pages(|page| {
        page.retain(|event| !(100..=199).contains(&event.sequence.get()));
    });
    assert_eq!(
        transcript,
        [notes(1..=99), vec![gap(100, 199)], notes(200..=600)].concat()
    );
    let transcript =
        transcript_of_damaged_pages(|page| page.retain(|event| event.sequence.get() < 400));
    assert_eq!(
        transcript,
        [notes(1..=399), vec![gap(400, 590)], notes(591..=600)].concat()
    );
}

#[test]
fn a_subscriber_dropped_within_a_frame_leaves_no_state() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1").on("a"), Note::new("2")]);
    for _ in 0..100 {
        let mut all = Connection::open(&target, Subscribe::all());
        let mut keyed = Connection::open(&target, Subscribe::to(key("b")));
        // The pieces are polled but never sent to a client.
        drop((all.piece(), all.piece(), keyed.piece()));
        assert_eq!(target.subscribers(), 2);
    }
    assert_eq!(target.subscribers(), 0);
    assert_eq!(target.status().retained_streams, 1);
    put(&target, [Note::new("3")]);
}

/// Returns a log whose store hangs in its first append until the sender is dropped.
fn hung() -> (SseTarget<Note>, mpsc::Sender<()>) {
    let (release, permits) = mpsc::channel::<()>();
    let permits = Mutex::new(permits);
    let mut store = VecStore::new(1000);
    store.on_append = Box::new(move || {
        let _permit = permits.lock().unwrap().recv();
        Ok(())
    });
    (builder().store(store.share().0).build().unwrap(), release)
}

#[test]
fn a_flush_over_a_hung_store_ends_in_time_with_an_error() {
    let (target, release) = hung();
    target.try_dispatch(&Note::new("x")).unwrap();
    let error = target.flush(AT_ONCE).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(
        error.to_string(),
        "flush the event log took longer than 20ms"
    );
    drop(release);
    flush(&target);
    assert_eq!(target.head().sequence().get(), 1);
}

#[test]
fn a_shutdown_over_a_hung_store_ends_in_time_and_the_log_ends_when_the_store_answers() {
    let (target, release) = hung();
    let mut connection = Connection::open(&target, Subscribe::all());
    target.try_dispatch(&Note::new("x")).unwrap();
    assert!(target.shutdown(AT_ONCE).unwrap_err().is_timeout());
    assert!(
        target
            .try_dispatch(&Note::new("late"))
            .unwrap_err()
            .is_closed()
    );
    assert_eq!(connection.transcript(), [""; 0]);
    drop(release);
    target.shutdown(PATIENCE).unwrap();
    assert_eq!(
        connection.transcript(),
        ["note 1 x", "end {\"reason\":\"shutdown\"}"]
    );
}

#[test]
fn a_flush_within_a_current_thread_runtime_does_not_deadlock() {
    let target = builder().build().unwrap();
    block_on(async {
        let mut connection = Connection::open(&target, Subscribe::all());
        put(&target, [Note::new("x")]);
        assert_eq!(connection.transcript(), ["note 1 x"]);
    });
}

#[test]
fn a_flush_of_nothing_is_done_at_once() {
    builder().build().unwrap().flush(Duration::ZERO).unwrap();
}

#[test]
fn a_store_that_cannot_be_opened_is_an_error_of_the_builder() {
    #[derive(Debug)]
    struct Locked;
    impl livespan::EventStore for Locked {
        fn kind(&self) -> &'static str {
            "locked"
        }
        fn open(&self) -> Result<Sequence, Error> {
            Err(Error::store(
                "open the file",
                std::io::Error::other("it is locked"),
            ))
        }
        fn epochs(&self) -> Arc<[livespan::store::EpochStart]> {
            Arc::new([])
        }
        fn append(
            &self,
            first: Sequence,
            _batch: &livespan::store::Batch,
        ) -> Result<livespan::store::Appended, Error> {
            refuse().map(|()| first.into())
        }
        fn oldest(&self) -> Sequence {
            Sequence::START
        }
        fn read_after(
            &self,
            _after: Sequence,
            _limit: livespan::store::PageLimit,
        ) -> livespan::store::ReadFuture<'_> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
        fn read_streams_after(
            &self,
            _keys: &[livespan::sse::StreamKey],
            after: Sequence,
            limit: livespan::store::PageLimit,
        ) -> livespan::store::ReadFuture<'_> {
            self.read_after(after, limit)
        }
    }
    let error = builder().store(Locked).build().unwrap_err();
    assert!(error.is_store());
    assert_eq!(causes(&error), ["open the file", "it is locked"]);
}

/// Returns a log with a kept event, two events that readers got in an outage, the report of the
/// loss, and another kept event.
fn log_with_an_outage() -> (SseTarget<Note>, Vec<String>) {
    let (target, on) = failing(refuse);
    put(&target, [Note::new("kept")]);
    on.store(true, Ordering::SeqCst);
    for text in ["refused", "refused, too"] {
        target.try_dispatch(&Note::new(text)).unwrap();
        assert!(target.flush(PATIENCE).is_err());
    }
    on.store(false, Ordering::SeqCst);
    block_on(target.dispatch(&Note::new("kept again"))).unwrap();
    flush(&target);
    let frames = Connection::open(&target, Subscribe::all()).frames();
    let ids = frames.iter().filter_map(|frame| frame.get("id"));
    let ids = ids.map(str::to_owned).collect();
    (target, ids)
}

#[test]
fn events_of_an_outage_have_their_own_epoch_and_consecutive_sequences() {
    let (target, ids) = log_with_an_outage();
    let epoch = |id: &String| id.split_once('-').unwrap().0.to_owned();
    assert_eq!(
        ids.iter()
            .map(|id| id.split_once('-').unwrap().1)
            .collect::<Vec<_>>(),
        ["1", "2", "3", "4", "5"]
    );
    let (log, outage) = (epoch(&ids[0]), epoch(&ids[1]));
    assert_eq!(log, target.head().epoch().to_string());
    assert_ne!(log, outage);
    assert_eq!(
        ids.iter().map(epoch).collect::<Vec<_>>(),
        [&log, &outage, &outage, &log, &log].map(String::as_str)
    );
}

#[test]
fn an_id_of_an_outage_resumes_in_place() {
    let (target, ids) = log_with_an_outage();
    for (place, id) in ids.iter().enumerate() {
        let mut resumed = Connection::resume(&target, Subscribe::all(), id);
        let rest: Vec<String> = resumed
            .frames()
            .iter()
            .filter_map(|frame| frame.get("id").map(str::to_owned))
            .collect();
        assert_eq!(rest, ids[place + 1..], "after {id}");
    }
    let (outage, _) = ids[1].split_once('-').unwrap();
    for unknown in [format!("{outage}-1"), format!("{outage}-4")] {
        let transcript = Connection::resume(&target, Subscribe::all(), &unknown).transcript();
        assert_eq!(transcript[0], "gap {\"lost\":null,\"reason\":\"epoch\"}");
    }
}

#[test]
fn evicted_events_of_an_outage_are_an_exact_gap() {
    let (target, on) = failing_behind(2, refuse);
    put(&target, [Note::new("kept")]);
    on.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        target.try_dispatch(&Note::new("refused")).unwrap();
        assert!(target.flush(PATIENCE).is_err());
    }
    on.store(false, Ordering::SeqCst);
    block_on(target.dispatch(&Note::new("a"))).unwrap();
    flush(&target);
    put(&target, ["b", "c"].map(Note::new));
    assert_eq!(
        Connection::resume(&target, Subscribe::all(), "0").transcript(),
        [
            "note 1 kept",
            "gap {\"from\":2,\"lost\":3,\"reason\":\"evicted\",\"to\":4}",
            "gap 5 {\"lost\":{\"ends\":0,\"other\":3,\"starts\":0},\"reason\":\"dropped\"}",
            "note 6 a",
            "note 7 b",
            "note 8 c"
        ]
    );
}

#[test]
fn evicted_events_of_an_outage_are_a_gap_on_one_stream() {
    let (target, on) = failing_behind(2, refuse);
    put(&target, [Note::new("kept").on("a")]);
    on.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        target.try_dispatch(&Note::new("refused").on("a")).unwrap();
        assert!(target.flush(PATIENCE).is_err());
    }
    on.store(false, Ordering::SeqCst);
    block_on(target.dispatch(&Note::new("a").on("a"))).unwrap();
    flush(&target);
    put(&target, ["b", "c"].map(|text| Note::new(text).on("a")));
    let expected = [
        "note 1 kept",
        "gap {\"from\":2,\"lost\":null,\"reason\":\"evicted\",\"to\":4}",
        "gap 5 {\"lost\":{\"ends\":0,\"other\":3,\"starts\":0},\"reason\":\"dropped\"}",
        "note 6 a",
        "note 7 b",
        "note 8 c",
    ];
    let mut late = Connection::resume(&target, Subscribe::to(key("a")), "0");
    assert_eq!(late.transcript(), expected);
}

/// A log whose store can hang until it gets a permit. While it hangs, the append time-out is zero.
struct StalledLog {
    target: SseTarget<Note>,
    hangs: Arc<AtomicBool>,
    entered: mpsc::Receiver<()>,
    permit: mpsc::Sender<Result<(), Error>>,
}

impl StalledLog {
    fn new() -> Self {
        let hangs = Arc::new(AtomicBool::new(false));
        let (permit, permits) = mpsc::channel();
        let (enter, entered) = mpsc::channel();
        let gate = Mutex::new((enter, permits));
        let mut store = VecStore::new(1000);
        let switch = Arc::clone(&hangs);
        store.append_timeout = Box::new(move || {
            if switch.load(Ordering::SeqCst) {
                Duration::ZERO
            } else {
                PATIENCE
            }
        });
        let switch = Arc::clone(&hangs);
        store.on_append = Box::new(move || {
            if !switch.load(Ordering::SeqCst) {
                return Ok(());
            }
            let (enter, permits) = &*gate.lock().unwrap();
            enter.send(()).unwrap();
            permits.recv().unwrap()
        });
        Self {
            target: builder().store(store.share().0).build().unwrap(),
            hangs,
            entered,
            permit,
        }
    }

    /// Dispatches an event. The store hangs in its append when this returns.
    fn hang(&self, text: &str) {
        self.hangs.store(true, Ordering::SeqCst);
        self.target.try_dispatch(&Note::new(text)).unwrap();
        assert!(self.target.flush(PATIENCE).unwrap_err().is_store());
        self.entered.recv_timeout(PATIENCE).unwrap();
    }

    /// Ends the hanging append with this result, and waits until the log has recovered.
    fn release(&self, result: Result<(), Error>) {
        self.hangs.store(false, Ordering::SeqCst);
        self.permit.send(result).unwrap();
        until(|| self.target.flush(PATIENCE).is_ok());
    }
}

const RECOVERED: &str =
    "gap {\"lost\":{\"ends\":0,\"other\":0,\"starts\":0},\"reason\":\"dropped\"}";

#[test]
fn readers_do_not_wait_for_a_store_that_hangs() {
    let log = StalledLog::new();
    let mut connection = Connection::open(&log.target, Subscribe::all());
    log.hang("late");
    log.target.try_dispatch(&Note::new("refused")).unwrap();
    assert!(log.target.flush(PATIENCE).unwrap_err().is_store());
    assert_eq!(
        connection.transcript(),
        ["degraded {}", "note 1 late", "note 2 refused"]
    );
    // The store was appending the first of the two events, and keeps it after all.
    log.release(Ok(()));
    assert_eq!(log.target.dropped().other, 1);
    let one = "gap 3 {\"lost\":{\"ends\":0,\"other\":1,\"starts\":0},\"reason\":\"dropped\"}";
    assert_eq!(connection.transcript(), [one]);
}

#[test]
fn a_store_that_was_only_slow_loses_nothing() {
    let log = StalledLog::new();
    let mut connection = Connection::open(&log.target, Subscribe::all());
    log.hang("late");
    assert_eq!(connection.transcript(), ["degraded {}", "note 1 late"]);
    log.release(Ok(()));
    assert_eq!(log.target.dropped().other, 0);
    assert_eq!(connection.transcript(), [RECOVERED]);
    put(&log.target, [Note::new("next")]);
    assert_eq!(connection.transcript(), ["note 2 next"]);
}

#[test]
fn a_late_append_at_the_end_of_the_log_is_counted_as_dropped() {
    let log = StalledLog::new();
    log.hang("late");
    assert_eq!(log.target.dropped().other, 0);
    log.target.shutdown(PATIENCE).unwrap();
    assert_eq!(log.target.dropped().other, 1);
    log.permit.send(Ok(())).unwrap();
}

#[test]
fn a_store_that_hangs_and_then_refuses_loses_exactly_one_batch() {
    let log = StalledLog::new();
    let mut connection = Connection::open(&log.target, Subscribe::all());
    log.hang("late");
    log.release(refuse());
    assert_eq!(log.target.dropped().other, 1);
    let one = "gap 2 {\"lost\":{\"ends\":0,\"other\":1,\"starts\":0},\"reason\":\"dropped\"}";
    assert_eq!(connection.transcript(), ["degraded {}", "note 1 late", one]);
}

#[test]
fn streams_are_ended_though_their_store_never_answers() {
    let store = VecStore::new(10).with_history(600, |_| Some("a"));
    let (store, kept) = store.share();
    let target = builder().store(store).build().unwrap();
    kept.hangs.store(true, Ordering::SeqCst);
    let both = [Subscribe::all(), Subscribe::to(key("a"))];
    let mut connections = both.map(|options| Connection::open(&target, options));
    for connection in &mut connections {
        assert_eq!(connection.transcript(), [""; 0]);
    }
    // The events wake the readers, but the readers wait for the store and cannot deliver them.
    put(&target, [Note::new("late").on("a")]);
    for connection in &mut connections {
        assert_eq!(connection.transcript(), [""; 0]);
    }
    let before = connections.each_ref().map(Connection::wakes);
    target.end_streams();
    for (connection, before) in connections.iter_mut().zip(before) {
        assert!(connection.wakes() > before);
        assert_eq!(connection.transcript(), ["end {\"reason\":\"shutdown\"}"]);
    }
    drop(connections);
    assert_eq!(target.subscribers(), 0);
}

#[test]
fn a_subscription_ends_with_the_log_though_its_store_never_answers() {
    let is_closing = Arc::new(AtomicBool::new(false));
    let mut store = VecStore::new(10).with_history(600, |_| Some("a"));
    store.append_timeout = Box::new({
        let is_closing = Arc::clone(&is_closing);
        move || {
            if is_closing.load(Ordering::SeqCst) {
                Duration::ZERO
            } else {
                PATIENCE
            }
        }
    });
    let (store, kept) = store.share();
    let target = builder().store(store).build().unwrap();
    let mut all = target.subscribe(Subscribe::all());
    let mut stream = target.subscribe(Subscribe::to(key("a")));
    assert!(matches!(
        block_on(all.next()),
        Some(Message::Event(event)) if event.id.sequence().get() == 1
    ));
    kept.hangs.store(true, Ordering::SeqCst);
    is_closing.store(true, Ordering::SeqCst);
    target.shutdown(PATIENCE).unwrap();
    for subscription in [&mut all, &mut stream] {
        let rest: Vec<Message> = block_on(subscription.collect());
        assert_eq!(rest.last(), Some(&Message::End(EndReason::Shutdown)));
    }
    drop((all, stream));
    assert_eq!(target.subscribers(), 0);
}

#[test]
fn a_filter_that_rejects_many_pages_yields_to_other_tasks() {
    const HISTORY: u64 = 20_000;
    for options in [Subscribe::all(), Subscribe::to(key("a"))] {
        let store = VecStore::new(10).with_history(HISTORY, |_| Some("a"));
        let target = builder().store(store.share().0).build().unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let mut messages = target.subscribe(options.filter(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            false
        }));
        let mut context = Context::from_waker(Waker::noop());
        let mut longest = 0;
        while calls.load(Ordering::SeqCst) < HISTORY {
            let before = calls.load(Ordering::SeqCst);
            assert!(messages.poll_next_unpin(&mut context).is_pending());
            longest = longest.max(calls.load(Ordering::SeqCst) - before);
            assert!(longest > 0, "a poll read nothing");
        }
        // Sixteen pages of at most 256 events each.
        assert!(longest <= 4096, "one poll read {longest} events");
    }
}
