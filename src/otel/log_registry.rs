//! The logs of this process, for changes that do not come through a span object of ours: operations that a span waits
//! for, polls, and panics. It runs on the host's threads, even within a panic. Only [`register`] waits for the lock of
//! the list. Changes allocate little.

use std::sync::{Arc, RwLock, RwLockReadGuard, TryLockError, Weak};

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _},
};

#[cfg(feature = "tracing")]
use crate::span::updates::PollCounters;
use crate::{
    otel::shared::ProcessorShared,
    span::updates::{Changes, UpdateSlot, ids_of},
    util::sync::write,
};

static LOGS: RwLock<Vec<Weak<ProcessorShared>>> = RwLock::new(Vec::new());

/// Adds a log.
pub(crate) fn register(log: &Arc<ProcessorShared>) {
    let mut logs = write(&LOGS);
    logs.retain(|known| known.strong_count() > 0);
    logs.push(Arc::downgrade(log));
}

/// Calls `act` for each log. It does not wait: if another thread is adding a log at this moment, it does not call `act`
/// at all.
pub(crate) fn for_each(mut act: impl FnMut(&Arc<ProcessorShared>)) {
    let logs = try_read(&LOGS).map(|logs| logs.clone());
    let logs = logs.unwrap_or_default();
    for log in logs.iter().filter_map(Weak::upgrade) {
        act(&log);
    }
}

/// Reads a lock although it is poisoned. Returns `None` only while another thread writes, or waits to write.
fn try_read<T>(lock: &RwLock<T>) -> Option<RwLockReadGuard<'_, T>> {
    match lock.try_read() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Notes a change of this span in every log. A log that does not show the span discards the change. Invalid and remote
/// spans are ignored.
pub(crate) fn note(span: &SpanContext, change: impl Fn(&mut Changes) -> bool) {
    if !span.is_valid() || span.is_remote() {
        return;
    }
    let key = ids_of(span);
    for_each(|log| {
        let source = log.processes.newest().unwrap_or_default();
        log.updates.note_by_ids(log.buffer(), key, source, &change);
    });
}

/// The [`UpdateSlot`]s of one span in all logs, so that the span need not be looked up for each change.
#[derive(Debug, Default)]
pub(crate) struct SpanSlots(Vec<(Weak<ProcessorShared>, Arc<UpdateSlot>)>);

impl SpanSlots {
    pub(crate) fn of(span: &SpanContext) -> Self {
        let mut slots = Vec::new();
        if span.is_valid() && !span.is_remote() {
            let key = ids_of(span);
            for_each(|log| {
                let source = log.processes.newest().unwrap_or_default();
                let slot = log.updates.slot_of(key, source);
                slots.extend(slot.map(|slot| (Arc::downgrade(log), slot)));
            });
        }
        Self(slots)
    }

    /// Attaches counters, which are read whenever changes of the span are reported.
    #[cfg(feature = "tracing")]
    pub(crate) fn count_polls(&self, polls: &Arc<PollCounters>) {
        for (_, slot) in &self.0 {
            slot.count_polls(polls);
        }
    }

    /// Notes a change of the span in every log.
    #[inline]
    pub(crate) fn note(&self, change: impl Fn(&mut Changes) -> bool) {
        for (log, slot) in &self.0 {
            if let Some(log) = log.upgrade() {
                log.updates.note(log.buffer(), slot, &change);
            }
        }
    }
}

/// Notes a change of this span in every log that already has a slot for the span.
pub(crate) fn note_if_known(span: &SpanContext, change: impl Fn(&mut Changes) -> bool) {
    let key = ids_of(span);
    for_each(|log| log.updates.note_if_known(log.buffer(), key, &change));
}

/// Returns the span that is current on this thread.
pub(crate) fn current_span() -> SpanContext {
    Context::map_current(|context| context.span().span_context().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::sync::locks::catch_panic;

    #[test]
    fn a_poisoned_lock_is_read_and_a_held_lock_is_not() {
        let value = RwLock::new(1);
        let panicked = catch_panic(|| {
            let _held = write(&value);
            panic!("a writer of a test panics");
        });
        assert_eq!(panicked, None::<()>);
        assert_eq!(try_read(&value).map(|value| *value), Some(1));
        let held = write(&value);
        assert!(try_read(&value).is_none());
        drop(held);
    }
}
