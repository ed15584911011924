//! Instructions counted by valgrind's callgrind: unlike times, they do not depend on what else the machine does.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::{
    collections::HashMap,
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

/// How glibc's allocator names what it is made of, but for what begins with an underscore.
const ALLOCATOR: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "cfree",
    "memalign",
    "posix_memalign",
    "sysmalloc",
    "systrim",
    "alloc_perturb",
    "brk",
    "sbrk",
];

/// The instructions of each function itself, without those that it calls.
#[derive(Debug)]
pub(crate) struct Profile(HashMap<String, u64>);

impl Profile {
    /// Runs this bench with these arguments and counts what is done within `function`, which is a pattern, by the thread
    /// that calls it; without one, all that the process does. The profile is left in `file`.
    pub(crate) fn take(function: Option<&str>, arguments: &[&str], file: &Path) -> Self {
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .args(function.map(|function| format!("--toggle-collect={function}")))
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(env::current_exe().expect("a bench knows its own file"))
            .args(arguments)
            .stdout(Stdio::null())
            .status()
            .expect("valgrind is installed: `apt-get install valgrind`");
        assert!(status.success(), "valgrind ended with {status}");
        Self::read(&fs::read_to_string(file).expect("callgrind wrote its profile"))
    }

    /// As [`take`](Self::take), leaving nothing behind.
    pub(crate) fn of(function: Option<&str>, arguments: &[&str]) -> Self {
        let file = env::temp_dir().join(format!("callgrind.{}", std::process::id()));
        let profile = Self::take(function, arguments, &file);
        // It is a temporary file: the next run writes it anew.
        drop(fs::remove_file(&file));
        profile
    }

    /// Reads callgrind's format: <https://valgrind.org/docs/manual/cl-format.html>.
    fn read(text: &str) -> Self {
        let mut names = HashMap::new();
        let mut own: HashMap<String, u64> = HashMap::new();
        let mut current = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("fn=") {
                current = name_of(name, &mut names);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                name_of(name, &mut names);
            } else if line.starts_with("calls=") {
                // What the called one took stands in the next line, and is its own.
                lines.next();
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
                && let Some(cost) = line.split_whitespace().nth(1)
            {
                let cost: u64 = cost.parse().expect("a cost is a number");
                *own.entry(current.clone()).or_default() += cost;
            }
        }
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))
            .and_then(|total| total.trim().parse().ok());
        let profile = Self(own);
        assert_eq!(
            Some(profile.total()),
            total,
            "every instruction is of one function"
        );
        profile
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Without what the memory allocator takes: how long that searches hangs on when other threads give memory back.
    pub(crate) fn without_allocator(&self) -> u64 {
        let is_ours = |name: &str| !name.starts_with("_int_") && !ALLOCATOR.contains(&name);
        let ours = self.0.iter().filter(|(name, _)| is_ours(name));
        ours.map(|(_, cost)| cost).sum()
    }
}

/// A name stands in full where it is used first, then as its number alone.
fn name_of(reference: &str, names: &mut HashMap<String, String>) -> String {
    match reference.split_once(' ') {
        Some((number, name)) => {
            // A function that calls itself is told apart by its depth.
            let name = name.split_once('\'').map_or(name, |(name, _)| name);
            names.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => names
            .get(reference)
            .cloned()
            .expect("a name comes before its number"),
    }
}
