//! The name of a test, and the path of its file. It reads the thread's name, and the arguments,
//! environment and program path of the process. It also looks for Cargo's marker file. Otherwise
//! pure.

use std::{
    env, iter,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

/// Upper bound on the length of one part of a file's path, in bytes.
const PART_BYTES_MAX: usize = 120;

/// The package and the test program of a test, from variables that Cargo sets when it compiles the
/// test. Other build systems set none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CargoTarget {
    /// `CARGO_PKG_NAME`.
    #[doc(hidden)]
    pub package: Option<&'static str>,
    /// `CARGO_BIN_NAME`, which only the code of a binary has.
    #[doc(hidden)]
    pub binary: Option<&'static str>,
    /// `CARGO_TARGET_TMPDIR`, which only integration tests and benchmarks have.
    #[doc(hidden)]
    pub temporary_folder: Option<&'static str>,
}

impl CargoTarget {
    /// Returns the folder of the test program's files. Two test programs of one workspace may have
    /// the same crate name, such as those of a library and its binary, or of `tests/it.rs` in two
    /// packages.
    fn folder(self, krate: &str) -> String {
        let Some(package) = self.package else {
            return file_part(krate);
        };
        let program = match (self.binary, self.temporary_folder) {
            (Some(binary), _) => format!(".bin.{}", file_part(binary)),
            (None, Some(_)) => format!(".{}", file_part(krate)),
            (None, None) => String::new(),
        };
        file_part(package) + &program
    }
}

/// The name of a test, with the crate before it: `shop::cart::charges_once`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestName(String);

impl TestName {
    /// Returns the name of the test that contains the function with this type name. Must be called
    /// on the test's thread.
    pub(super) fn of(inner_function: &str) -> Self {
        let thread = thread::current();
        if let Some(name) = Self::from(inner_function, thread.name()) {
            return name;
        }
        // With only one thread, the test runs on the main thread. If the process was started for
        // this test alone, its arguments name the test.
        let mut arguments = env::args().skip_while(|argument| argument != "--exact");
        let started_for = arguments.nth(1);
        Self::from(inner_function, started_for.as_deref())
            .unwrap_or_else(|| Self(function_of(inner_function).to_owned()))
    }

    /// Returns `named` with the crate before it, or `None` if `named` is not a name of the test. A
    /// parametrized test has one function and several names, each of which begins with the
    /// function's path.
    fn from(inner_function: &str, named: Option<&str>) -> Option<Self> {
        let function = function_of(inner_function);
        let named = named?;
        let krate = function.bytes().position(|byte| byte == b':')?;
        let rest = named.strip_prefix(function.get(krate + 2..)?)?;
        let is_named = rest.is_empty() || rest.starts_with("::");
        is_named.then(|| Self([function, rest].concat()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of the test's file relative to the folder of all such files.
    pub(super) fn file(&self, target: CargoTarget) -> PathBuf {
        let mut parts = self.0.split("::");
        let folder = target.folder(parts.next().unwrap_or_default());
        let mut path: PathBuf = iter::once(folder).chain(parts.map(file_part)).collect();
        path.as_mut_os_string().push(".html");
        path
    }
}

/// Returns the path of the function that contains this inner one, with the crate before it.
fn function_of(inner_function: &str) -> &str {
    let mut function = inner_function;
    for inner in ["::here", "::{{closure}}"] {
        while let Some(outer) = function.strip_suffix(inner) {
            function = outer;
        }
    }
    function
}

/// Returns a part of a name, cut to [`PART_BYTES_MAX`], without characters that some file system or
/// artifact upload rejects.
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

/// Finds Cargo's target folder by the marker file that Cargo puts into it. Without a marker, it is
/// two levels above the folder `deps`, which contains test programs.
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
                "cart::charges",
                Some("shop::cart::charges"),
            ),
            (
                "shop::cart::charges::{{closure}}::here",
                "cart::charges",
                Some("shop::cart::charges"),
            ),
            ("shop::charges::here", "main", None),
            // A case of an `rstest` test.
            (
                "shop::charges::here",
                "charges::case_1_cash",
                Some("shop::charges::case_1_cash"),
            ),
            (
                "shop::charges::{{closure}}::{{closure}}::here",
                "charges_twice",
                None,
            ),
        ] {
            let name = TestName::from(function, Some(named));
            assert_eq!(name.as_ref().map(TestName::as_str), expected);
        }
        assert_eq!(TestName::from("shop::charges::here", None), None);
        // This thread has the name of the test that runs here, not of the other test.
        let other = TestName::of("shop::charges::{{closure}}::here");
        assert_eq!(other.as_str(), "shop::charges");
    }

    #[test]
    fn a_target_folder_that_cargo_did_not_make_is_found_by_its_profile() {
        let folder = target_folder(Path::new("/build/debug/deps/shop-0123"));
        assert_eq!(folder, Some(Path::new("/build")));
        assert_eq!(target_folder(Path::new("/usr/bin/shop")), None);
    }

    #[test]
    fn two_test_programs_of_a_workspace_share_no_file() {
        let library = CargoTarget {
            package: Some("web-shop"),
            ..CargoTarget::default()
        };
        let binary = CargoTarget {
            binary: Some("web-shop"),
            ..library
        };
        let integration = CargoTarget {
            temporary_folder: Some("/build/tmp"),
            ..library
        };
        let of_another_package = CargoTarget {
            package: Some("bank"),
            ..integration
        };
        for (name, target, expected) in [
            ("web_shop::it::charges", library, "web-shop/it/charges.html"),
            (
                "web_shop::it::charges",
                binary,
                "web-shop.bin.web-shop/it/charges.html",
            ),
            ("it::charges", integration, "web-shop.it/charges.html"),
            ("it::charges", of_another_package, "bank.it/charges.html"),
        ] {
            let file = TestName(name.to_owned()).file(target);
            assert_eq!(file, Path::new(expected));
        }
    }

    #[test]
    fn a_file_is_named_after_its_test_on_every_system() {
        let file = |name: &str| TestName(name.to_owned()).file(CargoTarget::default());
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
