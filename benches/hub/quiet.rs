//! The cost of readers of quiet traces, in a log where another trace is busy.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::Stream as _;
use livespan::{
    LiveSpans, SpanEvent,
    sse::{ResumePoint, Subscribe, Subscription},
};

use crate::{
    clients::{Clients, Job, TRACE},
    load::{Peer, Served, span_id, trace_id},
    machine::{cpu_of, nanos_each},
    measure::{PATIENCE, median},
};

const TRACES: u32 = 10_000;
const READERS: u32 = 10;
const QUIET_READERS: u32 = 1_000;
/// Events of one measurement. The worker stores and publishes each burst as one batch.
const EVENTS: u32 = 50_000;
const BURST: u32 = 100;
const ROUNDS: usize = 7;
const TARGET: f64 = 1.1;
const WORKER: &str = "livespan";

pub(crate) fn report() {
    let served = Peer::Ours.serve();
    for number in 0..TRACES {
        dispatch(&served.live, number);
    }
    flush(&served.live);
    // The last trace is the busy one.
    let path = format!("/traces/{}/sse?replay=none", trace_id(TRACES));
    let _readers = Clients::connect(served.address, &path, READERS, Job::Hold);
    busy(&served);
    let (mut alone, mut beside, mut ratios) = <(Vec<f64>, Vec<f64>, Vec<f64>)>::default();
    for _ in 0..ROUNDS {
        let bare = busy(&served);
        let path = format!("/traces/{TRACE}/sse?replay=none");
        let quiet = Clients::connect(served.address, &path, QUIET_READERS, Job::Hold);
        let with = busy(&served);
        drop(quiet);
        while served.live.target().subscribers() > READERS as usize {
            std::thread::yield_now();
        }
        alone.push(bare);
        beside.push(with);
        ratios.push(with / bare);
    }
    println!(
        "\nworker, ns an event of the busy trace among {TRACES}, read by {READERS}: {:.0}, and {:.0} with {QUIET_READERS} readers of quiet ones, ratio {:.2}; target {TARGET}",
        median(alone),
        median(beside),
        median(ratios)
    );
    count_wakes(&served.live);
    served.end();
}

fn dispatch(live: &LiveSpans, number: u32) {
    let event = SpanEvent::started(trace_id(number), span_id(number), "GET /orders/{id}");
    live.target()
        .try_dispatch(&event)
        .expect("the buffer is full");
}

fn flush(live: &LiveSpans) {
    live.target().flush(PATIENCE).expect("the log is closed");
}

/// Returns the worker's CPU time per event of the busy trace.
fn busy(served: &Served) -> f64 {
    let before = cpu_of(WORKER);
    for _ in 0..EVENTS / BURST {
        for _ in 0..BURST {
            dispatch(&served.live, TRACES);
        }
        flush(&served.live);
    }
    nanos_each(cpu_of(WORKER).saturating_sub(before), f64::from(EVENTS))
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the readers that one event of the busy trace wakes.
fn count_wakes(live: &LiveSpans) {
    let subscribe = |number| {
        let options = Subscribe::to(trace_id(number).stream_key()).resume(ResumePoint::Live);
        live.target().subscribe(options)
    };
    let mut busy: Vec<Subscription> = (0..READERS).map(|_| subscribe(TRACES)).collect();
    let mut quiet: Vec<Subscription> = (0..QUIET_READERS).map(subscribe).collect();
    let (busy_wakes, quiet_wakes) = (Arc::new(Count::default()), Arc::new(Count::default()));
    wait(&mut busy, &busy_wakes);
    wait(&mut quiet, &quiet_wakes);
    dispatch(live, TRACES);
    flush(live);
    let wakes = [&busy_wakes, &quiet_wakes].map(|count| count.0.load(Ordering::Relaxed));
    println!(
        "wake-ups by one event of the busy trace: {} of its {READERS} readers, {} of {QUIET_READERS} others",
        wakes[0], wakes[1]
    );
    assert_eq!(wakes, [u64::from(READERS), 0]);
}

fn wait(subscriptions: &mut [Subscription], count: &Arc<Count>) {
    let waker = Waker::from(Arc::clone(count));
    let mut context = Context::from_waker(&waker);
    for subscription in subscriptions {
        while let Poll::Ready(_message) = Pin::new(&mut *subscription).poll_next(&mut context) {}
    }
}
