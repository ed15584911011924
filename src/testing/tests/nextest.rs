//! Test programs as nextest runs them: it lists the tests, then starts a process for each. It ends
//! an overdue test with a signal to the process group of the test. Source:
//! <https://nexte.st/docs/design/custom-test-harnesses/>,
//! <https://nexte.st/docs/features/slow-tests/> and
//! <https://nexte.st/docs/configuration/env-vars/>.

use std::{
    collections::BTreeSet,
    env,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::Command,
};

use super::{CHILD, ReplayFolder, named, plain, program, spans, wait_for};

/// Returns the command that runs one ignored test in a process and a process group of its own.
pub(super) fn command(test: &str, folder: &ReplayFolder) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--ignored"])
        .env("NEXTEST", "1")
        .env("NEXTEST_EXECUTION_MODE", "process-per-test")
        .env("NEXTEST_RUN_ID", "6b1d6b4e-9a1c-4b8e-8f2e-3d5d8d1f0a77")
        .env("NEXTEST_TEST_NAME", test)
        .env(CHILD, "1")
        .env("LIVESPAN_TEST_DIR", &folder.0)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LOG")
        .process_group(0);
    command
}

/// Returns the names of the ignored tests, as nextest lists them.
pub(super) fn list() -> BTreeSet<String> {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--list", "--format", "terse", "--ignored"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .lines()
        .map(|line| line.strip_suffix(": test").unwrap().to_owned())
        .collect()
}

#[test]
fn an_overdue_test_that_nextest_ends_says_what_was_open() {
    for (signal, name, number) in [("-TERM", "SIGTERM", 15), ("-INT", "SIGINT", 2)] {
        let folder = ReplayFolder::new(&format!("nextest-{name}"));
        let child = command("testing::tests::waiting", &folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let file = folder.file("waiting");
        wait_for(&file);
        let killed = Command::new("kill")
            .args([signal, "--", &format!("-{}", child.id())])
            .status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        let test = "test livespan::testing::tests::waiting";
        let expected = [
            format!("livespan: livespan::testing::tests::waiting was ended by {name} after"),
            format!(
                "trace \"{test}\" · {} · open for s · 2 of 2 spans open",
                program()
            ),
            format!("  \"{test}\" s"),
            "    \"waits for ever\" s".to_owned(),
        ];
        assert_eq!(plain(&String::from_utf8(output.stderr).unwrap()), expected);
        assert_eq!(
            spans(&file),
            named([(test, "open"), ("waits for ever", "open")])
        );
    }
}
