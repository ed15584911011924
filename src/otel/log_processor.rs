//! The OpenTelemetry log processor. `emit` runs on the host's threads: it copies a compact record into the ingest
//! buffer and returns. It never waits, never panics, and never makes a span or a log record.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, logs::Severity};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord},
};

use crate::{
    otel::{
        processor::{LiveSpanProcessor, sdk_result},
        shared::ProcessorShared,
    },
    span::{
        record::{self, LogHead},
        severity::severity_name,
        shown_event::EventRoute,
    },
    util::time::Timestamp,
};

/// Shows the log records of a logger provider live, each in its span. Register it with
/// [`with_log_processor`](opentelemetry_sdk::logs::LoggerProviderBuilder::with_log_processor).
/// [`LiveSpans::log_processor`](crate::LiveSpans::log_processor) creates it.
///
/// - It shows records of [`DEFAULT_MIN_SEVERITY`](Self::DEFAULT_MIN_SEVERITY) and above, and those without a severity.
///   Below that severity, the SDK does not even make a record for this processor. Internal records of HTTP libraries
///   ([`DEFAULT_HIDDEN_TARGETS`](crate::LiveSpansBuilder::DEFAULT_HIDDEN_TARGETS)) are shown from WARN on, unless the
///   log has a [filter](crate::LiveSpansBuilder::filter) of its own.
/// - A record has the ids of its trace context, which the SDK takes from the current context. A record without a time
///   gets the time at which the SDK received it.
/// - A record is bounded, redacted and cut like a span. A record that the full buffer refuses is counted in
///   `dropped.other`.
/// - `force_flush` returns when every record before the call is stored and visible, within
///   [`LiveSpanProcessor::FLUSH_TIMEOUT`]. `shutdown` also only flushes; it does not shut the log down.
///
/// The events of `tracing` come through `opentelemetry-appender-tracing`. `livespan::layer` needs neither that crate
/// nor this processor. An event that reaches one log by both routes is shown once.
///
/// ```
/// use livespan::LiveSpans;
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
///
/// let live = LiveSpans::builder().build()?;
/// let provider = SdkLoggerProvider::builder().with_log_processor(live.log_processor()).build();
/// # provider.shutdown().ok();
/// # Ok::<(), livespan::Error>(())
/// ```
pub struct LiveLogProcessor {
    shared: Arc<ProcessorShared>,
    /// Set at the first record. By then, the program has usually built its tracer provider, too.
    source: OnceLock<u32>,
    resource: Option<Resource>,
    min_severity: Severity,
}

impl fmt::Debug for LiveLogProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveLogProcessor")
            .field("min_severity", &self.min_severity)
            .finish_non_exhaustive()
    }
}

impl LiveLogProcessor {
    /// The lowest severity that is shown by default: INFO.
    pub const DEFAULT_MIN_SEVERITY: Severity = Severity::Info;

    pub(crate) fn new(shared: Arc<ProcessorShared>) -> Self {
        shared
            .plug_ins
            .has_log_processor
            .store(true, Ordering::Relaxed);
        Self {
            shared,
            source: OnceLock::new(),
            resource: None,
            min_severity: Self::DEFAULT_MIN_SEVERITY,
        }
    }

    /// Shows records of this severity and above.
    #[must_use]
    pub fn min_severity(mut self, min: Severity) -> Self {
        self.min_severity = min;
        self
    }

    fn wants(&self, severity: Severity, target: &str) -> bool {
        severity >= self.min_severity && self.shared.filter.wants_log(severity as u8, target)
    }

    fn enqueue(&self, log: &SdkLogRecord, scope: &InstrumentationScope) {
        let target = log.target().map_or("", |target| target);
        let severity = log.severity_number();
        if !severity.is_none_or(|severity| self.wants(severity, target)) {
            return;
        }
        let severity = severity.map_or(0, |severity| severity as u8);
        let observed = log.observed_timestamp().map(Timestamp::from);
        let time = log.timestamp().map(Timestamp::from);
        let name = log.event_name().unwrap_or_default();
        let seen = observed.or(time).unwrap_or_else(Timestamp::now);
        let (plug_ins, number) = (&self.shared.plug_ins, self.shared.log_number);
        if plug_ins.is_shown_already(number, name, EventRoute::LogProcessor, seen) {
            return;
        }
        let text = log.severity_text().unwrap_or_default();
        let (trace_id, span_id) = log
            .trace_context()
            .map_or_else(Default::default, |context| {
                (context.trace_id.to_bytes(), context.span_id.to_bytes())
            });
        let head = LogHead {
            source: self.source(),
            severity,
            trace_id,
            span_id,
            time: time.unwrap_or(seen),
            observed: observed.filter(|_| time.is_some()),
            target,
            scope: scope.name(),
            event_name: LogHead::given_name(name),
            severity_text: if text == severity_name(severity) {
                ""
            } else {
                text
            },
        };
        self.shared
            .enqueue_log(|buf| record::write_log(buf, &head, log));
    }

    fn source(&self) -> u32 {
        *self.source.get_or_init(|| {
            let resource = self.resource.as_ref();
            self.shared.source_of_logs(resource)
        })
    }

    fn flush(&self, timeout: Duration) -> OTelSdkResult {
        sdk_result(self.shared.buffer().flush(timeout), timeout)
    }
}

impl LogProcessor for LiveLogProcessor {
    fn emit(&self, data: &mut SdkLogRecord, instrumentation: &InstrumentationScope) {
        // A panic here would reach the host's code, so it is caught.
        drop(catch_unwind(AssertUnwindSafe(|| {
            self.enqueue(data, instrumentation);
        })));
    }

    fn event_enabled(&self, level: Severity, target: &str, _name: Option<&str>) -> bool {
        self.wants(level, target)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush(LiveSpanProcessor::FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.flush(timeout.min(LiveSpanProcessor::FLUSH_TIMEOUT))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = Some(resource.clone());
    }
}
