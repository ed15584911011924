//! The queue of the readers' queries, and the threads `livespan-redis` that run them.
//!
//! Results come back through a channel, so a reader never blocks and needs no runtime. Readers with
//! equal queries can share one request.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    store::redis::{
        blocking_read::ReadInterrupt,
        client::{
            connection::Connection,
            error::{StoreError, StoreErrorKind},
        },
        config::Settings,
        known_state::KnownState,
        queries::{self, Query, QueryResult},
    },
    util::sync::{Condvar, Mutex, catch_panic, lock},
};

/// The result of a query, shared by all its waiters.
pub(crate) type SharedResult = Result<Arc<QueryResult>, StoreError>;

#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    queue: VecDeque<Job>,
    /// Waiters for the result of a query that no thread has sent to Redis yet.
    waiting: HashMap<Query, Vec<oneshot::Sender<SharedResult>>>,
    /// Waiters that joined while the query was running. The result may be older than the events that they already know
    /// of, so the query is sent once more for all of them.
    joined: HashMap<Query, Vec<oneshot::Sender<SharedResult>>>,
    stopped: bool,
}

#[derive(Debug)]
enum Job {
    Read(Query),
    Unblock(Arc<ReadInterrupt>),
}

impl ReadQueue {
    pub(crate) fn query(&self, query: Query) -> oneshot::Receiver<SharedResult> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.stopped {
            drop(sender.send(Err(closed())));
            return receiver;
        }
        if let Some(waiters) = state.joined.get_mut(&query) {
            waiters.push(sender);
        } else if let Some(waiters) = state.waiting.get_mut(&query) {
            waiters.push(sender);
        } else {
            state.waiting.insert(query.clone(), vec![sender]);
            state.queue.push_back(Job::Read(query));
            self.changed.notify_one();
        }
        receiver
    }

    /// Ends a wait in Redis.
    pub(crate) fn unblock(&self, interrupt: &Arc<ReadInterrupt>) {
        let mut state = lock(&self.state);
        if !state.stopped {
            // Put first in the queue, because the wait blocks its thread until this job runs.
            state.queue.push_front(Job::Unblock(Arc::clone(interrupt)));
            self.changed.notify_one();
        }
    }

    /// Stops the threads. Waiting queries end with an error.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.queue.clear();
        let left: Vec<_> = state.waiting.drain().collect();
        drop(state);
        self.changed.notify_all();
        for sender in left.into_iter().flat_map(|(_, waiters)| waiters) {
            drop(sender.send(Err(closed())));
        }
    }

    /// The loop of each thread, until the queue is stopped.
    pub(crate) fn run(&self, settings: &Arc<Settings>, known: &KnownState) {
        let mut connection = Connection::new(Arc::clone(settings));
        while let Some(job) = self.next() {
            match job {
                Job::Unblock(interrupt) => {
                    catch_panic(|| interrupt.unblock_client(&mut connection));
                }
                Job::Read(query) => {
                    self.run_query(query, |query| match known.away() {
                        Some(error) => Err(error),
                        None => queries::read(&mut connection, known, query),
                    });
                }
            }
        }
    }

    /// Runs a query and sends its answer to all waiters. If the query panics, they get an error, and the thread
    /// continues.
    fn run_query(
        &self,
        query: Query,
        read: impl FnOnce(&Query) -> Result<QueryResult, StoreError>,
    ) {
        let waiters = self.begin(&query);
        // The waiters may have dropped their receivers meanwhile.
        if waiters.iter().any(|waiter| !waiter.is_closed()) {
            let answer = catch_panic(|| read(&query)).unwrap_or_else(|| Err(panicked()));
            let answer = answer.map(Arc::new);
            for waiter in waiters {
                // Sending wakes the waiter, and a waker is foreign code that may panic.
                catch_panic(|| drop(waiter.send(answer.clone())));
            }
        }
        self.end(query);
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(&self, query: &Query) -> Vec<oneshot::Sender<SharedResult>> {
        let mut state = lock(&self.state);
        state.joined.insert(query.clone(), Vec::new());
        state.waiting.remove(query).unwrap_or_default()
    }

    fn end(&self, query: Query) {
        let mut state = lock(&self.state);
        let joined = state.joined.remove(&query).unwrap_or_default();
        if joined.is_empty() {
            return;
        }
        if state.stopped {
            drop(state);
            for waiter in joined {
                drop(waiter.send(Err(closed())));
            }
        } else {
            state.waiting.insert(query.clone(), joined);
            state.queue.push_back(Job::Read(query));
            self.changed.notify_one();
        }
    }
}

fn panicked() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "a query of the store panicked")
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "the store is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::PageLimit, store::redis::queries::QueryKind, wire::id::Sequence};

    #[test]
    fn a_query_that_panics_returns_an_error_and_can_be_sent_again() {
        let queue = ReadQueue::default();
        let query = Query::new(QueryKind::Head, Sequence::START, PageLimit::default());
        let mut waiting = queue.query(query.clone());
        queue.run_query(query.clone(), |_| panic!("the query of a test panics"));
        assert_eq!(waiting.try_recv().unwrap().unwrap_err(), panicked());
        let mut again = queue.query(query.clone());
        queue.run_query(query, |_| Ok(QueryResult::default()));
        assert!(again.try_recv().unwrap().is_ok());
    }
}
