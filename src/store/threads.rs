//! Starts the threads of stores. Like the log's own threads, they suppress telemetry first, so that the observer never
//! observes itself.

use std::{any::Any, cell::RefCell, sync::Arc};

#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::{
    error::Error,
    util::sync::thread::{self, JoinHandle},
};

/// A hook that runs on each thread of the log before anything else. Its result is dropped when the thread ends.
pub(crate) type OnThread = Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>;

thread_local! {
    /// The hook for threads that this thread starts.
    static ON_THREAD: RefCell<Option<OnThread>> = const { RefCell::new(None) };
}

/// Runs `open`, which opens a store. The threads that the store starts meanwhile run `on_thread` first.
pub(crate) fn with_thread_hook<R>(on_thread: &OnThread, open: impl FnOnce() -> R) -> R {
    /// Clears the hook, even after a panic, so that no other store gets it.
    struct ClearHook;

    impl Drop for ClearHook {
        fn drop(&mut self) {
            ON_THREAD.with(RefCell::take);
        }
    }

    ON_THREAD.with(|hook| hook.replace(Some(Arc::clone(on_thread))));
    let _clear = ClearHook;
    open()
}

/// Starts a thread of a store that is being opened.
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub(crate) fn spawn_store_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let on_thread = ON_THREAD.with(|hook| hook.borrow().clone());
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = on_thread.map(|on_thread| on_thread());
            run();
        })
        .map_err(|error| Error::io(format!("start the {name} thread"), error))
}
