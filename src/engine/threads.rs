//! Starts the threads of a log. Each is named, and each runs what the layer above wants to run on it first.

use std::{any::Any, sync::Arc};

use crate::{error::Error, util::sync::thread};

/// A hook that runs on each thread of the log before anything else. Its result lives as long as the thread.
pub(crate) type OnThread = Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>;

/// Starts a thread of the log. Its handle is not kept: what waits for such a thread must be able to give up when the
/// store hangs.
pub(crate) fn spawn_log_thread(
    name: &str,
    on_thread: &OnThread,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let on_thread = Arc::clone(on_thread);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = on_thread();
            run();
        })
        .map(drop)
        .map_err(|error| Error::io(format!("start the {name} thread"), error))
}
