//! Checks that `deny.toml` allows all dependencies of livespan, and that the guide counts them correctly. It runs cargo
//! offline, and does not need `cargo deny`. It covers Linux; `cargo deny` checks licences and versions for other
//! platforms.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use crate::support::root;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[test]
fn the_policy_allows_every_licence() {
    let allowed = policy("licenses", "allow");
    let refused: Vec<_> = shipped()
        .into_iter()
        .filter(|package| !allows(&allowed, &package.licence))
        .collect();
    assert_eq!(refused, []);
}

#[test]
fn only_crates_that_the_policy_skips_have_several_versions() {
    let skipped = policy("bans", "skip");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in shipped() {
        versions
            .entry(package.name)
            .or_default()
            .insert(package.version);
    }
    for (name, versions) in &versions {
        let counted: Vec<_> = versions
            .iter()
            .filter(|version| !skipped.contains(&format!("{name}@{version}")))
            .collect();
        assert!(counted.len() <= 1, "{name}: {counted:?}");
    }
    let locked: BTreeSet<String> = locked()
        .into_iter()
        .map(|(name, version, _)| format!("{name}@{version}"))
        .collect();
    let gone: Vec<_> = skipped.difference(&locked).collect();
    assert_eq!(gone, Vec::<&String>::new());
}

#[test]
fn no_package_that_the_policy_bans_is_locked_for_any_platform() {
    let banned = policy("bans", "deny");
    assert!(banned.contains("openssl-sys"));
    let found: Vec<_> = locked()
        .into_iter()
        .filter(|(name, ..)| banned.contains(name))
        .collect();
    assert_eq!(found, []);
}

#[test]
fn every_locked_package_comes_from_a_registry_of_the_policy() {
    let registries: BTreeSet<String> = policy("sources", "allow-registry")
        .iter()
        .map(|address| format!("registry+{address}"))
        .collect();
    let foreign: Vec<_> = locked()
        .into_iter()
        .filter(|(name, _, source)| !name.starts_with("livespan") && !registries.contains(source))
        .collect();
    assert_eq!(foreign, []);
}

#[test]
fn guide_counts_the_crates_of_each_feature() {
    let costs = read("docs/guide/costs.md");
    let rows: BTreeMap<String, String> = section(&costs, "## What it compiles")
        .lines()
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let feature = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((feature.to_owned(), cells.next_back()?.to_owned()))
        })
        .collect();
    let counted: BTreeMap<String, String> = features()
        .into_iter()
        .map(|feature| {
            let count = crates_with(&feature).to_string();
            (feature, count)
        })
        .collect();
    assert_eq!(rows, counted);
}

/// Features apply to a whole build. With `env-filter`, for example,
/// `tracing_subscriber::fmt::init()` in another part of the program would print only errors instead
/// of `info`.
#[test]
fn features_of_tracing_subscriber_change_no_other_subscriber() {
    let tree = cargo(&[
        "tree",
        "--package=livespan",
        "--edges=features,normal",
        "--features=tracing",
        "--invert=tracing-subscriber",
        "--prefix=none",
        "--target",
        PLATFORM,
    ]);
    let on: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| {
            line.strip_prefix("tracing-subscriber feature \"")?
                .split('"')
                .next()
        })
        .collect();
    let harmless = [
        "alloc",
        "ansi",
        "fmt",
        "nu-ansi-term",
        "registry",
        "sharded-slab",
        "std",
        "thread_local",
    ];
    assert_eq!(on, BTreeSet::from(harmless));
}

#[test]
fn licence_expressions_are_evaluated_by_the_rules_of_spdx() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0-only", false),
        ("Apache-2.0 OR MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND ISC", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", false),
        ("(GPL-3.0-only) OR MIT", true),
        ("(MIT OR Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("MIT WITH LLVM-exception", false),
        ("", false),
    ] {
        assert_eq!(allows(&allowed, expression), expected, "{expression}");
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Returns the packages of a build with all features, without those that only tests need. `cargo metadata` would also
/// turn on features of shared crates that only tests need.
fn shipped() -> BTreeSet<Package> {
    let packages = tree(&["--all-features"]);
    // A short list means that cargo's output had an unexpected form.
    assert!(packages.len() > 100, "{}", packages.len());
    packages
}

fn tree(features: &[&str]) -> BTreeSet<Package> {
    let arguments = [
        "tree",
        "--package=livespan",
        "--edges=normal,build",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}|{l}",
        "--target",
        PLATFORM,
    ];
    cargo(&[&arguments, features].concat())
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (package, licence) = line.split_once('|').expect("the line has no `|`");
            let mut words = package.split(' ');
            Package {
                name: words.next().unwrap().to_owned(),
                version: words.next().unwrap().trim_start_matches('v').to_owned(),
                licence: licence.to_owned(),
            }
        })
        .collect()
}

/// Returns name, version and source of all locked packages, for every platform and for tests.
fn locked() -> Vec<(String, String, String)> {
    let lock = read("Cargo.lock");
    let value = |entry: &str, key: &str| {
        let line = entry
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map_or_else(String::new, |value| value.trim_end_matches('"').to_owned())
    };
    let entries: Vec<_> = lock
        .split("[[package]]")
        .skip(1)
        .map(|entry| {
            (
                value(entry, "name"),
                value(entry, "version"),
                value(entry, "source"),
            )
        })
        .collect();
    assert!(entries.len() > 100, "{}", entries.len());
    entries
}

/// Returns the features of the manifest that users choose, without the features that only name a dependency.
fn features() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let names = section(&manifest, "[features]")
        .lines()
        .filter_map(|line| line.split_once(" = [").map(|(name, _)| name.to_owned()))
        .filter(|name| name != "sha2");
    names.collect()
}

/// Returns how many crates a build with this feature alone compiles, in addition to livespan.
fn crates_with(feature: &str) -> usize {
    tree(&["--no-default-features", "--features", feature]).len() - 1
}

/// Returns whether the SPDX expression permits use under the allowed licences.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let answer = any_of(allowed, &mut words);
    answer && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(allowed: &BTreeSet<String>, words: &mut Words<'_>) -> bool {
    let mut answer = all_of(allowed, words);
    while words.next_if_eq(&"OR").is_some() {
        // Parsed even if the result is known already, so that the rest of the expression is parsed, too.
        let other = all_of(allowed, words);
        answer |= other;
    }
    answer
}

fn all_of(allowed: &BTreeSet<String>, words: &mut Words<'_>) -> bool {
    let mut answer = one(allowed, words);
    while words.next_if_eq(&"AND").is_some() {
        let other = one(allowed, words);
        answer &= other;
    }
    answer
}

fn one(allowed: &BTreeSet<String>, words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let answer = any_of(allowed, words);
            // Consumed even if the result is known already, so that the rest of the expression is parsed, too.
            let closed = words.next() == Some(")");
            answer && closed
        }
        Some(name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            allowed.contains(&name)
        }
        None => false,
    }
}

/// Returns the first quoted text of each entry of a list in `deny.toml`.
fn policy(table: &str, list: &str) -> BTreeSet<String> {
    let policy = read("deny.toml");
    let entries: BTreeSet<String> = section(&policy, &format!("[{table}]"))
        .lines()
        .skip_while(|line| *line != format!("{list} = ["))
        .skip(1)
        .take_while(|line| *line != "]")
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| {
            line.split('"')
                .nth(1)
                .expect("a line has no quoted entry")
                .to_owned()
        })
        .collect();
    assert!(!entries.is_empty(), "{list} of {table}");
    entries
}

/// Returns the text below the heading, up to the next heading of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the heading {heading} is missing"));
    let next = format!("\n{}", if heading.starts_with('[') { "[" } else { "## " });
    rest.split_once(&next).map_or(rest, |(section, _)| section)
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(arguments)
        .args(["--offline", "--locked"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Reads a file of the repository.
fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}
