//! An exporter to compare livespan with: like livespan, it encodes each span once, but as OTLP.

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

/// An exporter that encodes spans as OTLP and sends nothing.
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

/// Returns a provider with a `BatchSpanProcessor` and the exporter above.
pub(crate) fn exporting() -> SdkTracerProvider {
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
