//! Control events, which report the log's own state on a stream. Only this file names their fields. Pure, except that
//! it reads the clock; the worker thread and the readers' tasks call it.

use serde::Serialize;

use crate::{
    util::time::Timestamp,
    wire::{
        frame,
        id::{Epoch, EventId},
    },
};

/// The version of the wire format. A breaking change increments it.
pub(crate) const PROTOCOL: u32 = 1;
/// The name of the server in `hello` and `/status`.
pub(crate) const SERVER: &str = concat!("livespan/", env!("CARGO_PKG_VERSION"));
/// The name of events that report a gap.
pub(crate) const GAP: &str = "gap";

/// The number of dropped events since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dropped {
    /// Starts of spans.
    pub starts: u64,
    /// Ends of spans.
    pub ends: u64,
    /// Everything else.
    pub other: u64,
}

impl Dropped {
    /// Returns the sum of all kinds.
    pub fn total(&self) -> u64 {
        self.starts
            .saturating_add(self.ends)
            .saturating_add(self.other)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            starts: self.starts - earlier.starts,
            ends: self.ends - earlier.ends,
            other: self.other - earlier.other,
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Events that a reader will not get, or the end of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// Events are missing: retention removed them, or the store lost them or could not return them.
    Evicted {
        /// The first id of the range in which events are missing.
        from: EventId,
        /// The last id of that range.
        to: EventId,
        /// The number of events in that range that this reader will not get. Only its own streams count. `None` if
        /// unknown.
        lost: Option<u64>,
    },
    /// The reader's id has an epoch or a sequence that this log does not know.
    Epoch,
    /// The store works again after it [failed](crate::sse::Message::Degraded). If events were lost, an event of the
    /// log reports them.
    Recovered,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EndReason {
    /// The subject of the stream, such as a trace, is complete.
    Complete,
    /// The log or its server was shut down.
    Shutdown,
    /// The server has reached a bound on streams or connections.
    Overload,
    /// The reader's permission has expired or was revoked.
    Expired,
    /// The stream's key was still not known after the time limit.
    Unknown,
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Control {
    Hello {
        protocol: u32,
        epoch: String,
        oldest: String,
        head: String,
        now: String,
        ping_seconds: u64,
        server: &'static str,
    },
    Ping {
        head: String,
        now: String,
        dropped: Dropped,
        #[serde(skip_serializing_if = "Option::is_none")]
        known: Option<bool>,
    },
    Gap {
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        lost: Lost,
    },
    Degraded {
        now: String,
    },
    End {
        reason: EndReason,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Lost {
    Events(Option<u64>),
    Dropped(Dropped),
}

/// The state of the log that `hello` and `ping` report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPosition {
    pub(crate) epoch: Epoch,
    pub(crate) oldest: EventId,
    pub(crate) head: EventId,
    pub(crate) dropped: Dropped,
}

pub(crate) fn hello(out: &mut Vec<u8>, position: &LogPosition, ping_seconds: u64) {
    let hello = Control::Hello {
        protocol: PROTOCOL,
        epoch: position.epoch.to_string(),
        oldest: position.oldest.to_string(),
        head: position.head.to_string(),
        now: Timestamp::now().text(),
        ping_seconds,
        server: SERVER,
    };
    write(out, "hello", &hello);
}

pub(crate) fn ping(out: &mut Vec<u8>, position: &LogPosition, known: Option<bool>) {
    let ping = Control::Ping {
        head: position.head.to_string(),
        now: Timestamp::now().text(),
        dropped: position.dropped,
        known,
    };
    write(out, "ping", &ping);
}

pub(crate) fn gap(out: &mut Vec<u8>, gap: &Gap) {
    let gap = match gap {
        Gap::Evicted { from, to, lost } => Control::Gap {
            reason: "evicted",
            from: Some(from.to_string()),
            to: Some(to.to_string()),
            lost: Lost::Events(*lost),
        },
        Gap::Epoch => Control::Gap {
            reason: "epoch",
            from: None,
            to: None,
            lost: Lost::Events(None),
        },
        Gap::Recovered => return write(out, GAP, &dropped_gap(Dropped::default())),
    };
    write(out, GAP, &gap);
}

/// Writes a report of drops, for a stream that does not include the stored event that reports them.
pub(crate) fn gap_dropped(out: &mut Vec<u8>, dropped: Dropped) {
    write(out, GAP, &dropped_gap(dropped));
}

pub(crate) fn degraded(out: &mut Vec<u8>) {
    write(
        out,
        "degraded",
        &Control::Degraded {
            now: Timestamp::now().text(),
        },
    );
}

pub(crate) fn end(out: &mut Vec<u8>, reason: EndReason) {
    write(out, "end", &Control::End { reason });
}

/// Writes the payload of the stored event that reports drops. As an event of the log, it has an id.
pub(crate) fn dropped_payload(out: &mut Vec<u8>, dropped: Dropped) {
    json(out, &dropped_gap(dropped));
}

/// The payload that replaces that of a damaged stored event. The replacement keeps the event's id and stream.
pub(crate) const DAMAGED: &[u8] = br#"{"type":"gap","reason":"damaged","lost":1}"#;

/// Returns whether the event replaces a damaged one. Filters and views must pass such an event, as they pass control
/// events.
pub(crate) fn is_damaged(name: &str, payload: &[u8]) -> bool {
    name == GAP && payload == DAMAGED
}

/// Writes the payload of a gap in a response that is not a stream. It has no ids, because such a response cannot be
/// resumed.
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "only HTTP has such responses")
)]
pub(crate) fn evicted_payload(out: &mut Vec<u8>, lost: Option<u64>) {
    json(
        out,
        &Control::Gap {
            reason: "evicted",
            from: None,
            to: None,
            lost: Lost::Events(lost),
        },
    );
}

fn dropped_gap(dropped: Dropped) -> Control {
    Control::Gap {
        reason: "dropped",
        from: None,
        to: None,
        lost: Lost::Dropped(dropped),
    }
}

fn write(out: &mut Vec<u8>, name: &str, control: &Control) {
    let mut payload = Vec::with_capacity(192);
    json(&mut payload, control);
    frame::control(out, name, &payload);
}

fn json(out: &mut Vec<u8>, control: &Control) {
    // Writing to a `Vec` cannot fail and these structs have string keys only, so no error is discarded.
    let written = serde_json::to_writer(out, control);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::Sequence;

    fn position() -> LogPosition {
        let epoch = "k3x9q2a7".parse().unwrap();
        LogPosition {
            epoch,
            oldest: EventId::new(epoch, Sequence::new(3)),
            head: EventId::new(epoch, Sequence::new(41)),
            dropped: Dropped {
                starts: 1,
                ends: 2,
                other: 3,
            },
        }
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        // Only the time of writing differs between runs.
        match (text.find("\"now\":\""), text.find("Z\"")) {
            (Some(from), Some(to)) => format!("{}\"now\":\"T{}", &text[..from], &text[to..]),
            _ => text,
        }
    }

    #[test]
    fn control_frames_are_exact() {
        assert_eq!(
            text(|out| hello(out, &position(), 15)),
            "event: hello\ndata: {\"type\":\"hello\",\"protocol\":1,\"epoch\":\"k3x9q2a7\",\"oldest\":\"k3x9q2a7-3\",\
             \"head\":\"k3x9q2a7-41\",\"now\":\"TZ\",\"pingSeconds\":15,\"server\":\"livespan/0.1.0\"}\n\n"
        );
        assert_eq!(
            text(|out| ping(out, &position(), None)),
            "event: ping\ndata: {\"type\":\"ping\",\"head\":\"k3x9q2a7-41\",\"now\":\"TZ\",\
             \"dropped\":{\"starts\":1,\"ends\":2,\"other\":3}}\n\n"
        );
        assert_eq!(
            text(|out| end(out, EndReason::Complete)),
            "event: end\ndata: {\"type\":\"end\",\"reason\":\"complete\"}\n\n"
        );
        assert_eq!(
            text(|out| gap(out, &Gap::Epoch)),
            "event: gap\ndata: {\"type\":\"gap\",\"reason\":\"epoch\",\"lost\":null}\n\n"
        );
        assert_eq!(
            text(|out| gap(out, &Gap::Recovered)),
            "event: gap\ndata: {\"type\":\"gap\",\"reason\":\"dropped\",\"lost\":{\"starts\":0,\"ends\":0,\"other\":0}}\n\n"
        );
        let epoch = position().epoch;
        let evicted = Gap::Evicted {
            from: EventId::new(epoch, Sequence::new(1)),
            to: EventId::new(epoch, Sequence::new(9)),
            lost: Some(8),
        };
        assert_eq!(
            text(|out| gap(out, &evicted)),
            "event: gap\ndata: {\"type\":\"gap\",\"reason\":\"evicted\",\"from\":\"k3x9q2a7-1\",\
             \"to\":\"k3x9q2a7-9\",\"lost\":8}\n\n"
        );
        assert_eq!(
            text(|out| dropped_payload(out, position().dropped)),
            "{\"type\":\"gap\",\"reason\":\"dropped\",\"lost\":{\"starts\":1,\"ends\":2,\"other\":3}}"
        );
    }
}
