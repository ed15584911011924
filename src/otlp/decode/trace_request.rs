//! Reads a request for traces in protobuf. The spans stay in its bytes: one pass checks all of
//! them, and the worker reads them again when it encodes them. That costs less than copying each
//! text into a `String` and freeing it. Pure.

#[cfg(test)]
mod tests;

use std::fmt;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, TracesData},
};
use prost::{Message as _, encode_length_delimiter};

use crate::otlp::decode::{
    attributes::skip_attribute,
    protobuf,
    span_view::{SpanParts, SpanView},
    types::DecodeError,
    usage::RequestUsage,
    wire::{MessageReader, ReadError, ReadErrorKind},
};

/// A request, with a `T` for each span.
#[derive(Debug)]
pub(crate) struct TraceRequest<T> {
    pub(crate) spans: SpanBytes,
    pub(crate) resources: Vec<SpansOfResource<T>>,
}

/// The spans of a request, in the bytes of its body.
#[derive(Default)]
pub(crate) struct SpanBytes {
    body: Vec<u8>,
    /// The name and the version of each scope.
    scopes: Vec<(Box<str>, Box<str>)>,
}

/// Where a span is in [`SpanBytes`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpanRange {
    start: usize,
    end: usize,
    scope: usize,
}

impl SpanRange {
    /// Returns the length of the span's protobuf, in bytes.
    pub(crate) fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

#[derive(Debug)]
pub(crate) struct SpansOfResource<T> {
    pub(crate) resource: Option<Resource>,
    pub(crate) spans: Vec<(SpanRange, T)>,
}

impl fmt::Debug for SpanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanBytes")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl SpanBytes {
    /// Returns a span of the request.
    pub(crate) fn view(&self, range: SpanRange, parts: SpanParts) -> Option<SpanView<'_>> {
        let bytes = self.body.get(range.start..range.end)?;
        let (scope, version) = self.scopes.get(range.scope)?;
        let mut span = SpanView::again(bytes, parts)?;
        span.scope = scope;
        span.scope_version = version;
        Some(span)
    }
}

/// Returns the protobuf of a request with these resources.
pub(super) fn encoded(resource_spans: Vec<ResourceSpans>) -> Vec<u8> {
    // A request and the data of a file have the same fields.
    TracesData { resource_spans }.encode_to_vec()
}

/// Reads a request. Calls `of_span` for each span, when the span's scope is not known yet, and
/// keeps the result.
pub(super) fn read<T>(
    body: Vec<u8>,
    usage: &RequestUsage,
    of_span: impl FnMut(&SpanView<'_>) -> T,
) -> Result<TraceRequest<T>, DecodeError> {
    let mut pass = RequestPass {
        usage,
        of_span,
        scopes: Vec::new(),
        resources: Vec::new(),
    };
    match pass.request(&body) {
        Ok(()) => Ok(TraceRequest {
            resources: pass.resources,
            spans: SpanBytes {
                scopes: pass.scopes,
                body,
            },
        }),
        Err(error) => Err(match error.into_kind() {
            ReadErrorKind::Exceeded => usage.exceeded(),
            ReadErrorKind::Malformed(why) => protobuf::malformed(why),
        }),
    }
}

/// One pass over a request.
struct RequestPass<'u, T, F> {
    usage: &'u RequestUsage,
    of_span: F,
    scopes: Vec<(Box<str>, Box<str>)>,
    resources: Vec<SpansOfResource<T>>,
}

impl<T, F: FnMut(&SpanView<'_>) -> T> RequestPass<'_, T, F> {
    fn request(&mut self, body: &[u8]) -> Result<(), ReadError> {
        let mut reader = MessageReader::new(body, "", 0);
        while let Some((field, kind)) = reader.field()? {
            match field {
                1 => self.resource_spans(reader.message(kind, "ResourceSpans")?)?,
                _ => reader.skip(kind)?,
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, mut reader: MessageReader<'_>) -> Result<(), ReadError> {
        let mut resource = ResourceFields::default();
        let mut spans = Vec::new();
        while let Some((field, kind)) = reader.field()? {
            match field {
                1 => resource.add(reader.message(kind, "Resource")?.rest()),
                2 => self.scope_spans(reader.message(kind, "ScopeSpans")?, &mut spans)?,
                3 => drop(reader.text(kind)?),
                _ => reader.skip(kind)?,
            }
        }
        let resource = resource.decode(self.usage)?;
        if !spans.is_empty() {
            self.resources.push(SpansOfResource { resource, spans });
        }
        Ok(())
    }

    fn scope_spans(
        &mut self,
        mut reader: MessageReader<'_>,
        spans: &mut Vec<(SpanRange, T)>,
    ) -> Result<(), ReadError> {
        let (mut name, mut version) = ("", "");
        let before = spans.len();
        while let Some((field, kind)) = reader.field()? {
            match field {
                1 => {
                    let scope = reader.message(kind, "InstrumentationScope")?;
                    self.scope(scope, (&mut name, &mut version))?;
                }
                2 => spans.push(self.span(reader.message(kind, "Span")?)?),
                3 => drop(reader.text(kind)?),
                _ => reader.skip(kind)?,
            }
        }
        if spans.len() > before {
            self.usage.bytes(name.len() + version.len())?;
            self.scopes.push((name.into(), version.into()));
        }
        Ok(())
    }

    fn scope<'a>(
        &self,
        mut reader: MessageReader<'a>,
        (name, version): (&mut &'a str, &mut &'a str),
    ) -> Result<(), ReadError> {
        while let Some((field, kind)) = reader.field()? {
            match field {
                1 => *name = reader.text(kind)?,
                2 => *version = reader.text(kind)?,
                3 => {
                    let unused = reader.message(kind, "KeyValue")?;
                    let usage = self.usage;
                    usage.briefly(|| skip_attribute(unused, usage))?;
                }
                4 => drop(reader.uint32(kind)?),
                _ => reader.skip(kind)?,
            }
        }
        Ok(())
    }

    fn span(&mut self, reader: MessageReader<'_>) -> Result<(SpanRange, T), ReadError> {
        let (start, end) = reader.range();
        self.usage
            .item(size_of::<(SpanRange, T)>() + size_of::<SpansOfResource<T>>())?;
        let usage = self.usage;
        let view = usage.briefly(|| SpanView::read(reader, SpanParts::All, usage))?;
        let range = SpanRange {
            start,
            end,
            scope: self.scopes.len(),
        };
        Ok((range, (self.of_span)(&view)))
    }
}

/// The fields of a resource. `prost` decodes them, because a request has few resources.
#[derive(Debug, Default)]
struct ResourceFields(Vec<u8>);

impl ResourceFields {
    /// The protobuf key of a length-delimited field 1.
    const KEY: u8 = 0x0a;

    /// Adds one occurrence of the resource field. `prost` merges all occurrences.
    fn add(&mut self, fields: &[u8]) {
        append(&mut self.0, fields);
    }

    /// Decodes the resource inside a request, so that the recursion limit applies at the same
    /// depth.
    fn decode(self, usage: &RequestUsage) -> Result<Option<Resource>, ReadError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut request = Vec::with_capacity(self.0.len() + 11);
        append(&mut request, &self.0);
        protobuf::measure_traces(&request, usage)?;
        let request = ExportTraceServiceRequest::decode(request.as_slice());
        let request = request.map_err(|error| ReadError::malformed(error.to_string()))?;
        let first = request.resource_spans.into_iter().next();
        Ok(first.and_then(|first| first.resource))
    }
}

fn append(out: &mut Vec<u8>, message: &[u8]) {
    out.push(ResourceFields::KEY);
    let _never_fails = encode_length_delimiter(message.len(), out);
    out.extend_from_slice(message);
}
