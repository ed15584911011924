//! Models how changes of an open span reach the worker. Each change is reported once, by the worker
//! or at the end of the span, and the worker never sleeps while a change waits.

use std::{mem, time::Duration};

use loom::{sync::Arc, thread};

use crate::{
    ingest::buffer::{Drain, IngestBuffer, RecordClass, TurnResult},
    span::updates::{
        changes::Changes,
        slot::{NoteResult, UpdateSlot},
    },
    util::sync::SpinMutex,
};

const LONG: Duration = Duration::from_secs(3600);

struct Shared {
    buffer: IngestBuffer,
    /// The queue, with a single list.
    queue: SpinMutex<Vec<Arc<UpdateSlot>>>,
    slot: Arc<UpdateSlot>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            buffer: IngestBuffer::new(0, 128),
            queue: SpinMutex::new(Vec::new()),
            slot: Arc::new(UpdateSlot::new([1; 16], [1; 8], 0)),
        })
    }

    /// Notes a change as the crate's own queue does.
    fn note(&self) -> NoteResult {
        let noted = self.slot.note(|changes| {
            changes.0 += 1;
            true
        });
        if noted == NoteResult::MustQueue {
            self.push();
        }
        noted
    }

    fn push(&self) {
        self.queue.lock().push(Arc::clone(&self.slot));
        self.buffer.announce();
    }

    /// Ends the span as the crate does. Returns the number of changes that were pending, or `None` if the
    /// lock of the slot stayed taken.
    fn end(&self) -> Option<usize> {
        let pending = self.slot.end();
        if pending.is_none() {
            self.push();
        }
        pending.map(|changes| changes.0)
    }

    /// Notes a change of a span that has not ended. Returns the number of changes that were noted: none
    /// if the lock of the slot stayed taken.
    fn note_open(&self) -> usize {
        match self.note() {
            NoteResult::Queued | NoteResult::MustQueue => 1,
            NoteResult::Dropped => 0,
            NoteResult::Ended => panic!("the span has not ended"),
        }
    }

    /// Runs like the worker, until it has read the record of the span's end. Returns the number of
    /// changes that it reported before that.
    fn work(&self) -> usize {
        self.buffer.attach_worker();
        let mut drain = Drain::new(&self.buffer);
        let mut reported = 0;
        loop {
            let queued = mem::take(&mut *self.queue.lock());
            let cut = self.buffer.next_number();
            drain.take_records(&self.buffer, cut);
            let has_ended = drain.records_below_cut().next().is_some();
            for slot in queued {
                let changes = slot.take().map_or(0, |changes| changes.0);
                assert!(!has_ended || changes == 0, "a change after the end");
                reported += changes;
            }
            self.buffer.report_drained(cut, TurnResult::default());
            if has_ended {
                self.buffer.report_finished();
                return reported;
            }
            if self.queue.lock().is_empty() {
                self.buffer.park_until_record(cut, LONG);
            }
        }
    }
}

/// The thread of the span changes it twice and ends it.
pub(crate) fn each_change_is_reported_once_and_before_the_end() {
    let shared = Shared::new();
    let host = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let noted = shared.note_open() + shared.note_open();
            let rest = shared.end();
            let pushed = shared
                .buffer
                .push(RecordClass::End, |buf| buf.put_slice(b"end"));
            assert_eq!(pushed, Ok(()));
            (noted, rest)
        })
    };
    let worker = thread::spawn(move || shared.work());
    let reported = worker.join().unwrap();
    match host.join().unwrap() {
        (noted, Some(rest)) => assert_eq!(reported + rest, noted),
        // The worker held the lock at the end. It took all changes before the end, or counts the rest as lost.
        (noted, None) => assert!(reported <= noted),
    }
}

/// Only the change itself wakes the worker.
pub(crate) fn the_worker_does_not_sleep_over_a_change() {
    let shared = Shared::new();
    let host = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || assert_eq!(shared.note_open(), 1))
    };
    let worker = thread::spawn(move || {
        shared.buffer.attach_worker();
        loop {
            let queued = mem::take(&mut *shared.queue.lock());
            let cut = shared.buffer.next_number();
            if let Some(slot) = queued.first() {
                return slot.take();
            }
            if shared.queue.lock().is_empty() {
                shared.buffer.park_until_record(cut, LONG);
            }
        }
    });
    host.join().unwrap();
    assert_eq!(worker.join().unwrap(), Some(Changes(1)));
}

/// The span ends while another thread changes it, and may hold the lock of the slot. Each change that
/// was noted is taken by the end, or by the worker before the end, or is counted as lost.
pub(crate) fn changes_lost_at_a_concurrent_end_are_counted() {
    let shared = Shared::new();
    let changing = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || shared.note())
    };
    let pending = shared.end();
    let noted = changing.join().unwrap();
    let mut queued = mem::take(&mut *shared.queue.lock()).into_iter();
    let taken = queued.next().map(|slot| slot.take());
    for slot in queued {
        assert_eq!(slot.take(), Some(Changes(0)));
    }
    match noted {
        NoteResult::Ended | NoteResult::Dropped => assert_ne!(pending, Some(1)),
        _ if pending == Some(1) => assert_eq!(taken, Some(Some(Changes(0)))),
        _ => assert_eq!(taken, Some(None)),
    }
}
