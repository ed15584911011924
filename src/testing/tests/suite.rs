//! A suite of 200 tests, of which 40 fail. It runs in two ways: like `cargo test`, on many threads
//! of one process, and like nextest, with a process for each test. Each failure must have the right
//! file, a passing test must have none, and no output or file of one test may contain anything of
//! another.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use tracing::{Instrument as _, info, info_span};

use super::{CHILD, ReplayFolder, is_child, spans};

/// Runs one test. Every span and record contains the test's name.
fn act(module: &str, test: &str) {
    if !is_child() {
        return;
    }
    let me = format!("{module}::{test}");
    let _work = info_span!("work", "otel.name" = format!("work of {me}")).entered();
    info!("record of {me}");
    match test {
        "panics" => panic!("failure of {me}"),
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

macro_rules! modules {
    ($($module:ident)*) => { $(
        mod $module {
            tests!(panics fails_in_a_task threads awaits a b c d e f);
        }
    )*
        const MODULES: &[&str] = &[$(stringify!($module)),*];
    };
}

modules!(m00 m01 m02 m03 m04 m05 m06 m07 m08 m09 m10 m11 m12 m13 m14 m15 m16 m17 m18 m19);

const FAILING: [&str; 2] = ["panics", "fails_in_a_task"];
const SUITE: &str = "testing::tests::suite";
/// The number of modules that run with one process per test.
const MODULES_ALONE: usize = 4;

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
    let mut spans = BTreeMap::from([
        (format!("test livespan::{SUITE}::{test}"), "panicked"),
        (format!("work of {test}"), "panicked"),
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
            word.strip_prefix("livespan::")
                .unwrap_or(word)
                .rsplit_once("::")
        })
        .filter_map(|(path, test)| Some((path.rsplit("::").next()?, test)))
        .filter(|(module, _)| MODULES.contains(module))
        .map(|(module, test)| format!("{module}::{test}"))
        .collect()
}

#[test]
fn in_one_process_each_failure_has_its_own_report_and_file() {
    let folder = ReplayFolder::new("suite-threads");
    let output = run(&folder, &[&format!("{SUITE}::m")]);
    assert_eq!(output.status.code(), Some(101));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("160 passed; 40 failed"), "{printed}");
    let sections = printed.split("\n---- ").skip(1);
    let mut reported = BTreeSet::new();
    for section in sections {
        let (name, rest) = section.split_once(" stdout ----\n").unwrap();
        let test = name.strip_prefix(&format!("{SUITE}::")).unwrap().to_owned();
        let said = rest.split("\n\nfailures:\n").next().unwrap();
        assert_eq!(named_in(said), BTreeSet::from([test.clone()]), "{said}");
        assert_eq!(said.matches("\nlivespan: ").count(), 1, "{said}");
        reported.insert(test);
    }
    let failing = failing(MODULES);
    assert_eq!(reported, failing);
    assert_files(&folder, &failing);
}

#[test]
fn in_a_process_for_each_test_only_failures_say_anything() {
    let folder = ReplayFolder::new("suite-processes");
    let modules = &MODULES[..MODULES_ALONE];
    for module in modules {
        for test in ["panics", "fails_in_a_task", "threads", "awaits"] {
            let name = format!("{SUITE}::{module}::{test}");
            let output = run(&folder, &["--exact", &name, "--nocapture"]);
            let said = String::from_utf8(output.stderr).unwrap();
            let reports = usize::from(FAILING.contains(&test));
            assert_eq!(said.matches("\nlivespan: ").count(), reports, "{said}");
            assert_eq!(output.status.success(), reports == 0, "{name}");
        }
    }
    assert_files(&folder, &failing(modules));
}
