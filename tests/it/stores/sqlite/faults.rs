//! Full disks and locked files. An append fails with a reason and keeps nothing of its batch, and
//! earlier events can still be read.

use std::{path::Path, process::Command};

use livespan::{EventStore as _, SqliteEventStore};
use rusqlite::Connection;

use super::{
    child,
    log::{Folder, Log},
};
use crate::support::{block_on, causes};

/// The child process of the next test: appends until the disk is full, and reports the outcome.
pub(super) fn print_filling_outcome(file: &Path) {
    let mut log = Log::open(SqliteEventStore::new(file));
    log.put(&["a +1 open"]);
    let payload = format!("b . {}", "x".repeat(10_000));
    let batch = vec![payload.as_str(); 10];
    let mut kept = 1;
    let error = loop {
        match log.try_put(&batch) {
            Ok(()) => kept += batch.len(),
            Err(error) => break error,
        }
    };
    println!("> {error:?}");
    println!("> {}", log.all().len() == kept);
    println!("> {:?}", log.try_put(&batch).is_err());
    println!("> {:?}", log.of(&["a"], 0));
}

/// A limit on file sizes simulates a full disk: 1 MiB, in blocks of 512 bytes or 1 KiB.
#[test]
fn a_full_disk_refuses_the_batch_and_keeps_what_was_before() {
    let folder = Folder::new();
    let child = child::command("fill", &folder.file());
    // With the signal ignored, a write beyond the limit fails instead of ending the process.
    let limit = "trap '' XFSZ; ulimit -f 1024; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limit, "sh"]).arg(child.get_program());
    command.args(child.get_args());
    for (name, value) in child.get_envs() {
        command.env(name, value.unwrap());
    }
    let printed = child::lines(&command.output().unwrap().stdout);
    assert_eq!(
        printed,
        [
            &format!(
                "append to the event log {}: disk I/O error",
                folder.file().display()
            ),
            "true",
            "true",
            "[\"1 a +1 open\"]"
        ]
    );
    // With space again, the log continues.
    let mut log = folder.open();
    assert_eq!(log.of(&["a"], 0), ["1 a +1 open"]);
    let kept = log.all().len();
    log.put(&["a -1 closed"]);
    assert_eq!(log.all().len(), kept + 1);
}

#[test]
fn a_lock_of_another_program_fails_the_append_and_the_next_one_succeeds() {
    let folder = Folder::new();
    let mut log = folder.keeping(2);
    log.put(&["a +1 open", "b . 2", "b . 3"]);
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        causes(&log.try_put(&["a -1 closed"]).unwrap_err())[..2],
        [
            format!("append to the event log {}", folder.file().display()),
            "database is locked".to_owned()
        ]
    );
    assert_eq!(log.all(), ["1 a +1 open", "2 b . 2", "3 b . 3"]);
    other.execute_batch("COMMIT").unwrap();
    // The log has skipped the sequence of the event that was not kept.
    log.leave_out(1);
    log.put(&["c . 5"]);
    assert_eq!(log.all(), ["1 a +1 open", "3 b . 3", "5 c . 5"]);
}

#[test]
fn a_batch_that_fails_halfway_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut log = folder.keeping(3);
    log.put(&["a +1 open", "b . 2"]);
    log.fill(5);
    let before = log.all();
    // Another program inserts a row with the sequence of the batch's second event.
    let other = Connection::open(folder.file()).unwrap();
    let plant = "INSERT INTO event VALUES(9, 0, 'note', NULL, NULL, x'21')";
    other.execute(plant, []).unwrap();
    let error = log.try_put(&["a -1 closed", "new +1 x"]).unwrap_err();
    assert_eq!(
        causes(&error)[..2],
        [
            format!("append to the event log {}", folder.file().display()),
            "UNIQUE constraint failed: event.sequence".to_owned()
        ]
    );
    other
        .execute("DELETE FROM event WHERE sequence = 9", [])
        .unwrap();
    assert_eq!(log.all(), before);
    log.put(&["new +1 x"]);
    assert_eq!(log.standing(), Vec::<String>::new());
    assert_eq!(
        log.all(),
        ["1 a +1 open", "6 filler . -", "7 filler . -", "8 new +1 x"]
    );
    drop(log);
    assert_eq!(folder.open().abandoned(), ["1 a +1 open", "8 new +1 x"]);
}

#[test]
fn a_file_that_is_damaged_while_it_is_read_is_an_error_and_no_more() {
    let folder = Folder::new();
    let mut log = folder.open();
    let payload = format!("a . {}", "x".repeat(300));
    for _ in 0..50 {
        log.put(&[payload.as_str(); 100]);
    }
    drop(log);
    let mut bytes = std::fs::read(folder.file()).unwrap();
    // Damages some of the first events. Opening reads the last ones.
    bytes[40 * 4_096..60 * 4_096].fill(0x55);
    std::fs::write(folder.file(), bytes).unwrap();
    let mut log = folder.open();
    let read = log
        .store
        .read_after(livespan::sse::Sequence::START, super::log::ANY);
    assert_eq!(
        causes(&block_on(read).unwrap_err())[..2],
        [
            format!("read the event log {}", folder.file().display()),
            "database disk image is malformed".to_owned()
        ]
    );
    log.put(&["a . still"]);
    assert_eq!(log.after(5_000), ["5001 a . still"]);
}
