//! Calls functions of the app when traces have ended. Each function has a thread of its own, so neither the host nor
//! the log waits for it.

use std::{convert::Infallible, sync::mpsc, thread, time::Instant};

use opentelemetry::Context;

use crate::{
    error::Error,
    live_spans::LiveSpans,
    trace::end::{TraceEnd, TraceEndQueue, TraceEnds},
    util::sync::catch_panic,
};

impl LiveSpans {
    /// Upper bound on the ended traces that wait for one function: 1,024. Further ones are dropped and counted.
    pub const TRACE_ENDS_MAX: usize = 1_024;
    /// Upper bound on the functions that are called for ended traces: 16.
    pub const TRACE_END_HOOKS_MAX: usize = TraceEnds::QUEUES_MAX;

    /// Calls a function for each trace that ends from now on: for a webhook, a message, a counter. A trace ends when
    /// its last open span has ended. If it continues later, the function is called again at its next end. It is also
    /// called again if a span that was ended as lost gets its real end. If several processes share a store, each
    /// process reports only the traces that its own spans ended.
    ///
    /// The function runs on a thread of its own and may block. Up to [`TRACE_ENDS_MAX`] traces wait for it; further
    /// ends are dropped and counted (`droppedTraceEnds` of `/status`). A panic in it ends only that call. Spans that it
    /// creates on its thread are suppressed: otherwise it could cause its own next call. Calls stop once the last
    /// [`LiveSpans`] is dropped, so the function must not hold one. [`shutdown`](Self::shutdown) waits, within its time
    /// limit, until the function has received all ends.
    ///
    /// ```
    /// use livespan::{LiveSpans, trace::TraceState};
    ///
    /// # fn post(_url: &str, _body: String) {}
    /// let live = LiveSpans::builder().build()?;
    /// live.on_trace_end(|trace| {
    ///     if trace.state() != TraceState::Ok && trace.name() == "nightly import" {
    ///         post("https://hooks.example/livespan", trace.to_json());
    ///     }
    /// })?;
    /// # Ok::<(), livespan::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if its thread cannot be started, or there are [`Self::TRACE_END_HOOKS_MAX`] functions.
    ///
    /// [`TRACE_ENDS_MAX`]: Self::TRACE_ENDS_MAX
    pub fn on_trace_end(
        &self,
        mut hook: impl FnMut(&TraceEnd) + Send + 'static,
    ) -> Result<(), Error> {
        let (sender, ended) = mpsc::sync_channel::<TraceEnd>(Self::TRACE_ENDS_MAX);
        let (alive, finished) = mpsc::channel::<Infallible>();
        // Added before the thread starts: if the log has too many functions, no thread is started.
        self.shared
            .index
            .ends
            .add(TraceEndQueue { sender, finished })?;
        thread::Builder::new()
            .name("livespan-ends".to_owned())
            .spawn(move || {
                let _alive = alive;
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                for end in ended {
                    let _panicked = catch_panic(|| hook(&end)).is_none();
                }
            })
            .map(drop)
            .map_err(|error| {
                self.shared.index.ends.remove_finished();
                Error::io("start the thread for ended traces", error)
            })
    }

    /// Closes the queues, and waits until the functions have received all ends, at most until `deadline`.
    pub(super) fn close_trace_ends(&self, deadline: Instant) {
        for finished in self.shared.index.ends.close() {
            let left = deadline.saturating_duration_since(Instant::now());
            // Nothing is ever sent. The wait ends with the thread or at the deadline.
            let _ended = finished.recv_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::*;
    use crate::{
        span::event::{SpanEvent, SpanId, SpanStatus, TraceId},
        util::sync::lock,
    };

    fn started(trace: u8, span: u64) -> SpanEvent {
        let (trace, span) = ids(trace, span);
        SpanEvent::started(trace, span, "job")
    }

    fn ended(trace: u8, span: u64, status: SpanStatus) -> SpanEvent {
        let (trace, span) = ids(trace, span);
        SpanEvent::ended(trace, span, "job", status)
    }

    fn ids(trace: u8, span: u64) -> (TraceId, SpanId) {
        let span = SpanId::from_bytes(span.to_be_bytes()).unwrap();
        (TraceId::from_bytes([trace; 16]).unwrap(), span)
    }

    fn put(live: &LiveSpans, events: impl IntoIterator<Item = SpanEvent>) {
        for event in events {
            live.target().try_dispatch(&event).unwrap();
        }
        live.target().flush(Duration::from_secs(60)).unwrap();
    }

    type ReportedEnds = Arc<Mutex<Vec<(u8, String, u64)>>>;

    fn record_ends(live: &LiveSpans) -> ReportedEnds {
        let reported = ReportedEnds::default();
        let into = Arc::clone(&reported);
        live.on_trace_end(move |end| {
            let state = format!("{:?}", end.state());
            lock(&into).push((end.trace_id().to_bytes()[0], state, end.spans()));
        })
        .unwrap();
        reported
    }

    #[test]
    fn a_trace_is_reported_when_its_last_span_has_ended() {
        let live = LiveSpans::builder().build().unwrap();
        put(&live, [started(9, 1), ended(9, 1, SpanStatus::Ok)]);
        live.on_trace_end(|_| panic!("a function panics")).unwrap();
        let reported = record_ends(&live);
        put(&live, [started(1, 1), started(1, 2), started(2, 1)]);
        put(&live, [ended(1, 1, SpanStatus::Ok)]);
        put(&live, [ended(2, 1, SpanStatus::Error("no".to_owned()))]);
        put(&live, [ended(1, 2, SpanStatus::Ok)]);
        // The start of this span was dropped.
        put(&live, [ended(3, 1, SpanStatus::Ok)]);
        // This trace ends and continues within one batch.
        let goes_on = [started(4, 1), ended(4, 1, SpanStatus::Ok), started(4, 2)];
        put(&live, goes_on);
        put(&live, [ended(4, 2, SpanStatus::Ok)]);
        live.shutdown().unwrap();
        let expected = [(2, "Error", 1), (1, "Ok", 2), (3, "Ok", 1), (4, "Ok", 2)];
        let expected = expected.map(|(trace, state, spans)| (trace, state.to_owned(), spans));
        let mut reported = lock(&reported).clone();
        // If the worker processed the batch of the fourth trace in parts, the trace's first end was reported
        // separately.
        reported.retain(|end| *end != (4, "Ok".to_owned(), 1));
        assert_eq!(reported, expected);
        assert_eq!(live.shared.index.ends.dropped(), 0);
    }

    #[test]
    fn ends_beyond_the_queue_of_a_slow_function_are_dropped_and_counted() {
        let live = LiveSpans::builder().build().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel::<()>();
        live.on_trace_end(move |_| {
            begun.send(()).unwrap();
            // Waits until the test drops the sender.
            let _released = released.recv();
        })
        .unwrap();
        put(&live, [ended(1, 1, SpanStatus::Ok)]);
        has_begun.recv_timeout(Duration::from_secs(60)).unwrap();
        for number in 1..=u64::try_from(LiveSpans::TRACE_ENDS_MAX).unwrap() + 7 {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let (_, span) = ids(1, 1);
            let event =
                SpanEvent::ended(TraceId::from_bytes(id).unwrap(), span, "x", SpanStatus::Ok);
            live.target().try_dispatch(&event).unwrap();
        }
        live.target().flush(Duration::from_secs(60)).unwrap();
        assert_eq!(live.shared.index.ends.dropped(), 7);
        drop(release);
        live.shutdown().unwrap();
        let reported = has_begun.iter().count();
        assert_eq!(reported, LiveSpans::TRACE_ENDS_MAX);
    }

    #[test]
    fn functions_are_bounded_in_number() {
        let live = LiveSpans::builder().build().unwrap();
        for _ in 0..LiveSpans::TRACE_END_HOOKS_MAX {
            live.on_trace_end(|_| ()).unwrap();
        }
        assert_eq!(
            live.on_trace_end(|_| ()).unwrap_err().to_string(),
            "at most 16 functions can be called when traces end"
        );
        live.shutdown().unwrap();
    }
}
