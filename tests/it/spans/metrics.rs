//! Metrics of the log, reported through the program's own meters.

use std::collections::BTreeMap;

use livespan::{Error, LiveSpans, LiveSpansBuilder, Retention, sse::Dropped};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    metrics::{
        InMemoryMetricExporter, SdkMeterProvider,
        data::{AggregatedMetrics, MetricData},
    },
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanProcessor as _},
};

use crate::{
    spans::live_provider::GatedStore,
    support::{PATIENCE, until},
};

/// Returns the values of the meters, by metric and error.
fn meter_values(
    meters: &SdkMeterProvider,
    exporter: &InMemoryMetricExporter,
) -> BTreeMap<String, i64> {
    exporter.reset();
    meters.force_flush().unwrap();
    let mut all = BTreeMap::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for scope in resource.scope_metrics() {
            assert_eq!(scope.scope().name(), "livespan");
            for metric in scope.metrics() {
                assert_eq!(metric.unit(), "{span}");
                let mut add = |attributes: Vec<(String, String)>, value: i64| {
                    let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
                    let component = &attributes["otel.component.name"];
                    assert!(
                        component.starts_with("livespan::LiveSpanProcessor/"),
                        "{component}"
                    );
                    assert_eq!(
                        attributes["otel.component.type"],
                        "livespan::LiveSpanProcessor"
                    );
                    let error = attributes
                        .get("error.type")
                        .map_or(String::new(), |error| format!(" {error}"));
                    all.insert(format!("{}{error}", metric.name()), value);
                };
                let text = |key: &opentelemetry::Key, value: &opentelemetry::Value| {
                    (key.to_string(), value.to_string())
                };
                match metric.data() {
                    AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                        assert!(sum.is_monotonic());
                        for point in sum.data_points() {
                            let attributes =
                                point.attributes().map(|one| text(&one.key, &one.value));
                            add(attributes.collect(), i64::try_from(point.value()).unwrap());
                        }
                    }
                    AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                        assert!(!sum.is_monotonic());
                        for point in sum.data_points() {
                            let attributes =
                                point.attributes().map(|one| text(&one.key, &one.value));
                            add(attributes.collect(), point.value());
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    all
}

fn metered(builder: LiveSpansBuilder) -> (LiveSpans, SdkMeterProvider, InMemoryMetricExporter) {
    let live = builder.build().unwrap();
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    live.observe_with(&meters);
    (live, meters, exporter)
}

#[test]
fn ended_spans_and_the_queue_are_counted_by_the_conventions() {
    let (live, meters, exporter) = metered(
        LiveSpans::builder()
            .buffer_bytes(1 << 20)
            .buffer_events(4096),
    );
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("work");
    for _ in 0..5 {
        tracer.start("work");
    }
    let _open = tracer.start("open");
    live.target().flush(PATIENCE).unwrap();
    let expected = [
        ("otel.sdk.processor.span.processed", 5),
        ("otel.sdk.processor.span.processed already_shutdown", 0),
        ("otel.sdk.processor.span.processed queue_full", 0),
        ("otel.sdk.processor.span.queue.capacity", 4096),
        ("otel.sdk.processor.span.queue.size", 0),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(meter_values(&meters, &exporter), BTreeMap::from(expected));
}

#[test]
fn spans_that_the_store_refuses_are_not_counted_as_queue_full() {
    let (store, gate) = GatedStore::new(Retention::default());
    gate.before_append(|| {
        Err(Error::store(
            "append",
            std::io::Error::other("the disk is full"),
        ))
    });
    let (live, meters, exporter) = metered(LiveSpans::builder().store(store));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    provider.tracer("work").start("work");
    live.target().flush(PATIENCE).unwrap_err();
    let values = meter_values(&meters, &exporter);
    let processed = "otel.sdk.processor.span.processed";
    assert_eq!(values[processed], 1);
    assert_eq!(values[&format!("{processed} queue_full")], 0);
}

const PROCESSED: [&str; 3] = ["", " queue_full", " already_shutdown"];

/// Returns how many ended spans were processed, refused by the full buffer, and too late, in this
/// order.
fn processed(meters: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> [i64; 3] {
    let values = meter_values(meters, exporter);
    PROCESSED.map(|error| values[&format!("otel.sdk.processor.span.processed{error}")])
}

#[test]
fn spans_that_end_after_the_log_was_shut_down_are_counted_as_too_late() {
    let (live, meters, exporter) = metered(LiveSpans::builder());
    let processor = live.span_processor();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("work");
    let open = tracer.start("open");
    drop(tracer.start("in time"));
    live.shutdown().unwrap();
    drop(open);
    for _ in 0..3 {
        drop(tracer.start("too late"));
    }
    assert_eq!(processed(&meters, &exporter), [1, 0, 4]);
    // The processor is shut down, and still gets an end afterwards.
    processor.shutdown_with_timeout(PATIENCE).unwrap();
    let spans = InMemorySpanExporter::default();
    let other = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    drop(other.tracer("work").start("too late"));
    processor.on_end(spans.get_finished_spans().unwrap().remove(0));
    assert_eq!(processed(&meters, &exporter), [1, 0, 5]);
    assert_eq!(live.status().dropped, Dropped::default());
}

#[test]
fn spans_after_the_log_ended_by_itself_are_not_counted_as_queue_full() {
    let (store, gate) = GatedStore::new(Retention::default());
    let (live, meters, exporter) = metered(LiveSpans::builder().store(store));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("work");
    drop(tracer.start("in time"));
    live.target().flush(PATIENCE).unwrap();
    gate.break_thread();
    let open = tracer.start("open");
    until(|| live.status().ended.is_some());
    drop(open);
    drop(tracer.start("too late"));
    assert_eq!(processed(&meters, &exporter), [1, 0, 2]);
}

#[test]
fn the_meters_do_not_keep_a_log_alive() {
    let (live, meters, exporter) = metered(LiveSpans::builder());
    live.shutdown().unwrap();
    drop(live);
    assert_eq!(meter_values(&meters, &exporter), BTreeMap::new());
}
