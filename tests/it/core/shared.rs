//! Several logs that append to one store and read it: a model of a store that processes share.

use std::{
    collections::VecDeque,
    future::ready,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_core::Stream as _;
use livespan::{
    Error, EventStore, Retention, SseTarget,
    sse::{Epoch, Pinning, Sequence, StreamKey, Subscribe},
    store::{
        Appended, Batch, EpochStart, HeadFuture, OpenEventRecovery, PageLimit, ReadFuture,
        RecoveredEvents, SharedLog, StoredEvent,
    },
};

use super::{
    connection::Connection,
    stores::stored,
    test_event::{Note, builder, flush, key, put},
};
use crate::support::{PATIENCE, block_on, until};

/// The store that all logs share, with switches that make it fail.
#[derive(Debug, Default)]
struct Server {
    events: Mutex<Vec<StoredEvent>>,
    changed: Condvar,
    fails: AtomicBool,
    /// Whether [`Handle::epochs`] panics when the follower thread calls it.
    panics: AtomicBool,
    /// Events before this one have been removed.
    oldest: AtomicU64,
    waits_for_all: AtomicU64,
    /// The number of further reads of single streams that fail.
    failing_pages: AtomicU64,
    /// The next appends. Each append waits for its receiver; the flag says whether the append is then refused.
    slow_appends: Mutex<VecDeque<(mpsc::Receiver<()>, bool)>>,
}

/// An append time-out that expires almost at once.
const SHORT_TIMEOUT: Duration = Duration::from_millis(20);
/// Long enough for the log to make the mistake of appending a batch again before the first append
/// has returned.
const SEVERAL_RETRIES: Duration = Duration::from_millis(400);
const TOO_LONG: &str = "the event store takes too long";

impl Server {
    fn check(&self) -> Result<(), Error> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::store("ask", std::io::Error::other("it is gone")));
        }
        Ok(())
    }

    fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::SeqCst).max(1)
    }

    fn page(
        &self,
        after: Sequence,
        limit: usize,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Vec<StoredEvent>, Error> {
        self.check()?;
        let oldest = self.oldest();
        let events = self.events.lock().unwrap();
        let kept = events
            .iter()
            .filter(|event| event.sequence > after && event.sequence.get() >= oldest);
        Ok(kept
            .filter(|event| wanted(event))
            .take(limit)
            .cloned()
            .collect())
    }

    fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
        // Locked once, so that no waiting thread misses the change.
        drop(self.events.lock().unwrap());
        self.changed.notify_all();
    }

    fn open(self: &Arc<Self>) -> SseTarget<Note> {
        builder().store(Handle::new(self)).build().unwrap()
    }

    /// Opens a log with a short append time-out.
    fn open_with_timeout(self: &Arc<Self>) -> SseTarget<Note> {
        let handle = Handle {
            append_timeout: Some(SHORT_TIMEOUT),
            ..Handle::new(self)
        };
        builder().store(handle).build().unwrap()
    }

    /// Makes one more append wait until the sender is dropped.
    fn hold_append(&self, refuses: bool) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        self.slow_appends.lock().unwrap().push_back((held, refuses));
        release
    }

    fn await_release(&self) -> Result<(), Error> {
        let slow = self.slow_appends.lock().unwrap().pop_front();
        if let Some((held, refuses)) = slow {
            // Nothing is ever sent: the wait ends when the sender is dropped.
            let _released = held.recv_timeout(PATIENCE);
            if refuses {
                return Err(Error::store("append", std::io::Error::other("no room")));
            }
        }
        Ok(())
    }

    fn stored(&self) -> Vec<(u64, String)> {
        let events = self.events.lock().unwrap();
        let text = |event: &StoredEvent| String::from_utf8(event.payload.to_vec()).unwrap();
        events
            .iter()
            .map(|event| (event.sequence.get(), text(event)))
            .collect()
    }
}

/// One process's handle on the store.
#[derive(Debug)]
struct Handle {
    server: Arc<Server>,
    known_head: AtomicU64,
    interrupted: AtomicU64,
    reopened: Mutex<Vec<StoredEvent>>,
    append_timeout: Option<Duration>,
}

impl Handle {
    fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            known_head: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            reopened: Mutex::default(),
            append_timeout: None,
        }
    }

    /// Waits until `poll` finds something, the wait is interrupted, the store fails, or the time has passed.
    fn wait<R: Default + PartialEq>(
        &self,
        patience: Duration,
        poll: impl Fn() -> Result<R, Error>,
    ) -> Result<R, Error> {
        let before = self.interrupted.load(Ordering::SeqCst);
        let found = poll()?;
        if found != R::default() || patience.is_zero() {
            return Ok(found);
        }
        let events = self.server.events.lock().unwrap();
        let count = events.len();
        drop(
            self.server
                .changed
                .wait_timeout_while(events, patience, |events| {
                    events.len() == count
                        && self.interrupted.load(Ordering::SeqCst) == before
                        && !self.server.fails.load(Ordering::SeqCst)
                })
                .unwrap(),
        );
        poll()
    }
}

impl EventStore for Handle {
    fn kind(&self) -> &'static str {
        "shared"
    }

    fn open(&self) -> Result<Sequence, Error> {
        let events = self.server.events.lock().unwrap();
        Ok(Sequence::new(events.len() as u64))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        let panics = self.server.panics.load(Ordering::SeqCst);
        let follows = thread::current().name() == Some("livespan-follow");
        assert!(!(panics && follows), "the store of a test panics");
        let epoch: Epoch = "sharedlg".parse().unwrap();
        let first = Sequence::new(1);
        Arc::new([EpochStart::new(epoch, first)])
    }

    fn append(&self, _first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        self.server.await_release()?;
        self.server.check()?;
        let mut events = self.server.events.lock().unwrap();
        let first = events.len() as u64 + 1;
        events.extend(
            batch
                .iter()
                .zip(first..)
                .map(|(record, sequence)| stored(&record, sequence)),
        );
        self.server.changed.notify_all();
        self.known_head.store(events.len() as u64, Ordering::SeqCst);
        Ok(Sequence::new(first).into())
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.server.oldest())
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(ready(self.server.page(after, limit.events, |_| true)))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        let failing = &self.server.failing_pages;
        let fails = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if fails.is_ok() {
            let cause = std::io::Error::other("broken");
            return Box::pin(ready(Err(Error::store("read a page", cause))));
        }
        let wanted = |event: &StoredEvent| event.key.is_none_or(|key| keys.contains(&key));
        Box::pin(ready(self.server.page(after, limit.events, wanted)))
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        Some(self)
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        Some(self)
    }

    fn append_timeout(&self) -> Option<Duration> {
        self.append_timeout
    }

    fn tail_retention(&self) -> Retention {
        Retention::default().events(50)
    }
}

impl OpenEventRecovery for Handle {
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error> {
        let reopened = std::mem::take(&mut *self.reopened.lock().unwrap());
        Ok(RecoveredEvents::new(Vec::new(), reopened))
    }
}

impl SharedLog for Handle {
    fn head(&self) -> HeadFuture<'_> {
        let head = self.server.events.lock().unwrap().len() as u64;
        self.known_head.fetch_max(head, Ordering::SeqCst);
        Box::pin(ready(self.server.check().map(|()| Sequence::new(head))))
    }

    fn known_head(&self) -> Sequence {
        Sequence::new(self.known_head.load(Ordering::SeqCst))
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        self.server.waits_for_all.fetch_add(1, Ordering::SeqCst);
        self.wait(timeout, || self.server.page(after, limit.events, |_| true))
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        self.wait(timeout, || {
            self.server.check()?;
            let events = self.server.events.lock().unwrap();
            let newest = |key: Option<StreamKey>| {
                let of_key = events.iter().rev().find(|event| event.key == key);
                of_key.map(|event| event.sequence)
            };
            let mut changed = Vec::new();
            for (key, after) in streams {
                if let Some(seen) = newest(Some(*key)).filter(|seen| seen > after) {
                    changed.push((Some(*key), seen));
                }
            }
            if let Some(seen) = newest(None).filter(|seen| *seen > global_after) {
                changed.push((None, seen));
            }
            Ok(changed)
        })
    }

    fn interrupt(&self) {
        self.interrupted.fetch_add(1, Ordering::SeqCst);
        drop(self.server.events.lock().unwrap());
        self.server.changed.notify_all();
    }
}

/// Returns the lines that the connection has sent by now, without pings and cursor frames.
fn new_messages(connection: &mut Connection) -> Vec<String> {
    let mut transcript = connection.transcript();
    transcript.retain(|line| !line.starts_with("ping") && !line.starts_with("cursor"));
    transcript
}

/// Reads until the connection has sent this many lines, and compares them.
fn expect_lines(connection: &mut Connection, expected: &[String]) {
    let mut transcript = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while transcript.len() < expected.len() && std::time::Instant::now() < deadline {
        transcript.extend(new_messages(connection));
        thread::yield_now();
    }
    transcript.extend(new_messages(connection));
    assert_eq!(transcript, expected);
}

/// Reads until the connection has sent this line.
fn read_until(connection: &mut Connection, transcript: &mut Vec<String>, last: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !transcript.iter().any(|line| line == last) {
        assert!(std::time::Instant::now() < deadline, "only {transcript:?}");
        transcript.extend(new_messages(connection));
        thread::yield_now();
    }
}

fn notes(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|number| format!("note {number} {number}"))
        .collect()
}

/// Dispatches `count` events, alternately on two logs. Their numbers begin at `first`.
fn in_turn(logs: [&SseTarget<Note>; 2], first: u64, count: u64) {
    for number in first..first + count {
        let stream = if number % 3 == 0 { "a" } else { "b" };
        let log = logs[usize::from(number % 2 == 0)];
        put(log, [Note::new(number.to_string()).on(stream)]);
    }
}

#[test]
fn readers_of_every_process_get_all_events_in_one_order() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut early = Connection::open(&one, Subscribe::all());
    in_turn([&one, &two], 1, 200);
    let mut late = Connection::open(&two, Subscribe::all());
    expect_lines(&mut early, &notes(1..=200));
    expect_lines(&mut late, &notes(1..=200));
    let mut stream = Connection::open(&one, Subscribe::to(key("a")));
    expect_lines(&mut stream, &notes((3..=200).step_by(3)));
    in_turn([&two, &one], 201, 100);
    for connection in [&mut early, &mut late] {
        expect_lines(connection, &notes(201..=300));
    }
    expect_lines(&mut stream, &notes((201..=300).step_by(3)));
}

#[test]
fn a_reader_resumes_on_every_log_with_any_event_id_of_another_log() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    in_turn([&one, &two], 1, 130);
    for cut in [0, 1, 64, 65, 129, 130] {
        let id = format!("sharedlg-{cut}");
        let mut resumed = Connection::resume(&two, Subscribe::all(), &id);
        expect_lines(&mut resumed, &notes(cut + 1..=130));
        let mut stream = Connection::resume(&two, Subscribe::to(key("a")), &id);
        expect_lines(
            &mut stream,
            &notes((cut + 1..=130).filter(|one| one % 3 == 0)),
        );
    }
    let unknown = "gap {\"lost\":null,\"reason\":\"epoch\"}".to_owned();
    let mut above = Connection::resume(&two, Subscribe::all(), "sharedlg-131");
    expect_lines(&mut above, &[vec![unknown], notes(1..=130)].concat());
}

#[test]
fn all_streams_are_followed_only_while_a_reader_reads_all() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut stream = Connection::open(&one, Subscribe::to(key("a")));
    in_turn([&two, &two], 1, 30);
    expect_lines(&mut stream, &notes((3..=30).step_by(3)));
    assert_eq!(server.waits_for_all.load(Ordering::SeqCst), 0);
    let mut all = Connection::open(&one, Subscribe::all());
    expect_lines(&mut all, &notes(1..=30));
    assert!(server.waits_for_all.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_reader_that_begins_at_the_head_gets_later_events_of_other_logs() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    in_turn([&two, &two], 1, 10);
    let mut all = Connection::request(&one, Subscribe::all(), "/?replay=none", None);
    expect_lines(&mut all, &[]);
    in_turn([&two, &two], 11, 10);
    expect_lines(&mut all, &notes(11..=20));
}

#[test]
fn while_the_store_fails_events_wait_and_nothing_is_lost_or_repeated() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut all = Connection::open(&two, Subscribe::all());
    let mut stream = Connection::open(&two, Subscribe::to(key("a")));
    in_turn([&one, &two], 1, 6);
    expect_lines(&mut all, &notes(1..=6));
    expect_lines(&mut stream, &notes([3, 6]));
    server.fail(true);
    until(|| two.health().failure.is_some());
    expect_lines(&mut all, &["degraded {}".to_owned()]);
    for number in 7..=9 {
        one.try_dispatch(&Note::new(number.to_string()).on("a"))
            .unwrap();
    }
    until(|| one.health().failure.is_some());
    server.fail(false);
    flush(&one);
    let closed = "gap {\"lost\":{\"ends\":0,\"other\":0,\"starts\":0},\"reason\":\"dropped\"}";
    let mut transcript = Vec::new();
    until(|| two.health().failure.is_none());
    while transcript.len() < 4 {
        transcript.extend(all.transcript());
    }
    transcript.retain(|line| line != closed);
    assert_eq!(transcript, notes(7..=9));
    let mut rest = Vec::new();
    while rest
        .iter()
        .filter(|line: &&String| line.starts_with("note"))
        .count()
        < 3
    {
        rest.extend(stream.transcript());
    }
    rest.retain(|line| line.starts_with("note"));
    assert_eq!(rest, notes(7..=9));
    assert_eq!((one.health().failure, one.dropped().other), (None, 0));
}

#[test]
fn a_panic_in_the_observer_is_a_failure_and_the_follower_continues() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut all = Connection::open(&one, Subscribe::all());
    in_turn([&two, &two], 1, 3);
    expect_lines(&mut all, &notes(1..=3));
    server.panics.store(true, Ordering::SeqCst);
    in_turn([&two, &two], 4, 3);
    expect_lines(&mut all, &["degraded {}".to_owned()]);
    assert_eq!(
        one.health().failure.as_deref(),
        Some("the follower of the event store panicked")
    );
    server.panics.store(false, Ordering::SeqCst);
    let recovered = "gap {\"lost\":{\"ends\":0,\"other\":0,\"starts\":0},\"reason\":\"dropped\"}";
    let transcript = [notes(4..=6), vec![recovered.to_owned()]].concat();
    expect_lines(&mut all, &transcript);
    assert_eq!(one.health().failure, None);
    in_turn([&two, &one], 7, 4);
    expect_lines(&mut all, &notes(7..=10));
}

/// The waker of a task. It panics when it is called.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("the runtime of a test panics");
    }
}

#[test]
fn a_reader_whose_waker_panics_stops_neither_the_log_nor_other_readers() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut all = Connection::open(&one, Subscribe::all());
    expect_lines(&mut all, &[]);
    for options in [Subscribe::all(), Subscribe::to(key("a"))] {
        let mut broken = Box::pin(one.subscribe(options));
        let waker = Waker::from(Arc::new(Broken));
        let mut context = Context::from_waker(&waker);
        while broken.as_mut().poll_next(&mut context).is_ready() {}
        let before = server.events.lock().unwrap().len() as u64;
        in_turn([&one, &two], before + 1, 6);
        expect_lines(&mut all, &notes(before + 1..=before + 6));
    }
    assert_eq!(one.status().ended, None);
}

#[test]
fn evictions_of_the_shared_store_are_a_gap_on_every_log() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    in_turn([&one, &one], 1, 200);
    server.oldest.store(101, Ordering::SeqCst);
    let gap = "gap {\"from\":1,\"lost\":100,\"reason\":\"evicted\",\"to\":100}".to_owned();
    let mut all = Connection::resume(&two, Subscribe::all(), "0");
    expect_lines(&mut all, &[vec![gap], notes(101..=200)].concat());
    let gap = "gap {\"from\":1,\"lost\":null,\"reason\":\"evicted\",\"to\":100}".to_owned();
    let mut stream = Connection::resume(&two, Subscribe::to(key("a")), "0");
    let kept = notes((101..=200).filter(|one| one % 3 == 0));
    expect_lines(&mut stream, &[vec![gap], kept].concat());
}

#[test]
fn an_opening_event_that_another_process_closed_too_early_is_appended_again() {
    let server = Arc::new(Server::default());
    let handle = Handle::new(&server);
    let (first, open) = (Sequence::new(1), Pinning::Open(7));
    let event = StoredEvent::new(first, "note", Some(key("a")), open, "job");
    handle.reopened.lock().unwrap().push(event);
    let target = builder().store(handle).build().unwrap();
    until(|| !server.events.lock().unwrap().is_empty());
    flush(&target);
    let events = server.events.lock().unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| (event.sequence.get(), event.pin, &event.payload[..]))
            .collect::<Vec<_>>(),
        [(1, Pinning::Open(7), &b"job"[..])]
    );
}

/// Dispatches three events while the append of the first is late, for longer than several retries take.
fn through_a_late_append(target: &SseTarget<Note>) {
    target.try_dispatch(&Note::new("1")).unwrap();
    until(|| target.health().failure.is_some());
    for number in 2..=3 {
        target.try_dispatch(&Note::new(number.to_string())).unwrap();
    }
    assert!(target.flush(SEVERAL_RETRIES).unwrap_err().is_timeout());
    assert_eq!(target.health().failure.as_deref(), Some(TOO_LONG));
}

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    numbers.map(|number| (number, number.to_string())).collect()
}

#[test]
fn a_batch_whose_append_is_late_is_stored_once_and_later_batches_get_their_own_sequences() {
    let server = Arc::new(Server::default());
    let target = server.open_with_timeout();
    let mut all = Connection::open(&target, Subscribe::all());
    expect_lines(&mut all, &[]);
    let release = server.hold_append(false);
    through_a_late_append(&target);
    assert_eq!(server.stored(), []);
    drop(release);
    flush(&target);
    let id = block_on(target.dispatch(&Note::new("4"))).unwrap();
    assert_eq!(id.sequence().get(), 4);
    assert_eq!(server.stored(), numbered(1..=4));
    let mut transcript = Vec::new();
    read_until(&mut all, &mut transcript, "note 4 4");
    transcript.retain(|line| line.starts_with("note"));
    assert_eq!(transcript, notes(1..=4));
    assert_eq!((target.health().failure, target.dropped().other), (None, 0));
}

#[test]
fn a_batch_that_is_refused_late_is_appended_again_once() {
    let server = Arc::new(Server::default());
    let target = server.open_with_timeout();
    let release = server.hold_append(true);
    through_a_late_append(&target);
    drop(release);
    flush(&target);
    assert_eq!(server.stored(), numbered(1..=3));
    assert_eq!((target.health().failure, target.dropped().other), (None, 0));
}

#[test]
fn appends_that_are_late_one_after_the_other_are_each_stored_once() {
    let server = Arc::new(Server::default());
    let target = server.open_with_timeout();
    for number in 1..=3 {
        let release = server.hold_append(number == 2);
        target.try_dispatch(&Note::new(number.to_string())).unwrap();
        until(|| target.health().failure.as_deref() == Some(TOO_LONG));
        drop(release);
        flush(&target);
    }
    assert_eq!(server.stored(), numbered(1..=3));
    assert_eq!(target.health().failure, None);
}

#[test]
fn a_shutdown_during_a_late_append_stores_the_rest_after_its_answer() {
    let server = Arc::new(Server::default());
    let handle = Handle {
        // The shutdown waits this long for the answer.
        append_timeout: Some(Duration::from_secs(1)),
        ..Handle::new(&server)
    };
    let target = builder().store(handle).build().unwrap();
    let release = server.hold_append(false);
    target.try_dispatch(&Note::new("1")).unwrap();
    until(|| target.health().failure.is_some());
    target.try_dispatch(&Note::new("2")).unwrap();
    assert!(target.shutdown(SHORT_TIMEOUT).unwrap_err().is_timeout());
    drop(release);
    target.shutdown(PATIENCE).unwrap();
    assert_eq!(server.stored(), numbered(1..=2));
    assert_eq!(target.dropped().other, 0);
}

#[test]
fn a_shutdown_during_a_hung_append_counts_the_waiting_events() {
    let server = Arc::new(Server::default());
    let target = server.open_with_timeout();
    let release = server.hold_append(false);
    target.try_dispatch(&Note::new("1")).unwrap();
    until(|| target.health().failure.is_some());
    target.try_dispatch(&Note::new("2")).unwrap();
    target.shutdown(PATIENCE).unwrap();
    assert_eq!((server.stored(), target.dropped().other), (vec![], 2));
    drop(release);
}

#[test]
fn a_failed_page_is_reported_only_to_its_reader_until_a_read_succeeds() {
    let server = Arc::new(Server::default());
    let (one, two) = (server.open(), server.open());
    let mut all = Connection::open(&one, Subscribe::all());
    let mut stream = Connection::open(&one, Subscribe::to(key("a")));
    put(&two, [Note::new("1").on("a")]);
    expect_lines(&mut all, &notes(1..=1));
    expect_lines(&mut stream, &notes(1..=1));
    // Two pages fail, but the reader gets one report.
    server.failing_pages.store(2, Ordering::SeqCst);
    put(&two, [Note::new("2").on("a")]);
    // The reader may have recovered already when this returns.
    let mut transcript = Vec::new();
    read_until(&mut stream, &mut transcript, "degraded {}");
    assert_eq!(one.health().failure, None);
    let mut number = 3;
    let deadline = std::time::Instant::now() + PATIENCE;
    // Each event makes the follower read the store again, and the follower then wakes the reader.
    while !transcript.iter().any(|line| line == "note 2 2") {
        assert!(std::time::Instant::now() < deadline, "only {transcript:?}");
        put(&two, [Note::new(number.to_string()).on("a")]);
        number += 1;
        transcript.extend(new_messages(&mut stream));
    }
    let recovered = "gap {\"lost\":{\"ends\":0,\"other\":0,\"starts\":0},\"reason\":\"dropped\"}";
    assert_eq!(transcript[..3], ["degraded {}", recovered, "note 2 2"]);
    expect_lines(&mut all, &notes(2..number));
    assert_eq!(one.health().failure, None);
}
