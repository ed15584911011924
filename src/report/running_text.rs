//! What is open now, as text, for a program that has no time to ask over HTTP: a test that fails, a hook, a signal. It runs
//! on the thread that asks, needs no runtime, and takes a bounded time, also while the program hangs.

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

/// How long the text waits until what began before it is in the log.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the text waits for a store.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

impl LiveSpans {
    /// Upper bound on the bytes of [`running_text`](Self::running_text): 64 KiB.
    pub const RUNNING_TEXT_BYTES_MAX: usize = 64 * 1024;

    /// Returns what is open now as a tree for a terminal, as `GET /running?format=text` does: each open span with its
    /// age, what it awaits, how its task is polled, its progress and its last log record. What hangs or fails comes
    /// first; what is left out is counted.
    ///
    /// It needs no runtime, and works while the program hangs. It blocks the calling thread for at most 3.5 seconds,
    /// usually for less than a millisecond; on a log whose store hangs, it says so instead.
    ///
    /// ```
    /// let live = livespan::LiveSpans::builder().build()?;
    /// assert!(live.running_text().starts_with("Nothing is open"));
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn running_text(&self) -> String {
        self.running_text_of(&TraceFilter::default())
    }

    /// Returns the same for the traces that the filter accepts.
    pub(crate) fn running_text_of(&self, filter: &TraceFilter) -> String {
        // Without it, spans that have just begun may be missing. The text is of use all the same.
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
            None => "What is open is not known: the store did not answer.\n".to_owned(),
        }
    }
}
