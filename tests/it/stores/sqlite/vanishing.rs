//! A file that disappears while a log has it open. This is noticed within seconds, with or without
//! events.

use std::{
    fs::{self, File},
    sync::Mutex,
};

use livespan::{EventStore as _, SqliteEventStore, SseTarget, sse::Subscribe};

use super::{
    log::{Folder, Log, batch},
    text::{Text, read_all},
};
use crate::support::{PATIENCE, causes, until};

fn log(folder: &Folder) -> SseTarget<Text> {
    let target = SseTarget::builder().store(folder.store()).build().unwrap();
    put(&target, "first");
    assert_eq!(target.health().failure, None);
    target
}

fn put(target: &SseTarget<Text>, text: &str) {
    target.try_dispatch(&Text(text.to_owned())).unwrap();
    target.flush(PATIENCE).unwrap();
}

/// Waits until the idle log reports a failure.
fn failure(target: &SseTarget<Text>) -> String {
    until(|| target.health().failure.is_some());
    target.health().failure.unwrap()
}

fn expected(folder: &Folder, problem: &str) -> String {
    let file = folder.file();
    format!("keep the event log {}: {problem}", file.display())
}

#[test]
fn a_file_that_is_removed_is_noticed_though_nothing_is_appended() {
    let folder = Folder::new();
    let target = log(&folder);
    fs::remove_file(folder.file()).unwrap();
    let problem = format!("{} was removed or renamed", folder.file().display());
    assert_eq!(failure(&target), expected(&folder, &problem));
    target.try_dispatch(&Text("lost".to_owned())).unwrap();
    assert!(target.flush(PATIENCE).unwrap_err().is_store());
    assert_eq!(target.dropped().other, 1);
    target.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_file_that_is_replaced_or_truncated_is_noticed() {
    let folder = Folder::new();
    // Closing the log makes a checkpoint, so that the file has pages.
    drop(log(&folder));
    until(|| !folder.path().join("events.db-wal").exists());
    let target = log(&folder);
    let aside = folder.path().join("aside.db");
    fs::rename(folder.file(), &aside).unwrap();
    fs::copy(&aside, folder.file()).unwrap();
    let problem = format!(
        "another file has taken the place of {}",
        folder.file().display()
    );
    assert_eq!(failure(&target), expected(&folder, &problem));
    fs::rename(&aside, folder.file()).unwrap();
    until(|| target.health().failure.is_none());

    let length = fs::metadata(folder.file()).unwrap().len();
    for length in [length / 2, 0] {
        File::options()
            .write(true)
            .open(folder.file())
            .unwrap()
            .set_len(length)
            .unwrap();
        let problem = format!("{} was truncated", folder.file().display());
        until(|| target.health().failure == Some(expected(&folder, &problem)));
    }
}

#[test]
fn the_loss_of_a_file_beside_the_database_is_noticed_as_well() {
    for ending in ["wal", "shm"] {
        let folder = Folder::new();
        let mut log = folder.open();
        log.put(&["a . 1"]);
        let beside = folder.path().join(format!("events.db-{ending}"));
        fs::remove_file(&beside).unwrap();
        let problem = format!("{} was removed or renamed", beside.display());
        // The store does not check the file while it is working on it.
        let error = Mutex::new(None);
        until(|| {
            *error.lock().unwrap() = log.store.check().err();
            error.lock().unwrap().is_some()
        });
        let error = error.into_inner().unwrap().unwrap();
        let file = folder.file();
        let keep = format!("keep the event log {}", file.display());
        assert_eq!(causes(&error), [keep, problem.clone()]);
        let append = format!("append to the event log {}", file.display());
        let error = log.try_put(&["a . 2"]).unwrap_err();
        assert_eq!(causes(&error), [append, problem]);
    }
}

#[test]
fn a_log_whose_folder_was_moved_and_is_back_continues_and_reports_the_loss() {
    let folder = Folder::new();
    let target = log(&folder);
    let subscription = target.subscribe(Subscribe::all());
    let away = folder.path().with_extension("away");
    fs::rename(folder.path(), &away).unwrap();
    failure(&target);
    fs::rename(&away, folder.path()).unwrap();
    until(|| target.health().failure.is_none());
    put(&target, "second");
    target.shutdown(PATIENCE).unwrap();
    // A gap that announces the recovery without any loss.
    read_all(subscription).unwrap_err();
    drop(target);
    let log = SseTarget::<Text>::builder()
        .store(folder.store())
        .build()
        .unwrap();
    let subscription = log.subscribe(Subscribe::all());
    log.shutdown(PATIENCE).unwrap();
    let texts = read_all(subscription).unwrap();
    let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn a_reader_notices_that_its_file_is_gone() {
    let folder = Folder::new();
    drop(folder.open());
    let reader = Log::open(SqliteEventStore::new(folder.file()).read_only());
    reader.store.check().unwrap();
    fs::remove_file(folder.file()).unwrap();
    let problem = format!("{} was removed or renamed", folder.file().display());
    let error = reader.store.check().unwrap_err();
    assert_eq!(causes(&error)[1], problem);
}

#[test]
fn a_closed_store_releases_its_file_and_refuses_appends() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    log.store.close();
    let mut next = folder.open();
    next.put(&["a . 2"]);
    let error = log
        .store
        .append(livespan::sse::Sequence::new(9), &batch(&["a . 9"]))
        .unwrap_err();
    assert_eq!(
        causes(&error),
        [
            format!("append to the event log {}", folder.file().display()),
            "it was closed, because its log was shut down".to_owned()
        ]
    );
    assert_eq!(log.all(), ["1 a . 1", "2 a . 2"], "reads no longer work");
    log.store.close();
    drop(log);
    next.put(&["a . 3"]);
    assert_eq!(next.all(), ["1 a . 1", "2 a . 2", "3 a . 3"]);
}

#[test]
fn a_log_that_was_shut_down_has_released_its_file_before_it_is_dropped() {
    let folder = Folder::new();
    let target = log(&folder);
    target.shutdown(PATIENCE).unwrap();
    let next = log(&folder);
    drop(target);
    put(&next, "second");
    next.shutdown(PATIENCE).unwrap();
}
