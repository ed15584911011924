//! A `tracing` subscriber that forwards to two others: the program's and ours. The program's
//! subscriber gets everything except events with an explicit parent. The forwarding subscriber is
//! the default of a test's thread, and of each thread while the thread is inside a span of the
//! test. All of this runs on the threads of tests.
//!
//! Each of the two subscribers has its own span ids. A span's id here is ours; `ids` maps it to the
//! program's. A registry closes a span's parent through the thread's default subscriber. So the
//! default must be the one that issued the ids.

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
    /// The program's span ids, by our ids.
    ids: DashMap<u64, Id>,
    own: OnceLock<WeakDispatch>,
}

thread_local! {
    /// The number of running calls on this thread that `tracing` has made through the thread's
    /// default. During such a call the default cannot be changed.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The spans that this thread is inside. Each has a guard if entering it changed the thread's
    /// default.
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

/// Returns a subscriber that forwards to both, to be the default of a thread.
pub(super) fn both(ours: &Dispatch, theirs: Dispatch) -> Dispatch {
    Dispatch::new(BothSubscribers {
        ours: ours.clone(),
        theirs,
        ids: DashMap::default(),
        own: OnceLock::new(),
    })
}

/// Calls `act`, with this subscriber as the default if the default can be changed now.
fn with_default<R>(dispatch: Option<&Dispatch>, act: impl FnOnce() -> R) -> R {
    let guard = dispatch
        .filter(|_| is_default_free())
        .map(dispatcher::set_default);
    let result = act();
    drop(guard);
    result
}

/// Returns whether the default can be changed. During a call through any default subscriber,
/// `tracing` reports [`NoSubscriber`] as the default.
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

    /// Each of the two subscribers is also registered on its own, so `tracing` knows its maximum
    /// level already.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let _through = ThroughDefault::new();
        // Both must be asked, because per-layer filters store their answer for the next call.
        let by_ours = self.ours.enabled(metadata);
        self.theirs.enabled(metadata) || by_ours
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let _through = ThroughDefault::new();
        // Per-layer filters store this answer for `new_span`. The answer is ignored here: even a
        // span that our subscriber does not show needs an id from it.
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
        // An explicit parent has another id in the program's subscriber, and an event's parent
        // cannot be replaced. So the program does not get such an event.
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
