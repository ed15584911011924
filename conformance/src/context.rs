//! What a check gets: stores to try, faults to cause, and the steps done so far.

use std::{fmt, sync::Arc, time::Duration};

use livespan::{EventStore, Retention};

use crate::{
    handle::Handle,
    location::Place,
    random::Random,
    report::{Broken, Outcome, Trail},
};

/// One promise that the suite checks.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: fn(&Stage<'_>) -> Outcome,
}

impl Check {
    /// Returns the name, by which it is [run alone](crate::Suite::run_only) or [left out](crate::Suite::without).
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns what the store promises.
    pub fn promise(&self) -> &'static str {
        self.promise
    }
}

/// What a store must be like for a promise to concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// It keeps what is appended.
    Events,
    /// What it keeps outlives the handle.
    Storage,
    /// One log alone appends to it.
    OneWriter,
    /// Several append to it.
    ManyWriters,
    /// It can be followed.
    Followers,
    /// It can be made to fail.
    Faults,
    /// It keeps nothing.
    Oblivion,
}

/// What goes wrong in a store, at the wish of the suite (see [`Suite::faults`](crate::Suite::faults)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Every append from now on fails and is not kept, such as on a full disk.
    RefuseAppends,
    /// The next append fails halfway through its batch, and all works again. Nothing of it is kept.
    BreakAppend,
    /// The next append is kept, but fails all the same, such as when a connection breaks before the answer comes; then
    /// all works again. It concerns stores that [follow](livespan::EventStore::shared_log).
    LoseAnswer,
    /// Nothing: all works again.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    Storage,
    Handle,
    Nothing,
}

type Open = dyn Fn(&Place) -> Arc<dyn EventStore> + Send + Sync;
type Inject = dyn Fn(&Place, Fault) -> bool + Send + Sync;

/// How stores are made, and what is asked of them.
pub(crate) struct Setup {
    pub(crate) open: Box<Open>,
    /// How a handle is made that only follows.
    pub(crate) follower: Option<Box<Open>>,
    pub(crate) inject: Option<Box<Inject>>,
    pub(crate) keeping: Keeping,
    /// Checks that are left out, and why.
    pub(crate) without: Vec<(&'static str, &'static str)>,
    pub(crate) seed: u64,
    pub(crate) histories: usize,
    pub(crate) patience: Duration,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("keeping", &self.keeping)
            .field("without", &self.without)
            .field("seed", &self.seed)
            .field("histories", &self.histories)
            .finish_non_exhaustive()
    }
}

impl Setup {
    pub(crate) fn skips(&self, name: &str) -> bool {
        self.without.iter().any(|(without, _)| *without == name)
    }
}

/// What a check gets: stores, and the steps done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'a> {
    setup: &'a Setup,
    trail: &'a Trail,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(setup: &'a Setup, trail: &'a Trail) -> Self {
        Self { setup, trail }
    }

    /// The same stage with steps of its own.
    pub(crate) fn with_trail<'b>(&'b self, trail: &'b Trail) -> Stage<'b>
    where
        'a: 'b,
    {
        Stage {
            setup: self.setup,
            trail,
        }
    }

    pub(crate) fn trail(&self) -> &Trail {
        self.trail
    }

    pub(crate) fn random(&self) -> Random {
        Random::new(self.setup.seed)
    }

    pub(crate) fn histories(&self) -> usize {
        self.setup.histories
    }

    pub(crate) fn place(&self) -> Outcome<Place> {
        self.place_with(Retention::default())
    }

    pub(crate) fn place_with(&self, retention: Retention) -> Outcome<Place> {
        self.trail.note(format!("a new place with {retention:?}"));
        Place::new(retention).map_err(|error| {
            Broken::new(
                "there is a folder for the store",
                "a new folder",
                error.to_string(),
            )
        })
    }

    pub(crate) fn open(&self, place: &Place) -> Outcome<Handle> {
        self.open_labelled(place, String::new())
    }

    /// One of several handles.
    pub(crate) fn open_as(&self, place: &Place, label: &str) -> Outcome<Handle> {
        self.open_labelled(place, format!("{label}: "))
    }

    /// A handle that follows what another appends.
    pub(crate) fn open_follower(&self, place: &Place, label: &str) -> Outcome<Handle> {
        let open = self.setup.follower.as_ref().unwrap_or(&self.setup.open);
        let label = format!("{label}: ");
        Handle::open(open(place), self.trail, label, self.setup.patience)
    }

    fn open_labelled(&self, place: &Place, label: String) -> Outcome<Handle> {
        let store = (self.setup.open)(place);
        Handle::open(store, self.trail, label, self.setup.patience)
    }

    /// Makes the store fail, or work again; whether it can.
    pub(crate) fn inject(&self, place: &Place, fault: Fault) -> bool {
        let injected = self
            .setup
            .inject
            .as_ref()
            .is_some_and(|inject| inject(place, fault));
        if injected {
            self.trail.note(format!("inject {fault:?}"));
        }
        injected
    }

    pub(crate) fn reopens(&self) -> bool {
        self.setup.keeping == Keeping::Storage
    }

    pub(crate) fn skips(&self, name: &str) -> bool {
        self.setup.skips(name)
    }

    /// Whether a promise with these needs concerns the stores.
    pub(crate) fn meets(&self, needs: Needs) -> Outcome<bool> {
        let keeps = self.setup.keeping != Keeping::Nothing;
        Ok(match needs {
            Needs::Nothing => true,
            Needs::Events => keeps,
            Needs::Storage => self.reopens(),
            Needs::OneWriter => keeps && !self.follows()?,
            Needs::ManyWriters => keeps && self.follows()?,
            Needs::Followers => keeps && (self.setup.follower.is_some() || self.follows()?),
            Needs::Faults => keeps && self.setup.inject.is_some(),
            Needs::Oblivion => !keeps,
        })
    }

    pub(crate) fn follows(&self) -> Outcome<bool> {
        let place = self.place()?;
        let store = (self.setup.open)(&place);
        Ok(store.shared_log().is_some())
    }
}
