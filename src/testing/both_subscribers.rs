//! A `tracing` subscriber that hands everything to two: that of the program, whose output stays as it is, and ours. It is
//! the default of a test's thread, and of each thread while it is inside a span of the test. It runs on the threads of
//! tests.
//!
//! Each of the two has ids of its own. A span is known by ours, and has that of the program beside it. A registry closes
//! the parent of a span at whatever subscriber is the thread's default; so that must be the one whose ids these are.

use std::{
    cell::{Cell, RefCell},
    sync::OnceLock,
};

use dashmap::DashMap;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::{self, DefaultGuard, WeakDispatch},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::{Interest, NoSubscriber},
};
use tracing_core::span::Current;

/// Both subscribers.
#[derive(Debug)]
pub(super) struct BothSubscribers {
    ours: Dispatch,
    theirs: Dispatch,
    /// The ids of their spans by ours.
    ids: DashMap<u64, Id>,
    own: OnceLock<WeakDispatch>,
}

thread_local! {
    /// Calls of this thread that `tracing` has made through its default. Meanwhile the default cannot be changed.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Spans that this thread is inside, each with what had to be made its default for that.
    static ENTERED: RefCell<Vec<(u64, Option<DefaultGuard>)>> = const { RefCell::new(Vec::new()) };
}

/// Counts a call through the default.
struct ThroughDefault;

impl ThroughDefault {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for ThroughDefault {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Returns the subscriber for both, as the default of a thread.
pub(super) fn both(ours: &Dispatch, theirs: Dispatch) -> Dispatch {
    Dispatch::new(BothSubscribers {
        ours: ours.clone(),
        theirs,
        ids: DashMap::default(),
        own: OnceLock::new(),
    })
}

/// Makes this the default while it acts, unless that cannot be done now.
fn with_default<R>(dispatch: Option<&Dispatch>, act: impl FnOnce() -> R) -> R {
    let guard = dispatch
        .filter(|_| is_default_free())
        .map(dispatcher::set_default);
    let result = act();
    drop(guard);
    result
}

/// Within a call through the default of any subscriber, `tracing` pretends that there is none.
fn is_default_free() -> bool {
    DEPTH.get() == 0 && !dispatcher::get_default(Dispatch::is::<NoSubscriber>)
}

impl BothSubscribers {
    fn own(&self) -> Option<Dispatch> {
        self.own.get()?.upgrade()
    }

    fn theirs_of(&self, span: &Id) -> Option<Id> {
        self.ids.get(&span.into_u64()).map(|id| id.clone())
    }

    fn new_span_of_theirs(&self, attrs: &Attributes<'_>) -> Id {
        let Some(parent) = attrs.parent() else {
            return self.theirs.new_span(attrs);
        };
        let (metadata, values) = (attrs.metadata(), attrs.values());
        let attrs = match self.theirs_of(parent) {
            Some(parent) => Attributes::child_of(parent, metadata, values),
            None => Attributes::new_root(metadata, values),
        };
        self.theirs.new_span(&attrs)
    }
}

impl Subscriber for BothSubscribers {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _is_first = self.own.set(subscriber.downgrade()).is_ok();
    }

    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    /// The levels of both count already, because each of the two is registered by itself.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let _through = ThroughDefault::new();
        // Both are asked: filters of single layers remember their answer for the call that comes next.
        let by_ours = self.ours.enabled(metadata);
        self.theirs.enabled(metadata) || by_ours
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let _through = ThroughDefault::new();
        // A span that we do not show has an id all the same.
        self.ours.enabled(span.metadata());
        let id = self.ours.new_span(span);
        if self.theirs.enabled(span.metadata()) {
            self.ids
                .insert(id.into_u64(), self.new_span_of_theirs(span));
        }
        id
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.ours.record(span, values);
        if let Some(theirs) = self.theirs_of(span) {
            self.theirs.record(&theirs, values);
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.ours.record_follows_from(span, follows);
        if let Some((span, follows)) = self.theirs_of(span).zip(self.theirs_of(follows)) {
            self.theirs.record_follows_from(&span, &follows);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let _through = ThroughDefault::new();
        if self.ours.enabled(event.metadata()) {
            self.ours.event(event);
        }
        // The parent that an event names has another id there, and an event cannot be made anew.
        if event.parent().is_none() && self.theirs.enabled(event.metadata()) {
            self.theirs.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        let is_default = dispatcher::get_default(Dispatch::is::<Self>);
        let own = self.own().filter(|_| !is_default && DEPTH.get() == 0);
        let guard = own.as_ref().map(dispatcher::set_default);
        let entered = (span.into_u64(), guard);
        ENTERED
            .try_with(|all| all.borrow_mut().push(entered))
            .unwrap_or_default();
        self.ours.enter(span);
        if let Some(theirs) = self.theirs_of(span) {
            self.theirs.enter(&theirs);
        }
    }

    fn exit(&self, span: &Id) {
        self.ours.exit(span);
        if let Some(theirs) = self.theirs_of(span) {
            self.theirs.exit(&theirs);
        }
        let guard = ENTERED.try_with(|all| {
            let mut all = all.borrow_mut();
            let at = all.iter().rposition(|(id, _)| *id == span.into_u64())?;
            Some(all.remove(at))
        });
        drop(guard);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.ours.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        let own = self.own();
        let is_closed = with_default(own.as_ref(), || self.ours.try_close(id.clone()));
        if is_closed && let Some((_, theirs)) = self.ids.remove(&id.into_u64()) {
            with_default(Some(&self.theirs), || self.theirs.try_close(theirs));
        }
        is_closed
    }

    fn current_span(&self) -> Current {
        self.ours.current_span()
    }
}
