//! What the durable stores cost, beside a bare loop that does the same job in the same run with the same settings.
//!
//! `cargo bench --features sqlite,testing --bench stores`. Cases are interleaved in rounds, and medians are printed: compare the
//! ratios, not the rates. Names after `--` choose among `append`, `normal`, `short`, `one`, `bound`, `read` and `open`.
//! Files are made in the temporary directory, or in `LIVESPAN_BENCH_DIR`.

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

/// A directory that goes when the run ends.
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

/// Whether this case is asked for: all are when none is named.
pub(crate) fn is_wanted(case: &str) -> bool {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    named.is_empty() || named.iter().any(|name| name == case)
}

pub(crate) fn file_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the medians of two loops and what share of the bare one's rate the store reaches.
pub(crate) fn compare(what: &str, unit: &str, bare: Vec<f64>, store: Vec<f64>) {
    let (bare, store) = (median(bare), median(store));
    let share = 100.0 * store / bare;
    println!("{what}: bare {bare:.0} {unit}, store {store:.0} {unit}, {share:.0} %");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future as the smallest executor would.
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
