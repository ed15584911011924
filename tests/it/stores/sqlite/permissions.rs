//! Traces may contain secrets, so only the owner of a new file may read and write it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use livespan::SqliteEventStore;

use super::{
    child,
    log::{Folder, Log},
};

const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-lock"];

/// The child process of the next test.
pub(super) fn print_modes(file: &Path) {
    let mut log = Log::open(SqliteEventStore::new(file));
    log.put(&["a . 1"]);
    for ending in BESIDE {
        println!("> {:o}", mode(file, ending));
    }
}

fn mode(file: &Path, ending: &str) -> u32 {
    let mut name = file.to_owned().into_os_string();
    name.push(ending);
    fs::metadata(name).unwrap().permissions().mode() & 0o7777
}

#[test]
fn new_files_are_their_owners_alone_under_any_umask() {
    for umask in ["000", "022", "777"] {
        let folder = Folder::new();
        let child = child::command("modes", &folder.file());
        let mut command = Command::new("sh");
        let set = format!("umask {umask}; exec \"$@\"");
        command.args(["-c", &set, "sh"]).arg(child.get_program());
        command.args(child.get_args());
        for (name, value) in child.get_envs() {
            command.env(name, value.unwrap());
        }
        let modes = child::lines(&command.output().unwrap().stdout);
        assert_eq!(modes, ["600"; 4], "umask {umask}");
    }
}

#[test]
fn an_existing_log_keeps_its_mode_and_gives_it_to_the_files_beside_it() {
    let folder = Folder::new();
    drop(folder.open());
    fs::remove_file(folder.path().join("events.db-lock")).unwrap();
    fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
    let log = folder.open();
    let modes = BESIDE.map(|ending| mode(&folder.file(), ending));
    assert_eq!(modes, [0o640; 4]);
    drop(log);
}

#[test]
fn an_empty_file_made_by_hand_keeps_its_mode() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    fs::set_permissions(folder.file(), Permissions::from_mode(0o660)).unwrap();
    let log = folder.open();
    assert_eq!(
        BESIDE.map(|ending| mode(&folder.file(), ending)),
        [0o660; 4]
    );
    drop(log);
}
