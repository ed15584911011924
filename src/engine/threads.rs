//! Starts the threads of a log. Each has a name, and first runs the setup of the layer above.

use std::sync::Arc;

pub(crate) use crate::store::threads::OnThread;
use crate::{error::Error, util::sync::thread};

/// Starts a thread of the log. Its handle is not kept: callers that wait for the thread must be able to give up when
/// the store hangs.
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
