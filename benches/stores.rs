//! The cost of `SqliteEventStore`, compared with a bare loop that does the same job in the same run with the same
//! settings.
//!
//! Run it with `cargo bench -p livespan-benches --bench stores`. Names after `--` choose among `append`, `normal`,
//! `short`, `one`, `bound`, `read`, `replay` and `open`. The sides of a comparison take turns in rounds, and medians
//! are printed: compare the ratios, not the rates. Files are created in `LIVESPAN_BENCH_DIR`, or else in the temporary
//! directory.

#[path = "measure/app.rs"]
mod app;
mod measure;
#[path = "stores/replay.rs"]
mod replay;
#[path = "stores/sqlite.rs"]
mod sqlite;

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

fn main() {
    let scratch = Scratch::new();
    sqlite::run(&scratch.0);
}

/// A directory that is deleted at the end of the run.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let base =
            std::env::var_os("LIVESPAN_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = base.join(format!("livespan-bench-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory can be made");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory can be removed");
    }
}

pub(crate) fn file_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread on a future, with the smallest possible executor.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
