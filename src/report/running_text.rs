//! The open spans as text, for code that cannot use HTTP: in a failing test, in a panic hook, after
//! a signal. `running/text.rs` writes the text. This code needs no runtime, and returns within a
//! bounded time even while the program hangs.

use std::time::Duration;

use crate::{
    live_spans::LiveSpans,
    report::{
        blocking::block_on_for,
        running::{collect, text::TextOptions},
    },
    trace::filter::TraceFilter,
    util::time::Timestamp,
};

/// Upper bound on the wait until the log has the spans that began before the call.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the text waits for a store.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

impl LiveSpans {
    /// Upper bound on the bytes of [`running_text`](Self::running_text): 64 KiB.
    pub const RUNNING_TEXT_BYTES_MAX: usize = 64 * 1024;

    /// Returns the open spans as a tree for a terminal, like `GET /running?format=text`. Each span
    /// is shown with its age, its await point, its task's polls, its progress and its last log
    /// record. If not all spans fit, those that hang or fail are chosen first, and the rest is counted.
    ///
    /// It needs no runtime, but also works inside one, and while the program hangs. It blocks the
    /// thread usually for less than a millisecond, and for at most 3.5 seconds. If the store does not
    /// answer in time, the text says so instead.
    ///
    /// ```
    /// let live = livespan::LiveSpans::builder().build()?;
    /// assert!(live.running_text().starts_with("Nothing is open"));
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn running_text(&self) -> String {
        self.running_text_of(&TraceFilter::default())
    }

    /// Returns the same text for the traces that the filter accepts.
    pub(crate) fn running_text_of(&self, filter: &TraceFilter) -> String {
        // If the flush fails, spans that have just begun may be missing. The text is still useful.
        drop(
            self.shared
                .parts
                .runtime
                .flush_unless_failing(FLUSH_TIMEOUT),
        );
        let report = collect::running(self, filter, Timestamp::now());
        match block_on_for(READ_TIMEOUT, report) {
            Some(report) => report.text(TextOptions {
                bytes_max: Self::RUNNING_TEXT_BYTES_MAX,
                how_to_narrow: "the page shows all of it",
            }),
            None => "The open spans are unknown: the store did not answer.\n".to_owned(),
        }
    }
}
