//! Requests, pseudo-random numbers and damaged bodies for tests.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

/// Returns a request with these spans, in protobuf.
pub(crate) fn request_of_spans(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans {
        spans,
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Returns a request with these log records, in protobuf.
pub(crate) fn request_of_logs(log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs {
        log_records,
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// Pseudo-random numbers. They are the same in every run, unless `LIVESPAN_TEST_SEED` has another
/// seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("LIVESPAN_TEST_SEED");
        let seed = seed.map_or(0x0715_eed5, |seed| seed.parse().unwrap());
        // An xorshift generator stays at zero if it begins there.
        Self(u64::max(seed, 1))
    }

    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// Makes random changes to bodies.
pub(crate) struct Damage(Numbers);

impl Damage {
    pub(crate) fn new() -> Self {
        Self(Numbers::new())
    }

    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0.next(below)
    }

    /// Makes one to four changes: replaces, removes or inserts a byte, or repeats the end of the
    /// body.
    pub(crate) fn apply_to(&mut self, body: &[u8]) -> Vec<u8> {
        let mut damaged = body.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(damaged.len());
            let byte = u8::try_from(self.next(256)).unwrap();
            match self.next(4) {
                0 => damaged[at] = byte,
                1 if damaged.len() > 1 => drop(damaged.remove(at)),
                2 => damaged.extend_from_within(at..),
                _ => damaged.insert(at, byte),
            }
        }
        damaged
    }
}
