//! The senders, the times of their last requests, and their rejections. `/status` and the page show
//! them. Request tasks and the worker share this state behind a lock. A request task holds the lock
//! while it assigns the items of its request to senders.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::{Serialize, Serializer};

use crate::{
    otlp::{
        config::OtlpReceiver,
        mapping::{ProcessKey, SenderInfo, describe, sender_info, service_name},
    },
    span::process::Processes,
    util::{hash::Map, time::Timestamp},
};

pub(crate) type SharedSenders = Arc<Mutex<Senders>>;

/// The state of all senders. Bounded: processes beyond the bound are combined by service.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    keys: Map<ProcessKey, usize>,
    list: Vec<Sender>,
    processes: usize,
    /// The number of rejected requests, and the reason for the last rejection.
    refused: u64,
    last_refusal: Option<Refused>,
    /// The number of open spans beyond the bound. Such spans are shown only when they end.
    pub(crate) open_spans_not_followed: u64,
}

/// One sending process, or the processes of one service that are beyond the bound.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sender {
    #[serde(flatten)]
    info: SenderInfo,
    #[serde(skip)]
    pub(crate) source: u32,
    #[serde(serialize_with = "as_text")]
    last_heard: Timestamp,
    spans: u64,
    log_records: u64,
    pub(crate) open_spans: usize,
    rejected: u64,
    /// Ended spans and log records that were received again and left out.
    pub(crate) repeated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_rejection: Option<String>,
    /// Whether the process has never sent an open span, although it has sent an ended span of a
    /// second or more.
    pub(crate) ended_only: bool,
    /// Lower bound on the time by which the sender's clock is ahead of ours. 0 if the difference is
    /// plausible.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) clock_ahead_millis: u64,
}

/// A rejected request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    reason: String,
    #[serde(serialize_with = "as_text")]
    timestamp: Timestamp,
    /// The `User-Agent` of the sender.
    sender: String,
}

/// The receiver's part of `/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtlpReport {
    senders: Vec<Sender>,
    refused_requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<Refused>,
    open_spans_not_followed: u64,
}

/// Upper bound on the stored reason of a rejection, in bytes.
const REASON_BYTES_MAX: usize = 256;

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.text())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Senders {
    /// Returns the number of the sender with this resource. Adds the sender if it is new. Beyond the bound on
    /// processes, all processes of one service count as one sender. Returns `None` if there are too many services.
    pub(crate) fn find(
        &mut self,
        resource: Option<&Resource>,
        processes: &Processes,
        received: Timestamp,
    ) -> Option<usize> {
        let key = ProcessKey::of(resource);
        if let Some(number) = self.keys.get(&key) {
            return Some(*number);
        }
        if self.processes < OtlpReceiver::PROCESSES_MAX {
            self.processes += 1;
            return Some(self.add(key, resource, processes, received));
        }
        let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
        let service = service_name(attributes);
        let key = ProcessKey::of_service(service);
        if let Some(number) = self.keys.get(&key) {
            return Some(*number);
        }
        if self.list.len() - self.processes >= OtlpReceiver::SERVICES_MAX {
            return None;
        }
        let of_service = Resource {
            attributes: attributes
                .iter()
                .filter(|pair| pair.key == "service.name")
                .cloned()
                .collect(),
            ..Resource::default()
        };
        Some(self.add(key, Some(&of_service), processes, received))
    }

    fn add(
        &mut self,
        key: ProcessKey,
        resource: Option<&Resource>,
        processes: &Processes,
        received: Timestamp,
    ) -> usize {
        let process = describe(&key, resource, received);
        let info = sender_info(&process, resource);
        let number = self.list.len();
        self.keys.insert(key, number);
        self.list.push(Sender {
            info,
            source: processes.add_other(process),
            last_heard: received,
            spans: 0,
            log_records: 0,
            open_spans: 0,
            rejected: 0,
            repeated: 0,
            last_rejection: None,
            ended_only: false,
            clock_ahead_millis: 0,
        });
        number
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Sender> {
        self.list.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Sender> {
        self.list.get_mut(number)
    }

    /// Counts a rejected request.
    pub(crate) fn refused(&mut self, reason: &str, sender: &str) {
        self.refused += 1;
        self.last_refusal = Some(Refused {
            reason: clipped(reason),
            timestamp: Timestamp::now(),
            sender: clipped(sender),
        });
    }

    pub(crate) fn report(&self) -> OtlpReport {
        OtlpReport {
            senders: self.list.clone(),
            refused_requests: self.refused,
            last_refusal: self.last_refusal.clone(),
            open_spans_not_followed: self.open_spans_not_followed,
        }
    }
}

impl Sender {
    /// Counts the spans and log records of a request.
    pub(crate) fn record_request(&mut self, received: Timestamp, spans: u64, log_records: u64) {
        self.last_heard = self.last_heard.max(received);
        self.spans += spans;
        self.log_records += log_records;
    }

    pub(crate) fn rejected(&mut self, reason: &str) {
        self.rejected += 1;
        if self.last_rejection.as_deref() != Some(reason) {
            self.last_rejection = Some(clipped(reason));
        }
    }

    pub(crate) fn is_dotnet(&self) -> bool {
        self.info.language == "dotnet"
    }
}

fn clipped(text: &str) -> String {
    crate::span::json::clip(text, REASON_BYTES_MAX).0.to_owned()
}
