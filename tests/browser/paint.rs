//! Reads the painted pixels of the waterfall's rows. Bars are not elements, so a test cannot query
//! them.

use serde_json::Value;

use crate::driver::Browser;

// Distances from a row's top, in pixels, at which only one part of the row is painted.
pub(crate) const BAR: u32 = 8;
pub(crate) const LABEL: u32 = 14;
pub(crate) const USUAL: u32 = 5;

/// `row(name)` returns the row with that name. `ink(row, height)` returns the painted part of a row
/// at this height, as `[first, last, number of pieces]` in pixels along the time axis, or null.
/// `width(name)` returns the width of that row's bar, or 0.
pub(crate) const TOOLS: &str = "
    const row = (name) => [...document.querySelectorAll('#tree-rows [data-span-id]:not([hidden])')]
        .find((one) => one.querySelector('.span-name').textContent === name);
    const ink = (one, height) => {
        const canvas = document.querySelector('#tree-rows > .row-canvas');
        const axis = document.querySelector('#axis').getBoundingClientRect();
        if (!one || !(canvas.width > 0)) return null;
        const place = canvas.getBoundingClientRect();
        const ratio = canvas.width / place.width;
        const [x, y] = [axis.left - place.left, one.getBoundingClientRect().top - place.top + height];
        const { data } = canvas.getContext('2d').getImageData(Math.round(x * ratio), Math.round(y * ratio), Math.round(axis.width * ratio), 1);
        let [first, last, pieces] = [-1, -1, 0];
        for (let at = 0; at * 4 < data.length; at += 1) {
            if (data[at * 4 + 3] < 96) continue;
            if (first < 0) first = at;
            if (at > last + 1 || pieces === 0) pieces += 1;
            last = at;
        }
        return first < 0 ? null : [first / ratio, last / ratio, pieces];
    };
    const width = (name) => { const at = ink(row(name), 8); return at === null ? 0 : at[1] - at[0]; };
    const axisWidth = document.querySelector('#axis').clientWidth;
";

/// Returns a script that returns the value of an expression, which may use [`TOOLS`].
pub(crate) fn painted(expression: &str) -> String {
    format!("{TOOLS} return {expression}")
}

/// Waits until the row's bar is drawn. Returns the bar's width in pixels.
pub(crate) async fn width_of(browser: &Browser, name: &str) -> f64 {
    let width = painted(&format!("width({name:?}) || null"));
    let value: Value = browser.until("the bar is drawn", &width).await;
    value.as_f64().expect("the script did not return a number")
}
