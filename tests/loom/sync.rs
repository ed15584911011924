//! Replaces [`crate::util::sync`] in loom's model. Time never passes in the model. A thread that is
//! never woken waits for ever, and loom reports that.

#[path = "../../src/util/sync/locks.rs"]
mod locks;
#[path = "../models/spin.rs"]
mod spin;

pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

pub(crate) use self::{
    locks::{catch_panic, lock, read, write},
    spin::SpinMutex,
};
pub(crate) use std::time::Instant;

/// A counter for statics. They outlive a run of the model, so loom must not track them.
pub(crate) type StaticCounter = std::sync::atomic::AtomicU64;

/// Returns `SIZE` zeros.
pub(crate) fn zeros<const SIZE: usize>() -> Box<[atomic::AtomicU64]> {
    (0..SIZE).map(|_| atomic::AtomicU64::new(0)).collect()
}

/// Returns the same number for all threads, so that they compete for the same shard.
pub(crate) fn thread_number() -> usize {
    0
}

/// Parking with a token and a condition variable. Loom's own `unpark` would wake a thread from any
/// kind of wait.
pub(crate) mod thread {
    use std::time::Duration;

    use loom::{
        sync::{Arc, Condvar, Mutex},
        thread::ThreadId,
    };

    loom::thread_local! {
        static CURRENT: Thread = Thread {
            id: loom::thread::current().id(),
            token: Arc::default(),
        };
    }

    #[derive(Clone, Debug)]
    pub(crate) struct Thread {
        id: ThreadId,
        token: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Thread {
        pub(crate) fn id(&self) -> ThreadId {
            self.id
        }

        pub(crate) fn unpark(&self) {
            let (token, changed) = &*self.token;
            *super::lock(token) = true;
            changed.notify_one();
        }
    }

    pub(crate) fn current() -> Thread {
        CURRENT.with(Thread::clone)
    }

    pub(crate) fn park_timeout(_time: Duration) {
        let current = current();
        let (token, changed) = &*current.token;
        let mut is_there = super::lock(token);
        while !*is_there {
            is_there = changed.wait(is_there).unwrap();
        }
        *is_there = false;
    }
}

/// Loom's atomics. Loom treats `SeqCst` as `AcqRel`, so a `SeqCst` load or store is a
/// read-modify-write here. Such a load reads the latest value in the atomic's modification order. If
/// an atomic is used with `SeqCst` only, this is as strong as `SeqCst`, and otherwise weaker.
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;

    macro_rules! atomic {
        ($name:ident, $value:ty, $unchanged:ident, $nothing:expr) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    match order {
                        Ordering::SeqCst => self.0.$unchanged($nothing, Ordering::AcqRel),
                        order => self.0.load(order),
                    }
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    match order {
                        Ordering::SeqCst => drop(self.0.swap(value, Ordering::AcqRel)),
                        order => self.0.store(value, order),
                    }
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, success, failure)
                }
            }
        };
    }

    atomic!(AtomicBool, bool, fetch_or, false);
    atomic!(AtomicU32, u32, fetch_add, 0);
    atomic!(AtomicU64, u64, fetch_add, 0);
    atomic!(AtomicUsize, usize, fetch_add, 0);

    impl AtomicU64 {
        pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_max(value, order)
        }
    }

    impl AtomicU32 {
        pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_sub(value, order)
        }

        pub(crate) fn fetch_or(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_or(value, order)
        }
    }

    impl AtomicUsize {
        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_sub(value, order)
        }
    }
}
