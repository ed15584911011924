//! Reports on the log through the program's own meters, as the SDK metrics of the OpenTelemetry semantic conventions.
//! Values are read only when the provider's metric reader collects.

use std::sync::{Arc, Weak, atomic::Ordering};

use opentelemetry::{InstrumentationScope, KeyValue, metrics::MeterProvider};

use crate::{live_spans::LiveSpans, otel::shared::ProcessorShared};

/// The component type of our span processor. The conventions name types only for the SDK's own processors; others use
/// the name of their type.
const COMPONENT_TYPE: &str = "livespan::LiveSpanProcessor";

/// The source of the values for one log.
#[derive(Clone)]
struct Source {
    parts: Weak<ProcessorShared>,
    component: [KeyValue; 2],
}

impl Source {
    /// Returns the attributes under which failed spans are counted.
    fn with_error(&self, error: &'static str) -> [KeyValue; 3] {
        let [name, kind] = self.component.clone();
        [name, kind, KeyValue::new("error.type", error)]
    }

    fn parts(&self) -> Option<Arc<ProcessorShared>> {
        self.parts.upgrade()
    }
}

impl LiveSpans {
    /// Reports through the meters of this provider how many spans were processed or refused, and how many records
    /// wait, by the semantic conventions for SDK metrics (`otel.sdk.*`):
    ///
    /// - `otel.sdk.processor.span.processed`: ended spans. `error.type` is `queue_full` for spans that the full buffer
    ///   refused, and `already_shutdown` for spans that ended after the shutdown of the log or of their provider. Spans
    ///   that a failing store refused are counted in `/status` only.
    /// - `otel.sdk.processor.span.queue.size`: records that wait for the log's thread.
    /// - `otel.sdk.processor.span.queue.capacity`: the bound on those records.
    ///
    /// `otel.component.name` is `livespan::LiveSpanProcessor/N`, where N counts from 0 in each program.
    ///
    /// The provider's metric reader reads the values when it collects, until the log is dropped. Call this once for
    /// each provider: a second call would count everything twice.
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
            // A strong reference would keep the log alive as long as the provider.
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
