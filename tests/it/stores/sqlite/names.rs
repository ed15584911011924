//! One file has one writer, whichever name it is opened by, because two writers would destroy it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use livespan::{EventStore as _, SqliteEventStore};
use rusqlite::Connection;

use super::{
    child,
    log::{Folder, Log},
    opening::{refused, refused_for_reading},
};

const ADVICE: &str = "and a log has one writer; others may open it with `read_only()`";

fn second_name(folder: &Folder) -> PathBuf {
    folder.path().join("second.db")
}

fn written_under(name: &Path) -> String {
    format!(
        "another log of this process is writing to it under the name {}, {ADVICE}",
        name.display()
    )
}

#[test]
fn a_hard_link_of_a_file_that_is_written_to_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    let second = second_name(&folder);
    fs::hard_link(folder.file(), &second).unwrap();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    assert_eq!(refused(&second), written_under(&folder.file()));
    log.put(&["a . 2"]);
    assert_eq!(log.all(), ["1 a . 1", "2 a . 2"]);
    drop(log);
    // Now a log may write under the other name.
    let mut log = Log::open(SqliteEventStore::new(&second));
    assert_eq!(log.all(), ["1 a . 1", "2 a . 2"]);
    assert_eq!(refused(&folder.file()), written_under(&second));
    log.put(&["a . 3"]);
    drop(log);
    assert_eq!(folder.open().all(), ["1 a . 1", "2 a . 2", "3 a . 3"]);
}

#[test]
fn a_hard_link_of_a_file_that_another_process_writes_to_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    let second = second_name(&folder);
    fs::hard_link(folder.file(), &second).unwrap();
    let mut holder = child::command("hold", &folder.file())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("> open")));
    assert_eq!(
        refused(&second),
        format!("another process is writing to it under another name, {ADVICE}")
    );
    let elsewhere = "its writer opened it under another name and keeps its newest events in a file beside that one";
    assert_eq!(refused_for_reading(&second), elsewhere);
    drop(Log::open(SqliteEventStore::new(folder.file()).read_only()));
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(Log::open(SqliteEventStore::new(&second)));
}

#[test]
fn a_reader_by_another_name_than_the_writers_is_refused() {
    let folder = Folder::new();
    let log = folder.open();
    let second = second_name(&folder);
    fs::hard_link(folder.file(), &second).unwrap();
    let elsewhere = "its writer opened it under another name and keeps its newest events in a file beside that one";
    assert_eq!(refused_for_reading(&second), elsewhere);
    drop(log);
    drop(Log::open(SqliteEventStore::new(&second).read_only()));
}

#[test]
fn a_dangling_symbolic_link_names_the_file_that_the_store_makes() {
    let folder = Folder::new();
    let (link, chain) = (
        folder.path().join("link.db"),
        folder.path().join("chain.db"),
    );
    // Relative and absolute targets, and a link to a link.
    symlink("events.db", &link).unwrap();
    symlink(&link, &chain).unwrap();
    let mut log = Log::open(SqliteEventStore::new(&chain));
    let reason = format!("another log of this process is writing to it, {ADVICE}");
    let message = |store: SqliteEventStore| format!("{:?}", store.open().unwrap_err());
    for name in [&link, &chain, &folder.file()] {
        assert_eq!(
            message(SqliteEventStore::new(name)),
            format!("open the event log {}: {reason}", folder.file().display())
        );
    }
    log.put(&["a . 1"]);
    drop(log);
    assert_eq!(folder.open().all(), ["1 a . 1"]);
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let folder = Folder::new();
    let link = folder.path().join("link.db");
    symlink(&link, &link).unwrap();
    assert_eq!(refused(&link), "too many symbolic links lead to it");
    fs::remove_file(&link).unwrap();
    symlink("missing/events.db", &link).unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(
        refused(&link),
        format!("the directory {} does not exist", missing.display())
    );
    fs::remove_file(&link).unwrap();
    symlink(folder.path(), &link).unwrap();
    assert_eq!(refused(&link), "it is a directory");
}

#[test]
fn a_pipe_or_a_device_is_refused_without_waiting() {
    let pipe = Folder::new();
    let made = std::process::Command::new("mkfifo")
        .arg(pipe.file())
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(refused(&pipe.file()), "it is not a regular file");
    assert_eq!(refused(Path::new("/dev/null")), "it is not a regular file");
}

#[test]
fn paths_through_other_folders_name_the_same_file() {
    let folder = Folder::new();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let linked = folder.path().join("linked");
    symlink(folder.path(), &linked).unwrap();
    let log = folder.open();
    for name in [linked.join("events.db"), inner.join("../events.db")] {
        let error = SqliteEventStore::new(name).open().unwrap_err();
        let expected = format!(
            "open the event log {}: another log of this process is writing to it, {ADVICE}",
            folder.file().display()
        );
        assert_eq!(format!("{error:?}"), expected);
    }
    drop(log);
}

#[test]
fn a_file_that_was_renamed_while_it_is_written_to_is_refused() {
    let folder = Folder::new();
    let log = folder.open();
    let second = second_name(&folder);
    fs::rename(folder.file(), &second).unwrap();
    assert_eq!(refused(&second), written_under(&folder.file()));
    fs::rename(&second, folder.file()).unwrap();
    drop(log);
    drop(folder.open());
}

/// Opens the database and closes it, in the child process of the next test. If the writer had lost
/// its lock, SQLite would take this connection for the last one.
pub(super) fn open_and_close(file: &Path) {
    let connection = Connection::open(file).unwrap();
    let head: i64 = connection
        .query_row("SELECT head FROM state", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    println!("> head {head}");
}

/// SQLite deletes the write-ahead log when it closes the last connection. It detects other connections by their lock on
/// the file. A process loses that lock when it closes any descriptor of the file.
#[test]
fn opening_and_closing_other_stores_keeps_the_writers_lock() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    refused(&folder.file());
    drop(Log::open(folder.store().read_only()));
    let second = second_name(&folder);
    fs::hard_link(folder.file(), &second).unwrap();
    refused(&second);
    refused_for_reading(&second);
    let output = child::command("glance", &folder.file()).output().unwrap();
    assert_eq!(child::lines(&output.stdout), ["head 1"]);
    assert!(folder.path().join("events.db-wal").exists());
    log.put(&["a . 2"]);
    let output = child::command("glance", &folder.file()).output().unwrap();
    assert_eq!(child::lines(&output.stdout), ["head 2"]);
    drop(log);
    assert_eq!(folder.open().all(), ["1 a . 1", "2 a . 2"]);
}
