//! Spans of workflows for other exporters: the SDK's own spans, with the ids and times of the log.

use std::{
    future::{pending, ready},
    pin::pin,
};

use livespan::{
    LiveSpans, SampledOnly,
    workflow::{Failure, Step, WorkflowIds, Workflows},
};
use opentelemetry::trace::{Link, SpanId, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracerProvider, ShouldSample, SimpleSpanProcessor, SpanData,
};
use serde_json::Value as Json;

use super::event_lines::{event, turn};
use crate::{
    spans::live_provider::{Watched, provider_of},
    support::block_on,
};

struct Exported {
    watched: Watched,
    exporter: InMemorySpanExporter,
    flows: Workflows,
}

/// Returns a provider whose spans go to the log and to an exporter that accepts only sampled spans.
fn exported(sampler: impl ShouldSample + Clone + 'static) -> Exported {
    let live = LiveSpans::builder().build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let provider = provider_of(&live)
        .with_id_generator(WorkflowIds::default())
        .with_sampler(live.sampler(sampler))
        .with_span_processor(SampledOnly::new(SimpleSpanProcessor::new(exporter.clone())))
        .build();
    let flows = Workflows::new(&live)
        .namespace("orders")
        .exporting(&provider);
    let watched = Watched { live, provider };
    Exported {
        watched,
        exporter,
        flows,
    }
}

fn hex(id: SpanId) -> Json {
    if id == SpanId::INVALID {
        Json::Null
    } else {
        id.to_string().into()
    }
}

#[test]
fn other_exporters_get_each_span_once_as_the_log_has_it() {
    let Exported {
        watched,
        exporter,
        flows,
    } = exported(Sampler::AlwaysOn);
    let tracer = watched.provider.tracer("app");
    let wf = flows.instance("order-42");
    block_on(wf.run("Order", async {
        let charge = wf.step(Step::new("charge").attribute("cents", 999), async {
            drop(opentelemetry::trace::Tracer::start(&tracer, "query"));
            Err::<(), _>(Failure::new("declined"))
        });
        charge.await.unwrap_err();
        wf.scope(
            "ship",
            |wf| async move { wf.step("label", ready(())).await },
        )
        .await;
    }));
    let events = watched.events();
    let spans = exporter.get_finished_spans().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["query", "charge", "label", "ship", "Order"]);
    for span in &spans {
        let ended = event(&events, "ended", &span.name);
        assert_eq!(ended["traceId"], span.span_context.trace_id().to_string());
        assert_eq!(ended["spanId"], hex(span.span_context.span_id()));
        assert_eq!(ended["parentSpanId"], hex(span.parent_span_id));
        let nanos = |text: &Json| text.as_str().unwrap().to_owned();
        let text = |time: std::time::SystemTime| {
            let nanos = time
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos();
            format!("{:09}Z", nanos % 1_000_000_000)
        };
        assert!(
            nanos(&ended["startTimestamp"]).ends_with(&text(span.start_time)),
            "{}",
            span.name
        );
        assert!(
            nanos(&ended["timestamp"]).ends_with(&text(span.end_time)),
            "{}",
            span.name
        );
        assert!(!span.parent_span_is_remote);
    }
    let charge = spans.iter().find(|span| span.name == "charge").unwrap();
    assert_eq!(charge.status, Status::error("declined"));
    assert_eq!(charge.events[0].name, "exception");
    assert!(
        charge
            .attributes
            .iter()
            .any(|pair| pair.key.as_str() == "cents")
    );
    // The log also has each end once: it does not record the SDK's span a second time.
    assert_eq!(
        events.iter().filter(|one| one["type"] == "ended").count(),
        5
    );
    let ordinary = opentelemetry::trace::Tracer::start(&tracer, "ordinary");
    let context = opentelemetry::trace::Span::span_context(&ordinary).clone();
    assert_ne!(context.trace_id().to_bytes(), wf.trace_id().to_bytes());
}

#[test]
fn a_span_whose_future_is_dropped_is_exported_when_it_ends() {
    let Exported {
        watched,
        exporter,
        flows,
    } = exported(Sampler::AlwaysOn);
    {
        let wf = flows.instance("order-42");
        let mut suspended = pin!(wf.step("approval", pending::<()>()));
        assert!(turn(suspended.as_mut()).is_pending());
    }
    assert_eq!(
        exporter.get_finished_spans().unwrap(),
        Vec::<SpanData>::new()
    );
    let started = event(&watched.events(), "started", "approval");
    let wf = flows.instance("order-42");
    block_on(wf.step("approval", ready(())));
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 1);
    let ended = event(&watched.events(), "ended", "approval");
    assert_eq!(ended["startTimestamp"], started["timestamp"]);
    let nanos = spans[0]
        .start_time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let start = started["timestamp"].as_str().unwrap();
    assert!(
        start.ends_with(&format!(".{nanos:09}Z")),
        "{start} is not the start that was exported"
    );
}

#[test]
fn a_ratio_sampler_keeps_or_drops_a_workflow_whole() {
    let samplers: [Sampler; 2] = [
        Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.5))),
        Sampler::TraceIdRatioBased(0.5),
    ];
    for sampler in samplers {
        let Exported {
            watched,
            exporter,
            flows,
        } = exported(sampler);
        let tracer = watched.provider.tracer("app");
        let mut kept = 0;
        for number in 0..64 {
            exporter.reset();
            let wf = flows.instance(number.to_string());
            block_on(wf.run("Order", async {
                let charge = wf.step("charge", async {
                    drop(opentelemetry::trace::Tracer::start(&tracer, "query"));
                });
                charge.await;
            }));
            let spans = exporter.get_finished_spans().unwrap();
            assert!(spans.is_empty() || spans.len() == 3, "{number}: {spans:?}");
            kept += usize::from(!spans.is_empty());
        }
        // The ids are hashes, so about half of them are sampled, and always the same half.
        assert_eq!(kept, 26);
        // All spans are shown, and have a field that says whether they are exported.
        let events = watched.events();
        let ended = events.iter().filter(|one| one["type"] == "ended");
        assert_eq!(ended.clone().count(), 3 * 64);
        let unsampled = ended.filter(|one| one["sampled"] == false).count();
        assert_eq!(unsampled, 3 * (64 - kept));
    }
}

/// A sampler that alternates its decision for a root.
#[derive(Clone, Debug, Default)]
struct Alternating(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl ShouldSample for Alternating {
    fn should_sample(
        &self,
        _: Option<&opentelemetry::Context>,
        _: opentelemetry::trace::TraceId,
        _: &str,
        _: &opentelemetry::trace::SpanKind,
        _: &[opentelemetry::KeyValue],
        _: &[Link],
    ) -> opentelemetry_sdk::trace::SamplingResult {
        let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        opentelemetry_sdk::trace::SamplingResult {
            decision: if asked.is_multiple_of(2) {
                opentelemetry_sdk::trace::SamplingDecision::RecordAndSample
            } else {
                opentelemetry_sdk::trace::SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: opentelemetry::trace::TraceState::default(),
        }
    }
}

#[test]
fn the_sampler_is_asked_once_for_each_instance() {
    let Exported {
        exporter, flows, ..
    } = exported(Alternating::default());
    for (number, expected) in [3, 0, 3, 0].into_iter().enumerate() {
        exporter.reset();
        let wf = flows.instance(number.to_string());
        block_on(wf.run("Order", async {
            wf.step("charge", ready(())).await;
            wf.step("ship", ready(())).await;
        }));
        assert_eq!(exporter.get_finished_spans().unwrap().len(), expected);
    }
}

#[test]
fn a_provider_without_the_generator_is_reported_once_and_gets_nothing_more() {
    let live = LiveSpans::builder().build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let wf = Workflows::new(&live)
        .exporting(&provider)
        .instance("order-42");
    block_on(wf.run("Order", async {
        wf.step("charge", ready(())).await;
        wf.step("ship", ready(())).await;
    }));
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 1);
    let expected = Status::error(
        "livespan: workflow spans are not exported, because the tracer provider does not have \
         livespan::workflow::WorkflowIds as its id generator",
    );
    assert_eq!(spans[0].status, expected);
}
