//! Takes in what other processes append to the log's store: all of it while someone here reads everything, else only
//! the news of streams that someone here reads. Two threads, which wait in the store.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Error,
    sse::{
        id::Sequence,
        keeper::{OnThread, spawn},
        log::Log,
        store::{Follow, PageLimit},
        translate::Observer,
        wait::block_on,
    },
    sync::{Instant, guard},
};

/// How long one wait in the store takes at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a thread rests after its store failed; doubled up to the next one.
const RETRY_SOON: Duration = Duration::from_millis(50);
const RETRY_LATE: Duration = Duration::from_secs(2);

/// Starts the threads, which end when the log is closed.
pub(crate) fn start(log: &Arc<Log>, observer: Observer, on_thread: &OnThread) -> Result<(), Error> {
    let all = Follower {
        log: Arc::clone(log),
        retry: RETRY_SOON,
    };
    let streams = Follower {
        log: Arc::clone(log),
        retry: RETRY_SOON,
    };
    spawn("livespan-follow", on_thread, move || {
        all.follow_all(&observer);
    })?;
    spawn("livespan-watch", on_thread, move || streams.watch_streams())
}

struct Follower {
    log: Arc<Log>,
    retry: Duration,
}

impl Follower {
    fn follow_all(mut self, observer: &Observer) {
        while self.log.following().await_all() {
            let log = Arc::clone(&self.log);
            let following = log.following();
            let Some(head) = self.ask(|follow| block_on(follow.head())) else {
                continue;
            };
            let catch_up = |_: &dyn Follow| log.catch_up(head.get(), observer);
            if !log.is_whole() && self.ask(catch_up).is_none() {
                continue;
            }
            while following.wants_all() && log.is_whole() && !following.is_closed() {
                let after = Sequence::new(self.log.tail.next() - 1);
                if after >= head && !following.has_caught_up() {
                    following.note_caught_up();
                    log.tail.wake_everyone();
                }
                let page = self.ask(|follow| follow.wait_after(after, PageLimit::LARGE, PATIENCE));
                if let Some(page) = page.filter(|page| !page.is_empty()) {
                    self.log.take_others(&page, observer);
                }
            }
        }
    }

    fn watch_streams(mut self) {
        let mut every = Sequence::START;
        while self.log.following().await_streams() {
            let places = self.log.following().places();
            let Some(news) = self.ask(|follow| follow.wait_streams(&places, every, PATIENCE))
            else {
                continue;
            };
            for (key, seen) in news {
                let Some(key) = key else {
                    every = every.max(seen);
                    self.log.tail.keys().wake_all();
                    continue;
                };
                self.log.following().saw(&key, seen);
                if let Some(key) = self.log.tail.keys().get(&key) {
                    key.wake();
                }
            }
        }
    }

    /// Asks the store, and rests when it fails. When it works again, readers look again at what they missed.
    fn ask<R>(&mut self, ask: impl FnOnce(&dyn Follow) -> Result<R, Error>) -> Option<R> {
        let follow = self.log.store.follow()?;
        let asked = Instant::now();
        let answer = guard(|| ask(follow))
            .unwrap_or_else(|| Err(Error::store_failed("the event store panicked")));
        match answer {
            Ok(answer) => {
                if self.retry > RETRY_SOON {
                    self.retry = RETRY_SOON;
                    self.log.recover_reading();
                }
                Some(answer)
            }
            Err(error) => {
                if !self.log.following().is_closed() {
                    self.log.fail(error.to_string());
                    // A store that failed slowly has used up some of the rest.
                    let rest = self.retry.saturating_sub(asked.elapsed());
                    self.log.following().rest(rest);
                    self.retry = (self.retry * 2).min(RETRY_LATE);
                }
                None
            }
        }
    }
}
