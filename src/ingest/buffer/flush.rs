//! Closes the buffer, and lets a caller wait until the worker has stored everything that was pushed before the call.
//! The waits block the caller's thread, with a time limit, so they must never run on the path of a span.

use std::{sync::PoisonError, time::Duration};

use crate::{
    error::Error,
    ingest::buffer::{
        drain::index_records,
        push::{DrainProgress, IngestBuffer, TurnResult},
    },
    util::sync::{Instant, atomic::Ordering, lock, thread},
};

pub(super) const FORKED: &str =
    "the event log belongs to the process that this one was forked from";

impl IngestBuffer {
    /// Waits until everything that was pushed before the call is stored and visible.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.flush_unless(timeout, || false)
    }

    /// Like [`flush`](Self::flush), but gives up when `is_hopeless` returns true. It calls `is_hopeless` at least ten
    /// times a second.
    pub(crate) fn flush_unless(
        &self,
        timeout: Duration,
        is_hopeless: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        if self.is_forked() {
            return Err(self.closed_error());
        }
        let target = self.next_number();
        let failures = lock(&self.drained).failures;
        let is_flushed = |drained: &DrainProgress| drained.drained_through >= target;
        self.wait(timeout, "flush the event log", is_flushed, is_hopeless)?;
        if let Some(why) = self.abort_reason() {
            return Err(Error::ended(why));
        }
        let drained = *lock(&self.drained);
        if drained.failing || drained.failures > failures {
            return Err(Error::store_failed(
                "the event store rejected some events of this flush",
            ));
        }
        Ok(())
    }

    /// Waits until the worker has drained the buffer after [`close`](Self::close), closed the store (unless an append
    /// hangs) and closed the log. Its thread may run longer, to wake readers.
    pub(crate) fn wait_finished(&self, timeout: Duration) -> Result<(), Error> {
        self.wait_finished_unless(timeout, || false)
    }

    /// Like [`wait_finished`](Self::wait_finished), but gives up when `is_hopeless` returns true. It calls
    /// `is_hopeless` at least ten times a second.
    pub(crate) fn wait_finished_unless(
        &self,
        timeout: Duration,
        is_hopeless: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let is_finished = |drained: &DrainProgress| drained.finished;
        self.wait(timeout, "shut down the event log", is_finished, is_hopeless)?;
        self.abort_reason()
            .map_or(Ok(()), |why| Err(Error::ended(why)))
    }

    pub(super) fn wait(
        &self,
        timeout: Duration,
        what: &'static str,
        done: impl Fn(&DrainProgress) -> bool,
        mut is_hopeless: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        if self.is_forked() {
            return Err(self.closed_error());
        }
        if self
            .worker
            .get()
            .is_some_and(|worker| worker.id() == thread::current().id())
        {
            return Err(Error::invalid(
                "the event log's own thread cannot wait for itself",
            ));
        }
        // Compares elapsed time, because `started + timeout` may overflow `Instant`.
        let started = Instant::now();
        let mut drained = lock(&self.drained);
        while !done(&drained) && !drained.finished {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(Error::timeout(format!(
                    "{what} took longer than {timeout:?}"
                )));
            }
            if is_hopeless() {
                return Err(Error::store_failed(format!(
                    "{what}: its store is failing, and this call does not wait for it"
                )));
            }
            self.wake_now();
            let waited = self
                .drained_changed
                .wait_timeout(drained, left.min(Duration::from_millis(100)));
            drained = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Completes when the worker has emptied the shards after this call, or when the buffer is closed.
    pub(crate) fn room_freed(&self) -> impl Future<Output = ()> {
        self.room_freed.notified()
    }

    pub(crate) fn report_drained(&self, drained_through: u64, turn: TurnResult) {
        let mut drained = lock(&self.drained);
        drained.drained_through = drained_through;
        drained.failures += u64::from(turn.has_failed);
        drained.failing = turn.is_failing;
        drop(drained);
        self.drained_changed.notify_all();
    }

    pub(crate) fn report_finished(&self) {
        lock(&self.drained).finished = true;
        self.drained_changed.notify_all();
        lock(&self.acks).clear();
        self.room_freed.notify_waiters();
    }

    /// Closes the buffer: later pushes are rejected. The worker drains the buffered records and ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if self.is_forked() {
            return;
        }
        self.wake_now();
        // Callers that wait for space must learn of the close now, even if the worker hangs in its store.
        self.room_freed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns whether this process is a fork of the process that opened the log. If so, closes the log in this
    /// process. A fork has no worker thread, and a lock that another thread held at the fork stays locked for ever, so
    /// a fork must take no lock. The check is a system call, so it must not run for each span. It runs only where the
    /// worker would be woken or awaited.
    pub(crate) fn is_forked(&self) -> bool {
        let is_forked = std::process::id() != self.process;
        if is_forked {
            let _only_one = self.abort_reason.set(FORKED);
            self.closed.store(true, Ordering::SeqCst);
        }
        is_forked
    }

    /// Ends the log because its worker thread cannot continue. Buffered and later records are dropped and counted.
    pub(crate) fn abort(&self, why: &'static str) {
        // Only the worker aborts, and only once.
        let _only_one = self.abort_reason.set(why);
        self.close();
        for shard in self.shards.iter() {
            let records = std::mem::take(&mut *shard.0.lock());
            let mut listed = Vec::new();
            index_records(records.used(), 0, &mut listed);
            for record in listed {
                self.count_dropped(record.class, 1);
            }
        }
    }

    /// Returns why the log aborted, or that this process is a fork. Returns `None` if the log is open or was shut down.
    pub(crate) fn abort_reason(&self) -> Option<&'static str> {
        self.abort_reason.get().copied()
    }

    /// Returns the error for calls after the log has ended.
    pub(crate) fn closed_error(&self) -> Error {
        self.abort_reason().map_or_else(Error::closed, Error::ended)
    }
}
