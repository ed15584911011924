//! Rewrites ids in the event stream of one instance, for `@oselvar/ssetarget`: in every event of the trace, the trace
//! id and the root span's id become the instance's id. It changes only the bytes of the response, on the connection's
//! task, and never the stored events, which keep their hexadecimal ids.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;

use crate::{span::event::TraceId, trace::parse, workflow::ids};

/// Replaces the trace id and the root span's id of one trace by the instance's id.
#[derive(Clone, Debug)]
pub(crate) struct IdRewriter {
    trace: String,
    root: String,
    instance: String,
}

impl IdRewriter {
    pub(crate) fn new(trace: TraceId, instance: &str) -> Self {
        let root = ids::root(trace);
        Self {
            trace: format!("\"{trace}\""),
            root: format!("\"{root}\""),
            instance: serde_json::Value::from(instance).to_string(),
        }
    }

    pub(crate) fn body(self, inner: Body) -> Body {
        Body::new(RewrittenBody {
            rewriter: self,
            inner,
        })
    }

    /// Rewrites whole frames of an event stream.
    fn frames(&self, frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(frames.len() + frames.len() / 4);
        for line in frames.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"data: ") {
                Some(payload) => {
                    out.extend_from_slice(b"data: ");
                    self.payload(&mut out, payload);
                }
                None => out.extend_from_slice(line),
            }
        }
        out
    }

    fn payload(&self, out: &mut Vec<u8>, payload: &[u8]) {
        let ids = parse::ids_of(payload);
        if ids.first().is_none_or(|id| self.rewritten_id(id).is_none()) {
            out.extend_from_slice(payload);
            return;
        }
        let mut rest = payload;
        for id in ids {
            // Each id is a subslice of the payload, and the ids are in order.
            let at = id.as_ptr() as usize - rest.as_ptr() as usize;
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, b""));
            out.extend_from_slice(before);
            out.extend_from_slice(self.rewritten_id(id).unwrap_or(id));
            rest = from.get(id.len()..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    /// Returns the instance's id if `id` is the trace's or the root span's.
    fn rewritten_id(&self, id: &[u8]) -> Option<&[u8]> {
        let named = id == self.trace.as_bytes() || id == self.root.as_bytes();
        named.then_some(self.instance.as_bytes())
    }
}

struct RewrittenBody {
    rewriter: IdRewriter,
    inner: Body,
}

impl http_body::Body for RewrittenBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        // Each chunk of an event stream's body consists of whole SSE frames.
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|bytes| self.rewriter.frames(&bytes).into()))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ids_of_the_trace_are_rewritten() {
        let trace = TraceId::from_bytes([1; 16]).unwrap();
        let root = ids::root(trace);
        let rewriter = IdRewriter::new(trace, "order \"1\"");
        let frames = format!(
            "retry: 1000\n\nevent: started\nid: e-1\ndata: {{\"type\":\"started\",\"traceId\":\"{trace}\",\"spanId\":\
             \"0000000000000002\",\"parentSpanId\":\"{root}\",\"name\":\"{trace}\",\"attributes\":{{\"traceId\":\
             \"{trace}\"}}}}\n\nevent: ended\nid: e-2\ndata: {{\"type\":\"ended\",\"traceId\":\"{trace}\",\"spanId\":\
             \"{root}\",\"parentSpanId\":null,\"name\":\"a\"}}\n\nevent: ping\ndata: {{\"head\":\"e-2\"}}\n\nid: e-2\n\n"
        );
        let expected = format!(
            "retry: 1000\n\nevent: started\nid: e-1\ndata: {{\"type\":\"started\",\"traceId\":\"order \\\"1\\\"\",\
             \"spanId\":\"0000000000000002\",\"parentSpanId\":\"order \\\"1\\\"\",\"name\":\"{trace}\",\"attributes\":\
             {{\"traceId\":\"{trace}\"}}}}\n\nevent: ended\nid: e-2\ndata: {{\"type\":\"ended\",\"traceId\":\
             \"order \\\"1\\\"\",\"spanId\":\"order \\\"1\\\"\",\"parentSpanId\":null,\"name\":\"a\"}}\n\nevent: ping\n\
             data: {{\"head\":\"e-2\"}}\n\nid: e-2\n\n"
        );
        let written = String::from_utf8(rewriter.frames(frames.as_bytes())).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn events_of_other_traces_pass_as_they_are() {
        let trace = TraceId::from_bytes([1; 16]).unwrap();
        let other = TraceId::from_bytes([2; 16]).unwrap();
        let root = ids::root(trace);
        let frames = format!("data: {{\"traceId\":\"{other}\",\"spanId\":\"{root}\"}}\n\n");
        let written = IdRewriter::new(trace, "x").frames(frames.as_bytes());
        assert_eq!(String::from_utf8(written).unwrap(), frames);
    }
}
