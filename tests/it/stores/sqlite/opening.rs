//! A file that cannot be used is refused, with the reason.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Stdio,
    thread,
};

use livespan::{EventStore as _, SqliteEventStore, SseTarget, sse::Subscribe};
use rusqlite::Connection;

use super::{
    child,
    log::Folder,
    text::{Text, read_all},
};
use crate::support::{PATIENCE, block_on, causes};

fn refusal(store: &SqliteEventStore, path: &Path) -> String {
    let error = store.open().unwrap_err();
    assert!(error.is_store());
    let message = format!("open the event log {}", path.display());
    assert_eq!(error.to_string(), message);
    let with_causes = format!("{error:?}");
    with_causes
        .strip_prefix(&format!("{message}: "))
        .unwrap_or_else(|| panic!("{with_causes}"))
        .to_owned()
}

pub(super) fn refused(path: &Path) -> String {
    refusal(&SqliteEventStore::new(path), path)
}

pub(super) fn refused_for_reading(path: &Path) -> String {
    refusal(&SqliteEventStore::new(path).read_only(), path)
}

#[test]
fn a_place_that_can_hold_no_file_is_refused() {
    let folder = Folder::new();
    let missing = folder.path().join("missing");
    let reason = format!("the directory {} does not exist", missing.display());
    assert_eq!(refused(&missing.join("events.db")), reason);
    assert_eq!(refused(folder.path()), "it is a directory");
    assert_eq!(refused(Path::new("/")), "it names no file");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "a refused opening left files behind"
    );
}

#[test]
fn a_file_that_is_not_our_log_is_refused_and_left_unchanged() {
    let folder = Folder::new();
    let path = folder.file();
    let text = "All work and no play makes Jack a dull boy.\n".repeat(200);
    fs::write(&path, &text).unwrap();
    let reason = "it is not an SQLite database";
    assert_eq!(refused(&path), reason);
    assert_eq!(refused_for_reading(&path), reason);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::write(&path, "short").unwrap();
    assert_eq!(refused(&path), reason);
    fs::remove_file(&path).unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    assert_eq!(refused(&path), "it is the database of another program");
    assert_eq!(
        refused_for_reading(&path),
        "it is the database of another program"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [path], "a file was created beside it");
}

#[test]
fn a_format_of_a_later_livespan_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    let later = Connection::open(folder.file()).unwrap();
    later.pragma_update(None, "user_version", 7).unwrap();
    drop(later);
    let reason = "it has format 7 of a later livespan; this one knows format 6";
    assert_eq!(refused(&folder.file()), reason);
    assert_eq!(refused_for_reading(&folder.file()), reason);
}

#[test]
fn a_file_of_an_earlier_format_is_brought_up_to_date_by_its_next_writer() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a +1 one", "* . two"]);
    drop(log);
    let earlier = Connection::open(folder.file()).unwrap();
    earlier
        .execute_batch(
            "DROP INDEX event_once; DROP TABLE evicted; DROP TABLE carried; DROP TABLE kept; DROP TABLE pinned_state; PRAGMA user_version = 1",
        )
        .unwrap();
    drop(earlier);
    let reason = "it has format 1 of an earlier livespan; open it once for writing, which converts it to format 6";
    assert_eq!(refused_for_reading(&folder.file()), reason);
    let mut log = folder.open();
    assert_eq!(log.all(), ["1 a +1 one", "2 * . two"]);
    log.put(&["a -1 three"]);
    drop(log);
    let now = Connection::open(folder.file()).unwrap();
    let format: i64 = now
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let tables: i64 = now
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('event_once', 'evicted', 'carried', 'kept', 'pinned_state')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((format, tables), (6, 5));
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.fill(1_000);
    drop(log);
    let mut bytes = fs::read(folder.file()).unwrap();
    // The header stays; the rest of the file is overwritten.
    bytes[100..].fill(0xff);
    fs::write(folder.file(), bytes).unwrap();
    let reason = "the database in it is damaged: database disk image is malformed";
    assert_eq!(refused(&folder.file()), reason);
    assert_eq!(refused_for_reading(&folder.file()), reason);
}

#[test]
fn a_reader_refuses_a_missing_file_and_an_empty_file() {
    let folder = Folder::new();
    let path = folder.file();
    assert_eq!(refused_for_reading(&path), "there is no such file");
    fs::write(&path, "").unwrap();
    assert_eq!(refused_for_reading(&path), "no log was ever written to it");
    assert_eq!(
        folder.open().all(),
        Vec::<String>::new(),
        "the new file is not empty"
    );
}

#[test]
fn a_second_writer_in_one_process_is_refused() {
    let folder = Folder::new();
    let mut log = folder.open();
    let reason = "another log of this process is writing to it, and a log has one writer; others may open it with `read_only()`";
    assert_eq!(refused(&folder.file()), reason);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let linked = refusal(&SqliteEventStore::new(&link), &folder.file());
    assert_eq!(
        linked, reason,
        "the file is not refused under the name of the link"
    );
    log.put(&["a . 1"]);
    drop(log);
    assert_eq!(folder.open().all(), ["1 a . 1"]);
}

/// The child process of the next test.
pub(super) fn hold_until_killed(file: &Path) -> ! {
    let store = SqliteEventStore::new(file);
    store.open().unwrap();
    println!("> open");
    std::io::stdout().flush().unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn a_writer_is_refused_until_the_process_of_the_other_writer_has_ended() {
    let folder = Folder::new();
    let mut holder = child::command("hold", &folder.file())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("> open")));
    assert_eq!(
        refused(&folder.file()),
        format!(
            "process {} is writing to it, and a log has one writer; others may open it with `read_only()`",
            holder.id()
        )
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(folder.open());
}

#[test]
fn a_file_that_another_program_locks_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        refused(&folder.file()),
        "another program has locked it: database is locked"
    );
    other.execute_batch("COMMIT").unwrap();
    drop(folder.open());
}

#[test]
fn an_open_store_cannot_be_opened_again() {
    let folder = Folder::new();
    let log = folder.open();
    let again = causes(&log.store.open().unwrap_err());
    assert!(again[1].contains("one writer"), "{again:?}");
    let closed = folder.store();
    let read = closed.read_after(livespan::sse::Sequence::START, super::log::ANY);
    assert_eq!(
        causes(&block_on(read).unwrap_err()),
        [
            format!("use the event log {}", folder.file().display()),
            "it is not open".to_owned()
        ]
    );
}

/// The child process of the next test.
pub(super) fn print_opening_outcome(file: &Path) {
    match SqliteEventStore::new(file).open() {
        Ok(head) => println!("> opened at {head}"),
        Err(error) => println!("> {error:?}"),
    }
}

#[test]
fn a_file_or_directory_that_may_not_be_written_to_is_refused() {
    let folder = Folder::new();
    let program = child::program_for_anybody(folder.path());
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let file = logs.join("events.db");
    SqliteEventStore::new(&file).open().unwrap();
    let open = || {
        let mut command = child::with_program(&program, "open", &file);
        // The root user may write anywhere, so the child process runs as another user.
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        child::lines(&command.output().unwrap().stdout)
    };
    let set_modes = |of_directory, of_files| {
        for entry in fs::read_dir(&logs).unwrap() {
            fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(of_files)).unwrap();
        }
        fs::set_permissions(&logs, Permissions::from_mode(of_directory)).unwrap();
    };
    set_modes(0o777, 0o666);
    assert_eq!(open(), ["opened at 0"]);
    let action = format!("open the event log {}: ", file.display());
    set_modes(0o777, 0o444);
    let lock = logs.join("events.db-lock");
    let no_lock = format!(
        "{action}cannot open or create the file {} beside it: Permission denied (os error 13)",
        lock.display()
    );
    assert_eq!(open(), [no_lock.as_str()]);
    fs::remove_file(logs.join("events.db-lock")).unwrap();
    assert_eq!(
        open(),
        [format!(
            "{action}it cannot be written to: the file or its directory is read-only: attempt to write a readonly database"
        )]
    );
    fs::remove_file(logs.join("events.db-lock")).unwrap();
    set_modes(0o555, 0o444);
    assert_eq!(open(), [no_lock]);
    set_modes(0o755, 0o644);
}

#[test]
fn a_log_that_was_shut_down_can_be_opened_again_at_once() {
    let folder = Folder::new();
    let mut seen = Vec::new();
    for turn in 0..20 {
        let target = SseTarget::<Text>::builder()
            .store(folder.store())
            .build()
            .unwrap();
        target.try_dispatch(&Text(turn.to_string())).unwrap();
        target.flush(PATIENCE).unwrap();
        let subscription = target.subscribe(Subscribe::all());
        target.shutdown(PATIENCE).unwrap();
        seen = read_all(subscription).unwrap();
    }
    let texts: Vec<String> = seen.into_iter().map(|(_, text)| text).collect();
    let expected: Vec<String> = (0..20).map(|turn| turn.to_string()).collect();
    assert_eq!(texts, expected);
}
