//! Runs a bench under valgrind's callgrind and reads the profiles that it writes: instructions, unlike times, do not
//! depend on what else the machine does. It knows the format and nothing of what is counted. The bench's own thread runs
//! it; the program that is counted is a child process.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Instructions by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instructions {
    /// All, those of the C library included: of which kind its `memcpy` and its allocator are hangs on its version and on
    /// the processor.
    pub(crate) all: u64,
    /// Those in the object of the program itself: what rustc made of our code, of the SDK's and of the standard library's.
    pub(crate) own: u64,
    /// How often the program's own object calls another one.
    pub(crate) calls_out: u64,
}

/// Runs this bench with these arguments and counts what all of its threads do from start to end.
pub(crate) fn count_process(arguments: &[String]) -> Instructions {
    count(&[], arguments)
}

/// Runs this bench with these arguments and counts what all calls of `function`, which is a pattern, do together, on the
/// threads that call it.
pub(crate) fn count_function(function: &str, arguments: &[String]) -> Instructions {
    count(&[format!("--toggle-collect={function}")], arguments)
}

fn count(options: &[String], arguments: &[String]) -> Instructions {
    let file = env::temp_dir().join(format!("callgrind.{}", std::process::id()));
    run(options, arguments, &file);
    let text = fs::read_to_string(&file).expect("callgrind wrote its profile");
    // It is a temporary file: the next run writes it anew.
    drop(fs::remove_file(&file));
    read(&text)
}

/// Runs this bench with these arguments and counts what each call of `function`, which is a pattern, does on the thread
/// that calls it: one element for each call.
pub(crate) fn count_calls(function: &str, arguments: &[String]) -> Vec<Instructions> {
    let folder = env::temp_dir().join(format!("callgrind.{}.calls", std::process::id()));
    // One that was left behind by a process of the same number.
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).expect("the temporary folder can be written to");
    let file = folder.join("profile");
    let options = [
        format!("--toggle-collect={function}"),
        format!("--dump-after={function}"),
    ];
    run(&options, arguments, &file);
    // What is counted after the last call stands in `profile` itself, and is nothing.
    let calls = (1..).map_while(|part: u32| {
        let text = fs::read_to_string(file.with_extension(part.to_string())).ok()?;
        Some(read(&text))
    });
    let calls = calls.collect();
    drop(fs::remove_dir_all(&folder));
    calls
}

/// Runs this bench with these arguments and leaves in `file` one profile of all calls of `function`, a pattern.
pub(crate) fn keep_profile(function: &str, arguments: &[String], file: &Path) {
    run(&[format!("--toggle-collect={function}")], arguments, file);
}

fn run(options: &[String], arguments: &[String], file: &Path) {
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .args(options)
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program())
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .expect("valgrind is installed: `apt-get install valgrind`");
    assert!(status.success(), "valgrind ended with {status}");
}

fn program() -> PathBuf {
    env::current_exe().expect("a bench knows its own file")
}

/// Reads callgrind's format: <https://valgrind.org/docs/manual/cl-format.html>.
fn read(text: &str) -> Instructions {
    let own = program().display().to_string();
    let mut counted = Instructions::default();
    // Objects have a table of names of their own, which `ob=` and `cob=` share.
    let mut objects = HashMap::new();
    let mut is_own = false;
    // Without `cob=` the called function is in the caller's object.
    let mut called = None;
    let mut total = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_own = name_of(object, &mut objects) == own;
        } else if let Some(object) = line.strip_prefix("cob=") {
            called = Some(name_of(object, &mut objects) == own);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if is_own && called.take() == Some(false) {
                counted.calls_out += number(calls.split(' ').next());
            }
            called = None;
            // What the called function took stands in the next line, and is counted where it is.
            lines.next();
        } else if let Some(counts) = line.strip_prefix("totals: ") {
            total = Some(number(counts.split(' ').next()));
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = number(line.split(' ').nth(1));
            counted.all += cost;
            if is_own {
                counted.own += cost;
            }
        }
    }
    assert_eq!(
        Some(counted.all),
        total,
        "every instruction is in one object"
    );
    assert!(
        counted.own > 0 || counted.all == 0,
        "the program's own object is among them"
    );
    counted
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok())
        .expect("callgrind writes a number here")
}

/// A name stands in full where it is used first, `(1) /usr/bin/env`, then as its number alone, `(1)`.
fn name_of(reference: &str, names: &mut HashMap<String, String>) -> String {
    match reference.split_once(' ') {
        Some((number, name)) => {
            names.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => names
            .get(reference)
            .cloned()
            .expect("a name comes before its number"),
    }
}
