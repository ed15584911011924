//! The dashboard's files, embedded, with the headers that let a browser run nothing else. Data, and no logic but the
//! choice of a file.

pub(crate) mod link;
pub(crate) mod names;
pub(crate) mod slim;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// Scripts, styles, pictures and connections only from this server; no frame may hold the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("assets/index.html");
/// The page's place for a `<base>`, when the browser's address does not end in a slash.
const HEAD: &str = "<head>";

struct Asset {
    /// Where it lies in `assets/`. It is served without its folder: no two have one name.
    path: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn name(&self) -> &'static str {
        link::name(self.path)
    }

    fn text(&self) -> Option<&'static str> {
        str::from_utf8(self.bytes).ok()
    }
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(Asset { path: $name, bytes: include_bytes!(concat!("assets/", $name)) }),*]
    };
}

/// Every file of `assets/` but the page; a test compares it with the folder.
static ASSETS: &[Asset] = assets![
    "favicon.svg",
    "model/columns.mjs",
    "model/critical-path.mjs",
    "model/events.mjs",
    "model/files.mjs",
    "model/flame.mjs",
    "model/gaps.mjs",
    "model/keys.mjs",
    "model/layout.mjs",
    "model/list-model.mjs",
    "model/model.mjs",
    "model/otlp.mjs",
    "model/palette.mjs",
    "model/route.mjs",
    "model/search.mjs",
    "model/span-details.mjs",
    "model/span.mjs",
    "model/status.mjs",
    "model/time-travel.mjs",
    "model/time.mjs",
    "model/timescale.mjs",
    "model/trace-at-time.mjs",
    "model/trace-search.mjs",
    "model/tree.mjs",
    "model/visible-rows.mjs",
    "model/waits-for.mjs",
    "net/api.mjs",
    "net/duration-baseline.mjs",
    "net/hub-client.mjs",
    "net/hub-lines.mjs",
    "net/hub.mjs",
    "net/list-feed.mjs",
    "net/snapshot.mjs",
    "net/stream.mjs",
    "net/trace-feed.mjs",
    "paint/bar-paint.mjs",
    "paint/colours.mjs",
    "paint/flame-paint.mjs",
    "paint/row-paint.mjs",
    "styles/flame.css",
    "styles/help.css",
    "styles/inspector.css",
    "styles/list.css",
    "styles/search.css",
    "styles/status.css",
    "styles/style.css",
    "styles/trace.css",
    "styles/travel.css",
    "views/address-bar.mjs",
    "views/axis-view.mjs",
    "views/cached-layouts.mjs",
    "views/dom.mjs",
    "views/export-view.mjs",
    "views/file-view.mjs",
    "views/flame-view.mjs",
    "views/follow-view.mjs",
    "views/help-view.mjs",
    "views/inspector-view.mjs",
    "views/list-view.mjs",
    "views/main.mjs",
    "views/minimap-view.mjs",
    "views/search-view.mjs",
    "views/service-chips.mjs",
    "views/side-view.mjs",
    "views/span-row-view.mjs",
    "views/status-view.mjs",
    "views/title-view.mjs",
    "views/trace-keys.mjs",
    "views/trace-view.mjs",
    "views/travel-view.mjs",
    "views/ui-preferences.mjs",
    "views/ui-state.mjs",
    "views/waiting-view.mjs",
    "views/zoom-input.mjs",
    "workers/hub-worker.mjs",
    "workers/import-worker.mjs",
];

/// What the name of a file ends in.
fn ending(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The one style sheet that the page asks for, made of these in this order.
const STYLE: &str = "style.css";
const STYLES: [&str; 9] = [
    STYLE,
    "list.css",
    "trace.css",
    "inspector.css",
    "search.css",
    "travel.css",
    "flame.css",
    "help.css",
    "status.css",
];

/// What the page and its workers begin with. Each is served as a call of a function in the one script that has all modules.
const ENTRIES: [&str; 3] = ["main.mjs", "hub-worker.mjs", "import-worker.mjs"];
const SCRIPT: &str = "dashboard.mjs";

/// What is served of scripts and style sheets, by name.
static SERVED: LazyLock<HashMap<&str, Bytes>> = LazyLock::new(|| {
    let mut served = HashMap::new();
    served.insert(SCRIPT, Bytes::from(link::link(&modules(), &ENTRIES)));
    for name in ENTRIES {
        served.insert(name, Bytes::from(link::entry(SCRIPT, name)));
    }
    let styles = STYLES.iter().filter_map(|name| {
        let asset = ASSETS.iter().find(|asset| asset.name() == *name)?;
        asset.text().map(slim::style)
    });
    served.insert(STYLE, Bytes::from(styles.collect::<String>()));
    served
});

fn modules() -> HashMap<&'static str, &'static str> {
    let scripts = ASSETS.iter().filter(|asset| ending(asset.name()) == "mjs");
    scripts
        .filter_map(|asset| Some((asset.name(), asset.text()?)))
        .collect()
}

/// One tag for all files, so that a browser never mixes modules of two versions.
static ENTITY_TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    for asset in ASSETS {
        (asset.name(), asset.bytes).hash(&mut hasher);
    }
    format!("\"{:016x}\"", hasher.finish())
});

/// The page for a browser that asked for `path`, possibly behind a proxy that took a prefix away.
pub(crate) fn page(path: &str, forwarded_prefix: Option<&str>) -> Response<Body> {
    file(
        Body::from(page_text(path, forwarded_prefix)),
        "text/html; charset=utf-8",
    )
}

/// One file, or `304` when the browser has this version.
pub(crate) fn asset(name: &str, known: Option<&HeaderValue>) -> Option<Response<Body>> {
    let bytes = match SERVED.get(name) {
        Some(bytes) => bytes.clone(),
        // The others are in those.
        None if ["mjs", "css"].contains(&ending(name)) => return None,
        None => Bytes::from_static(ASSETS.iter().find(|asset| asset.name() == name)?.bytes),
    };
    let content_type = match ending(name) {
        "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let mut response = file(Body::from(bytes), content_type);
    if let Ok(tag) = HeaderValue::from_str(&ENTITY_TAG) {
        if known.is_some_and(|known| names(known, &ENTITY_TAG)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
        }
        response.headers_mut().insert(header::ETAG, tag);
    }
    Some(response)
}

/// Whether an `If-None-Match` names the tag, also as a weak one, which a compressing proxy makes of it.
fn names(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn file(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Of scripts, too: a worker has the policy that its script came with, and not that of the page.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    response
}

fn page_text(path: &str, forwarded_prefix: Option<&str>) -> String {
    let prefix = forwarded_prefix.filter(|prefix| is_plain_path(prefix));
    // The page's own addresses are relative: without a slash at the end they would miss the last part.
    if (prefix.is_none() && path.ends_with('/')) || !is_plain_path(path) {
        return PAGE.to_owned();
    }
    let prefix = prefix.unwrap_or_default().trim_end_matches('/');
    let path = path.trim_end_matches('/');
    PAGE.replacen(HEAD, &format!("{HEAD}\n<base href=\"{prefix}{path}/\">"), 1)
}

/// Whether the text is a path with nothing in it that HTML or a browser could read as something else.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~%!$()*+,;=:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/assets");
        let paths = ["", "model", "net", "paint", "styles", "views", "workers"].map(|part| {
            let entries = std::fs::read_dir(format!("{folder}/{part}")).unwrap();
            let files = entries.map(|entry| entry.unwrap().path());
            let files = files.filter(|file| file.is_file() && !file.ends_with("index.html"));
            files
                .map(|file| {
                    file.strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned()
                })
                .collect::<Vec<_>>()
        });
        let mut files = paths.concat();
        files.sort();
        let served: Vec<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        assert_eq!(files, served);
    }

    #[test]
    fn every_sheet_of_the_folder_is_part_of_the_one_that_is_served() {
        let mut joined = STYLES.to_vec();
        joined.sort_unstable();
        let sheets: Vec<&str> = ASSETS
            .iter()
            .map(|asset| asset.name())
            .filter(|name| ending(name) == "css")
            .collect();
        assert_eq!(joined, sheets);
        assert!(PAGE.contains("<link rel=\"stylesheet\" href=\"assets/style.css\">"));
        assert_eq!(PAGE.matches("stylesheet").count(), 1);
        assert!(asset("list.css", None).is_none());
    }

    #[test]
    fn one_script_has_all_modules_and_asks_for_no_other() {
        let mut names = link::order(&modules(), &ENTRIES);
        names.sort_unstable();
        let mut scripts: Vec<&str> = ASSETS
            .iter()
            .map(|asset| asset.name())
            .filter(|name| ending(name) == "mjs")
            .collect();
        scripts.sort_unstable();
        // A module that no entry needs is one that nobody needs.
        assert_eq!(names, scripts);
        let script = link::link(&modules(), &ENTRIES);
        let tokens = slim::script_tokens(&script);
        let imports = tokens
            .windows(2)
            .filter(|two| two[0].text == "import" && two[1].text != ".");
        assert_eq!(imports.count(), 0);
        let exports = tokens.iter().filter(|token| token.text == "export");
        assert_eq!(exports.count(), 1);
        assert!(asset("model.mjs", None).is_none());
    }

    #[test]
    fn all_that_a_browser_fetches_is_less_than_80_kb_gzipped() {
        let gzipped = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap().len()
        };
        let others = ASSETS.iter().filter(|asset| ending(asset.name()) == "svg");
        let sizes = SERVED
            .values()
            .map(|bytes| gzipped(bytes))
            .chain(others.map(|asset| gzipped(asset.bytes)));
        let sum = sizes.sum::<usize>() + gzipped(PAGE.as_bytes());
        assert!(sum < 80_000, "{sum} bytes");
    }

    #[test]
    fn the_page_finds_its_files_under_any_prefix() {
        let base = |path, prefix| {
            let text = page_text(path, prefix);
            let from = text
                .find("<base href=\"")
                .map(|at| at + "<base href=\"".len())?;
            text[from..].split('"').next().map(str::to_owned)
        };
        assert_eq!(base("/", None), None);
        assert_eq!(base("/live/", None), None);
        assert_eq!(base("/live", None).as_deref(), Some("/live/"));
        assert_eq!(base("/a@b.c/live", None).as_deref(), Some("/a@b.c/live/"));
        assert_eq!(
            base("/", Some("/tools/live")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(base("/", Some("/")).as_deref(), Some("/"));
        assert_eq!(
            base("/live", Some("/tools/")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(
            base("/live/", Some("/tools")).as_deref(),
            Some("/tools/live/")
        );
        assert_eq!(base("//evil.example", None), None);
        assert_eq!(base("//evil.example/", Some("/")), None);
        assert_eq!(base("/", Some("//evil.example")), None);
        assert_eq!(base("/", Some("/\"><script>")), None);
    }
}
