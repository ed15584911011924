//! A suite of 200 tests, of which 80 fail. It runs like `cargo test`, on many threads of one
//! process. A part of it also runs like nextest, with a process for each test. Each failure must
//! have the right file, and a passing test must have none. No output or file of one test may
//! contain anything of another.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use tracing::{Instrument as _, info, info_span};

use super::{CHILD, ReplayFolder, is_child, spans};

/// Runs one test. Every span and record of a failing test contains the test's name.
fn act(module: &str, test: &str) {
    if !is_child() {
        return;
    }
    let me = format!("{module}::{test}");
    let _work = info_span!("work", "otel.name" = format!("work of {me}")).entered();
    info!("record of {me}");
    match test {
        "panics" | "cases::case_2_declined" => panic!("failure of {me}"),
        "fails_in_a_task" => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .build()
                .unwrap();
            let span = info_span!("task", "otel.name" = format!("task of {me}"));
            let failure = format!("failure of {me}");
            let task = runtime.spawn(async move { panic!("{failure}") }.instrument(span));
            runtime.block_on(task).unwrap();
        }
        "threads" => {
            let span = tracing::Span::current();
            let thread = thread::spawn(move || {
                span.in_scope(|| info!("from a thread"));
            });
            thread.join().unwrap();
        }
        "awaits" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async { tokio::task::yield_now().await }.instrument(info_span!("io")));
        }
        _ => {}
    }
}

/// Runs one asynchronous test. A task of its runtime makes a span without a parent, which also
/// belongs to the test.
async fn act_in_tasks(module: &str, test: &str) {
    if !is_child() {
        return;
    }
    let me = format!("{module}::{test}");
    let name = format!("work of {me}");
    let record = format!("record of {me}");
    let work = async move {
        let _work = info_span!("work", "otel.name" = name).entered();
        info!("{record}");
    };
    tokio::spawn(work).await.unwrap();
    assert_ne!(test, "fails_late", "failure of {me}");
}

macro_rules! tests {
    ($($test:ident)*) => { $(
        #[test]
        #[ignore = "one of a suite, of which some fail"]
        fn $test() {
            crate::trace_test!();
            super::act(module_path!().rsplit("::").next().unwrap(), stringify!($test));
        }
    )* };
}

/// Tests as the macros of tokio and of rstest make them.
macro_rules! other_tests {
    () => {
        #[tokio::test]
        #[ignore = "one of a suite, of which some fail"]
        async fn asks() {
            crate::trace_test!();
            super::act_in_tasks(module_path!().rsplit("::").next().unwrap(), "asks").await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "one of a suite, of which some fail"]
        async fn fails_late() {
            crate::trace_test!();
            super::act_in_tasks(module_path!().rsplit("::").next().unwrap(), "fails_late").await;
        }

        /// One function for all cases. Only the thread's name shows which case runs.
        fn cases(case: &str) {
            crate::trace_test!();
            super::act(module_path!().rsplit("::").next().unwrap(), case);
        }

        mod cases {
            #[test]
            #[ignore = "one of a suite, of which some fail"]
            fn case_1_cash() {
                super::cases("cases::case_1_cash");
            }

            #[test]
            #[ignore = "one of a suite, of which some fail"]
            fn case_2_declined() {
                super::cases("cases::case_2_declined");
            }
        }
    };
}

macro_rules! modules {
    ($($module:ident)*) => { $(
        mod $module {
            tests!(panics fails_in_a_task threads awaits a b);
            other_tests!();
        }
    )*
        const MODULES: &[&str] = &[$(stringify!($module)),*];
    };
}

modules!(m00 m01 m02 m03 m04 m05 m06 m07 m08 m09 m10 m11 m12 m13 m14 m15 m16 m17 m18 m19);

const FAILING: [&str; 4] = [
    "panics",
    "fails_in_a_task",
    "fails_late",
    "cases::case_2_declined",
];
#[cfg(unix)]
const PASSING: [&str; 4] = ["threads", "awaits", "asks", "cases::case_1_cash"];
const SUITE: &str = "testing::tests::suite";
/// The number of modules that run with one process per test.
#[cfg(unix)]
const MODULES_ALONE: usize = 2;

fn run(folder: &ReplayFolder, arguments: &[&str]) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(arguments)
        .args(["--ignored", "--test-threads", "16"])
        .env(CHILD, "1")
        .env("LIVESPAN_TEST_DIR", &folder.0)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Returns all files below the folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn failing(modules: &[&str]) -> BTreeSet<String> {
    let of = |module: &&str| FAILING.map(|test| format!("{module}::{test}"));
    modules.iter().flat_map(of).collect()
}

fn file_of(folder: &ReplayFolder, test: &str) -> PathBuf {
    let test = test.replace("::", "/");
    folder
        .0
        .join(format!("livespan/testing/tests/suite/{test}.html"))
}

/// Returns the spans that the file of a test must have. It must have no others.
fn expected_spans(test: &str) -> BTreeMap<String, &'static str> {
    let is_work_done = test.ends_with("fails_late");
    let mut spans = BTreeMap::from([
        (format!("test livespan::{SUITE}::{test}"), "panicked"),
        (
            format!("work of {test}"),
            if is_work_done { "ok" } else { "panicked" },
        ),
    ]);
    if test.ends_with("fails_in_a_task") {
        spans.insert(format!("task of {test}"), "panicked");
    }
    spans
}

fn assert_files(folder: &ReplayFolder, failing: &BTreeSet<String>) {
    let expected: BTreeSet<PathBuf> = failing.iter().map(|test| file_of(folder, test)).collect();
    assert_eq!(files(&folder.0), expected);
    for test in failing {
        let shown: BTreeMap<_, _> = spans(&file_of(folder, test)).into_iter().collect();
        assert_eq!(shown, expected_spans(test));
    }
}

/// Returns the tests that a text mentions.
fn named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words
        .filter_map(|word| {
            let parts: Vec<&str> = word.split("::").collect();
            let module = parts.iter().position(|part| MODULES.contains(part))?;
            let path = parts.get(module..).filter(|path| path.len() > 1)?;
            Some(path.join("::"))
        })
        .collect()
}

#[test]
fn in_one_process_each_failure_has_its_own_report_and_file() {
    let folder = ReplayFolder::new("suite-threads");
    let output = run(&folder, &[&format!("{SUITE}::m")]);
    assert_eq!(output.status.code(), Some(101));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("120 passed; 80 failed"), "{printed}");
    let sections = printed.split("\n---- ").skip(1);
    let mut reported = BTreeSet::new();
    for section in sections {
        let (name, rest) = section.split_once(" stdout ----\n").unwrap();
        let test = name.strip_prefix(&format!("{SUITE}::")).unwrap().to_owned();
        let output = rest.split("\n\nfailures:\n").next().unwrap();
        assert_eq!(named_in(output), BTreeSet::from([test.clone()]), "{output}");
        assert_eq!(output.matches("\nlivespan: ").count(), 1, "{output}");
        reported.insert(test);
    }
    let failing = failing(MODULES);
    assert_eq!(reported, failing);
    assert_files(&folder, &failing);
}

#[cfg(unix)]
#[test]
fn with_a_process_for_each_test_only_failures_print() {
    let folder = ReplayFolder::new("suite-processes");
    let modules = &MODULES[..MODULES_ALONE];
    let listed = super::nextest::list();
    for module in modules {
        for test in FAILING.into_iter().chain(PASSING) {
            let name = format!("{SUITE}::{module}::{test}");
            assert!(listed.contains(&name), "{name}");
            let output = super::nextest::command(&name, &folder).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            let reports = usize::from(FAILING.contains(&test));
            assert_eq!(stderr.matches("\nlivespan: ").count(), reports, "{stderr}");
            assert_eq!(output.status.success(), reports == 0, "{name}");
        }
    }
    assert_files(&folder, &failing(modules));
}
