//! A `chromedriver` process on a free port, and the operations of tests on a page.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use fantoccini::{
    Client, ClientBuilder,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Value, json};

/// How long a condition may take before the test fails. A test continues as soon as its condition
/// holds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page. Its processes end when it is dropped.
pub(crate) struct Browser {
    pub(crate) page: Client,
    driver: Child,
    profile: PathBuf,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        Self::with_size(1400, 900).await
    }

    pub(crate) async fn with_size(width: u32, height: u32) -> Self {
        let (driver, port) = start_driver();
        let profile =
            std::env::temp_dir().join(format!("livespan-browser-{}-{port}", std::process::id()));
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            // Host names on this machine, for tests that need several sites.
            "--host-resolver-rules=MAP *.example 127.0.0.1".to_owned(),
            format!("--user-data-dir={}", profile.display()),
            format!("--window-size={width},{height}"),
        ];
        let options = json!({ "args": arguments });
        let capabilities = serde_json::Map::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("could not start Chromium (Debian package `chromium`)");
        Self {
            page,
            driver,
            profile,
        }
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.page.goto(url).await.expect("could not load the page");
    }

    /// Runs `script`, the body of a function, until it returns something other than null, false and
    /// "". Returns that value. Panics after [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, script: &str) -> Value {
        let poll = async {
            loop {
                let value = self
                    .page
                    .execute(script, Vec::new())
                    .await
                    .expect("the script failed");
                if !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") {
                    return value;
                }
                // The page draws once per animation frame, so the script runs again after the next
                // frame.
                let frame =
                    "const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 20));";
                // A page that the browser is leaving draws no more frames. The script then runs in
                // the next page.
                let _drawn = self.page.execute_async(frame, Vec::new()).await;
            }
        };
        if let Ok(value) = tokio::time::timeout(PATIENCE, poll).await {
            return value;
        }
        let text = self
            .page
            .execute("return document.body.innerText", Vec::new())
            .await;
        panic!(
            "not true after {PATIENCE:?}: {what}\ntext of the page: {}",
            text.unwrap_or_default()
        );
    }

    pub(crate) async fn ask(&self, script: &str) -> Value {
        self.page
            .execute(script, Vec::new())
            .await
            .expect("the script failed")
    }

    /// Clicks the element at the point where the pointer would hit it, as [`Self::click_on`] does.
    pub(crate) async fn click(&self, css: &str) {
        let shown = format!(
            "[...document.querySelectorAll({css:?})].find(node => node.checkVisibility()) ?? null"
        );
        self.click_on(&shown).await;
    }

    /// Presses the mouse in the middle of the element that a JavaScript expression returns. Waits
    /// until the element is enabled and at rest, and until a click there would hit it. `WebDriver`'s
    /// own click would first scroll the element into view, even in boxes that no person can scroll.
    pub(crate) async fn click_on(&self, element: &str) {
        let place = format!(
            "const node = {element};
             const box = node?.getBoundingClientRect();
             const [x, y] = [box?.left + box?.width / 2, box?.top + box?.height / 2];
             return node?.contains(document.elementFromPoint(x, y)) && !node.disabled ? [x, y] : null"
        );
        let what = format!("a pointer lands on {element}");
        let mut at = self.until(&what, &place).await;
        // The parts of a page that has just been opened still move. The element is at rest if it is in
        // the same place as two frames ago.
        loop {
            let frames = "const done = arguments[0];
                requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20)));";
            let _drawn = self.page.execute_async(frames, Vec::new()).await;
            let now = self.until(&what, &place).await;
            if now == at {
                break;
            }
            at = now;
        }
        let at: [f64; 2] =
            serde_json::from_value(at).expect("the script did not return two numbers");
        self.press_mouse(at).await;
    }

    /// Presses and releases the mouse at a point of the window, in pixels.
    pub(crate) async fn press_mouse(&self, [x, y]: [f64; 2]) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Presses a key on the keyboard. The focused element receives it.
    pub(crate) async fn press_key(&self, key: &str) {
        let event = |kind: &str| json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": virtual_key(key) });
        self.command("Input.dispatchKeyEvent", event("keyDown"))
            .await;
        self.command("Input.dispatchKeyEvent", event("keyUp")).await;
    }

    /// Opens another window at this address and switches to it. Other windows stay open and visible.
    pub(crate) async fn window(&self, url: &str) -> WindowHandle {
        let opened = self
            .page
            .new_window(false)
            .await
            .expect("could not open a window");
        self.go_to(&opened.handle).await;
        self.goto(url).await;
        opened.handle
    }

    pub(crate) async fn go_to(&self, window: &WindowHandle) {
        let switched = self.page.switch_to_window(window.clone()).await;
        switched.expect("could not switch to the window");
    }

    /// Sends a command of the browser's developer tools protocol.
    pub(crate) async fn command(&self, name: &'static str, parameters: Value) -> Value {
        let command = DevTools { name, parameters };
        let answer = self.page.issue_cmd(command).await;
        answer.expect("the browser refused a developer tools command")
    }

    /// Saves a screenshot to the folder `LIVESPAN_SCREENSHOTS`, if that is set.
    pub(crate) async fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("LIVESPAN_SCREENSHOTS") {
            let png = self
                .page
                .screenshot()
                .await
                .expect("could not take a screenshot");
            std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), png)
                .expect("could not write the screenshot");
        }
    }

    pub(crate) async fn close(self) {
        let page = self.page.clone();
        page.close().await.expect("could not close the browser");
    }
}

/// Returns the key's Windows key code, from which Chromium derives its default action.
fn virtual_key(key: &str) -> u32 {
    match key {
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        _ => key
            .bytes()
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .into(),
    }
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
    ) -> Result<Url, <Url as FromStr>::Err> {
        let session = session_id.unwrap_or_default();
        base_url.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _request_url: &Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.name, "params": self.parameters });
        (http::Method::POST, Some(body.to_string()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A killed driver leaves its browser running, so the whole process group is killed. The
        // group may have ended already.
        let group = format!("-{}", self.driver.id());
        drop(
            Command::new("kill")
                .args(["-KILL", "--", &group])
                .stderr(Stdio::null())
                .status(),
        );
        drop(self.driver.wait());
        drop(std::fs::remove_dir_all(&self.profile));
    }
}

/// Starts a driver. It chooses a free IPv4 port and needs the same port for IPv6. If that is taken,
/// it exits, and this function starts another one, up to 20 in all.
fn start_driver() -> (Child, u16) {
    const ATTEMPTS: usize = 20;
    (0..ATTEMPTS)
        .find_map(|_| try_start_driver())
        .expect("chromedriver found no free port")
}

fn try_start_driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("could not start chromedriver (Debian package `chromium-driver`)");
    let output = driver
        .stdout
        .take()
        .expect("chromedriver's output is not piped");
    let mut lines = BufReader::new(output).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        line.split_once("started successfully on port ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    let Some(port) = port else {
        driver
            .wait()
            .expect("could not wait for chromedriver to exit");
        return None;
    };
    // The rest of the output is read, so that the driver never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}
