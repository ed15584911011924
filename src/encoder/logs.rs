//! Encodes log records. A log record inside the span of a request to our own routes is never encoded. It runs on the
//! worker thread.

use crate::{
    encoder::span_encoder::SpanEncoder,
    log::{
        batch::Batch,
        event::{Pinning, StreamKey},
    },
    span::json::{self, LogFields},
    trace::span_change::{ChangeKind, SpanChange},
};

impl SpanEncoder {
    pub(super) fn log(&mut self, source: u32, log: LogFields<'_>, batch: &mut Batch) {
        let is_own = |span| self.own_requests.contains(span, None);
        if log.span_id.is_some_and(is_own) {
            return;
        }
        let Some(process) = self.announce_process(source, batch) else {
            return;
        };
        let mut log = LogFields {
            process: &process.id,
            service: &process.service,
            ..log
        };
        self.redaction.log(&mut log);
        let key = log
            .trace_id
            .map_or_else(StreamKey::outside_of_traces, StreamKey::of_id);
        batch.push("log", Some(key), Pinning::None, |out| json::log(out, &log));
        let change = SpanChange {
            trace_id: log.trace_id.unwrap_or_default(),
            span_id: log.span_id.unwrap_or_default(),
            time: log.time,
            kind: ChangeKind::Log(log.severity),
        };
        self.pending_changes
            .push((batch.len().saturating_sub(1), change));
    }
}
