//! Tracks the operations that open spans wait for. Several futures of one span may wait at the same time. Viewers get
//! only the operation whose future has waited longest. The host's tasks run this code; a lock is held only while a
//! short list changes and the change is noted.

use std::{
    borrow::Cow,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use opentelemetry::trace::SpanContext;

use crate::{
    otel::log_registry,
    span::updates::{Await, Awaiting, SlotIds, ids_of},
    util::time::Timestamp,
};

/// Upper bound on the tracked waiting futures of one span. Further futures are not shown.
const AWAITS_PER_SPAN_MAX: usize = 64;

/// The waiting futures by span. Each entry has a waiting future of the program, so the number of such futures bounds
/// this map.
static PENDING: LazyLock<DashMap<SlotIds, Vec<PendingAwait>>> = LazyLock::new(DashMap::new);

#[derive(Debug)]
struct PendingAwait {
    number: u64,
    what: Await,
}

/// Represents a waiting future. Dropping the guard reports that the future no longer waits.
#[derive(Debug)]
pub(crate) struct AwaitGuard {
    span: SpanContext,
    number: u64,
}

impl AwaitGuard {
    /// Notes that a future of this span waits from now on.
    pub(crate) fn new(span: SpanContext, name: Cow<'static, str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let since = Timestamp::now();
        let what = Await { name, since };
        let mut pending = PENDING.entry(ids_of(&span)).or_default();
        // The lock is held while a change is noted, so that changes are noted in order.
        if pending.is_empty() {
            log_registry::note(&span, |changes| {
                changes.awaiting = Awaiting::On(what.clone());
                true
            });
        }
        if pending.len() < AWAITS_PER_SPAN_MAX {
            pending.push(PendingAwait { number, what });
        }
        drop(pending);
        Self { span, number }
    }
}

impl Drop for AwaitGuard {
    fn drop(&mut self) {
        let Entry::Occupied(mut entry) = PENDING.entry(ids_of(&self.span)) else {
            return;
        };
        let pending = entry.get_mut();
        let Some(place) = pending.iter().position(|one| one.number == self.number) else {
            return;
        };
        pending.remove(place);
        if place == 0 {
            let next = pending.first().map(|next| next.what.clone());
            let next = next.map_or(Awaiting::Nothing, Awaiting::On);
            log_registry::note_if_known(&self.span, |changes| {
                changes.awaiting.clone_from(&next);
                true
            });
        }
        if pending.is_empty() {
            entry.remove();
        }
    }
}
