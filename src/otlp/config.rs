//! The settings of the receiver. They are validated once, when the log is built. `Debug` must never
//! print the token.

use std::{fmt, time::Duration};

use crate::error::Error;

/// The settings for receiving OTLP from other processes, for
/// [`LiveSpansBuilder::otlp`](crate::LiveSpansBuilder::otlp).
///
/// Without a token, every client that may read the whole log may also write. By default, those are
/// the programs on this machine.
///
/// ```
/// use livespan::{LiveSpans, otlp::OtlpReceiver};
///
/// let live = LiveSpans::builder()
///     .otlp(OtlpReceiver::default().token("a-long-secret").allowed_origins(["http://localhost:*"]))
///     .build()?;
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct OtlpReceiver {
    pub(crate) token: Option<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) body_bytes_max: usize,
    pub(crate) items_max: usize,
    pub(crate) memory_bytes_max: usize,
}

impl fmt::Debug for OtlpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpReceiver")
            .field("has_token", &self.token.is_some())
            .field("allowed_origins", &self.allowed_origins)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("items_max", &self.items_max)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish()
    }
}

impl Default for OtlpReceiver {
    fn default() -> Self {
        Self {
            token: None,
            allowed_origins: Vec::new(),
            body_bytes_max: Self::DEFAULT_BODY_BYTES,
            items_max: Self::DEFAULT_ITEMS,
            memory_bytes_max: Self::DEFAULT_MEMORY_BYTES,
        }
    }
}

impl OtlpReceiver {
    /// Default bound on the body of a request, in bytes, both as it is sent and after
    /// decompression: 20 MiB. The response to a larger one is status 413.
    pub const DEFAULT_BODY_BYTES: usize = 20 * 1024 * 1024;
    /// Default bound on the spans, or the log records, of a request: 50,000. The response to a
    /// request with more is status 413.
    pub const DEFAULT_ITEMS: usize = 50_000;
    /// Default bound on the memory of all requests that are being read or wait for the log's
    /// thread, in bytes: 64 MiB. The response to a request without room is status 503 with
    /// `Retry-After`, and nothing of the request is stored. One request alone may use up to
    /// [`REQUEST_BYTES_MAX`](Self::REQUEST_BYTES_MAX).
    pub const DEFAULT_MEMORY_BYTES: usize = 64 * 1024 * 1024;
    /// Upper bound on the memory of one decoded request, in bytes: 256 MiB. The response to a
    /// request that needs more, such as one with only empty values, is status 413.
    pub const REQUEST_BYTES_MAX: usize = 256 * 1024 * 1024;
    /// How long a sender may take for the body of a request: 30 seconds.
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a request waits until the store has its events: 10 seconds. Then the response is
    /// status 503. If the sender repeats the request, events that were stored meanwhile are not
    /// stored again.
    pub const STORE_TIMEOUT: Duration = Duration::from_secs(10);
    /// Upper bound on nested values: 60 levels. Deeper values are replaced by null.
    pub const VALUE_DEPTH_MAX: usize = 60;
    /// Upper bound on the processes that are distinguished: 1,024. Further processes are combined into one per service
    /// name.
    pub const PROCESSES_MAX: usize = 1_024;
    /// Upper bound on the service names of such combined processes: 256. Spans and log records of
    /// further services are rejected.
    pub const SERVICES_MAX: usize = 256;
    /// Upper bound on the open spans that are followed at once: 65,536. A further span is shown
    /// only when it ends; `/status` counts such spans.
    pub const OPEN_SPANS_MAX: usize = 65_536;
    /// Upper bound on the ended spans that are remembered in order to recognize repetitions:
    /// 262,144. At least the newest half of them are remembered.
    pub const ENDED_SPANS_MAX: usize = 262_144;
    /// Upper bound on the log records that are remembered in order to recognize repeated requests:
    /// 262,144. At least the newest half of them are remembered. Records without any time are not
    /// remembered.
    pub const LOG_RECORDS_MAX: usize = 262_144;
    /// Upper bound on the newest stored events that the first request after a restart reads:
    /// 131,072. They are needed to recognize repetitions of spans and log records that were stored
    /// before the restart. A sender repeats a request if the program ended before it responded.
    pub const STORED_EVENTS_READ_MAX: u64 = 131_072;
    /// How far the time of a start or an end may lie after its receipt: 1 second. An event beyond
    /// that also has the time of receipt (`receivedTimestamp`), because the sender's clock is
    /// ahead.
    pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(1);
    /// How far the time of a start or an end may lie before its receipt: 5 minutes, the time for
    /// which exporters retry. An event beyond that also has the time of receipt
    /// (`receivedTimestamp`), because it is late or the sender's clock is behind.
    pub const DELAY_MAX: Duration = Duration::from_secs(300);
    /// The shortest silence after which a process counts as dead: 30 seconds. It applies only to
    /// processes that have sent open spans repeatedly.
    pub const SILENCE_MIN: Duration = Duration::from_secs(30);

    /// Requires this token from senders: `Authorization: Bearer …`, or `x-otlp-api-key: …`. An SDK
    /// sends the second header if `OTEL_EXPORTER_OTLP_HEADERS=x-otlp-api-key=…` is set.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Lets pages of these origins send spans (CORS), such as `https://shop.example`, or
    /// `http://localhost:*` for any port. By default no page of another origin may send.
    pub fn allowed_origins<O: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = O>,
    ) -> Self {
        self.allowed_origins.extend(
            origins
                .into_iter()
                .map(|origin| origin.into().to_ascii_lowercase()),
        );
        self
    }

    /// Bounds the body of a request, in bytes (default [`DEFAULT_BODY_BYTES`](Self::DEFAULT_BODY_BYTES)).
    pub fn body_bytes(mut self, max: usize) -> Self {
        self.body_bytes_max = max;
        self
    }

    /// Bounds the spans, or the log records, of a request (default [`DEFAULT_ITEMS`](Self::DEFAULT_ITEMS)).
    pub fn items(mut self, max: usize) -> Self {
        self.items_max = max;
        self
    }

    /// Bounds the memory of all requests that are being read or wait for the log's thread, in bytes
    /// (default [`DEFAULT_MEMORY_BYTES`](Self::DEFAULT_MEMORY_BYTES)).
    pub fn memory_bytes(mut self, max: usize) -> Self {
        self.memory_bytes_max = max;
        self
    }

    pub(crate) fn validated(self) -> Result<Self, Error> {
        if let Some(token) = &self.token {
            let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
            if token.is_empty() || !is_sendable {
                return Err(Error::invalid(
                    "the token of the OTLP receiver is empty, or has characters other than visible ASCII",
                ));
            }
        }
        for origin in &self.allowed_origins {
            let is_origin = origin.split_once("://").is_some_and(|(scheme, authority)| {
                let host = authority.strip_suffix(":*").unwrap_or(authority);
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '@', '*', '?', '#'])
            });
            if !is_origin {
                return Err(Error::invalid(format!(
                    "{origin:?} is not an origin, such as \"https://shop.example\" or \"http://localhost:*\""
                )));
            }
        }
        Ok(self)
    }

    /// Returns whether a page of this origin may send.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins
            .iter()
            .any(|allowed| match allowed.strip_suffix(":*") {
                None => allowed == origin,
                Some(host) => origin.strip_prefix(host).is_some_and(|port| {
                    port.is_empty()
                        || port.strip_prefix(':').is_some_and(|port| {
                            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
                        })
                }),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_may_leave_its_port_open() {
        let receiver = OtlpReceiver::default()
            .allowed_origins(["http://localhost:*", "https://Shop.example"])
            .validated()
            .unwrap();
        for (origin, is_allowed) in [
            ("http://localhost", true),
            ("http://localhost:3000", true),
            ("http://localhost:", false),
            ("http://localhost:3000.evil.example", false),
            ("http://localhost.evil.example", false),
            ("https://shop.example", true),
            ("https://shop.example:8443", false),
            ("null", false),
        ] {
            assert_eq!(receiver.allows_origin(origin), is_allowed, "{origin}");
        }
        for wrong in [
            "*",
            "localhost",
            "https://",
            "https://*.example",
            "http://a/",
        ] {
            let error = OtlpReceiver::default().allowed_origins([wrong]).validated();
            assert!(error.unwrap_err().is_invalid(), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_and_no_token_is_printed() {
        for wrong in ["", "a b", "a\nb", "sp\u{e4}ti"] {
            let error = OtlpReceiver::default().token(wrong).validated();
            assert!(error.unwrap_err().is_invalid(), "{wrong}");
        }
        let shown = format!("{:?}", OtlpReceiver::default().token("hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
