//! Runs a bench as a child process under valgrind's callgrind and reads the resulting profiles. Instructions, unlike
//! times, hardly depend on other load of the machine.

#![allow(dead_code, reason = "each bench uses only a part")]

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Numbers of instructions, by the object that contains them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instructions {
    /// All instructions, including those of the C library. Their number depends on the library's version and on the
    /// processor.
    pub(crate) all: u64,
    /// Instructions in the program's own object: the compiled code of this crate, the SDK and the
    /// standard library.
    pub(crate) own: u64,
    /// Number of calls from the program's own object into another one.
    pub(crate) calls_out: u64,
}

/// Runs this bench with these arguments and counts all instructions of all its threads.
pub(crate) fn count_process(arguments: &[String]) -> Instructions {
    count(&[], arguments)
}

/// Runs this bench with these arguments and counts the instructions of all calls of `function`, on all threads
/// together. `function` is a pattern.
pub(crate) fn count_function(function: &str, arguments: &[String]) -> Instructions {
    count(&[format!("--toggle-collect={function}")], arguments)
}

fn count(options: &[String], arguments: &[String]) -> Instructions {
    let file = env::temp_dir().join(format!("callgrind.{}", std::process::id()));
    run(options, arguments, &file);
    let text = fs::read_to_string(&file).expect("callgrind wrote no profile");
    // A failure is harmless: the file is temporary, and the next run overwrites it.
    drop(fs::remove_file(&file));
    read(&text)
}

/// Runs this bench with these arguments and counts the instructions of each call of `function`, on the calling thread
/// only. `function` is a pattern. Returns one element per call.
pub(crate) fn count_calls(function: &str, arguments: &[String]) -> Vec<Instructions> {
    let folder = env::temp_dir().join(format!("callgrind.{}.calls", std::process::id()));
    // An earlier process with the same id may have left its folder behind.
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).expect("the temporary folder cannot be written to");
    let file = folder.join("profile");
    let options = [
        format!("--toggle-collect={function}"),
        format!("--dump-after={function}"),
    ];
    run(&options, arguments, &file);
    // `profile` itself holds the counts after the last call, which are zero.
    let calls = (1..).map_while(|part: u32| {
        let text = fs::read_to_string(file.with_extension(part.to_string())).ok()?;
        Some(read(&text))
    });
    let calls = calls.collect();
    drop(fs::remove_dir_all(&folder));
    calls
}

/// Runs this bench with these arguments and writes one profile of all calls of `function` to `file`. `function` is a
/// pattern.
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
        .expect("valgrind did not start (install it with `apt-get install valgrind`)");
    assert!(status.success(), "valgrind ended with {status}");
}

fn program() -> PathBuf {
    env::current_exe().expect("the path of the bench is unknown")
}

/// Reads callgrind's format: <https://valgrind.org/docs/manual/cl-format.html>.
fn read(text: &str) -> Instructions {
    let own = program().display().to_string();
    let mut counted = Instructions::default();
    // Objects have their own name table, shared by `ob=` and `cob=`.
    let mut objects = HashMap::new();
    let mut is_own = false;
    // Without `cob=`, the called function is in the caller's object.
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
            // The next line holds the called function's inclusive cost. That cost is already counted at the function
            // itself.
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
        "the sum over all objects differs from the total"
    );
    assert!(
        counted.own > 0 || counted.all == 0,
        "callgrind counted nothing in the program's own object"
    );
    counted
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok())
        .expect("callgrind wrote no number here")
}

/// Reads a name. Its first use is `(1) /usr/bin/env`; later uses are only its number, `(1)`.
fn name_of(reference: &str, names: &mut HashMap<String, String>) -> String {
    match reference.split_once(' ') {
        Some((number, name)) => {
            names.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => names
            .get(reference)
            .cloned()
            .expect("callgrind used a name before it defined it"),
    }
}
