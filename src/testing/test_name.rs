//! The name of a test, and the place of its file. Pure, except that it reads the process's
//! arguments.

use std::{
    env, iter,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

/// Upper bound on the length of one part of a file's path, in bytes.
const PART_BYTES_MAX: usize = 120;

/// The name of a test, with the crate before it: `shop::cart::charges_once`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestName(String);

impl TestName {
    /// Returns the name of the test that contains the function with this type name, on the test's thread.
    pub(super) fn of(inner_function: &str) -> Self {
        let thread = thread::current();
        // With only one thread, the test runs on the main thread. In this case the runner has
        // started the process for this test alone.
        let started_for = || {
            let mut arguments = env::args().skip_while(|argument| argument != "--exact");
            arguments.nth(1)
        };
        let of_thread = thread.name().map(str::to_owned).into_iter();
        Self::from(
            inner_function,
            of_thread.chain(iter::once_with(started_for).flatten()),
        )
    }

    /// A parametrized test has one function and several names, each of which begins with the
    /// function's path.
    fn from(inner_function: &str, named: impl Iterator<Item = String>) -> Self {
        let function = inner_function
            .strip_suffix("::here")
            .unwrap_or(inner_function);
        let function = function.trim_end_matches("::{{closure}}");
        let Some((krate, path)) = function.split_once("::") else {
            return Self(function.to_owned());
        };
        let mut named = named.filter(|name| {
            let rest = name.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        match named.next() {
            Some(name) => Self(format!("{krate}::{name}")),
            None => Self(function.to_owned()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of the test's file, relative to the folder of all such files.
    pub(super) fn file(&self) -> PathBuf {
        let mut path: PathBuf = self.0.split("::").map(file_part).collect();
        path.as_mut_os_string().push(".html");
        path
    }
}

/// Returns a part of a name without characters that some file system or artifact upload rejects.
fn file_part(part: &str) -> String {
    let plain: String = part
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut end = plain.len().min(PART_BYTES_MAX);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain.get(..end).unwrap_or_default().to_owned()
}

/// Returns the folder of the files: `LIVESPAN_TEST_DIR`, or `livespan` in Cargo's target folder.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(find_folder)
}

fn find_folder() -> PathBuf {
    if let Some(folder) = env::var_os("LIVESPAN_TEST_DIR").filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder);
    }
    let program = env::current_exe().ok();
    let target = program.as_deref().and_then(target_folder);
    let target = target.unwrap_or_else(|| Path::new("target"));
    target.join("livespan")
}

/// Finds Cargo's target folder by the marker file that Cargo puts into it. Test programs are in the
/// folder `deps` of a profile below it.
fn target_folder(program: &Path) -> Option<&Path> {
    let mut above = program.ancestors().skip(1);
    let marked = above.find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let profile = || {
        let deps = program.parent()?;
        deps.ends_with("deps").then(|| deps.parent()?.parent())?
    };
    marked.or_else(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_as_its_runner_names_it() {
        for (function, named, expected) in [
            (
                "shop::cart::charges::here",
                vec!["cart::charges"],
                "shop::cart::charges",
            ),
            (
                "shop::cart::charges::{{closure}}::here",
                vec!["cart::charges"],
                "shop::cart::charges",
            ),
            (
                "shop::charges::here",
                vec!["main", "charges"],
                "shop::charges",
            ),
            // A case of an `rstest` test.
            (
                "shop::charges::here",
                vec!["charges::case_1_cash"],
                "shop::charges::case_1_cash",
            ),
            (
                "shop::charges::{{closure}}::{{closure}}::here",
                vec!["charges_twice"],
                "shop::charges",
            ),
            ("shop::charges::here", vec![], "shop::charges"),
        ] {
            let named = named.into_iter().map(str::to_owned);
            assert_eq!(TestName::from(function, named).as_str(), expected);
        }
    }

    #[test]
    fn a_target_folder_that_cargo_did_not_make_is_found_by_its_profile() {
        let folder = target_folder(Path::new("/build/debug/deps/shop-0123"));
        assert_eq!(folder, Some(Path::new("/build")));
        assert_eq!(target_folder(Path::new("/usr/bin/shop")), None);
    }

    #[test]
    fn a_file_is_named_after_its_test_on_every_system() {
        let file = |name: &str| TestName(name.to_owned()).file();
        assert_eq!(
            file("shop::cart::charges"),
            Path::new("shop/cart/charges.html")
        );
        assert_eq!(
            file("shop::case_1_..\\\\<x>:?"),
            Path::new("shop/case_1______x___.html")
        );
        let long = file(&format!("shop::{}", "ä".repeat(200)));
        assert_eq!(
            long,
            Path::new("shop").join(format!("{}.html", "ä".repeat(60)))
        );
    }
}
