//! The spans that each thread has entered, and a small cache of spans that it entered before, so that a poll needs no
//! look-up in the registry. Only the thread itself uses them. The watcher reads the thread's name and its tokio
//! runtime.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, Weak},
    thread,
};

use tokio::runtime::{Handle, Id as RuntimeId};

use crate::{
    otel::tasks::span_polls::SpanPolls,
    span::updates::PollCounters,
    util::sync::{lock, thread_number},
};

/// Number of places in the cache of a thread. The id of a span determines its place.
const CACHE_PLACES: usize = 32;
/// Upper bound on the spans that a thread has entered and not exited. Spans nested more deeply are not counted.
const DEPTH_MAX: usize = 256;

/// The data of a thread that the watcher reads.
#[derive(Debug)]
pub(super) struct WatchedThread {
    pub(super) number: u32,
    pub(super) name: Arc<str>,
    /// The tokio runtime in which the thread last entered a span that was new to the thread.
    runtime: Mutex<Option<Handle>>,
}

impl WatchedThread {
    pub(super) fn runtime(&self) -> Option<Handle> {
        lock(&self.runtime).clone()
    }
}

/// The threads that entered spans. Each thread is added once, even if layers are dropped and created.
static THREADS: Mutex<Vec<Weak<WatchedThread>>> = Mutex::new(Vec::new());

/// Returns the threads that entered spans and still run.
pub(super) fn running_threads() -> Vec<Arc<WatchedThread>> {
    let mut threads = lock(&THREADS);
    threads.retain(|thread| thread.strong_count() > 0);
    threads.iter().filter_map(Weak::upgrade).collect()
}

fn add_this_thread() -> Arc<WatchedThread> {
    let thread = Arc::new(WatchedThread {
        number: u32::try_from(thread_number()).unwrap_or(u32::MAX),
        name: Arc::from(thread::current().name().unwrap_or("unnamed")),
        runtime: Mutex::new(None),
    });
    lock(&THREADS).push(Arc::downgrade(&thread));
    thread
}

/// The key of a span in the cache: the layer's number and the span's id. Ids are unique only within one registry, and
/// each layer belongs to one registry.
type CacheKey = (u32, u64);

struct EnteredSpan {
    key: CacheKey,
    polls: Arc<SpanPolls>,
    /// The counters of `polls`, so that a poll finds them with one load.
    counters: Arc<PollCounters>,
    /// Whether a span that was entered before this one has already been exited.
    is_left: bool,
}

impl EnteredSpan {
    fn new(key: CacheKey, polls: &Arc<SpanPolls>) -> Self {
        Self {
            key,
            polls: Arc::clone(polls),
            counters: Arc::clone(&polls.counters),
            is_left: false,
        }
    }
}

/// The spans that a thread has entered.
struct Entered {
    /// `None` before the first span.
    thread: Option<Arc<WatchedThread>>,
    /// The thread's number.
    number: u32,
    runtime: Option<RuntimeId>,
    /// The entered spans, the outermost first, followed by the spans that were exited last. Most spans are entered
    /// again at the same depth, so they are found there.
    stack: Vec<EnteredSpan>,
    /// The number of entered spans in `stack`.
    depth: usize,
    cache: [Option<(CacheKey, Arc<SpanPolls>)>; CACHE_PLACES],
}

thread_local! {
    static ENTERED: RefCell<Entered> = const {
        RefCell::new(Entered {
            thread: None,
            number: 0,
            runtime: None,
            stack: Vec::new(),
            depth: 0,
            cache: [const { None }; CACHE_PLACES],
        })
    };
}

/// Enters a span that this thread entered recently. Returns `false` if the thread does not know the span.
#[inline]
pub(super) fn enter_known(key: CacheKey, now: u64) -> bool {
    with(|entered| match entered.stack.get(entered.depth) {
        Some(last) if last.key == key && last.counters.begin(now, entered.number) => {
            entered.depth += 1;
            true
        }
        _ => entered.enter_cached(key, now),
    })
    // The result is also `true` while the thread ends, or if this call is nested in another one: then there is nothing
    // to do.
    .unwrap_or(true)
}

/// Enters a span that is new to this thread.
pub(super) fn enter(key: CacheKey, polls: Arc<SpanPolls>, now: u64) {
    let runtime = Handle::try_current().ok();
    with(|entered| {
        entered.note_thread(runtime);
        polls.counters.note_first(now);
        entered.push(EnteredSpan::new(key, &polls), now);
        if let Some(place) = entered.cache.get_mut(place_of(key)) {
            *place = Some((key, polls));
        }
    });
}

impl Entered {
    #[inline(never)]
    fn enter_cached(&mut self, key: CacheKey, now: u64) -> bool {
        let Some(Some((known, polls))) = self.cache.get(place_of(key)) else {
            return false;
        };
        if *known != key || polls.counters.is_closed() {
            return false;
        }
        let span = EnteredSpan::new(key, polls);
        self.push(span, now);
        true
    }

    fn push(&mut self, span: EnteredSpan, now: u64) {
        // A thread that enters a span has a handle of it, so the span is open.
        if self.depth >= DEPTH_MAX || !span.counters.begin(now, self.number) {
            return;
        }
        match self.stack.get_mut(self.depth) {
            Some(exited) => *exited = span,
            None => self.stack.push(span),
        }
        self.depth += 1;
    }

    fn note_thread(&mut self, runtime: Option<Handle>) {
        let thread = self.thread.get_or_insert_with(add_this_thread);
        self.number = thread.number;
        let id = runtime.as_ref().map(Handle::id);
        if id.is_some() && id != self.runtime {
            self.runtime = id;
            *lock(&thread.runtime) = runtime;
        }
    }

    /// Exits a span that is not the innermost entered one.
    #[cold]
    #[inline(never)]
    fn exit_below(&mut self, key: CacheKey, now: u64, mut left: impl FnMut(&Arc<SpanPolls>)) {
        let entered = self.stack.get_mut(..self.depth).unwrap_or_default();
        let Some(place) = entered.iter().rposition(|span| span.key == key) else {
            return;
        };
        let exited = self.stack.remove(place);
        self.depth -= 1;
        if !exited.is_left {
            let inner = self.stack.get_mut(place..self.depth).unwrap_or_default();
            for span in inner {
                span.is_left = true;
                left(&span.polls);
            }
        }
        exited.counters.end(now);
    }

    /// Forgets a closed span, unless it is still entered.
    fn forget(&mut self, key: CacheKey) {
        if let Some(place) = self.cache.get_mut(place_of(key))
            && place.as_ref().is_some_and(|(known, _)| *known == key)
        {
            *place = None;
        }
        let exited = self.stack.get(self.depth..).unwrap_or_default();
        if let Some(place) = exited.iter().position(|span| span.key == key) {
            self.stack.truncate(self.depth + place);
        }
    }
}

/// Exits a span. Calls `left` with each span that was entered after this one and is still entered, unless this span was
/// itself passed to `left` before.
#[inline]
pub(super) fn exit(key: CacheKey, now: u64, left: impl FnMut(&Arc<SpanPolls>)) {
    with(|entered| {
        let above = entered.depth.wrapping_sub(1);
        match entered.stack.get_mut(above) {
            Some(last) if last.key == key => {
                last.counters.end(now);
                last.is_left = false;
                entered.depth = above;
            }
            _ => entered.exit_below(key, now, left),
        }
    });
}

/// Forgets a closed span, so that this thread does not keep it alive.
pub(super) fn forget(key: CacheKey) {
    with(|entered| entered.forget(key));
}

/// Returns the result of `act`. Returns `None` while this thread ends, or within another call of this function.
#[inline]
fn with<T>(act: impl FnOnce(&mut Entered) -> T) -> Option<T> {
    ENTERED
        .try_with(|entered| {
            entered
                .try_borrow_mut()
                .ok()
                .map(|mut entered| act(&mut entered))
        })
        .ok()
        .flatten()
}

#[inline]
fn place_of((layer, id): CacheKey) -> usize {
    // Registries number spans from 1, with the thread's number in the upper bits.
    let mixed = id ^ (id >> 32) ^ u64::from(layer);
    usize::try_from(mixed % CACHE_PLACES as u64).unwrap_or(0)
}
