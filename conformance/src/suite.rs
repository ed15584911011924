//! The suite as its users see it: how a store is made, what it is not asked for, and the run.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use livespan::EventStore;

use crate::{
    checks::CHECKS,
    context::{Check, Fault, Keeping, Setup, Stage},
    location::Place,
    report::{Broken, Trail},
};

/// The seed of the random histories, unless another is [set](Suite::seed).
pub const DEFAULT_SEED: u64 = 20_261_122;
/// How long something is awaited, unless another time is [set](Suite::patience).
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// How many random histories are tried, unless another number is [set](Suite::histories).
pub const DEFAULT_HISTORIES: usize = 24;

/// Checks every promise of [`EventStore`] on the stores that `open` makes: it is [`Suite::new`] and [`Suite::run`] in
/// one, for a store whose log is still there when it is opened again.
///
/// # Panics
/// When a promise is broken. The message says which, what was expected, what came, what led there, and the seed.
pub fn conformance<S: EventStore>(open: impl Fn(&Place) -> S + Send + Sync + 'static) {
    Suite::new(open).run();
}

/// The checks, for stores that are made in one way. See the [crate] for an example.
#[must_use]
#[derive(Debug)]
pub struct Suite(Setup);

impl Suite {
    /// Makes the suite for stores that `open` makes. It is called once for each handle, with a new [`Place`] for a log
    /// that is not there yet, and with the same place for one that is; it must not call [`EventStore::open`].
    pub fn new<S: EventStore>(open: impl Fn(&Place) -> S + Send + Sync + 'static) -> Self {
        Self(Setup {
            open: Box::new(move |place| Arc::new(open(place))),
            follower: None,
            inject: None,
            keeping: Keeping::Storage,
            without: Vec::new(),
            seed: DEFAULT_SEED,
            histories: DEFAULT_HISTORIES,
            patience: DEFAULT_PATIENCE,
        })
    }

    /// Says that the log goes with its handle, as in memory: nothing is opened again.
    pub fn volatile(self) -> Self {
        Self(Setup {
            keeping: Keeping::Handle,
            ..self.0
        })
    }

    /// Says that nothing that is appended can be read from the store.
    pub fn keeping_nothing(self) -> Self {
        Self(Setup {
            keeping: Keeping::Nothing,
            ..self.0
        })
    }

    /// Opens handles that only follow what the one writer appends, for a store that is
    /// [followed](livespan::EventStore::shared_log) by handles of another kind than those that append.
    pub fn followers<S: EventStore>(
        self,
        open: impl Fn(&Place) -> S + Send + Sync + 'static,
    ) -> Self {
        Self(Setup {
            follower: Some(Box::new(move |place| Arc::new(open(place)))),
            ..self.0
        })
    }

    /// Lets the suite make the stores at a place fail: `inject` returns whether it can cause that fault. It is called
    /// while handles at the place are open.
    pub fn faults(self, inject: impl Fn(&Place, Fault) -> bool + Send + Sync + 'static) -> Self {
        Self(Setup {
            inject: Some(Box::new(inject)),
            ..self.0
        })
    }

    /// Leaves out one check, such as that of retention for a store that keeps everything, and why.
    ///
    /// # Panics
    /// When there is no check of this name.
    pub fn without(mut self, name: &'static str, reason: &'static str) -> Self {
        let check = find(name);
        self.0.without.push((check.name, reason));
        self
    }

    /// Says that the store keeps what [must be kept only once](livespan::store::BatchRecord::is_deduplicated) as often as
    /// it is appended: a workflow that is replayed over it is then shown again.
    pub fn keeping_repeats(self) -> Self {
        let once = CHECKS
            .iter()
            .filter(|check| check.name.starts_with("keeps_once"));
        let reason = "the store promises nothing of the kind";
        let without = once.map(|check| (check.name, reason));
        let mut setup = self.0;
        setup.without.extend(without);
        Self(setup)
    }

    /// Draws the random histories from this seed instead of [`DEFAULT_SEED`].
    pub fn seed(self, seed: u64) -> Self {
        Self(Setup { seed, ..self.0 })
    }

    /// Tries this many random histories instead of [`DEFAULT_HISTORIES`].
    pub fn histories(self, histories: usize) -> Self {
        Self(Setup {
            histories,
            ..self.0
        })
    }

    /// Waits at most this long for an answer, for retention, or for news, instead of [`DEFAULT_PATIENCE`]. A store that
    /// keeps its promises makes no one wait for it.
    pub fn patience(self, patience: Duration) -> Self {
        Self(Setup { patience, ..self.0 })
    }

    /// Returns every check, in the order in which they run.
    pub fn checks() -> &'static [Check] {
        CHECKS
    }

    /// Runs every check that concerns such a store.
    ///
    /// # Panics
    /// When a promise is broken; the message has all that are.
    pub fn run(&self) {
        let broken: Vec<String> = CHECKS
            .iter()
            .filter(|check| !self.0.skips(check.name))
            .filter_map(|check| self.try_check(check))
            .collect();
        self.report(&broken);
    }

    /// Runs one check alone, if it concerns such a store.
    ///
    /// # Panics
    /// When the promise is broken, or when there is no check of this name.
    pub fn run_only(&self, name: &str) {
        let broken: Vec<String> = self.try_check(find(name)).into_iter().collect();
        self.report(&broken);
    }

    fn report(&self, broken: &[String]) {
        if !broken.is_empty() {
            let count = broken.len();
            let broken = broken.join("\n");
            panic!(
                "the event store breaks {count} of its promises (seed {})\n\n{broken}",
                self.0.seed
            );
        }
    }

    /// What to tell of a check; `None` when the promise is kept or does not concern the store.
    fn try_check(&self, check: &Check) -> Option<String> {
        let trail = Trail::default();
        let stage = Stage::new(&self.0, &trail);
        let run = || {
            if stage.meets(check.needs)? {
                (check.run)(&stage)
            } else {
                Ok(())
            }
        };
        let broken = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return None,
            Ok(Err(broken)) => broken,
            Err(panic) => Broken::new("a store never panics", "no panic", message(&*panic)),
        };
        Some(format!(
            "{}: {}\n{}",
            check.name,
            check.promise,
            broken.after(&trail).show()
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
