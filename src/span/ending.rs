//! Finds out how a span ends, in the call that ends it: plainly, or because of a panic. The SDK does not tell a
//! processor, but it calls the processor on the thread that ends the span. This code runs on the host's threads: it
//! never waits and never panics, and costs an ordinary end two loads.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    thread,
};

/// How a span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The program ended it, or dropped it.
    Plain,
    /// A panic ends it.
    Panicked,
}

/// What is known of a panic. These texts are not bounded here: the code that makes them bounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanicDetails {
    pub(crate) message: Option<String>,
    /// File, line and column.
    pub(crate) location: Option<String>,
    /// The name of its thread.
    pub(crate) thread: Option<String>,
}

/// A panic that was caught ends the span: this thread does not unwind.
const ENDS_PANICKED: u8 = 1;
/// `PANIC` holds a panic.
const HAS_DETAILS: u8 = 2;

thread_local! {
    /// The flags above. Every end reads them, because they are cheaper to read than the details.
    static FLAGS: Cell<u8> = const { Cell::new(0) };
    /// The newest panic of this thread.
    static PANIC: RefCell<Option<Arc<PanicDetails>>> = const { RefCell::new(None) };
}

/// Returns how a span ends. Call it on the thread that ends the span, while it ends.
#[inline]
pub(crate) fn current() -> Ending {
    if thread::panicking() || FLAGS.get() != 0 {
        unusual()
    } else {
        Ending::Plain
    }
}

#[cold]
fn unusual() -> Ending {
    if thread::panicking() || FLAGS.get() & ENDS_PANICKED != 0 {
        return Ending::Panicked;
    }
    // The details are of a panic that was caught. They must not be taken for those of a later one.
    replace_details(None);
    Ending::Plain
}

/// Returns what is known of the panic that ends spans on this thread.
pub(crate) fn panic_details() -> Option<Arc<PanicDetails>> {
    // It is borrowed for a clone or a swap only. A thread whose thread-locals are gone knows nothing.
    PANIC
        .try_with(|panic| panic.try_borrow().ok()?.clone())
        .ok()
        .flatten()
}

/// Keeps what is known of the panic that begins on this thread.
pub(crate) fn note_panic(panic: PanicDetails) {
    replace_details(Some(Arc::new(panic)));
}

/// Calls `end`. Every span that ends in it ends because of this panic, which was caught before.
pub(crate) fn as_panicked<T>(panic: Option<Arc<PanicDetails>>, end: impl FnOnce() -> T) -> T {
    let _restore = Restore {
        flags: FLAGS.get(),
        details: replace_details(panic),
    };
    FLAGS.set(FLAGS.get() | ENDS_PANICKED);
    end()
}

/// Restores the thread's flags and details when it is dropped, also by a panic.
struct Restore {
    flags: u8,
    details: Option<Arc<PanicDetails>>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        replace_details(self.details.take());
        FLAGS.set(self.flags);
    }
}

/// Sets the newest panic of this thread, and returns the one before.
fn replace_details(panic: Option<Arc<PanicDetails>>) -> Option<Arc<PanicDetails>> {
    let others = FLAGS.get() & !HAS_DETAILS;
    FLAGS.set(if panic.is_some() {
        others | HAS_DETAILS
    } else {
        others
    });
    PANIC
        .try_with(|slot| {
            slot.try_borrow_mut()
                .ok()
                .and_then(|mut slot| std::mem::replace(&mut *slot, panic))
        })
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn details(message: &str) -> Arc<PanicDetails> {
        Arc::new(PanicDetails {
            message: Some(message.to_owned()),
            ..PanicDetails::default()
        })
    }

    /// Looks at the ending while it is dropped.
    struct EndingProbe<'a>(&'a Cell<Ending>);

    impl Drop for EndingProbe<'_> {
        fn drop(&mut self) {
            self.0.set(current());
        }
    }

    #[test]
    fn a_span_that_ends_while_its_thread_unwinds_is_panicked() {
        let seen = Cell::new(Ending::Plain);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _probe = EndingProbe(&seen);
            panic!("out of luck");
        }));
        assert!(unwound.is_err());
        assert_eq!((seen.get(), current()), (Ending::Panicked, Ending::Plain));
    }

    #[test]
    fn a_caught_panic_ends_what_is_ended_for_it_and_nothing_after_it() {
        let inside = as_panicked(Some(details("one")), || {
            let nested = as_panicked(Some(details("two")), || panic_details().unwrap());
            (current(), panic_details().unwrap(), nested)
        });
        assert_eq!(inside, (Ending::Panicked, details("one"), details("two")));
        assert_eq!((current(), panic_details()), (Ending::Plain, None));
    }

    #[test]
    fn details_of_a_caught_panic_are_forgotten_at_the_next_end() {
        replace_details(Some(details("caught")));
        assert_eq!((current(), panic_details()), (Ending::Plain, None));
    }
}
