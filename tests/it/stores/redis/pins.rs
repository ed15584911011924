//! Open events of processes that die, are suspended, or end.

use std::time::{Duration, SystemTime};

use livespan::{
    sse::Pinning,
    store::{OpenEventRecovery as _, RecoveredEvents, StoredEvent},
};

use super::{
    handle::{Handle, note, shown, texts},
    server::Server,
};
use crate::support::{block_on, until};

/// A process counts as dead after hours of silence. Tests only simulate such a silence.
const HOUR: Duration = Duration::from_secs(3600);

fn open(server: &Server) -> Handle {
    Handle::open_with(&server.url(), |builder| {
        builder.heartbeat(HOUR).dead_after(HOUR * 2)
    })
}

/// Makes the writer of this pin look silent for three hours, like a suspended process.
fn silence(server: &Server, pin: &str) -> String {
    let writers: Vec<String> = server.command(&["ZRANGE", "{livespan}:writers", "0", "-1"]);
    let own = |writer: &&String| {
        let pins = format!("{{livespan}}:pins:{writer}");
        let score: Option<f64> = server.command(&["ZSCORE", &pins, pin]);
        score.is_some()
    };
    let writer = writers.iter().find(own).unwrap();
    let now: Vec<u64> = server.command(&["TIME"]);
    let then = (now[0] - 3 * 3600) * 1000;
    server.command::<u64>(&["ZADD", "{livespan}:writers", &then.to_string(), writer]);
    writer.clone()
}

fn abandoned(tended: &RecoveredEvents) -> Vec<(u64, String)> {
    let events: Vec<StoredEvent> = tended
        .abandoned
        .iter()
        .map(|one| one.event.clone())
        .collect();
    shown(&events)
}

#[test]
fn open_events_of_a_dead_writer_are_given_once_to_one_living_writer() {
    let server = Server::start();
    let (dying, one, two) = (open(&server), open(&server), open(&server));
    dying.append(&[
        ("", Pinning::Open(1), b"process"),
        ("a", Pinning::Open(7), b"open"),
        ("a", Pinning::Open(8), b"closed"),
        ("a", Pinning::Close(8), b"closing"),
    ]);
    assert_eq!(
        one.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    silence(&server, "7:a");
    let found: Vec<RecoveredEvents> = std::thread::scope(|threads| {
        let tending =
            [&one, &two].map(|handle| threads.spawn(|| handle.0.recover_open_events().unwrap()));
        tending.map(|thread| thread.join().unwrap()).into()
    });
    let mut all: Vec<(u64, String)> = found.iter().flat_map(abandoned).collect();
    all.sort_unstable();
    assert_eq!(all, texts(&[(1, "process"), (2, "open")]));
    assert!(found.iter().any(|tended| tended.abandoned.is_empty()));
    let times = found
        .iter()
        .flat_map(|tended| &tended.abandoned)
        .map(|one| one.last_heard);
    for time in times {
        let ago = SystemTime::now().duration_since(time).unwrap();
        assert!(ago > HOUR * 2 && ago < HOUR * 4, "{ago:?}");
    }
    for _ in 0..4 {
        assert_eq!(
            one.0.recover_open_events().unwrap(),
            RecoveredEvents::default()
        );
        assert_eq!(
            two.0.recover_open_events().unwrap(),
            RecoveredEvents::default()
        );
    }
}

#[test]
fn a_claim_ends_with_its_claimer_unless_the_event_was_left_open_on_purpose() {
    let server = Server::start();
    let (dying, claimer, heir) = (open(&server), open(&server), open(&server));
    dying.append(&[
        ("a", Pinning::Open(7), b"open"),
        ("b", Pinning::Open(8), b"durable"),
    ]);
    let dead = silence(&server, "7:a");
    assert_eq!(
        abandoned(&claimer.0.recover_open_events().unwrap()),
        texts(&[(1, "open"), (2, "durable")])
    );
    // The claimer dies before it closes any event.
    let claims: Vec<String> = server.command(&["KEYS", "{livespan}:claims:*"]);
    let claimer_id = claims[0].rsplit(':').next().unwrap().to_owned();
    assert_ne!(claimer_id, dead);
    server.command::<u64>(&["ZADD", "{livespan}:writers", "1000", &claimer_id]);
    assert_eq!(
        abandoned(&heir.0.recover_open_events().unwrap()),
        texts(&[(1, "open"), (2, "durable")])
    );
    heir.append(&[("a", Pinning::Close(7), b"lost")]);
    // Two calls later, the events that it left open belong to no process and stay open.
    for _ in 0..3 {
        assert_eq!(
            heir.0.recover_open_events().unwrap(),
            RecoveredEvents::default()
        );
    }
    drop(heir);
    let last = open(&server);
    assert_eq!(
        last.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    let open: Vec<String> = server.command(&["ZRANGE", "{livespan}:opens", "0", "-1"]);
    assert_eq!(open, ["8:b"]);
    // Any writer may close the event.
    last.append(&[("b", Pinning::Close(8), b"done")]);
    assert_eq!(server.command::<u64>(&["ZCARD", "{livespan}:opens"]), 0);
}

#[test]
fn pins_of_a_writer_that_leaves_are_given_to_others_immediately() {
    let server = Server::start();
    let (leaving, living) = (open(&server), open(&server));
    leaving.append(&[("a", Pinning::Open(7), b"open")]);
    drop(leaving);
    assert_eq!(
        abandoned(&living.0.recover_open_events().unwrap()),
        texts(&[(1, "open")])
    );
    let empty = open(&server);
    drop(empty);
    assert_eq!(server.command::<u64>(&["ZCARD", "{livespan}:writers"]), 1);
}

#[test]
fn a_paused_writer_gets_back_once_the_events_that_others_closed() {
    let server = Server::start();
    let (paused, other) = (open(&server), open(&server));
    paused.append(&[
        ("", Pinning::Open(1), b"process"),
        ("a", Pinning::Open(7), b"closed by others"),
        ("a", Pinning::Open(8), b"left open"),
    ]);
    silence(&server, "7:a");
    other.0.recover_open_events().unwrap();
    assert_eq!(block_on(other.0.read_open_global_events()).unwrap(), []);
    other.append(&[("a", Pinning::Close(7), b"lost")]);
    let tended = paused.0.recover_open_events().unwrap();
    assert_eq!(shown(&tended.reopened), texts(&[(2, "closed by others")]));
    assert_eq!(tended.abandoned, []);
    assert_eq!(
        paused.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    let standing = block_on(other.0.read_open_global_events()).unwrap();
    assert_eq!(shown(&standing), texts(&[(1, "process")]));
    // The claimer does not know that the paused writer is back, and closes one more event.
    other.append(&[("a", Pinning::Close(8), b"lost, too")]);
    let again = paused.0.recover_open_events().unwrap();
    assert_eq!(shown(&again.reopened), texts(&[(3, "left open")]));
    assert_eq!(
        paused.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    paused.append(&[
        ("a", Pinning::Open(7), b"again"),
        ("a", Pinning::Open(8), b"again, too"),
    ]);
    assert_eq!(
        paused.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    // The events belong to it again. While it lives, no other process gets them; when it dies,
    // others get all of them.
    assert_eq!(
        other.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    silence(&server, "7:a");
    assert_eq!(
        abandoned(&other.0.recover_open_events().unwrap()),
        texts(&[(1, "process"), (6, "again"), (7, "again, too")])
    );
}

#[test]
fn a_writer_whose_heartbeat_stopped_notices_it_by_itself() {
    let server = Server::start();
    let beating = Handle::open(&server.url());
    let other = open(&server);
    beating.append(&[("a", Pinning::Open(7), b"open")]);
    // Its next heartbeat may come before any process has noticed its silence.
    until(|| {
        silence(&server, "7:a");
        !other.0.recover_open_events().unwrap().abandoned.is_empty()
    });
    other.append(&[("a", Pinning::Close(7), b"lost")]);
    until(|| server.command::<u64>(&["ZCARD", "{livespan}:writers"]) == 2);
    until(|| shown(&beating.0.recover_open_events().unwrap().reopened) == texts(&[(1, "open")]));
}

#[test]
fn open_events_that_redis_lost_are_opened_again() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[
        ("", Pinning::Open(1), b"process"),
        ("a", Pinning::Open(7), b"open"),
        note("a", "x"),
    ]);
    handle.append(&[
        ("a", Pinning::Open(8), b"over"),
        ("a", Pinning::Close(8), b"closed"),
    ]);
    server.kill();
    server.restart();
    until(|| {
        handle
            .0
            .recover_open_events()
            .is_ok_and(|tended| shown(&tended.reopened) == texts(&[(1, "process"), (2, "open")]))
    });
    assert_eq!(
        handle.0.recover_open_events().unwrap(),
        RecoveredEvents::default()
    );
    handle.append(&[
        ("", Pinning::Open(1), b"process"),
        ("a", Pinning::Open(7), b"open"),
    ]);
    assert_eq!(
        shown(&block_on(handle.0.read_open_global_events()).unwrap()),
        texts(&[(6, "process")])
    );
}

#[test]
fn the_process_event_of_a_gone_process_stays_as_long_as_its_other_events() {
    let server = Server::start();
    let retention = livespan::Retention::default().events(5);
    let set_up = |builder: livespan::store::RedisEventStoreBuilder| {
        builder
            .retention(retention)
            .heartbeat(HOUR)
            .dead_after(HOUR * 2)
    };
    let gone = Handle::open_with(&server.url(), set_up);
    let living = Handle::open_with(&server.url(), set_up);
    gone.append(&[
        ("", Pinning::Open(1), b"process"),
        note("a", "2"),
        note("a", "3"),
    ]);
    for number in 4..=7 {
        gone.append(&[note("a", &number.to_string())]);
    }
    drop(gone);
    let of_dead = texts(&[
        (1, "process"),
        (3, "3"),
        (4, "4"),
        (5, "5"),
        (6, "6"),
        (7, "7"),
    ]);
    assert_eq!(shown(&living.read(0)), of_dead);
    assert_eq!(
        abandoned(&living.0.recover_open_events().unwrap()),
        texts(&[(1, "process")])
    );
    for number in 8..=11 {
        living.append(&[note("b", &number.to_string())]);
        assert_eq!(living.read(0)[0].sequence.get(), 1);
        assert_eq!(living.read_stream("a", 0)[0].sequence.get(), 1);
    }
    living.append(&[note("b", "12")]);
    let rest: Vec<(u64, String)> = (8..=12).map(|at| (at, at.to_string())).collect();
    assert_eq!(shown(&living.read(0)), rest);
}
