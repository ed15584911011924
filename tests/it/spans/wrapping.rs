//! livespan in front of an exporter or beside it. The exporter gets exactly the sampled spans, and
//! readers get all spans.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use livespan::{LiveSpans, Retention, SampledOnly};
use opentelemetry::{
    Context, KeyValue,
    trace::{Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchSpanProcessor, InMemorySpanExporter, Sampler, SdkTracerProvider, Span, SpanData,
        SpanProcessor,
    },
};
use serde_json::json;

use super::live_provider::{GatedStore, Watched};

const SPANS: usize = 2000;

/// Makes spans. Returns the ids of the sampled ones.
fn make_spans(watched: &Watched) -> BTreeSet<String> {
    let tracer = watched.tracer();
    let mut sampled = BTreeSet::new();
    for _ in 0..SPANS {
        let span = tracer.start("job");
        let context = opentelemetry::trace::Span::span_context(&span).clone();
        if context.is_sampled() {
            sampled.insert(context.span_id().to_string());
        }
    }
    sampled
}

fn assert_exports_exactly_the_sampled(
    live: LiveSpans,
    provider: SdkTracerProvider,
    exporter: &InMemorySpanExporter,
) {
    let watched = Watched { live, provider };
    let sampled = make_spans(&watched);
    assert!(
        (1..SPANS / 10).contains(&sampled.len()),
        "the sampler did not sample about one in a hundred: {}",
        sampled.len()
    );
    watched.provider.force_flush().unwrap();
    let by_exporter: BTreeSet<String> = exporter
        .get_finished_spans()
        .unwrap()
        .iter()
        .map(|span| span.span_context.span_id().to_string())
        .collect();
    assert_eq!(by_exporter, sampled);
    let events = watched.events();
    assert_eq!(events.len(), 1 + 2 * SPANS, "readers do not see all spans");
    let shown = events
        .iter()
        .filter(|event| event["type"] == json!("ended") && event["sampled"].is_null());
    assert_eq!(
        shown
            .map(|event| event["spanId"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>(),
        sampled
    );
}

fn one_percent(live: &LiveSpans) -> impl opentelemetry_sdk::trace::ShouldSample + 'static {
    live.sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
        0.01,
    ))))
}

#[test]
fn a_wrapped_exporter_gets_exactly_the_sampled_spans() {
    let live = LiveSpans::builder().build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let batch = BatchSpanProcessor::builder(exporter.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(one_percent(&live))
        .with_span_processor(live.span_processor().wrapping(batch))
        .build();
    assert_exports_exactly_the_sampled(live, provider, &exporter);
}

#[test]
fn an_exporter_beside_livespan_gets_exactly_the_sampled_spans() {
    let live = LiveSpans::builder().build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let batch = BatchSpanProcessor::builder(exporter.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(one_percent(&live))
        .with_span_processor(live.span_processor())
        .with_span_processor(SampledOnly::new(batch))
        .build();
    assert_exports_exactly_the_sampled(live, provider, &exporter);
}

#[test]
fn an_exporter_gets_spans_that_the_filter_hides() {
    let live = LiveSpans::builder().filter(|_| false).build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let batch = BatchSpanProcessor::builder(exporter.clone()).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor().wrapping(batch))
        .build();
    drop(provider.tracer("test").start("job"));
    provider.force_flush().unwrap();
    assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);
}

/// An exporter that records its calls, and fails if requested.
#[derive(Clone, Debug, Default)]
struct Noting {
    calls: Arc<Mutex<Vec<String>>>,
    fails: bool,
}

impl Noting {
    fn note(&self, call: impl Into<String>) -> OTelSdkResult {
        self.calls.lock().unwrap().push(call.into());
        if self.fails {
            Err(OTelSdkError::InternalFailure(
                "the exporter is gone".to_owned(),
            ))
        } else {
            Ok(())
        }
    }
}

impl SpanProcessor for Noting {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {
        drop(self.note("start"));
    }

    fn on_end(&self, span: SpanData) {
        drop(self.note(format!("end {}", span.name)));
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.note("flush")
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.note(format!("shutdown {timeout:?}"))
    }

    fn set_resource(&mut self, resource: &Resource) {
        let name = resource.get(&"service.name".into()).unwrap();
        drop(self.note(format!("resource {name}")));
    }
}

fn calls_through(wrap: impl FnOnce(&LiveSpans, Noting) -> SdkTracerProvider) -> Vec<String> {
    let noting = Noting::default();
    let live = LiveSpans::builder().build().unwrap();
    let provider = wrap(&live, noting.clone());
    drop(provider.tracer("test").start("job"));
    provider.force_flush().unwrap();
    provider.shutdown().unwrap();
    std::mem::take(&mut *noting.calls.lock().unwrap())
}

#[test]
fn a_wrapped_processor_gets_every_call() {
    let resource = || {
        Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "shop")])
            .build()
    };
    let wrapped = calls_through(|live, noting| {
        let processor = live.span_processor().wrapping(noting);
        SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(processor)
            .build()
    });
    let beside = calls_through(|_, noting| {
        SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(SampledOnly::new(noting))
            .build()
    });
    assert_eq!(
        wrapped,
        ["resource shop", "start", "end job", "flush", "shutdown 5s"]
    );
    assert_eq!(beside, wrapped);
}

#[test]
fn errors_of_the_wrapped_processor_are_reported() {
    let live = LiveSpans::builder().build().unwrap();
    let noting = Noting {
        fails: true,
        ..Noting::default()
    };
    let processor = live.span_processor().wrapping(noting.clone());
    let text = |result: OTelSdkResult| result.unwrap_err().to_string();
    assert!(text(processor.force_flush()).contains("the exporter is gone"));
    assert!(
        text(processor.shutdown_with_timeout(Duration::from_secs(5)))
            .contains("the exporter is gone")
    );
    assert_eq!(*noting.calls.lock().unwrap(), ["flush", "shutdown 5s"]);
}

#[test]
fn a_hanging_store_takes_no_time_from_the_wrapped_processor() {
    let (store, gate) = GatedStore::new(Retention::default());
    let live = LiveSpans::builder().store(store).build().unwrap();
    let noting = Noting::default();
    let processor = live.span_processor().wrapping(noting.clone());
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .build();
    gate.shut();
    let open = provider.tracer("test").start("open");
    let soon = Duration::from_millis(50);
    assert!(provider.shutdown_with_timeout(soon).is_err());
    assert_eq!(
        noting.calls.lock().unwrap()[1..],
        ["start", "shutdown 50ms"]
    );
    drop(open);
    gate.open();
    let watched = Watched { live, provider };
    assert_eq!(
        watched.transcript(),
        ["process", "started open", "lost open: shutdown"]
    );
}

#[test]
fn the_wrapped_processor_is_called_after_the_log_was_shut_down() {
    let live = LiveSpans::builder().build().unwrap();
    let noting = Noting::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor().wrapping(noting.clone()))
        .build();
    live.shutdown().unwrap();
    drop(provider.tracer("test").start("job"));
    provider.force_flush().unwrap();
    provider.shutdown().unwrap();
    assert_eq!(
        noting.calls.lock().unwrap()[1..],
        ["start", "end job", "flush", "shutdown 5s"]
    );
}

#[test]
fn the_sampler_changes_only_the_decision_to_drop() {
    #[derive(Clone, Debug)]
    struct Every(Arc<AtomicUsize>);
    impl opentelemetry_sdk::trace::ShouldSample for Every {
        fn should_sample(
            &self,
            _parent_context: Option<&Context>,
            _trace_id: opentelemetry::TraceId,
            _name: &str,
            _span_kind: &opentelemetry::trace::SpanKind,
            _attributes: &[KeyValue],
            _links: &[opentelemetry::trace::Link],
        ) -> opentelemetry_sdk::trace::SamplingResult {
            use opentelemetry_sdk::trace::SamplingDecision::{Drop, RecordAndSample, RecordOnly};
            let decision = [Drop, RecordOnly, RecordAndSample]
                [self.0.fetch_add(1, Ordering::Relaxed) % 3]
                .clone();
            opentelemetry_sdk::trace::SamplingResult {
                decision,
                attributes: vec![KeyValue::new("rule", "every third")],
                trace_state: opentelemetry::trace::TraceState::default(),
            }
        }
    }
    let live = LiveSpans::builder().build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_sampler(live.sampler(Every(Arc::default())))
        .with_span_processor(live.span_processor())
        .build();
    let watched = Watched { live, provider };
    for _ in 0..3 {
        drop(watched.tracer().start("job"));
    }
    let events = watched.events();
    let started = events
        .iter()
        .filter(|event| event["type"] == json!("started"));
    let seen: Vec<_> = started
        .map(|event| {
            (
                event["sampled"].clone(),
                event["attributes"]["rule"].clone(),
            )
        })
        .collect();
    let rule = || json!("every third");
    assert_eq!(
        seen,
        [
            (json!(false), rule()),
            (json!(false), rule()),
            (json!(null), rule())
        ]
    );
}
