//! Checks that each violation is reported, and that announced losses are not violations.

use super::*;

const OWN: &str = "0000000000000000000000000000000a";

/// A frame as a test writes it: an event with its sequence, a gap, a cursor or an end.
enum Sent {
    Event(u64),
    Of(u64, &'static str),
    Epoch(&'static str),
    Gap(u64, u64, Option<u64>),
    Dropped(u64),
    Cursor(u64),
    Complete,
    Cut,
}

use Sent::{Complete, Cursor, Cut, Dropped, Epoch, Event, Gap, Of};

fn feed(sequence: &mut Sequence, event: &str, id: &str, data: &str) {
    sequence.take(&Frame {
        event: event.as_bytes(),
        id: id.as_bytes(),
        data: data.as_bytes(),
    });
}

fn hello(sequence: &mut Sequence, oldest: u64) {
    sequence.connected();
    let data = format!("{{\"oldest\":\"aaaaaaaa-{oldest}\"}}");
    feed(sequence, "hello", "", &data);
}

/// Returns the violations found by a client that follows this stream and gets these frames. The
/// oldest event of the log has the sequence 3.
fn violations(follow: Follow, sent: &[Sent]) -> Vec<String> {
    let ledger = Arc::new(Ledger::default());
    let mut sequence = Sequence::new("client".to_owned(), follow, Arc::clone(&ledger));
    hello(&mut sequence, 3);
    for one in sent {
        let id = |number: u64| format!("aaaaaaaa-{number}");
        let of = |trace: &str| format!("{{\"traceId\":\"{trace}\",\"parentSpanId\":null}}");
        let sequence = &mut sequence;
        match *one {
            Event(number) => feed(sequence, "started", &id(number), &of(OWN)),
            Of(number, trace) => feed(sequence, "started", &id(number), &of(trace)),
            Epoch(id) => feed(sequence, "started", id, &of(OWN)),
            Gap(from, to, lost) => {
                let lost = lost.map_or("null".to_owned(), |lost| lost.to_string());
                let (from, to) = (id(from), id(to));
                let data = format!(
                    "{{\"reason\":\"evicted\",\"from\":\"{from}\",\"to\":\"{to}\",\"lost\":{lost}}}"
                );
                feed(sequence, "gap", "", &data);
            }
            Dropped(number) => {
                let data = "{\"lost\":{\"starts\":1,\"ends\":2,\"other\":0}}";
                feed(sequence, "gap", &id(number), data);
            }
            Cursor(number) => feed(sequence, "", &id(number), ""),
            Complete => {
                feed(sequence, "end", "", "{\"reason\":\"complete\"}");
                sequence.check_complete(0);
            }
            Cut => hello(sequence, 3),
        }
    }
    ledger.named()
}

fn everything(sent: &[Sent]) -> Vec<String> {
    violations(Follow::Everything, sent)
}

/// Follows a trace of two spans.
fn trace(sent: &[Sent]) -> Vec<String> {
    violations(Follow::Trace(Arc::new(LongTrace::over(OWN, 2))), sent)
}

#[test]
fn dense_or_announced_sequences_are_no_violation() {
    let none = Vec::<String>::new();
    assert_eq!(everything(&[Event(3), Event(4), Event(5)]), none);
    assert_eq!(
        everything(&[Event(1), Event(3), Event(4)]),
        none,
        "a retained start is a violation"
    );
    assert_eq!(everything(&[Event(3), Gap(4, 9, Some(6)), Event(10)]), none);
    let kept = [Event(3), Gap(4, 9, Some(5)), Event(6), Event(10)];
    assert_eq!(
        everything(&kept),
        none,
        "a retained event of the gap is a violation"
    );
    let again = [
        Event(3),
        Gap(4, 9, Some(6)),
        Cut,
        Gap(4, 12, Some(9)),
        Event(13),
    ];
    assert_eq!(
        everything(&again),
        none,
        "a gap repeated after a cut is a violation"
    );
    let whole = [
        Event(3),
        Cursor(7),
        Event(8),
        Event(20),
        Event(21),
        Complete,
    ];
    assert_eq!(trace(&whole), none);
    let lossy = [Event(3), Gap(4, 9, Some(2)), Event(20), Complete];
    assert_eq!(trace(&lossy), none);
    let late = [Event(2), Event(20), Complete];
    assert_eq!(
        trace(&late),
        none,
        "events gone before the client connected count as lost"
    );
}

#[test]
fn missing_repeated_and_foreign_events_are_violations() {
    let named = |sent: &[Sent]| everything(sent).join("; ");
    let of_trace = |sent: &[Sent]| trace(sent).join("; ");
    let cases = [
        (
            named(&[Event(3), Event(5)]),
            "client after 3: events before 5 are missing",
        ),
        (
            named(&[Event(3), Cut, Event(5)]),
            "client after 3: events before 5 are missing",
        ),
        (
            named(&[Event(3), Event(3)]),
            "client after 3: the event 3 is repeated or late",
        ),
        (
            named(&[Event(3), Gap(4, 9, Some(5)), Event(10)]),
            "client after 3: not all 6 events of Gone { from: 4, to: 9, lost: Some(5), kept: 0 } are accounted for",
        ),
        (
            named(&[Event(3), Gap(4, 9, Some(6)), Event(11)]),
            "client after 9: events before 11 are missing",
        ),
        (
            named(&[Event(3), Epoch("bbbbbbbb-4")]),
            "client after 3: the epoch bbbbbbbb follows aaaaaaaa",
        ),
        (
            of_trace(&[Event(3), Of(4, "0000000000000000000000000000000b")]),
            "client after 3: the event 4 is of another trace: {\"traceId\":\"0000000000000000000000000000000b\",\"parentSpanId\":null}",
        ),
        (
            of_trace(&[Event(5), Event(4)]),
            "client after 5: the event 4 is repeated or late",
        ),
        (
            of_trace(&[Event(3), Event(4), Event(5), Complete]),
            "client after 5: of 4 events, 3 arrived and 0 were lost",
        ),
        (
            of_trace(&[Event(3), Event(4), Event(5), Event(6), Event(7), Complete]),
            "client after 7: of 4 events, 5 arrived and 0 were lost",
        ),
        (
            of_trace(&[Event(3), Cursor(2)]),
            "client after 3: the cursor went back to 2",
        ),
    ];
    for (named, expected) in cases {
        assert_eq!(named, expected);
    }
}

#[test]
fn reports_of_drops_are_added_up() {
    let ledger = Arc::new(Ledger::default());
    let mut sequence = Sequence::new("client".to_owned(), Follow::Drops, Arc::clone(&ledger));
    hello(&mut sequence, 1);
    for id in ["aaaaaaaa-4", "aaaaaaaa-9"] {
        let data = "{\"lost\":{\"starts\":1,\"ends\":2,\"other\":0}}";
        feed(&mut sequence, "gap", id, data);
    }
    assert_eq!(
        (ledger.announced_drops.get(), ledger.named()),
        (6, Vec::new())
    );
    assert_eq!(
        violations(Follow::Drops, &[Dropped(4), Gap(5, 9, None)]),
        ["client after 4: the reader of drops fell behind retention, so its sum is incomplete"]
    );
}
