//! The bounded buffer between the host's threads and the worker: records of bytes in a few shards, numbered by one
//! counter. A push takes one uncontended lock for the time of a copy, never waits, never allocates, and wakes the
//! worker only when that is asleep. All that has to be agreed upon with other threads stands before the copy, so that
//! nobody waits until the bytes have reached the cache: that would be a fifth of what a span costs.
//!
//! Invariant: a record's number is drawn under its shard's lock. So when the worker has read the counter as `cut`
//! and then swapped every shard, it holds every record below `cut`: sorted by number they are the exact order in
//! which the host's threads observed them. What is above waits for the next turn.

use std::{
    collections::HashMap,
    sync::{OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    error::Error,
    ingest::write_buf::WriteBuf,
    util::sync::{
        Condvar, Instant, Mutex, SpinMutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        lock,
        thread::{self, Thread},
        thread_number,
    },
    wire::{control::Dropped, id::EventId},
};

/// Bytes of records that wait for the worker, by default: 16 MiB. Twice as much address space is reserved.
pub(crate) const DEFAULT_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Records that wait for the worker, by default.
pub(crate) const DEFAULT_BUFFER_EVENTS: usize = 131_072;

const SHARDS: usize = 8;
const FORKED: &str = "the event log belongs to the process that this one was forked from";
/// Tries to find a shard that nobody is writing to. Another holder keeps a lock for one copy only. When the scheduler has
/// stopped the holders of all shards there, this bounds the wait: the record is refused and counted, though there is room.
const ROUNDS: usize = 64;
/// A shard with less room than this, in bytes, is taken to be full.
const SMALL_RECORD: usize = 256;
/// After how many dropped records of a class it is asked again whether the process is a fork.
const DROPS_PER_LOOK: u64 = 256;
/// Room for the largest event in the share of every class.
const SHARD_BYTES_MIN: usize = 512 * 1024;
/// Length (4), class (1), number (8).
const HEADER: usize = 13;

/// What a record is, for the bounds and for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordClass {
    Start,
    End,
    Other,
    /// Our own notes: never counted, first in line for the last of the room.
    Internal,
}

impl RecordClass {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Start,
            1 => Self::End,
            2 => Self::Other,
            _ => Self::Internal,
        }
    }

    /// What belongs to the class, of what each has one of.
    #[inline]
    fn of<T>(self, [start, end, other, note]: &[T; 4]) -> &T {
        match self {
            Self::Start => start,
            Self::End => end,
            Self::Other => other,
            Self::Internal => note,
        }
    }

    /// Sixteenths of the buffer that the class may fill: starts yield to ends, and ends to notes.
    fn sixteenths(self) -> usize {
        match self {
            Self::Start | Self::Other => 11,
            Self::End => 15,
            Self::Internal => 16,
        }
    }
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// Records or events by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCounts {
    pub(crate) starts: u64,
    pub(crate) ends: u64,
    pub(crate) other: u64,
}

impl ClassCounts {
    pub(crate) fn add(&mut self, class: RecordClass, count: u64) {
        match class {
            RecordClass::Start => self.starts += count,
            RecordClass::End => self.ends += count,
            RecordClass::Other => self.other += count,
            RecordClass::Internal => {}
        }
    }

    /// What is left of it without these.
    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            starts: self.starts.saturating_sub(other.starts),
            ends: self.ends.saturating_sub(other.ends),
            other: self.other.saturating_sub(other.other),
        }
    }
}

#[derive(Debug)]
pub(crate) struct IngestBuffer {
    shards: Box<[PaddedShard; SHARDS]>,
    shard_bytes: usize,
    /// By class.
    quotas: [Quota; 4],
    #[cfg(feature = "metrics")]
    events_max: usize,
    /// Ends that the full buffer refused, of those that were dropped.
    #[cfg(feature = "metrics")]
    ends_rejected: AtomicU64,
    /// Ends that came after the end of the log.
    #[cfg(feature = "metrics")]
    ends_late: AtomicU64,
    next_number: AtomicU64,
    /// How often the worker has emptied the shards.
    drain_generation: AtomicU64,
    /// By class: the turn, counted from one, since which no shard has room.
    full_since: [AtomicU64; 4],
    closed: AtomicBool,
    /// Why the log ended, if nobody shut it down.
    abort_reason: OnceLock<&'static str>,
    asleep: AtomicBool,
    urgent: AtomicBool,
    worker: OnceLock<Thread>,
    /// The process that has the worker.
    process: u32,
    dropped: [AtomicU64; 3],
    drained: Mutex<DrainProgress>,
    drained_changed: Condvar,
    room_freed: Notify,
    acks: Mutex<HashMap<u64, oneshot::Sender<EventId>>>,
    next_ack: AtomicU64,
}

/// A cache line pair for itself, so that threads on different shards do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct PaddedShard(SpinMutex<Shard>);

#[derive(Debug, Default)]
struct Shard {
    /// All of its memory, of which the first `length` bytes are in use.
    bytes: Box<[u8]>,
    length: usize,
    count: usize,
}

impl Shard {
    /// Zeroed memory of this size costs nothing until it is written to.
    fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            length: 0,
            count: 0,
        }
    }

    fn used(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Why a record found no room.
    fn shortage(&self, quota: &Quota) -> Shortage {
        if self.count >= quota.events || self.length + SMALL_RECORD > quota.bytes {
            Shortage::OfAnyRecord
        } else {
            Shortage::OfThisRecord
        }
    }
}

/// What a class may fill of each shard.
#[derive(Debug)]
struct Quota {
    bytes: usize,
    events: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct DrainProgress {
    drained_through: u64,
    failures: u64,
    /// Whether the last turn failed.
    failing: bool,
    finished: bool,
}

impl IngestBuffer {
    pub(crate) fn new(bytes_max: usize, events_max: usize) -> Self {
        let shard_bytes = (bytes_max / SHARDS).max(SHARD_BYTES_MIN);
        let shard_events = (events_max / SHARDS).max(16);
        let shard = || PaddedShard(SpinMutex::new(Shard::new(shard_bytes)));
        Self {
            shards: Box::new(std::array::from_fn(|_| shard())),
            shard_bytes,
            quotas: [
                RecordClass::Start,
                RecordClass::End,
                RecordClass::Other,
                RecordClass::Internal,
            ]
            .map(|class| Quota {
                bytes: shard_bytes / 16 * class.sixteenths(),
                events: shard_events / 16 * class.sixteenths(),
            }),
            #[cfg(feature = "metrics")]
            events_max,
            #[cfg(feature = "metrics")]
            ends_rejected: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            ends_late: AtomicU64::new(0),
            next_number: AtomicU64::new(0),
            drain_generation: AtomicU64::new(0),
            full_since: Default::default(),
            closed: AtomicBool::new(false),
            abort_reason: OnceLock::new(),
            asleep: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            worker: OnceLock::new(),
            process: std::process::id(),
            dropped: Default::default(),
            drained: Mutex::default(),
            drained_changed: Condvar::new(),
            room_freed: Notify::new(),
            acks: Mutex::default(),
            next_ack: AtomicU64::new(1),
        }
    }

    /// Takes the record that `write` writes, which is asked again when another shard may have the room that one had
    /// not. What is refused for want of room is counted here.
    #[inline]
    pub(crate) fn push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), PushError> {
        let pushed = self.try_push(class, write);
        if let Err(rejected) = &pushed {
            self.count_rejected(class, rejected);
        }
        pushed
    }

    #[cold]
    fn count_rejected(&self, class: RecordClass, rejected: &PushError) {
        #[cfg(feature = "metrics")]
        if let (PushError::Closed, RecordClass::End) = (rejected, class) {
            self.count_late_end();
        }
        match rejected {
            PushError::Full => {
                let before = self
                    .counter(class)
                    .map(|count| count.fetch_add(1, Ordering::Relaxed));
                #[cfg(feature = "metrics")]
                if matches!(class, RecordClass::End) {
                    self.ends_rejected.fetch_add(1, Ordering::Relaxed);
                }
                // A fork that was made while someone was in a hurry would wake nobody, and find no room for ever. To ask
                // costs more than all else here, and may wait for some more of them.
                if before.is_some_and(|before| before.is_multiple_of(DROPS_PER_LOOK))
                    && self.is_forked()
                {
                    return;
                }
                // The worker may have emptied the buffer meanwhile and be about to sleep: the drop is news, too.
                self.wake_if_asleep(FillLevel::OverHalf);
            }
            // Who shuts a log down wants no more of it; of one that broke, nobody knows.
            PushError::Closed if self.abort_reason().is_some() => self.count_dropped(class, 1),
            PushError::Closed => {}
        }
    }

    /// Like [`push`](Self::push), without counting.
    #[inline]
    pub(crate) fn try_push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), PushError> {
        let quota = class.of(&self.quotas);
        let home = thread_number();
        let (mut shard, mut probe, mut write) = (home, None, &write);
        // One call, whichever shard it is: so what is written is compiled into this place.
        loop {
            match self.try_push_into(shard, class, quota, write) {
                PushAttempt::Settled(pushed) => return pushed,
                miss => shard = home + self.next_shard(&mut probe, class, &miss)?,
            }
            // A compiler that takes this for a loop would read and spill all that is to be written before the first try.
            write = std::hint::black_box(write);
        }
    }

    /// Which shard to try next, counted from the thread's own, which was tried first.
    #[cold]
    fn next_shard(
        &self,
        probe: &mut Option<ShardProbe>,
        class: RecordClass,
        miss: &PushAttempt,
    ) -> Result<usize, PushError> {
        let full_since = class.of(&self.full_since);
        let Some(probe) = probe else {
            // Under a load that nothing can take, to look into every shard for each record would be the most of it.
            let turn = self.drain_generation.load(Ordering::Acquire) + 1;
            if full_since.load(Ordering::Relaxed) == turn {
                return Err(self.rejection());
            }
            *probe = Some(ShardProbe::new(turn));
            return Ok(0);
        };
        probe.count_miss(miss);
        if probe.tried < SHARDS {
            return Ok(probe.tried);
        }
        if !probe.busy && probe.full {
            full_since.store(probe.turn, Ordering::Relaxed);
        }
        if !probe.busy || probe.rounds == ROUNDS {
            return Err(PushError::Full);
        }
        probe.begin_round();
        std::hint::spin_loop();
        Ok(0)
    }

    fn rejection(&self) -> PushError {
        if self.closed.load(Ordering::Acquire) {
            PushError::Closed
        } else {
            PushError::Full
        }
    }

    #[inline]
    fn try_push_into(
        &self,
        shard: usize,
        class: RecordClass,
        quota: &Quota,
        write: impl FnOnce(&mut WriteBuf<'_>) -> Option<()>,
    ) -> PushAttempt {
        let Some(shard) = self.shards.get(shard % SHARDS) else {
            return PushAttempt::NoRoom(Shortage::OfAnyRecord);
        };
        let Some(mut records) = shard.0.try_lock() else {
            return PushAttempt::Busy;
        };
        // Asked under the lock: the worker, once it knows that the buffer is closed, looks into every shard a last time,
        // and what came after that look would be lost.
        if self.closed.load(Ordering::Acquire) {
            return PushAttempt::Settled(Err(PushError::Closed));
        }
        let Some(fill) = self.append(&mut records, class, quota, write) else {
            return PushAttempt::NoRoom(records.shortage(quota));
        };
        drop(records);
        self.wake_if_asleep(fill);
        PushAttempt::Settled(Ok(()))
    }

    /// Appends a record if it fits. Nothing of it counts before it is whole, so a writer that panics leaves nothing.
    #[inline]
    fn append(
        &self,
        records: &mut Shard,
        class: RecordClass,
        quota: &Quota,
        write: impl FnOnce(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Option<FillLevel> {
        if records.count >= quota.events {
            return None;
        }
        let mut room = WriteBuf::new(records.bytes.get_mut(records.length..quota.bytes)?);
        let before = room.left();
        let header = room.chunk::<HEADER>()?;
        // The number is drawn under the lock: see the invariant above. And before there is anything written, for which to
        // draw it would wait. A record that finds no room leaves a number that nothing has.
        let number = self.next_number.fetch_add(1, Ordering::SeqCst);
        write(&mut room)?;
        let size = before - room.left();
        let [l0, l1, l2, l3, ..] = size.to_le_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_le_bytes();
        let class = class as u8;
        *header = [l0, l1, l2, l3, class, n0, n1, n2, n3, n4, n5, n6, n7];
        records.length += size;
        records.count += 1;
        Some(if records.length > self.shard_bytes / 2 {
            FillLevel::OverHalf
        } else {
            FillLevel::UpToHalf
        })
    }

    /// The next number: every record pushed before this call has a smaller one.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.load(Ordering::SeqCst)
    }

    /// Records that were pushed and are not stored, and those without a record among them.
    #[cfg(feature = "metrics")]
    pub(crate) fn pending_records(&self) -> u64 {
        let drained_through = lock(&self.drained).drained_through;
        self.next_number().saturating_sub(drained_through)
    }

    /// Ends that found no room: what the store refused later is not among them.
    #[cfg(feature = "metrics")]
    pub(crate) fn ends_rejected(&self) -> u64 {
        self.ends_rejected.load(Ordering::Relaxed)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn ends_late(&self) -> u64 {
        self.ends_late.load(Ordering::Relaxed)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn count_late_end(&self) {
        self.ends_late.fetch_add(1, Ordering::Relaxed);
    }

    /// The most records that wait at once.
    #[cfg(feature = "metrics")]
    pub(crate) fn events_max(&self) -> usize {
        self.events_max
    }

    pub(crate) fn dropped(&self) -> Dropped {
        let [starts, ends, other] = &self.dropped;
        Dropped {
            starts: starts.load(Ordering::Relaxed),
            ends: ends.load(Ordering::Relaxed),
            other: other.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_dropped(&self, class: RecordClass, count: u64) {
        if let Some(counter) = self.counter(class) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn counter(&self, class: RecordClass) -> Option<&AtomicU64> {
        let [starts, ends, other] = &self.dropped;
        match class {
            RecordClass::Start => Some(starts),
            RecordClass::End => Some(ends),
            RecordClass::Other => Some(other),
            RecordClass::Internal => None,
        }
    }

    /// Refuses every later push; the worker drains what is there and ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if self.is_forked() {
            return;
        }
        self.wake_now();
        // Who waits for room waits in vain now, though the worker may hang in its store.
        self.room_freed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether this is a fork of the process that has the log. It has no thread of the log, and whatever lock another
    /// thread held at that moment is held in it for ever: so it takes none. The log is closed in it from then on. To ask
    /// costs a call of the system: not on the way of a span, but where the worker would be woken or waited for.
    pub(crate) fn is_forked(&self) -> bool {
        let is_forked = std::process::id() != self.process;
        if is_forked {
            let _only_one = self.abort_reason.set(FORKED);
            self.closed.store(true, Ordering::SeqCst);
        }
        is_forked
    }

    /// Why the log ended, if nobody shut it down.
    pub(crate) fn abort_reason(&self) -> Option<&'static str> {
        self.abort_reason.get().copied()
    }

    /// What a call gets that comes after the end.
    pub(crate) fn closed_error(&self) -> Error {
        self.abort_reason().map_or_else(Error::closed, Error::ended)
    }

    /// Waits until everything pushed before the call is stored and visible.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        if self.is_forked() {
            return Err(self.closed_error());
        }
        let target = self.next_number();
        let failures = lock(&self.drained).failures;
        self.wait(timeout, "flush the event log", |drained| {
            drained.drained_through >= target
        })?;
        if let Some(why) = self.abort_reason() {
            return Err(Error::ended(why));
        }
        let drained = *lock(&self.drained);
        if drained.failing || drained.failures > failures {
            return Err(Error::store_failed(
                "the event store rejected events of this flush",
            ));
        }
        Ok(())
    }

    /// Waits until the worker has drained everything after [`close`](Self::close) and ended.
    pub(crate) fn wait_finished(&self, timeout: Duration) -> Result<(), Error> {
        self.wait(timeout, "shut down the event log", |drained| {
            drained.finished
        })?;
        self.abort_reason()
            .map_or(Ok(()), |why| Err(Error::ended(why)))
    }

    fn wait(
        &self,
        timeout: Duration,
        what: &'static str,
        done: impl Fn(&DrainProgress) -> bool,
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
        // Counted from the start, because a moment that far ahead may not exist.
        let started = Instant::now();
        let mut drained = lock(&self.drained);
        while !done(&drained) && !drained.finished {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(Error::timeout(format!(
                    "{what} took longer than {timeout:?}"
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

    /// Completes when the worker made room since the future was made.
    pub(crate) fn room_freed(&self) -> impl Future<Output = ()> {
        self.room_freed.notified()
    }

    pub(crate) fn pending_ack(&self) -> PendingAck<'_> {
        let (sender, receiver) = oneshot::channel();
        let number = self.next_ack.fetch_add(1, Ordering::Relaxed);
        lock(&self.acks).insert(number, sender);
        PendingAck {
            buffer: self,
            number,
            receiver,
        }
    }

    /// Answers the caller who holds the ticket, or tells it that there is no answer.
    pub(crate) fn resolve_ack(&self, ack: u64, id: Option<EventId>) {
        let sender = lock(&self.acks).remove(&ack);
        if let (Some(sender), Some(id)) = (sender, id) {
            // The caller may have stopped waiting: the event is stored all the same.
            let _unheard = sender.send(id);
        }
    }

    /// Wakes the worker at once, whatever it waits for.
    pub(crate) fn wake_now(&self) {
        self.urgent.store(true, Ordering::SeqCst);
        self.asleep.store(false, Ordering::SeqCst);
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    #[inline]
    fn wake_if_asleep(&self, fill: FillLevel) {
        let asleep = self.asleep.load(Ordering::SeqCst);
        if asleep || fill == FillLevel::OverHalf {
            self.wake(fill);
        }
    }

    #[cold]
    fn wake(&self, fill: FillLevel) {
        let asleep = self.asleep.swap(false, Ordering::SeqCst);
        let urgent = fill == FillLevel::OverHalf && !self.urgent.swap(true, Ordering::SeqCst);
        if let (true, Some(worker)) = (asleep || urgent, self.worker.get())
            && !self.is_forked()
        {
            worker.unpark();
        }
    }
}

/// What came of a push into one shard.
enum PushAttempt {
    Settled(Result<(), PushError>),
    Busy,
    NoRoom(Shortage),
}

/// How far a thread has come in looking for a shard with room that nobody is writing to.
struct ShardProbe {
    /// The worker's turn in which it began.
    turn: u64,
    rounds: usize,
    /// In this round: how many shards were tried, whether one was busy, and whether the others had room for no record.
    tried: usize,
    busy: bool,
    full: bool,
}

impl ShardProbe {
    fn new(turn: u64) -> Self {
        Self {
            turn,
            rounds: 1,
            tried: 0,
            busy: false,
            full: true,
        }
    }

    fn count_miss(&mut self, miss: &PushAttempt) {
        self.tried += 1;
        match miss {
            PushAttempt::Settled(_) => {}
            PushAttempt::Busy => self.busy = true,
            PushAttempt::NoRoom(shortage) => self.full &= *shortage == Shortage::OfAnyRecord,
        }
    }

    fn begin_round(&mut self) {
        *self = Self {
            rounds: self.rounds + 1,
            ..Self::new(self.turn)
        };
    }
}

/// For which records a shard lacks the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    OfThisRecord,
    OfAnyRecord,
}

/// How full a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FillLevel {
    UpToHalf,
    /// More than half: the worker is not to let it gather more.
    OverHalf,
}

/// The place of a caller who waits for the id of its event. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct PendingAck<'a> {
    buffer: &'a IngestBuffer,
    pub(crate) number: u64,
    receiver: oneshot::Receiver<EventId>,
}

impl PendingAck<'_> {
    /// The id, or `None` when there will be none.
    pub(crate) async fn recv(&mut self) -> Option<EventId> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        self.buffer.resolve_ack(self.number, None);
    }
}

/// One record in its place within a [`Drain`].
#[derive(Clone, Copy, Debug)]
struct RecordRef {
    number: u64,
    class: RecordClass,
    spare: usize,
    start: usize,
    end: usize,
}

/// The worker's side: buffers that are swapped with the shards', and what was left for the next turn.
#[derive(Debug)]
pub(crate) struct Drain {
    spares: Vec<Shard>,
    records: Vec<RecordRef>,
    cut: u64,
}

impl Drain {
    pub(crate) fn new(buffer: &IngestBuffer) -> Self {
        let spare = |_| Shard::new(buffer.shard_bytes);
        // One more than the shards: the last holds what was left for the next turn.
        let mut spares: Vec<Shard> = buffer.shards.iter().map(spare).collect();
        spares.push(Shard::default());
        Self {
            spares,
            records: Vec::new(),
            cut: 0,
        }
    }

    /// Stands in for the worker's drain while that is borrowed.
    pub(crate) fn empty() -> Self {
        Self {
            spares: Vec::new(),
            records: Vec::new(),
            cut: 0,
        }
    }

    /// Takes what is there; [`below`](Self::below) then gives the records numbered below `cut`.
    pub(crate) fn take_records(&mut self, buffer: &IngestBuffer, cut: u64) {
        self.carry_over(self.cut);
        self.cut = cut;
        for (spare, shard) in self.spares.iter_mut().zip(buffer.shards.iter()) {
            spare.length = 0;
            spare.count = 0;
            std::mem::swap(spare, &mut *shard.0.lock());
        }
        // After the last of them: who found no room before this may find some now, and who looks later looks anew.
        buffer.drain_generation.fetch_add(1, Ordering::Release);
        self.records.clear();
        for (index, spare) in self.spares.iter().enumerate() {
            index_records(spare.used(), index, &mut self.records);
        }
        // Each shard is sorted already, and a stable sort finds such runs.
        self.records.sort_by_key(|record| record.number);
        buffer.room_freed.notify_waiters();
    }

    /// The records below the cut, in order.
    pub(crate) fn records_below_cut(&self) -> impl Iterator<Item = (RecordClass, &[u8])> {
        let below_cut = self
            .records
            .iter()
            .take_while(|record| record.number < self.cut);
        below_cut.map(|record| (record.class, self.bytes(record, HEADER)))
    }

    /// How many records were taken, wherever the cut is.
    pub(crate) fn counts(&self) -> ClassCounts {
        let mut counts = ClassCounts::default();
        for record in &self.records {
            counts.add(record.class, 1);
        }
        counts
    }

    /// All notes that were taken, wherever the cut is.
    pub(crate) fn internal_records(&self) -> impl Iterator<Item = &[u8]> {
        let internal = self
            .records
            .iter()
            .filter(|record| record.class == RecordClass::Internal);
        internal.map(|record| self.bytes(record, HEADER))
    }

    /// Moves the records that the last turn left into the last buffer.
    fn carry_over(&mut self, cut: u64) {
        let mut rest = Vec::new();
        for record in self.records.iter().filter(|record| record.number >= cut) {
            rest.extend_from_slice(self.bytes(record, 0));
        }
        if let Some(last) = self.spares.last_mut() {
            last.length = rest.len();
            last.bytes = rest.into_boxed_slice();
        }
    }

    fn bytes(&self, record: &RecordRef, skip: usize) -> &[u8] {
        let spare = self.spares.get(record.spare).map(Shard::used);
        spare
            .and_then(|bytes| bytes.get(record.start + skip..record.end))
            .unwrap_or_default()
    }
}

fn index_records(bytes: &[u8], spare: usize, records: &mut Vec<RecordRef>) {
    let mut start = 0;
    while let Some((header, _)) = bytes
        .get(start..)
        .and_then(|rest| rest.split_first_chunk::<HEADER>())
    {
        let [l0, l1, l2, l3, class, number @ ..] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        records.push(RecordRef {
            number: u64::from_le_bytes(number),
            class: RecordClass::from_byte(class),
            spare,
            start,
            end: start + length,
        });
        start += length.max(HEADER);
    }
}

/// The worker's way to sleep, wake and report.
impl IngestBuffer {
    pub(crate) fn attach_worker(&self) {
        // A second worker never exists; the first one stays attached.
        drop(self.worker.set(thread::current()));
    }

    /// Sleeps until a record arrives or the time has passed, unless a record numbered `cut` or later is there.
    pub(crate) fn park_until_work(&self, cut: u64, timeout: Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.next_number() == cut
            && !self.is_closed()
            && !self.urgent.swap(false, Ordering::SeqCst)
        {
            thread::park_timeout(timeout);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Rests while records gather, unless someone is in a hurry.
    pub(crate) fn park_batch(&self, timeout: Duration) {
        if !self.urgent.swap(false, Ordering::SeqCst) && !self.is_closed() {
            thread::park_timeout(timeout);
        }
    }

    /// Rests for all of this time, whoever is in a hurry, unless the log is shut down.
    pub(crate) fn back_off(&self, time: Duration) {
        let begun = Instant::now();
        while !self.is_closed() {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Whether someone waits for the worker or a shard is half full.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) || self.is_closed()
    }

    pub(crate) fn report_drained(&self, drained_through: u64, failed: bool) {
        let mut drained = lock(&self.drained);
        drained.drained_through = drained_through;
        drained.failures += u64::from(failed);
        drained.failing = failed;
        drop(drained);
        self.drained_changed.notify_all();
    }

    /// Ends the log where its thread cannot go on. What waits in the buffer is dropped and counted, and so is all that
    /// comes from now on.
    pub(crate) fn abort(&self, why: &'static str) {
        // There is one thread that breaks off, and it does so once.
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

    pub(crate) fn report_finished(&self) {
        lock(&self.drained).finished = true;
        self.drained_changed.notify_all();
        lock(&self.acks).clear();
        self.room_freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{Barrier, Mutex, atomic::AtomicBool},
        thread,
    };

    use super::*;

    fn push(buffer: &IngestBuffer, class: RecordClass, text: &str) -> Result<(), PushError> {
        buffer.push(class, |room| room.bytes(text.as_bytes()))
    }

    /// What a turn up to everything that was pushed so far gives.
    fn drained(drain: &mut Drain, buffer: &IngestBuffer, cut: u64) -> Vec<String> {
        drain.take_records(buffer, cut);
        drain
            .records_below_cut()
            .map(|(_, record)| String::from_utf8(record.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn what_happened_before_comes_before_whichever_threads_it_happened_on() {
        const EACH: u64 = 2000;
        let buffer = IngestBuffer::new(0, 1 << 20);
        let mut drain = Drain::new(&buffer);
        let (turn, done) = (Mutex::new(0_u64), AtomicBool::new(false));
        let mut all = Vec::new();
        thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            // Each push happens after the one before it, on whichever thread that was.
                            let mut next = lock(&turn);
                            push(&buffer, RecordClass::Other, &next.to_string()).unwrap();
                            *next += 1;
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                for writer in writers {
                    writer.join().unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            loop {
                let last = done.load(Ordering::SeqCst);
                all.extend(drained(&mut drain, &buffer, buffer.next_number()));
                if last {
                    break;
                }
            }
        });
        let expected: Vec<String> = (0..8 * EACH).map(|number| number.to_string()).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn records_above_the_cut_wait_for_their_turn() {
        let buffer = IngestBuffer::new(0, 1000);
        let mut drain = Drain::new(&buffer);
        for text in ["a", "b", "c", "d", "e"] {
            push(&buffer, RecordClass::Other, text).unwrap();
        }
        assert_eq!(drained(&mut drain, &buffer, 2), ["a", "b"]);
        assert_eq!(drained(&mut drain, &buffer, 2), [""; 0]);
        push(&buffer, RecordClass::Other, "f").unwrap();
        assert_eq!(drained(&mut drain, &buffer, 4), ["c", "d"]);
        assert_eq!(drained(&mut drain, &buffer, 6), ["e", "f"]);
        assert_eq!(drained(&mut drain, &buffer, 6), [""; 0]);
    }

    #[test]
    fn starts_yield_to_ends_and_ends_to_notes() {
        let buffer = IngestBuffer::new(0, SHARDS * 160);
        let fill = |class| {
            (0..10_000)
                .take_while(|_| push(&buffer, class, "x").is_ok())
                .count()
        };
        assert_eq!(fill(RecordClass::Start), SHARDS * 110);
        assert_eq!(fill(RecordClass::Other), 0);
        assert_eq!(fill(RecordClass::End), SHARDS * 40);
        assert_eq!(fill(RecordClass::Internal), SHARDS * 10);
        assert_eq!(
            buffer.dropped(),
            Dropped {
                starts: 1,
                ends: 1,
                other: 1
            }
        );
        let mut drain = Drain::new(&buffer);
        assert_eq!(
            drained(&mut drain, &buffer, buffer.next_number()).len(),
            SHARDS * 160
        );
        assert_eq!(
            fill(RecordClass::Start),
            SHARDS * 110,
            "a drained spare has room again"
        );
    }

    #[test]
    fn each_turn_of_the_worker_makes_room_in_a_full_buffer() {
        let buffer = IngestBuffer::new(0, SHARDS * 160);
        let mut drain = Drain::new(&buffer);
        for _ in 0..3 {
            let taken = (0..10_000)
                .take_while(|_| push(&buffer, RecordClass::Start, "x").is_ok())
                .count();
            assert_eq!(taken, SHARDS * 110);
            assert_eq!(push(&buffer, RecordClass::Start, "x"), Err(PushError::Full));
            assert_eq!(
                push(&buffer, RecordClass::End, "x"),
                Ok(()),
                "of the room for ends"
            );
            drain.take_records(&buffer, buffer.next_number());
        }
    }

    #[test]
    fn what_is_too_large_for_the_room_that_is_left_does_not_make_the_buffer_full() {
        let buffer = IngestBuffer::new(0, 1 << 20);
        let large = "x".repeat(100_000);
        while push(&buffer, RecordClass::Start, &large).is_ok() {}
        assert_eq!(
            push(&buffer, RecordClass::Start, &large),
            Err(PushError::Full)
        );
        assert_eq!(push(&buffer, RecordClass::Start, "x"), Ok(()));
    }

    #[test]
    fn bytes_are_bounded_as_events_are() {
        let buffer = IngestBuffer::new(0, 1 << 20);
        let text = "x".repeat(100_000);
        // 352 KiB of each shard are for starts: three records.
        let taken = (0..10_000)
            .take_while(|_| push(&buffer, RecordClass::Start, &text).is_ok())
            .count();
        assert_eq!(taken, SHARDS * 3);
        assert_eq!(push(&buffer, RecordClass::End, &text), Ok(()));
    }

    #[test]
    fn a_writer_that_panics_leaves_no_half_record() {
        let buffer = IngestBuffer::new(0, 1000);
        push(&buffer, RecordClass::Other, "before").unwrap();
        let write = |room: &mut WriteBuf<'_>| {
            room.bytes(b"half")?;
            panic!("the writer of a test panics");
        };
        assert!(catch_unwind(AssertUnwindSafe(|| buffer.push(RecordClass::Other, write))).is_err());
        thread::scope(|scope| {
            for _ in 0..SHARDS {
                scope.spawn(|| push(&buffer, RecordClass::Other, "after").unwrap());
            }
        });
        let mut drain = Drain::new(&buffer);
        let mut expected = vec!["after"; SHARDS];
        expected.insert(0, "before");
        assert_eq!(drained(&mut drain, &buffer, buffer.next_number()), expected);
        assert_eq!(buffer.dropped(), Dropped::default());
    }

    #[test]
    fn a_push_does_not_wait_for_writers_that_hold_every_shard_but_is_counted() {
        let buffer = IngestBuffer::new(0, 1000);
        // Everyone meets here twice: when all shards are held, and when they may be left.
        let meeting = Barrier::new(SHARDS + 1);
        thread::scope(|scope| {
            for _ in 0..SHARDS {
                scope.spawn(|| {
                    let write = |room: &mut WriteBuf<'_>| {
                        meeting.wait();
                        meeting.wait();
                        room.bytes(b"held")
                    };
                    buffer.push(RecordClass::Other, write).unwrap();
                });
            }
            meeting.wait();
            assert_eq!(
                push(&buffer, RecordClass::Other, "refused"),
                Err(PushError::Full)
            );
            meeting.wait();
        });
        push(&buffer, RecordClass::Other, "taken").unwrap();
        let mut drain = Drain::new(&buffer);
        let mut expected = vec!["held"; SHARDS];
        expected.push("taken");
        assert_eq!(drained(&mut drain, &buffer, buffer.next_number()), expected);
        assert_eq!(buffer.dropped().other, 1);
    }

    #[test]
    fn a_closed_buffer_takes_nothing_and_counts_nothing() {
        let buffer = IngestBuffer::new(0, 1000);
        buffer.close();
        assert_eq!(
            push(&buffer, RecordClass::Start, "x"),
            Err(PushError::Closed)
        );
        assert_eq!(
            (buffer.next_number(), buffer.dropped()),
            (0, Dropped::default())
        );
    }

    #[test]
    fn a_caller_who_gives_up_leaves_nothing_behind() {
        let buffer = IngestBuffer::new(0, 1000);
        let (one, mut two) = (buffer.pending_ack(), buffer.pending_ack());
        drop(one);
        let id = EventId::new(
            "k3x9q2a7".parse().unwrap(),
            crate::wire::id::Sequence::new(1),
        );
        buffer.resolve_ack(two.number, Some(id));
        assert_eq!(lock(&buffer.acks).len(), 0);
        assert_eq!(two.receiver.try_recv(), Ok(id));
    }
}
