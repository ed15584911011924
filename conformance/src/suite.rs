//! The public interface of the suite: its settings and its run. It runs on the thread of the test, and panics to report
//! a broken promise or an unknown name of a check.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use livespan::EventStore;

use crate::{
    checks::CHECKS,
    context::{Check, CheckContext, Fault, Lifetime, Setup},
    location::StoreLocation,
    report::{StepLog, Violation},
};

/// Checks the promises of [`EventStore`] on the stores that `open` makes. It combines [`Suite::new`] and
/// [`Suite::run`]. Use it for a persistent store: the log must still exist when it is opened again.
///
/// # Panics
/// Panics if the store breaks a promise. The message contains the promise, the expected value, the actual one, the steps,
/// and the seed.
pub fn conformance<S: EventStore>(open: impl Fn(&StoreLocation) -> S + Send + Sync + 'static) {
    Suite::new(open).run();
}

/// A run of the checks, with its settings. See the [crate] for an example.
#[must_use]
#[derive(Debug)]
pub struct Suite(Setup);

impl Suite {
    /// Default seed of the random histories.
    pub const DEFAULT_SEED: u64 = 20_261_122;
    /// Default bound on each wait of a check: 60 seconds.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default number of random histories: 24.
    pub const DEFAULT_HISTORIES: usize = 24;

    /// Creates the suite for the stores that `open` makes. The suite calls `open` with a new [`StoreLocation`] for
    /// a new log, and with the same location to open a log again. `open` must not call [`EventStore::open`].
    pub fn new<S: EventStore>(open: impl Fn(&StoreLocation) -> S + Send + Sync + 'static) -> Self {
        Self(Setup {
            open: Box::new(move |location| Arc::new(open(location))),
            follower: None,
            inject: None,
            lifetime: Lifetime::Persistent,
            evicts_in_lumps: false,
            skipped: Vec::new(),
            seed: Self::DEFAULT_SEED,
            histories: Self::DEFAULT_HISTORIES,
            timeout: Self::DEFAULT_TIMEOUT,
        })
    }

    /// States that the log is lost when its handle is dropped, as in memory. The suite then skips the checks
    /// that reopen a log.
    pub fn volatile(self) -> Self {
        Self(Setup {
            lifetime: Lifetime::Handle,
            ..self.0
        })
    }

    /// States that appended events cannot be read from the store.
    pub fn write_only(self) -> Self {
        Self(Setup {
            lifetime: Lifetime::WriteOnly,
            ..self.0
        })
    }

    /// States that the store evicts many events at once. In between, it may keep twice as many events and bytes as
    /// retention allows, plus 256 events and 64 KiB.
    pub fn evicts_in_lumps(self) -> Self {
        Self(Setup {
            evicts_in_lumps: true,
            ..self.0
        })
    }

    /// Sets the function that opens followers: handles that only read the events of the single writer. Use it for
    /// a store whose [followers](livespan::EventStore::shared_log) are not the same kind of handle as its writer.
    pub fn followers<S: EventStore>(
        self,
        open: impl Fn(&StoreLocation) -> S + Send + Sync + 'static,
    ) -> Self {
        Self(Setup {
            follower: Some(Box::new(move |location| Arc::new(open(location)))),
            ..self.0
        })
    }

    /// Lets the suite inject faults into the stores at a location. `inject` causes the fault and returns `true`, or
    /// returns `false` when it cannot. The suite calls it while handles at the location are open.
    pub fn faults(
        self,
        inject: impl Fn(&StoreLocation, Fault) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Setup {
            inject: Some(Box::new(inject)),
            ..self.0
        })
    }

    /// Skips one check, for the reason given; for example, a store that keeps everything skips the checks of retention.
    ///
    /// # Panics
    /// Panics if there is no check of this name.
    pub fn skip_check(mut self, name: &'static str, reason: &'static str) -> Self {
        let check = find(name);
        self.0.skipped.push((check.name, reason));
        self
    }

    /// States that the store does not [deduplicate](livespan::store::BatchRecord::is_deduplicated): it stores an event
    /// as often as it is appended, so a replayed workflow is shown again.
    pub fn without_dedup(self) -> Self {
        let dedup = CHECKS
            .iter()
            .filter(|check| check.name.starts_with("keeps_once"));
        let reason = "the store does not promise deduplication";
        let skipped = dedup.map(|check| (check.name, reason));
        let mut setup = self.0;
        setup.skipped.extend(skipped);
        Self(setup)
    }

    /// Draws the random histories from this seed instead of [`DEFAULT_SEED`](Self::DEFAULT_SEED).
    pub fn seed(self, seed: u64) -> Self {
        Self(Setup { seed, ..self.0 })
    }

    /// Tries this many random histories instead of [`DEFAULT_HISTORIES`](Self::DEFAULT_HISTORIES).
    pub fn histories(self, histories: usize) -> Self {
        Self(Setup {
            histories,
            ..self.0
        })
    }

    /// Waits at most this long for an answer of the store, for its retention, or for new events, instead of
    /// [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT). If the store keeps its promises, the suite never waits this long.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(Setup { timeout, ..self.0 })
    }

    /// Returns every check, in the order in which they run.
    pub fn checks() -> &'static [Check] {
        CHECKS
    }

    /// Runs every check that applies to the store.
    ///
    /// # Panics
    /// Panics if a promise is broken; the message lists all broken promises.
    pub fn run(&self) {
        let violations: Vec<String> = CHECKS
            .iter()
            .filter(|check| !self.0.skips(check.name))
            .filter_map(|check| self.try_check(check))
            .collect();
        self.report(&violations);
    }

    /// Runs one check, if it applies to the store.
    ///
    /// # Panics
    /// Panics if the promise is broken, or if there is no check of this name.
    pub fn run_only(&self, name: &str) {
        let violations: Vec<String> = self.try_check(find(name)).into_iter().collect();
        self.report(&violations);
    }

    fn report(&self, violations: &[String]) {
        if !violations.is_empty() {
            let count = violations.len();
            let violations = violations.join("\n");
            panic!(
                "the event store breaks {count} of its promises (seed {})\n\n{violations}",
                self.0.seed
            );
        }
    }

    /// Runs the check. Returns its report, or `None` if the promise is kept or the check does not apply to the store.
    fn try_check(&self, check: &Check) -> Option<String> {
        let step_log = StepLog::default();
        let context = CheckContext::new(&self.0, &step_log);
        let run = || {
            if context.meets(check.requires)? {
                (check.run)(&context)
            } else {
                Ok(())
            }
        };
        let violation = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return None,
            Ok(Err(violation)) => violation,
            Err(panic) => Violation::new("a store never panics", "no panic", message(&*panic)),
        };
        Some(format!(
            "{}: {}\n{}",
            check.name,
            check.promise,
            violation.after(&step_log).show()
        ))
    }
}

fn find(name: &str) -> &'static Check {
    let found = CHECKS.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| {
        let names: Vec<&str> = CHECKS.iter().map(Check::name).collect();
        panic!("there is no check {name}, but {}", names.join(", "))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
