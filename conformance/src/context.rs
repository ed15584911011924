//! The environment of one check: stores to open, faults to inject, and the log of its steps. It does not depend on any
//! check or on a kind of store. Each check gets a context of its own.

use std::{fmt, sync::Arc, time::Duration};

use fastrand::Rng;
use livespan::{EventStore, Retention};

use crate::{
    handle::Handle,
    location::StoreLocation,
    report::{Outcome, StepLog, Violation},
};

/// One promise that the suite checks.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) requires: Requires,
    pub(crate) run: fn(&CheckContext<'_>) -> Outcome,
}

impl Check {
    /// Returns the name by which the check can be [run alone](crate::Suite::run_only) or
    /// [skipped](crate::Suite::skip_check).
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the text of the promise.
    pub fn promise(&self) -> &'static str {
        self.promise
    }
}

/// The property that a store needs for a check to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requires {
    Nothing,
    /// The store keeps the events that are appended.
    Events,
    /// The events outlive the handle.
    Persistence,
    /// Exactly one log appends to the store.
    OneWriter,
    /// Several logs append to the store.
    ManyWriters,
    /// Handles can wait for the events that others append.
    Followers,
    /// The suite can make the store fail.
    Faults,
    /// The store keeps no events.
    NothingStored,
}

/// A fault that the suite causes in a store (see [`Suite::faults`](crate::Suite::faults)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Every append from now on fails, and none of its events is kept, as on a full disk.
    RefuseAppends,
    /// The next append fails halfway through its batch, and none of its events is kept. Later appends succeed.
    BreakAppend,
    /// The next append is kept, but returns an error, as when a connection breaks before the answer arrives. Later
    /// appends succeed. This concerns only stores with a [shared log](livespan::EventStore::shared_log).
    LoseAnswer,
    /// No fault: the store works again.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// A log that is opened again still has its events.
    Persistent,
    /// The log is lost when its handle is dropped.
    Handle,
    /// Appended events cannot be read.
    WriteOnly,
}

type Open = dyn Fn(&StoreLocation) -> Arc<dyn EventStore> + Send + Sync;
type Inject = dyn Fn(&StoreLocation, Fault) -> bool + Send + Sync;

/// The settings of a suite.
pub(crate) struct Setup {
    pub(crate) open: Box<Open>,
    /// Makes a store that only follows the events of another writer.
    pub(crate) follower: Option<Box<Open>>,
    pub(crate) inject: Option<Box<Inject>>,
    pub(crate) lifetime: Lifetime,
    /// Whether the store evicts events in groups, so that it may exceed its bounds between two evictions.
    pub(crate) evicts_in_lumps: bool,
    /// The skipped checks, each with its reason.
    pub(crate) skipped: Vec<(&'static str, &'static str)>,
    pub(crate) seed: u64,
    pub(crate) histories: usize,
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("lifetime", &self.lifetime)
            .field("skipped", &self.skipped)
            .field("seed", &self.seed)
            .field("histories", &self.histories)
            .finish_non_exhaustive()
    }
}

impl Setup {
    pub(crate) fn skips(&self, name: &str) -> bool {
        self.skipped.iter().any(|(skipped, _)| *skipped == name)
    }
}

/// The stores of one check, and its steps so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckContext<'a> {
    setup: &'a Setup,
    step_log: &'a StepLog,
}

impl<'a> CheckContext<'a> {
    /// The number of events that a store may keep beyond twice its bound if it evicts in groups.
    const LUMP_EVENTS: usize = 256;
    /// The number of bytes that a store may keep beyond twice its bound if it evicts in groups.
    const LUMP_BYTES: usize = 64 * 1024;

    pub(crate) fn new(setup: &'a Setup, step_log: &'a StepLog) -> Self {
        Self { setup, step_log }
    }

    /// Returns the same context with a separate log of steps.
    pub(crate) fn with_step_log<'b>(&'b self, step_log: &'b StepLog) -> CheckContext<'b>
    where
        'a: 'b,
    {
        CheckContext {
            setup: self.setup,
            step_log,
        }
    }

    pub(crate) fn step_log(&self) -> &StepLog {
        self.step_log
    }

    pub(crate) fn random(&self) -> Rng {
        Rng::with_seed(self.setup.seed)
    }

    pub(crate) fn histories(&self) -> usize {
        self.setup.histories
    }

    pub(crate) fn location(&self) -> Outcome<StoreLocation> {
        self.location_with(Retention::default())
    }

    pub(crate) fn location_with(&self, retention: Retention) -> Outcome<StoreLocation> {
        self.step_log
            .note(format!("a new location with {retention:?}"));
        StoreLocation::new(retention).map_err(|error| {
            Violation::new(
                "there is a folder for the store",
                "a new folder",
                error.to_string(),
            )
        })
    }

    pub(crate) fn open(&self, location: &StoreLocation) -> Outcome<Handle> {
        self.open_labelled(location, String::new())
    }

    /// Opens one of several handles; `label` names it in the steps.
    pub(crate) fn open_as(&self, location: &StoreLocation, label: &str) -> Outcome<Handle> {
        self.open_labelled(location, format!("{label}: "))
    }

    /// Opens a handle that follows the events that another handle appends.
    pub(crate) fn open_follower(&self, location: &StoreLocation, label: &str) -> Outcome<Handle> {
        let open = self.setup.follower.as_ref().unwrap_or(&self.setup.open);
        let label = format!("{label}: ");
        Handle::open(open(location), self.step_log, label, self.setup.timeout)
    }

    fn open_labelled(&self, location: &StoreLocation, label: String) -> Outcome<Handle> {
        let store = (self.setup.open)(location);
        Handle::open(store, self.step_log, label, self.setup.timeout)
    }

    /// Tries to inject the fault. Returns whether it was injected.
    pub(crate) fn inject(&self, location: &StoreLocation, fault: Fault) -> bool {
        let injected = self
            .setup
            .inject
            .as_ref()
            .is_some_and(|inject| inject(location, fault));
        if injected {
            self.step_log.note(format!("inject {fault:?}"));
        }
        injected
    }

    /// Returns how many events a store may keep if retention allows `max`.
    pub(crate) fn most_events(&self, max: usize) -> usize {
        if self.setup.evicts_in_lumps {
            2 * max + Self::LUMP_EVENTS
        } else {
            max
        }
    }

    /// Returns how many payload bytes a store may keep if retention allows `max`.
    pub(crate) fn most_bytes(&self, max: usize) -> usize {
        if self.setup.evicts_in_lumps {
            2 * max + Self::LUMP_BYTES
        } else {
            max
        }
    }

    pub(crate) fn reopens(&self) -> bool {
        self.setup.lifetime == Lifetime::Persistent
    }

    pub(crate) fn skips(&self, name: &str) -> bool {
        self.setup.skips(name)
    }

    /// Returns whether the stores meet this requirement.
    pub(crate) fn meets(&self, requires: Requires) -> Outcome<bool> {
        let keeps = self.setup.lifetime != Lifetime::WriteOnly;
        Ok(match requires {
            Requires::Nothing => true,
            Requires::Events => keeps,
            Requires::Persistence => self.reopens(),
            Requires::OneWriter => keeps && !self.follows()?,
            Requires::ManyWriters => keeps && self.follows()?,
            Requires::Followers => keeps && (self.setup.follower.is_some() || self.follows()?),
            Requires::Faults => keeps && self.setup.inject.is_some(),
            Requires::NothingStored => !keeps,
        })
    }

    pub(crate) fn follows(&self) -> Outcome<bool> {
        let location = self.location()?;
        let store = (self.setup.open)(&location);
        Ok(store.shared_log().is_some())
    }
}
