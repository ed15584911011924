//! Operations on a page, for tests in a browser.

use std::{collections::BTreeSet, path::PathBuf, sync::Mutex, time::Duration};

use fantoccini::{Client, wd::WindowHandle};
use reqwest::Url;
use serde_json::{Value, json};

use crate::chromium::{self, Chromium};

/// How long a condition may take before the test fails. A test continues as soon as its condition
/// holds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page. If a test fails, its processes end.
pub(crate) struct Browser {
    pub(crate) page: Client,
    chromium: Chromium,
    /// The origins of the pages, whose data the browser deletes in the end.
    origins: Mutex<BTreeSet<String>>,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        Self::with_size(1400, 900).await
    }

    pub(crate) async fn with_size(width: u32, height: u32) -> Self {
        let (chromium, page) = Chromium::take((width, height)).await;
        Self {
            page,
            chromium,
            origins: Mutex::default(),
        }
    }

    pub(crate) async fn goto(&self, url: &str) {
        let parsed = Url::parse(url).expect("not an absolute address");
        let origin = parsed.origin().ascii_serialization();
        self.origins.lock().unwrap().insert(origin);
        self.page.goto(url).await.expect("could not load the page");
    }

    /// Runs `script`, the body of a function, until it returns something other than null, false and
    /// "". Returns that value. A `TypeError` counts as null: an element of the script is not on the page yet. Panics
    /// after [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, script: &str) -> Value {
        // The page draws once per animation frame, so the script runs again after the next frame. It
        // does so within the page, because a question to the browser costs more than most scripts.
        let rounds = format!(
            "const done = arguments[0];
            const holds = async () => {{
                {script}
            }};
            const frame = () => new Promise(drawn => {{
                requestAnimationFrame(() => setTimeout(drawn, 20));
                setTimeout(drawn, 100);
            }});
            (async () => {{
                let missing;
                for (let round = 0; round < 25; round += 1) {{
                    try {{
                        const value = (await holds()) ?? false;
                        missing = undefined;
                        if (value !== false && value !== '') return {{ value }};
                    }} catch (error) {{
                        if (!(error instanceof TypeError)) throw error;
                        missing = String(error);
                    }}
                    await frame();
                }}
                return {{ missing }};
            }})().then(done, error => done({{ error: String(error) }}));"
        );
        let mut missing = None;
        let poll = async {
            loop {
                let answer = self.page.execute_async(&rounds, Vec::new()).await;
                let Ok(Value::Object(mut answer)) = answer else {
                    // The browser was leaving the page. The script then runs in the next page, which
                    // this waits for.
                    self.ask("return true").await;
                    continue;
                };
                assert_eq!(answer.get("error"), None, "{what}: the script runs");
                if let Some(value) = answer.remove("value") {
                    return value;
                }
                missing = answer.remove("missing").filter(|error| !error.is_null());
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
            "not true after {PATIENCE:?}: {what}{}\ntext of the page: {}",
            missing.map_or_else(String::new, |error| format!(" ({error})")),
            text.unwrap_or_default()
        );
    }

    pub(crate) async fn ask(&self, script: &str) -> Value {
        self.page
            .execute(script, Vec::new())
            .await
            .expect("the script failed")
    }

    /// Clicks the first visible element that the selector matches, as [`Self::click_on`] does.
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
        let answer = chromium::command(&self.page, name, parameters).await;
        answer.expect("the browser refused a command")
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

    /// Ends a test that has passed.
    pub(crate) async fn close(self) {
        let origins = self.origins.into_inner().unwrap();
        self.chromium.give_back(self.page, origins).await;
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
