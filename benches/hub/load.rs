//! The events of every load, and the servers that deliver them.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use http::{HeaderMap, Uri};
use livespan::{
    EventStore as _, LiveSpans, MemoryEventStore, Retention, SpanEvent, SpanId, SseEvent as _,
    TraceId,
    span::{SpanKind, SpanStatus},
    sse::{Sequence, SseBody, SseTarget, Subscribe},
    store::Batch,
};

use crate::{
    app,
    clients::LAST,
    measure::PATIENCE,
    raw::{self, Feed},
};

/// Number of events between two flushes. It is low enough that no event is dropped.
const BURST: usize = 20_000;
/// Number of different events. They belong to traces of 50 events each.
const EVENTS: u32 = 1_000;
const EVENTS_PER_TRACE: u32 = 50;

/// The server between the worker and the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Raw,
    Ours,
    /// Our router, in an app served by axum.
    Router,
}

/// A log of spans and its server.
pub(crate) struct Served {
    pub(crate) live: LiveSpans,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Returns the name of the thread that writes to the sockets.
    pub(crate) fn sender(self) -> &'static str {
        match self {
            Self::Raw => raw::THREAD,
            Self::Ours => "livespan-http",
            Self::Router => app::THREAD,
        }
    }

    pub(crate) fn serve(self) -> Served {
        self.serve_store(store())
    }

    pub(crate) fn serve_store(self, store: MemoryEventStore) -> Served {
        let live = LiveSpans::builder()
            .store(store)
            .build()
            .expect("livespan did not start");
        let address = match self {
            Self::Raw => {
                let live = live.clone();
                raw::serve(move || body(&live))
            }
            Self::Ours => live
                .serve_in_background("127.0.0.1:0")
                .expect("the server does not listen")
                .local_addr(),
            Self::Router => app::serve_app(axum::Router::new().merge(live.router())),
        };
        Served { live, address }
    }
}

/// Serves one log in two ways: through the raw hub, and through our server. Returns both addresses.
pub(crate) fn serve_beside_raw(live: &LiveSpans) -> (SocketAddr, SocketAddr) {
    let ours = live
        .serve_in_background("127.0.0.1:0")
        .expect("the server does not listen");
    let live = live.clone();
    (raw::serve(move || body(&live)), ours.local_addr())
}

impl Served {
    /// Shuts the log down, which ends its server.
    pub(crate) fn end(self) {
        self.live.shutdown().expect("the shutdown failed");
    }
}

/// Receives a load and serves it to clients: our spans and server, our log alone in an app served by axum, or a raw
/// hub without a log. For a raw hub, the thread that makes an event also encodes it.
pub(crate) enum Hub {
    Ours(Served),
    Log {
        target: SseTarget<SpanEvent>,
        address: SocketAddr,
    },
    Raw {
        feed: Feed,
        address: SocketAddr,
    },
}

impl Hub {
    pub(crate) fn ours() -> Self {
        Self::Ours(Peer::Ours.serve())
    }

    /// Starts the log without the span layer: no trace index, no redaction.
    pub(crate) fn log() -> Self {
        let target = SseTarget::builder()
            .store(store())
            .build()
            .expect("the log did not start");
        let address = app::serve_log(target.clone());
        Self::Log { target, address }
    }

    pub(crate) fn raw() -> Self {
        let (address, feed) = raw::serve_fed();
        Self::Raw { feed, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(served) => served.address,
            Self::Log { address, .. } | Self::Raw { address, .. } => *address,
        }
    }

    /// Sends an event. `number` is the event's id on a raw hub.
    pub(crate) fn send(&self, number: u32, event: &SpanEvent) {
        match self {
            Self::Ours(served) => dispatch_one(served.live.target(), event),
            Self::Log { target, .. } => dispatch_one(target, event),
            Self::Raw { feed, .. } => feed.write(|out| {
                let head = format!("event: {}\nid: {number}\ndata: ", event.name());
                out.extend_from_slice(head.as_bytes());
                event.encode(out);
                out.extend_from_slice(b"\n\n");
            }),
        }
    }

    pub(crate) fn end(self) {
        match self {
            Self::Ours(served) => served.end(),
            Self::Log { target, .. } => target.shutdown(PATIENCE).expect("the shutdown failed"),
            Self::Raw { .. } => {}
        }
    }
}

fn dispatch_one(target: &SseTarget<SpanEvent>, event: &SpanEvent) {
    // On a busy machine the worker may not get to run before the buffer is full.
    while target.try_dispatch(event).is_err() {
        target.flush(PATIENCE).expect("the flush failed");
    }
}

/// Calls `send` with the numbers from 0 to `events` - 1, `rate` of them a second. Each `group` of numbers is due
/// together.
pub(crate) fn pace(events: u32, rate: u32, group: u32, mut send: impl FnMut(u32)) {
    let begun = Instant::now();
    for number in 0..events {
        if number.is_multiple_of(group) {
            let due = begun + Duration::from_secs(1) * number / rate;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                thread::park_timeout(left);
            }
        }
        send(number);
    }
}

/// Returns a stream of all events, from the oldest on.
fn body(live: &LiveSpans) -> SseBody {
    live.target()
        .respond(
            Subscribe::all(),
            &HeaderMap::new(),
            &Uri::from_static("/sse"),
        )
        .into_body()
}

/// Returns a store that retains every event of a load.
pub(crate) fn store() -> MemoryEventStore {
    let retention = Retention::default()
        .events(10_000_000)
        .bytes(4 * 1024 * 1024 * 1024);
    MemoryEventStore::with_retention(retention)
}

pub(crate) fn trace_id(number: u32) -> TraceId {
    TraceId::from_bytes((u128::from(number) + 1).to_be_bytes()).expect("the id is zero")
}

pub(crate) fn span_id(number: u32) -> SpanId {
    SpanId::from_bytes((u64::from(number) + 1).to_be_bytes()).expect("the id is zero")
}

/// Returns an event of about 300 bytes of JSON.
pub(crate) fn event(number: u32) -> SpanEvent {
    let span = number / 2;
    let trace = trace_id(number / EVENTS_PER_TRACE);
    let event = if number.is_multiple_of(2) {
        SpanEvent::started(trace, span_id(span), "GET /orders/{id}/items")
    } else {
        SpanEvent::ended(trace, span_id(span), "GET /orders/{id}", SpanStatus::Unset)
    };
    let root = span_id(number / EVENTS_PER_TRACE * EVENTS_PER_TRACE / 2);
    event
        .parent(root)
        .kind(SpanKind::Client)
        .service("shop")
        .scope("shop::orders")
}

/// The batches in which a log's events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// In batches of a thousand events.
    Bursts,
    /// In batches of one event.
    Singly,
    /// In batches of a thousand events, with all traces interleaved.
    Mixed,
}

impl Filling {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bursts => "in bursts",
            Self::Singly => "one at a time",
            Self::Mixed => "traces mixed",
        }
    }

    fn batch(self) -> u32 {
        match self {
            Self::Bursts | Self::Mixed => 1_000,
            Self::Singly => 1,
        }
    }

    /// Returns the trace of the event with this number, counted from 0, in a log of a million events.
    pub(crate) fn trace_of(self, number: u32) -> u32 {
        match self {
            Self::Bursts | Self::Singly => number / EVENTS_PER_TRACE,
            Self::Mixed => number % (1_000_000 / EVENTS_PER_TRACE),
        }
    }
}

/// Returns a store with this many events. The last of them is [`last`].
pub(crate) fn filled(events: u32, filling: Filling) -> MemoryEventStore {
    let store = store();
    let mut next = 0;
    while next < events {
        let mut batch = Batch::default();
        let first = Sequence::new(u64::from(next) + 1);
        for number in next..events.min(next + filling.batch()) {
            let mut payload = Vec::new();
            let event = if number + 1 == events {
                last()
            } else {
                event(number)
            };
            event.encode(&mut payload);
            let key = trace_id(filling.trace_of(number)).stream_key();
            batch.add(event.name(), Some(key), event.pin(), &payload);
        }
        store.append(first, &batch).expect("the append failed");
        next += filling.batch();
    }
    store
}

/// Returns different events, which a load dispatches again and again.
pub(crate) fn events() -> Vec<SpanEvent> {
    (0..EVENTS).map(event).collect()
}

/// Returns the event that ends a load.
pub(crate) fn last() -> SpanEvent {
    SpanEvent::started(trace_id(0), span_id(0), LAST)
}

/// Dispatches this many events as fast as the log accepts them, and then [`last`].
pub(crate) fn dispatch(live: &LiveSpans, count: usize) {
    let events = events();
    for (number, event) in events.iter().cycle().take(count).enumerate() {
        if number.is_multiple_of(BURST) {
            live.target().flush(PATIENCE).expect("the flush failed");
        }
        live.target()
            .try_dispatch(event)
            .expect("the buffer is full");
    }
    live.target()
        .try_dispatch(&last())
        .expect("the buffer is full");
}
