//! The files that the page loads, embedded in the crate. Each is served under a name with a hash of its contents.
//! `scripts/bundle` makes the files, and writes the same names where they refer to each other.

use std::{collections::HashMap, sync::LazyLock};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::dashboard::representation::{Caching, Representation, hash};

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("bundle/", $name)).as_slice())),*]
    };
}

/// Every file of `bundle/` except the page itself and `file.js`, the script of a page that is saved as a file.
static BUNDLED: [(&str, &[u8]); 7] = bundled![
    "app.css",
    "app.js",
    "core.js",
    "favicon.svg",
    "hub-worker.js",
    "import-worker.js",
    "on-demand.js",
];

/// The files by their served names, such as `app-0123456789abcdef.js`.
static SERVED: LazyLock<HashMap<String, Representation>> = LazyLock::new(|| {
    let files = BUNDLED.iter().map(|(name, bytes)| {
        let (_, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let content_type = content_type(ending);
        let file = Representation::new(Bytes::from_static(bytes), content_type, Caching::Immutable);
        (with_hash(name, file.hash()), file)
    });
    files.collect()
});

/// Returns the file in the form that the request accepts, or `None` if this version has no such file.
pub(crate) fn asset(name: &str, request: &HeaderMap) -> Option<Response<Body>> {
    SERVED.get(name).map(|file| file.respond(request))
}

/// Returns the text of a file of the bundle, or an empty text if there is no such file.
pub(super) fn bundled(wanted: &str) -> &'static str {
    let file = BUNDLED.iter().find(|(name, _)| *name == wanted);
    file.and_then(|(_, bytes)| str::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// Returns the name under which a file of the bundle is served.
pub(super) fn served_name(name: &str) -> String {
    with_hash(name, &hash(bundled(name).as_bytes()))
}

fn with_hash(name: &str, hash: &str) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{stem}-{hash}.{ending}")
}

fn content_type(ending: &str) -> &'static str {
    match ending {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_bundle_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/bundle");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["file.js", "index.html"].contains(&name.as_str()))
            .collect();
        files.sort();
        assert_eq!(files, BUNDLED.map(|(name, _)| name));
    }

    #[test]
    fn page_and_scripts_name_the_files_that_are_served_and_no_others() {
        let texts = BUNDLED.iter().map(|(_, bytes)| str::from_utf8(bytes));
        let texts = texts.chain([Ok(include_str!("bundle/index.html"))]);
        let named: BTreeSet<String> = texts
            .flat_map(|text| text.unwrap().split('"'))
            .map(|quoted| {
                quoted
                    .trim_start_matches("assets/")
                    .trim_start_matches("./")
                    .to_owned()
            })
            .filter(|quoted| is_hashed_name(quoted))
            .collect();
        let served: BTreeSet<String> = SERVED.keys().cloned().collect();
        assert_eq!(named, served);
        assert!(asset("app.js", &HeaderMap::new()).is_none());
    }

    fn is_hashed_name(name: &str) -> bool {
        let stem = name.rsplit_once('.').map(|(stem, _)| stem);
        let hash = stem.and_then(|stem| Some(stem.rsplit_once('-')?.1));
        hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}
