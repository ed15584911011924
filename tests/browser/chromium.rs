//! Chromium processes, which tests use one after the other, because starting one takes longer than
//! most tests.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use fantoccini::{
    Client, ClientBuilder, error,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Value, json};

/// The Chromium processes that no test uses.
static IDLE: Mutex<Vec<Chromium>> = Mutex::new(Vec::new());

/// Starts a driver, and waits until the script's own input ends, at the latest when the test
/// process ends. A killed driver leaves its browser running, so the whole process group is killed.
const DRIVER_SCRIPT: &str = r#"
profile=$(mktemp -d)
TMPDIR=$profile setsid chromedriver --port=0 &
exec >/dev/null 2>&1
read -r _
kill -s KILL -- "-$!"
wait
rm -rf "$profile"
"#;

/// A Chromium with its driver. The processes end when this value is dropped.
#[derive(Debug)]
pub(crate) struct Chromium {
    shell: Child,
    driver: String,
    /// The width and the height of its window.
    size: (u32, u32),
    session: String,
}

impl Chromium {
    /// Returns a Chromium with one new tab in a window of this size. It has no data of earlier
    /// tests.
    pub(crate) async fn take(size: (u32, u32)) -> (Self, Client) {
        while let Some(idle) = Self::idle(size) {
            let again =
                Client::with_existing_session(&idle.driver, &idle.session, HttpConnector::new());
            // A browser that has crashed since then is dropped.
            if let Ok(page) = again.await
                && page.current_url().await.is_ok()
            {
                return (idle, page);
            }
        }
        Self::start(size).await
    }

    /// Closes the tabs, deletes all that the browser stored for these origins, and keeps the
    /// browser for another test.
    pub(crate) async fn give_back(self, page: Client, origins: BTreeSet<String>) {
        let cleared = clear(&page, origins).await;
        cleared.expect("the browser did not delete its data");
        page.persist().await.expect("the session did not continue");
        IDLE.lock().unwrap().push(self);
    }

    fn idle(size: (u32, u32)) -> Option<Self> {
        let mut idle = IDLE.lock().unwrap();
        let found = idle.iter().position(|chromium| chromium.size == size)?;
        Some(idle.swap_remove(found))
    }

    async fn start(size: (u32, u32)) -> (Self, Client) {
        let (shell, driver) = start_driver();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Host names on this machine, for tests that need several sites.
            "--host-resolver-rules=MAP *.example 127.0.0.1",
            &format!("--window-size={},{}", size.0, size.1),
        ];
        let options = json!({ "args": arguments });
        let capabilities = serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver)
            .await
            .expect("chromium did not start (Debian package `chromium`)");
        let session = page.session_id().await.ok().flatten();
        let chromium = Self {
            shell,
            driver,
            size,
            session: session.expect("the browser has no session"),
        };
        (chromium, page)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// Opens a tab, closes all others, and deletes what the browser stored.
async fn clear(page: &Client, origins: BTreeSet<String>) -> Result<(), error::CmdError> {
    let old = page.windows().await?;
    let tab = json!({ "url": "about:blank" });
    let opened = command(page, "Target.createTarget", tab).await?;
    for window in old {
        page.switch_to_window(window).await?;
        page.close_window().await?;
    }
    let opened = opened["targetId"].as_str().unwrap_or_default().to_owned();
    let opened =
        WindowHandle::try_from(opened).expect("the id of the tab is not the id of a window");
    page.switch_to_window(opened).await?;
    command(page, "Network.clearBrowserCookies", json!({})).await?;
    command(page, "Network.clearBrowserCache", json!({})).await?;
    for origin in origins {
        let all = json!({ "origin": origin, "storageTypes": "all" });
        command(page, "Storage.clearDataForOrigin", all).await?;
    }
    Ok(())
}

/// Sends a command of the browser's developer tools protocol.
pub(crate) async fn command(
    page: &Client,
    name: &'static str,
    parameters: Value,
) -> Result<Value, error::CmdError> {
    page.issue_cmd(DevTools { name, parameters }).await
}

#[derive(Debug)]
struct DevTools {
    name: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base_url: &Url,
        session_id: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        let session = session_id.unwrap_or_default();
        base_url.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _request_url: &Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.name, "params": self.parameters });
        (http::Method::POST, Some(body.to_string()))
    }
}

/// Starts a driver, and returns its address. A driver chooses a free IPv4 port and needs the same
/// port for IPv6. If that port is taken, the driver exits, and this function starts another driver.
fn start_driver() -> (Child, String) {
    const ATTEMPTS: usize = 20;
    (0..ATTEMPTS)
        .find_map(|_| try_start_driver())
        .expect("chromedriver printed no port (Debian package `chromium-driver`)")
}

fn try_start_driver() -> Option<(Child, String)> {
    let mut shell = Command::new("sh")
        .args(["-c", DRIVER_SCRIPT])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the shell did not start");
    let output = shell
        .stdout
        .take()
        .expect("the shell's output is not piped");
    let mut lines = BufReader::new(output).lines();
    let port: Option<u16> = lines.by_ref().map_while(Result::ok).find_map(|line| {
        line.split_once("started successfully on port ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    let Some(port) = port else {
        drop(shell.stdin.take());
        shell.wait().expect("the shell did not end");
        return None;
    };
    // The rest of the output is read, so that the driver never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some((shell, format!("http://127.0.0.1:{port}")))
}
