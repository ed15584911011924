//! Each opening for writing begins an epoch. A reader with an id of an earlier epoch resumes at its
//! position.

use livespan::{
    EventStore as _, SseTarget,
    sse::{EventId, Message, ResumePoint, Sequence, Subscribe},
    store::EpochStart,
};

use super::{
    log::Folder,
    text::{Text, read_all},
};
use crate::support::PATIENCE;

fn firsts(epochs: &[EpochStart]) -> Vec<u64> {
    epochs.iter().map(|life| life.first.get()).collect()
}

#[test]
fn every_opening_begins_an_epoch_that_the_file_remembers() {
    let folder = Folder::new();
    let mut log = folder.open();
    let first = log.store.epochs();
    assert_eq!(firsts(&first), [1]);
    log.put(&["a . 1", "a . 2"]);
    drop(log);
    let mut log = folder.open();
    let second = log.store.epochs();
    assert_eq!(firsts(&second), [1, 3]);
    assert_eq!(second[0], first[0]);
    assert_ne!(second[0].epoch, second[1].epoch);
    log.put(&["a . 3"]);
    drop(log);
    // No event is written in this epoch.
    drop(folder.open());
    let log = folder.open();
    let last = log.store.epochs();
    assert_eq!(
        firsts(&last),
        [1, 3, 4],
        "an epoch without events is still in the list"
    );
    assert_eq!(last[..2], second[..]);
}

#[test]
fn epochs_are_remembered_when_their_events_are_gone() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1", "a . 2"]);
    drop(log);
    let mut log = folder.keeping(1);
    log.put(&["a . 3"]);
    assert_eq!(log.all(), ["3 a . 3"]);
    drop(log);
    let log = folder.open();
    assert_eq!(firsts(&log.store.epochs()), [1, 3, 4]);
    assert_eq!(log.oldest(), 3);
}

#[test]
fn an_id_of_an_earlier_epoch_resumes_at_its_position() {
    let folder = Folder::new();
    let open = || {
        SseTarget::<Text>::builder()
            .store(folder.store())
            .build()
            .unwrap()
    };
    let write = |texts: &[&str]| -> Vec<(EventId, String)> {
        let target = open();
        for text in texts {
            target.try_dispatch(&Text((*text).to_owned())).unwrap();
        }
        target.flush(PATIENCE).unwrap();
        let subscription = target.subscribe(Subscribe::all());
        target.shutdown(PATIENCE).unwrap();
        read_all(subscription).unwrap()
    };
    let first = write(&["one", "two", "three"]);
    let second = write(&["four"]);
    assert_eq!(second[..3], first[..]);
    assert_ne!(second[3].0.epoch(), first[0].0.epoch());

    let target = open();
    let resumed = |id| {
        let point = ResumePoint::AfterId(id);
        target.subscribe(Subscribe::all().resume(point))
    };
    let (after_second, unknown) = (
        resumed(second[1].0),
        // The first epoch had no fourth event.
        resumed(EventId::new(first[0].0.epoch(), Sequence::new(4))),
    );
    target.shutdown(PATIENCE).unwrap();
    assert_eq!(read_all(after_second).unwrap(), second[2..]);
    let gap = *read_all(unknown).unwrap_err();
    assert!(matches!(gap, Message::Gap(_)), "{gap:?}");
}
