//! Tells functions of the app that traces have ended, each on a thread of its own, so that neither the host nor the log
//! waits for them.

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
    /// Upper bound on the functions that are told of ended traces: 16.
    pub const TRACE_END_HOOKS_MAX: usize = TraceEnds::QUEUES_MAX;

    /// Calls a function for each trace that ends from now on: for a webhook, a message, a counter. A trace ends when its
    /// last open span has ended. One that goes on after that is told again, at its next end; so is one whose real end
    /// comes after a lost one. Of a store that several processes share, a process is told of the traces that its own
    /// spans ended.
    ///
    /// The function runs on a thread of its own and may block. It is handed up to [`TRACE_ENDS_MAX`] traces late; if it
    /// is slower than that, ends are dropped and counted (`droppedTraceEnds` of `/status`). A panic in it ends only that
    /// call. Spans that it makes on its thread are suppressed: otherwise it could cause its own next call. It is called
    /// no more once the last [`LiveSpans`] is dropped, so it must not keep one. [`shutdown`](Self::shutdown) waits,
    /// within its time limit, until it has been handed all ends.
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
        // Added first: if there is no room, the thread ends at once with its queue.
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
            .map_err(|error| Error::io("start the thread for ended traces", error))
    }

    /// Ends the functions, and waits until they have been handed all ends, at most until this moment.
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

    type Told = Arc<Mutex<Vec<(u8, String, u64)>>>;

    fn tell(live: &LiveSpans) -> Told {
        let told = Told::default();
        let into = Arc::clone(&told);
        live.on_trace_end(move |end| {
            let state = format!("{:?}", end.state());
            lock(&into).push((end.trace_id().to_bytes()[0], state, end.spans()));
        })
        .unwrap();
        told
    }

    #[test]
    fn a_trace_is_told_when_its_last_span_has_ended() {
        let live = LiveSpans::builder().build().unwrap();
        put(&live, [started(9, 1), ended(9, 1, SpanStatus::Ok)]);
        live.on_trace_end(|_| panic!("a function panics")).unwrap();
        let told = tell(&live);
        put(&live, [started(1, 1), started(1, 2), started(2, 1)]);
        put(&live, [ended(1, 1, SpanStatus::Ok)]);
        put(&live, [ended(2, 1, SpanStatus::Error("no".to_owned()))]);
        put(&live, [ended(1, 2, SpanStatus::Ok)]);
        // Its start was dropped.
        put(&live, [ended(3, 1, SpanStatus::Ok)]);
        // It ends and goes on within one batch.
        let goes_on = [started(4, 1), ended(4, 1, SpanStatus::Ok), started(4, 2)];
        put(&live, goes_on);
        put(&live, [ended(4, 2, SpanStatus::Ok)]);
        live.shutdown().unwrap();
        let expected = [(2, "Error", 1), (1, "Ok", 2), (3, "Ok", 1), (4, "Ok", 2)];
        let expected = expected.map(|(trace, state, spans)| (trace, state.to_owned(), spans));
        let mut told = lock(&told).clone();
        // If the worker took the batch of the fourth trace in parts, its first end was one of its own.
        told.retain(|end| *end != (4, "Ok".to_owned(), 1));
        assert_eq!(told, expected);
        assert_eq!(live.shared.index.ends.dropped(), 0);
    }

    #[test]
    fn what_a_slow_function_has_no_room_for_is_dropped_and_counted() {
        let live = LiveSpans::builder().build().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel::<()>();
        live.on_trace_end(move |_| {
            begun.send(()).unwrap();
            // Waits until the test lets go of the sender.
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
        let told = has_begun.iter().count();
        assert_eq!(told, LiveSpans::TRACE_ENDS_MAX);
    }

    #[test]
    fn functions_are_bounded_in_number() {
        let live = LiveSpans::builder().build().unwrap();
        for _ in 0..LiveSpans::TRACE_END_HOOKS_MAX {
            live.on_trace_end(|_| ()).unwrap();
        }
        assert_eq!(
            live.on_trace_end(|_| ()).unwrap_err().to_string(),
            "at most 16 functions are told of ends"
        );
        live.shutdown().unwrap();
    }
}
