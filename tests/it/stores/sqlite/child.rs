//! Other processes: this test binary, started again for one task.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The environment variable that names the task.
const TASK: &str = "LIVESPAN_TEST_TASK";
const FILE: &str = "LIVESPAN_TEST_FILE";

/// Returns a command that does `task` with this file.
pub(crate) fn command(task: &str, file: &Path) -> Command {
    with_program(&env::current_exe().unwrap(), task, file)
}

/// Returns a command like that of [`command`], but with a copy of the program that every user may
/// run.
pub(crate) fn with_program(program: &Path, task: &str, file: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "stores::sqlite::child::task",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(TASK, task)
        .env(FILE, file)
        .stdin(Stdio::null());
    command
}

#[test]
#[ignore = "not a test: other tests start it as a separate process"]
fn task() {
    let file = PathBuf::from(env::var_os(FILE).unwrap());
    match env::var(TASK).unwrap().as_str() {
        "write" => super::killed::write_until_killed(&file),
        "hold" => super::opening::hold_until_killed(&file),
        "open" => super::opening::print_opening_outcome(&file),
        "glance" => super::names::open_and_close(&file),
        "modes" => super::permissions::print_modes(&file),
        "fill" => super::faults::print_filling_outcome(&file),
        other => panic!("no such task: {other}"),
    }
}

/// Returns the lines that a process wrote for the test, without the lines of the test harness.
pub(crate) fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let marked = text.lines().filter_map(|line| line.split_once("> "));
    marked.map(|(_, line)| line.to_owned()).collect()
}

/// Copies the program to a place where every user can run it.
pub(crate) fn program_for_anybody(folder: &Path) -> PathBuf {
    let copy = folder.join("program");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    copy
}
