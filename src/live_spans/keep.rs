//! Keeps traces beyond retention because the app or a person asked for it. Any thread calls it. It holds the tail's
//! lock only while it measures the trace.

use crate::{
    error::Error, live_spans::LiveSpans, log::tail::keep::KeepError, span::event::TraceId,
};

impl LiveSpans {
    /// Keeps a trace: retention removes none of its events, present or future. Its summary then has `"kept":true`. The
    /// route `PUT /traces/{traceId}/keep` calls this. Keeping a kept trace again has no effect.
    ///
    /// At most [`KEPT_STREAMS_MAX`](crate::Retention::KEPT_STREAMS_MAX) traces are kept. Together they may use 1/8 of
    /// the events and bytes of the [`Retention`](crate::Retention). If they later grow beyond that, the largest one is
    /// no longer kept.
    ///
    /// # Errors
    /// Returns an error if the log has no event of the trace, a bound would be exceeded, or the store is not the memory
    /// store.
    pub fn keep(&self, trace: TraceId) -> Result<(), Error> {
        self.try_keep(trace)
            .map_err(|error| Error::invalid(error.to_string()))
    }

    /// Lets retention remove a kept trace again. Returns whether it was kept.
    pub fn stop_keeping(&self, trace: TraceId) -> bool {
        let was_kept = self.log().tail.stop_keeping(&trace.stream_key());
        if was_kept {
            self.show_again(trace);
        }
        was_kept
    }

    pub(crate) fn try_keep(&self, trace: TraceId) -> Result<(), KeepError> {
        self.log().tail.keep(&trace.stream_key())?;
        self.show_again(trace);
        Ok(())
    }

    /// Sends the trace's summary to the viewers of the live list.
    fn show_again(&self, trace: TraceId) {
        self.shared.index.note_changed(&[trace.stream_key()]);
        self.log().tail.wake_watchers();
    }
}
