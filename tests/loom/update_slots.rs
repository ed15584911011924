//! Models how changes of an open span reach the worker. Each change is reported once, by the worker
//! or at the end of the span, and the worker never sleeps while a change waits.

use std::{mem, time::Duration};

use loom::{sync::Arc, thread};

use crate::{
    ingest::buffer::{Drain, IngestBuffer, RecordClass, TurnResult},
    span::updates::slot::{NoteResult, UpdateSlot},
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
    fn note(&self) {
        let noted = self.slot.note(|changes| {
            changes.0 += 1;
            true
        });
        match noted {
            NoteResult::Queued => {}
            NoteResult::MustQueue => {
                self.queue.lock().push(Arc::clone(&self.slot));
                self.buffer.announce();
            }
            other => panic!("{other:?}"),
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
                let changes = slot.take().0;
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
            shared.note();
            shared.note();
            let rest = shared.slot.end().0;
            let pushed = shared
                .buffer
                .push(RecordClass::End, |buf| buf.put_slice(b"end"));
            assert_eq!(pushed, Ok(()));
            rest
        })
    };
    let worker = thread::spawn(move || shared.work());
    assert_eq!(host.join().unwrap() + worker.join().unwrap(), 2);
}

/// Only the change itself wakes the worker.
pub(crate) fn the_worker_does_not_sleep_over_a_change() {
    let shared = Shared::new();
    let host = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || shared.note())
    };
    let worker = thread::spawn(move || {
        shared.buffer.attach_worker();
        loop {
            let queued = mem::take(&mut *shared.queue.lock());
            let cut = shared.buffer.next_number();
            if let Some(slot) = queued.first() {
                return slot.take().0;
            }
            if shared.queue.lock().is_empty() {
                shared.buffer.park_until_record(cut, LONG);
            }
        }
    });
    host.join().unwrap();
    assert_eq!(worker.join().unwrap(), 1);
}
