//! The follower reads the events that other processes append to a shared store. One thread reads all events, as long
//! as a reader in this process needs all of them. Another thread watches the streams that are read here. Both wait in
//! the store. A panic does not end them: it counts as a failure of the store.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        encoder::SharedObserver,
        log::Log,
        threads::{OnThread, spawn_log_thread},
    },
    error::Error,
    store::{PageLimit, SharedLog},
    util::{
        block_on::block_on,
        sync::{Instant, catch_panic},
    },
    wire::id::Sequence,
};

/// Upper bound on one wait in the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause of a thread after the store failed; doubled after each failure, up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
const PANICKED: &str = "the follower of the event store panicked";

/// Starts the threads, which end when the log is closed.
pub(crate) fn start(
    log: &Arc<Log>,
    observer: SharedObserver,
    on_thread: &OnThread,
) -> Result<(), Error> {
    let all = Follower {
        log: Arc::clone(log),
        retry: RETRY_MIN,
    };
    let streams = Follower {
        log: Arc::clone(log),
        retry: RETRY_MIN,
    };
    spawn_log_thread("livespan-follow", on_thread, move || {
        all.follow_all(&observer);
    })?;
    spawn_log_thread("livespan-watch", on_thread, move || streams.watch_streams())
}

struct Follower {
    log: Arc<Log>,
    retry: Duration,
}

impl Follower {
    fn follow_all(mut self, observer: &SharedObserver) {
        while self.log.demand().await_all() {
            let turn = catch_panic(|| self.follow_while_wanted(observer));
            if turn.is_none() {
                // The panic may have left a half-done step, so the state is rebuilt.
                self.log.invalidate();
                self.store_failed(PANICKED.to_owned(), Instant::now());
            }
        }
    }

    /// Catches up with the store, then follows it until no reader reads all events, the memory must be rebuilt, or the
    /// log is closed. Returns early if the store fails while catching up.
    fn follow_while_wanted(&mut self, observer: &SharedObserver) {
        let log = Arc::clone(&self.log);
        let demand = log.demand();
        let Some(head) = self.call_store(|shared| block_on(shared.head())) else {
            return;
        };
        let catch_up = |_: &dyn SharedLog| log.catch_up(head.get(), observer);
        if !log.is_index_complete() && self.call_store(catch_up).is_none() {
            return;
        }
        self.store_succeeded();
        while demand.is_all_wanted() && log.is_index_complete() && !demand.is_closed() {
            let after = Sequence::new(log.tail.next() - 1);
            if after >= head && !demand.has_caught_up() {
                demand.note_caught_up();
                log.tail.wake_everyone();
            }
            let page =
                self.call_store(|shared| shared.wait_after(after, PageLimit::LARGE, PATIENCE));
            let Some(page) = page else {
                continue;
            };
            if !page.is_empty() {
                log.merge_foreign(&page, observer);
            }
            self.store_succeeded();
        }
    }

    fn watch_streams(mut self) {
        let mut every = Sequence::START;
        while self.log.demand().await_streams() {
            let turn = catch_panic(|| self.watch_once(&mut every));
            if turn.is_none() {
                self.store_failed(PANICKED.to_owned(), Instant::now());
            }
        }
    }

    /// Waits once for new events of the streams that are read here, and for events that belong to all streams.
    fn watch_once(&mut self, every: &mut Sequence) {
        let cursors = self.log.demand().cursors();
        let Some(changed) =
            self.call_store(|shared| shared.wait_streams(&cursors, *every, PATIENCE))
        else {
            return;
        };
        for (key, seen) in changed {
            let Some(key) = key else {
                *every = (*every).max(seen);
                self.log.tail.wake_streams();
                continue;
            };
            self.log.demand().note_seen(&key, seen);
            self.log.tail.wake_stream(&key);
        }
        self.store_succeeded();
    }

    /// Calls the store, and pauses if it fails.
    fn call_store<R>(
        &mut self,
        call: impl FnOnce(&dyn SharedLog) -> Result<R, Error>,
    ) -> Option<R> {
        let asked = Instant::now();
        let log = Arc::clone(&self.log);
        let answer = catch_panic(|| match log.store.shared_log() {
            Some(shared) => call(shared),
            None => Err(Error::store_failed("the event store is no longer shared")),
        });
        let answer = answer.unwrap_or_else(|| Err(Error::store_failed("the event store panicked")));
        answer
            .map_err(|error| self.store_failed(error.with_causes(), asked))
            .ok()
    }

    /// Reports that the store fails, and pauses.
    fn store_failed(&mut self, message: String, asked: Instant) {
        if self.log.demand().is_closed() {
            return;
        }
        self.log.fail(message);
        // The duration of the failed call counts towards the pause.
        let rest = self.retry.saturating_sub(asked.elapsed());
        self.log.demand().back_off(rest);
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// Called after a call of the store succeeded and its events were added. Wakes the readers whose reads failed.
    fn store_succeeded(&mut self) {
        if self.retry > RETRY_MIN {
            self.retry = RETRY_MIN;
            self.log.recover_reading();
        }
        // Another reader's read may have failed although this one succeeded.
        self.log.blocked_readers().wake();
    }
}
