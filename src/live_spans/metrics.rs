//! What the log tells of itself through the program's own meters: the SDK metrics of the OpenTelemetry semantic
//! conventions. Read when a reader of metrics asks; the host's threads pay nothing for it.

use std::sync::{Arc, Weak, atomic::Ordering};

use opentelemetry::{InstrumentationScope, KeyValue, metrics::MeterProvider};

use crate::{live_spans::LiveSpans, otel::shared::ProcessorShared};

/// The type of our span processor, as the conventions ask of one that they do not know.
const COMPONENT_TYPE: &str = "livespan::LiveSpanProcessor";

/// What one log tells.
#[derive(Clone)]
struct Source {
    parts: Weak<ProcessorShared>,
    component: [KeyValue; 2],
}

impl Source {
    /// The attributes of a sum that failed spans are counted in.
    fn with_error(&self, error: &'static str) -> [KeyValue; 3] {
        let [name, kind] = self.component.clone();
        [name, kind, KeyValue::new("error.type", error)]
    }

    fn parts(&self) -> Option<Arc<ProcessorShared>> {
        self.parts.upgrade()
    }
}

impl LiveSpans {
    /// Tells what becomes of spans through the meters of this provider, by the semantic conventions for the metrics of SDKs
    /// (`otel.sdk.*`): `otel.sdk.processor.span.processed` (ended spans; those that the full buffer
    /// refused have `error.type` = `queue_full`, and those that ended after the log was shut down or had ended by itself
    /// `already_shutdown`; what a failing store refuses is in `/status`), `otel.sdk.processor.span.queue.size` (records that
    /// wait for the log's thread) and `otel.sdk.processor.span.queue.capacity`. `otel.component.name` is `livespan::LiveSpanProcessor/N`, with N counted
    /// from 0 in each program.
    ///
    /// They are read when the provider's reader asks, and end with the log. Call it once for each provider: a second call
    /// would count everything twice.
    ///
    /// ```
    /// use livespan::LiveSpans;
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    ///
    /// let live = LiveSpans::builder().build()?;
    /// let meters = SdkMeterProvider::builder().build();
    /// live.observe_with(&meters);
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn observe_with(&self, provider: &dyn MeterProvider) {
        let parts = &self.shared.parts;
        let scope = InstrumentationScope::builder("livespan")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let meter = provider.meter_with_scope(scope);
        let name = format!("{COMPONENT_TYPE}/{}", parts.log_number.saturating_sub(1));
        let source = Source {
            // The provider must not keep a log alive.
            parts: Arc::downgrade(parts),
            component: [
                KeyValue::new("otel.component.name", name),
                KeyValue::new("otel.component.type", COMPONENT_TYPE),
            ],
        };
        let processed = source.clone();
        let failed = source.with_error("queue_full");
        let late = source.with_error("already_shutdown");
        meter
            .u64_observable_counter("otel.sdk.processor.span.processed")
            .with_unit("{span}")
            .with_description("The number of spans for which the processing has finished, either successful or failed.")
            .with_callback(move |observer| {
                if let Some(parts) = processed.parts() {
                    observer.observe(parts.ended_count.load(Ordering::Relaxed), &processed.component);
                    observer.observe(parts.runtime.buffer.ends_rejected(), &failed);
                    observer.observe(parts.runtime.buffer.ends_late(), &late);
                }
            })
            .build();
        let size = source.clone();
        meter
            .i64_observable_up_down_counter("otel.sdk.processor.span.queue.size")
            .with_unit("{span}")
            .with_description(
                "The number of spans in the queue of a given instance of an SDK span processor.",
            )
            .with_callback(move |observer| {
                if let Some(parts) = size.parts() {
                    observer.observe(
                        signed(parts.runtime.buffer.pending_records()),
                        &size.component,
                    );
                }
            })
            .build();
        let capacity = source;
        meter
            .i64_observable_up_down_counter("otel.sdk.processor.span.queue.capacity")
            .with_unit("{span}")
            .with_description(
                "The maximum number of spans the queue of a given instance of an SDK span processor can hold.",
            )
            .with_callback(move |observer| {
                if let Some(parts) = capacity.parts() {
                    let events = parts.runtime.buffer.events_max() as u64;
                    observer.observe(signed(events), &capacity.component);
                }
            })
            .build();
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
