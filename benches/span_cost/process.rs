//! What a span costs the whole process: made, handed over, encoded and kept, on whichever threads; in traces of 25
//! spans, and where every span is a trace.

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};
use prost::Message as _;

use crate::{machine::process_cpu, measure::median, providers::Case, spans::Api};

const ROUNDS: usize = 9;
const SPANS: u32 = 50_000;
/// Spans made between two flushes, so that nothing is dropped.
const BURST: u32 = 2_000;
/// The other spans of a trace beside its root.
const CHILDREN: u32 = 24;
const TARGET: f64 = 1.0;

/// Encodes what an OTLP exporter sends, and sends it nowhere.
#[derive(Debug, Default)]
struct Encoding {
    resource: ResourceAttributesWithSchema,
}

impl SpanExporter for Encoding {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        std::hint::black_box(request.encode_to_vec());
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

fn exporting() -> SdkTracerProvider {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(65_536)
        .build();
    let processor = BatchSpanProcessor::builder(Encoding::default())
        .with_batch_config(config)
        .build();
    SdkTracerProvider::builder()
        .with_span_processor(processor)
        .build()
}

pub(crate) fn report() {
    println!("\nCPU of the whole process a span, added over a no-op processor");
    println!(
        "{:<26} {:>12} {:>10} {:>6} {:>14} {:>6} {:>7}",
        "", "OTLP encoded", "livespan", "ratio", "with sampler", "ratio", "target"
    );
    for (api, children) in [
        (Api::Tracer, CHILDREN),
        (Api::Macros, CHILDREN),
        (Api::Tracer, 0),
    ] {
        let providers = [
            Case::Noop.provider(),
            exporting(),
            Case::Plain.provider(),
            Case::Sampler.provider(),
        ];
        let mut figures = <[Vec<f64>; 4]>::default();
        for _ in 0..ROUNDS {
            for (provider, figures) in providers.iter().zip(&mut figures) {
                figures.push(measure(api, children, provider));
            }
        }
        let [noop, otlp, plain, sampler] = figures.map(median);
        let [otlp, plain, sampler] = [otlp, plain, sampler].map(|case| case - noop);
        println!(
            "{:<26} {otlp:>12.0} {plain:>10.0} {:>6.2} {sampler:>14.0} {:>6.2} {TARGET:>7.2}",
            format!("{}, traces of {}", api.name(), children + 1),
            plain / otlp,
            sampler / otlp
        );
    }
}

fn measure(api: Api, children: u32, provider: &SdkTracerProvider) -> f64 {
    let tracer = provider.tracer("bench");
    let before = process_cpu();
    api.with(provider, |make| {
        for _ in 0..SPANS / BURST {
            for _ in 0..BURST / (children + 1) {
                if children > 0 {
                    tracer.in_span("request", |_| make(children));
                } else {
                    make(1);
                }
            }
            provider.force_flush().expect("background threads catch up");
        }
    });
    process_cpu().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(SPANS)
}
