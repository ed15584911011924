//! The page's files as browsers get them: their caching, their compression, and the bytes that a
//! visit loads.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::{Response, StatusCode};

use super::app::{App, asset, script};

/// Upper bound on the gzip-compressed bytes that a browser loads before it shows a list or a trace.
const FIRST_VIEW_BYTES_MAX: usize = 130_000;
/// Upper bound on the gzip-compressed bytes of the page, its workers, and all that it loads later.
const PAGE_BYTES_MAX: usize = 170_000;

async fn get(app: &App, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.client.get(app.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

fn decompressed(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The addresses of a visit.
struct Visit {
    /// The page, the files that it names, the modules that its scripts import, and the worker that
    /// holds its streams.
    first_view: Vec<String>,
    /// The modules that its scripts load when the page is idle, or when a reader needs them.
    later: Vec<String>,
}

impl Visit {
    async fn of(app: &App) -> Self {
        let begin = app.get(script()).await.text().await.unwrap();
        let named = |before: &str| -> Vec<String> {
            let found = begin.split(before).skip(1);
            let names = found.map(|rest| rest.split('"').next().unwrap());
            let scripts = names.filter(|name| name.rsplit('.').next() == Some("js"));
            scripts
                .map(|name| format!("/assets/{}", name.trim_start_matches("./")))
                .collect()
        };
        let mut first_view = vec!["/".to_owned()];
        let core = asset("core", "js");
        let of_page = [asset("app", "css"), core, script(), asset("favicon", "svg")];
        first_view.extend(of_page.map(str::to_owned));
        assert_eq!(
            named("from\""),
            [core],
            "the page does not name the imported file"
        );
        let (hub, import): (Vec<_>, Vec<_>) = named("new URL(\"")
            .into_iter()
            .partition(|name| name.starts_with("/assets/hub-worker-"));
        first_view.extend(hub);
        let later = [named("import(\""), import].concat();
        assert_eq!((first_view.len(), later.len()), (6, 2));
        Self { first_view, later }
    }

    fn all(&self) -> Vec<String> {
        [self.first_view.clone(), self.later.clone()].concat()
    }
}

/// Returns the total compressed size of the responses.
async fn bytes_of(app: &App, paths: &[String]) -> usize {
    let mut sum = 0;
    for path in paths {
        let response = get(app, path, &[("accept-encoding", "gzip, deflate, br")]).await;
        let coding = header(&response, "content-encoding");
        assert_eq!(coding.as_deref(), Some("gzip"), "{path}");
        sum += response.bytes().await.unwrap().len();
    }
    sum
}

#[tokio::test]
async fn all_that_a_browser_fetches_stays_within_a_bound() {
    let app = App::start().await;
    let visit = Visit::of(&app).await;
    let first_view = bytes_of(&app, &visit.first_view).await;
    assert!(first_view <= FIRST_VIEW_BYTES_MAX, "{first_view} bytes");
    let sum = first_view + bytes_of(&app, &visit.later).await;
    assert!(sum <= PAGE_BYTES_MAX, "{sum} bytes");
}

#[tokio::test]
async fn a_decompressed_file_equals_the_uncompressed_one() {
    let app = App::start().await;
    for path in Visit::of(&app).await.all() {
        // Behind a prefix, the page's base depends on the request.
        let prefix = ("x-forwarded-prefix", "/tools/live");
        let zipped = get(&app, &path, &[("accept-encoding", "gzip"), prefix]).await;
        let plain = get(&app, &path, &[prefix]).await;
        assert_eq!(header(&plain, "content-encoding"), None, "{path}");
        for response in [&zipped, &plain] {
            let vary = header(response, "vary");
            assert_eq!(vary.as_deref(), Some("Accept-Encoding"), "{path}");
        }
        for name in ["content-type", "cache-control", "content-security-policy"] {
            assert_eq!(header(&zipped, name), header(&plain, name), "{path}");
        }
        assert_ne!(header(&zipped, "etag"), header(&plain, "etag"), "{path}");
        let bytes = zipped.bytes().await.unwrap();
        assert_eq!(decompressed(&bytes), plain.bytes().await.unwrap(), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_declines_gzip_gets_the_file_as_it_is() {
    let app = App::start().await;
    for accepted in ["identity", "br", "gzip;q=0", "*;q=0"] {
        let response = get(&app, script(), &[("accept-encoding", accepted)]).await;
        assert_eq!(header(&response, "content-encoding"), None, "{accepted}");
    }
}

#[tokio::test]
async fn assets_are_cached_for_ever_and_the_page_is_revalidated() {
    let app = App::start().await;
    for path in Visit::of(&app).await.all() {
        let expected = match &*path {
            "/" => "no-cache",
            _ => "public, max-age=31536000, immutable",
        };
        let response = get(&app, &path, &[]).await;
        let caching = header(&response, "cache-control");
        assert_eq!(caching.as_deref(), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let app = App::start().await;
    for (path, coding) in [
        (script(), "gzip"),
        (script(), "identity"),
        ("/", "gzip"),
        ("/", "identity"),
    ] {
        let accept = ("accept-encoding", coding);
        let first = get(&app, path, &[accept]).await;
        let tag = header(&first, "etag").unwrap();
        assert!(tag.starts_with('"'), "{tag} is strong");
        let again = async |known: &str| {
            let response = get(&app, path, &[accept, ("if-none-match", known)]).await;
            let tag = header(&response, "etag").unwrap();
            let status = response.status();
            (status, tag, response.bytes().await.unwrap().len())
        };
        // A proxy that compresses turns the tag into a weak one, and a cache may send several tags.
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
            "*".to_owned(),
        ] {
            let expected = (StatusCode::NOT_MODIFIED, tag.clone(), 0);
            assert_eq!(again(&known).await, expected, "{path} {known}");
        }
        let (status, _, length) = again("\"other\"").await;
        assert_eq!(status, StatusCode::OK);
        assert!(length > 0);
    }
}

#[tokio::test]
async fn a_page_with_another_base_has_another_tag() {
    let app = App::start().await;
    let tag = async |prefix: &str| {
        let response = get(&app, "/", &[("x-forwarded-prefix", prefix)]).await;
        header(&response, "etag").unwrap()
    };
    assert_ne!(tag("/tools").await, tag("/other").await);
    assert_eq!(tag("/tools").await, tag("/tools").await);
}
