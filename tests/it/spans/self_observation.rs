//! livespan never records its own work.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
};

use livespan::{LiveSpans, Retention};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use tracing::{Dispatch, Subscriber, dispatcher::with_default, info, info_span, span};
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

use super::{
    live_provider::{GatedStore, Watched, provider_of},
    through_tracing::dispatch,
};

#[test]
fn telemetry_that_a_store_emits_on_our_thread_is_not_shown() {
    let (store, gate) = GatedStore::new(Retention::default());
    let live = LiveSpans::builder().store(store).build().unwrap();
    let provider = provider_of(&live).build();
    let watched = Watched {
        live,
        provider: provider.clone(),
    };
    let dispatch = dispatch(&watched);
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let threads = Arc::clone(&names);
    gate.before_append(move || {
        threads
            .lock()
            .unwrap()
            .insert(thread::current().name().unwrap_or_default().to_owned());
        provider.tracer("store").in_span("append", |_| {});
        with_default(&dispatch, || {
            info_span!("append").in_scope(|| info!("appending"));
        });
        Ok(())
    });
    watched.tracer().start("job").end();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
    watched.tracer().start("next").end();
    assert_eq!(watched.transcript()[3..], ["started next", "ended next"]);
    assert_eq!(
        *names.lock().unwrap(),
        BTreeSet::from(["livespan".to_owned()])
    );
    gate.before_append(|| Ok(()));
}

/// A subscriber that records the threads of all spans and events.
struct Threads(Arc<Mutex<BTreeSet<String>>>);

impl Threads {
    fn note(&self) {
        self.0
            .lock()
            .unwrap()
            .insert(thread::current().name().unwrap_or_default().to_owned());
    }
}

impl<S: Subscriber> Layer<S> for Threads {
    fn on_new_span(
        &self,
        _: &span::Attributes<'_>,
        _: &span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        self.note();
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        // Diagnostics for operators are allowed: one event for each cause, outside of any span.
        if event.metadata().target() != "livespan" {
            self.note();
        }
    }
}

#[test]
fn our_thread_traces_nothing() {
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let everything =
        Dispatch::new(tracing_subscriber::registry().with(Threads(Arc::clone(&threads))));
    // This becomes the default for the threads of other tests as well. Only the log's own threads
    // are checked.
    tracing::dispatcher::set_global_default(everything).unwrap();
    let (store, gate) = GatedStore::new(Retention::default().events(10));
    let watched = Watched::with(
        LiveSpans::builder()
            .store(store)
            .buffer_bytes(0)
            .buffer_events(128),
    );
    gate.shut();
    for _ in 0..500 {
        watched.tracer().start("job").end();
    }
    gate.before_append(|| {
        Err(livespan::Error::store(
            "append",
            std::io::Error::other("the disk is full"),
        ))
    });
    gate.open();
    watched.provider.force_flush().unwrap_err();
    gate.before_append(|| Ok(()));
    let open = watched.tracer().start("open");
    // The shutdown may still report an earlier failure.
    drop(watched.provider.shutdown());
    watched.live.shutdown().unwrap();
    drop(open);
    info!("here");
    let threads = threads.lock().unwrap();
    assert!(
        !threads.is_empty() && !threads.contains("livespan"),
        "{threads:?}"
    );
}
