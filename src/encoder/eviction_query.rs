//! Asks a durable store how many events its retention has evicted from the traces in the index. The stores count them:
//! `store/sqlite/retention/evict.rs`, and `count_evicted` in `store/redis/lua/writing.lua`. A log in memory needs no
//! query, because `log/stream_index/entry.rs` counts them. This code runs on the worker thread. That thread never waits
//! for the store: it checks for the answer after it has published events and before it sleeps.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    engine::log::Log,
    error::Error,
    log::{event::StreamKey, retention::EvictedEvents},
    trace::index::TraceIndex,
};

/// Upper bound on the traces of one query. If more traces began before the store's oldest event, only the traces that
/// began first are queried.
const TRACES_MAX: usize = 1_000;

type Answer = (Vec<StreamKey>, Result<Vec<Option<EvictedEvents>>, Error>);

/// The query in progress, and the store's oldest event at the last query.
#[derive(Default)]
pub(super) struct EvictionQuery {
    pending: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    /// The oldest event of the store at the last query.
    oldest: u64,
}

impl fmt::Debug for EvictionQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvictionQuery")
            .field("is_pending", &self.pending.is_some())
            .field("oldest", &self.oldest)
            .finish()
    }
}

impl EvictionQuery {
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Asks the store for its counts, unless it has removed no event since the last query. Applies the answer once it
    /// is there. Returns whether the index has changed.
    pub(super) fn poll(&mut self, log: &Log, index: &TraceIndex) -> bool {
        if log.is_in_memory() {
            return false;
        }
        if self.pending.is_none() {
            self.ask(log, index);
        }
        let Some(pending) = &mut self.pending else {
            return false;
        };
        let Poll::Ready((keys, answer)) = pending
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            return false;
        };
        self.pending = None;
        // The result of a failed query is dropped. The next eviction triggers another query.
        let known = keys.iter().zip(answer.unwrap_or_default());
        let known: Vec<_> = known
            .filter_map(|(key, evicted)| Some((*key, log.without_held(key, evicted?))))
            .collect();
        index.set_evicted(&known)
    }

    fn ask(&mut self, log: &Log, index: &TraceIndex) {
        let oldest = log.store.oldest().get();
        if oldest == self.oldest {
            return;
        }
        self.oldest = oldest;
        let keys = index.begun_before(oldest, TRACES_MAX);
        if keys.is_empty() {
            return;
        }
        let store = Arc::clone(&log.store);
        self.pending = Some(Box::pin(async move {
            let answer = store.evicted(&keys).await;
            (keys, answer)
        }));
    }
}
