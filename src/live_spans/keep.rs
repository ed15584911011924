//! Keeps traces beyond retention because the app or a person asked for it. Any thread may call it. The caller waits for
//! the store.

use crate::{error::Error, live_spans::LiveSpans, log::retention::KeepError, span::event::TraceId};

impl LiveSpans {
    /// Keeps a trace: while it is kept, retention removes none of its events. Its summary then has `"kept":true`. The
    /// route `PUT /traces/{traceId}/keep` also keeps traces. Keeping a kept trace again has no effect.
    ///
    /// At most [`KEPT_STREAMS_MAX`](crate::Retention::KEPT_STREAMS_MAX) traces are kept. Together they may use 1/8 of
    /// the events and bytes of the [`Retention`](crate::Retention). If they later grow beyond that, the largest one is
    /// no longer kept. A trace in SQLite or Redis is still kept after a restart.
    ///
    /// With a durable store, this waits for the store. In async code, call it in `spawn_blocking`.
    ///
    /// # Errors
    /// Returns an error if the log has no event of the trace, a bound would be exceeded, or the store fails or cannot
    /// keep traces.
    pub fn keep(&self, trace: TraceId) -> Result<(), Error> {
        self.try_keep(trace).map_err(|error| match error {
            KeepError::Store(error) => error,
            refused => Error::invalid(refused.to_string()),
        })
    }

    /// Lets retention remove a kept trace again. Returns whether it was kept; `false` also if the store fails. With a
    /// durable store, this waits for the store.
    pub fn stop_keeping(&self, trace: TraceId) -> bool {
        self.try_stop_keeping(trace).unwrap_or_default()
    }

    pub(crate) fn try_stop_keeping(&self, trace: TraceId) -> Result<bool, Error> {
        let Some(store) = self.log().store.kept_streams() else {
            return Ok(false);
        };
        let was_kept = store.stop_keeping(&trace.stream_key())?;
        if was_kept {
            self.show_again(trace);
        }
        Ok(was_kept)
    }

    pub(crate) fn try_keep(&self, trace: TraceId) -> Result<(), KeepError> {
        let store = self.log().store.kept_streams();
        store
            .ok_or(KeepError::Unsupported)?
            .keep(&trace.stream_key())?;
        self.show_again(trace);
        Ok(())
    }

    /// Sends the trace's summary to the viewers of the live list.
    fn show_again(&self, trace: TraceId) {
        self.shared.index.note_changed(&[trace.stream_key()]);
        self.log().tail.wake_watchers();
    }
}
