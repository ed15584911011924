//! Finds the events of another log that were stored here after its position was last saved. If this
//! program was killed, the other log sends them again, and the follower skips them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    future::poll_fn,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
};

use futures_util::Stream as _;
use livespan::{
    LiveSpans,
    sse::{EventId, Gap, Message, ResumePoint, Subscribe},
};
use serde_json::Value as Json;

use crate::follow::positions::Position;

/// Upper bound on the distinct events that are read. Further events would be stored twice.
const EVENTS_MAX: usize = 1_000_000;
/// The fields that identify an event. Other fields may have been redacted here.
const FIELDS: [&str; 5] = ["type", "traceId", "spanId", "process", "timestamp"];

/// The events that are stored after a position.
#[derive(Debug, Default)]
pub(super) struct StoredBefore {
    /// The number of stored copies of each event, by the event's hash.
    counts: HashMap<u64, u32>,
    /// The number of these events that belong to the other log and have not been sent again yet. It
    /// does not count events that the other log keeps beyond its retention: processes, and the
    /// start and the last complete update of a span without an end.
    of_log: u64,
    open: HashSet<(String, String)>,
    /// The open spans with a complete update, which the other log keeps like a start.
    complete: HashSet<(String, String)>,
}

impl StoredBefore {
    /// Reads the events after this position, up to the head. Returns `None` if the position does
    /// not belong to our log.
    pub(super) async fn behind(live: &LiveSpans, position: &Position) -> Option<Self> {
        let here: EventId = position.here.as_ref()?.parse().ok()?;
        let head = live.status().head;
        let mut stored = Self::default();
        let resume = Subscribe::all().resume(ResumePoint::AfterId(here));
        let mut events = live.target().subscribe(resume);
        let mut read = here.sequence();
        while read < head.sequence() && stored.counts.len() < EVENTS_MAX {
            match poll_fn(|cx| Pin::new(&mut events).poll_next(cx)).await {
                Some(Message::Event(event)) => {
                    read = event.id.sequence();
                    let payload = String::from_utf8_lossy(&event.payload);
                    stored.add(&payload, &position.processes);
                }
                Some(Message::Gap(Gap::Epoch)) => return None,
                Some(_) => {}
                None => break,
            }
        }
        Some(stored)
    }

    fn add(&mut self, payload: &str, processes: &BTreeSet<String>) {
        let event: Json = serde_json::from_str(payload).unwrap_or_default();
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        if processes.contains(&text("process")) && event["lost"].is_null() {
            let span = (text("traceId"), text("spanId"));
            self.of_log += match text("type").as_str() {
                "process" => 0,
                "started" => u64::from(!self.open.insert(span)),
                "updated" if event["complete"] == true => u64::from(!self.complete.insert(span)),
                "ended" => {
                    1 + u64::from(self.open.remove(&span)) + u64::from(self.complete.remove(&span))
                }
                _ => 1,
            };
        }
        *self.counts.entry(hash_of(payload, &event)).or_default() += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns whether the event is already stored. The other log sends the stored events first, so
    /// after the first event that is not stored, no event counts as stored.
    pub(super) fn take(&mut self, payload: &str) -> bool {
        if self.counts.is_empty() {
            return false;
        }
        let event = serde_json::from_str(payload).unwrap_or_default();
        let hash = hash_of(payload, &event);
        match self.counts.get_mut(&hash) {
            None => {
                *self = Self::default();
                false
            }
            Some(count) => {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&hash);
                }
                self.of_log = self.of_log.saturating_sub(1);
                true
            }
        }
    }

    /// Subtracts the stored events from a count of evicted events: the oldest events are evicted
    /// first, and the stored ones are the oldest. Returns whether the count is now zero.
    pub(super) fn take_evicted(&mut self, lost: &mut Json) -> bool {
        let Some(events) = lost.as_u64() else {
            return false;
        };
        let missing = events.saturating_sub(self.of_log);
        self.of_log = self.of_log.saturating_sub(events);
        *lost = missing.into();
        missing == 0
    }
}

fn hash_of(payload: &str, event: &Json) -> u64 {
    let mut hash = DefaultHasher::new();
    if event["timestamp"].is_string() {
        for field in FIELDS {
            event[field].as_str().hash(&mut hash);
        }
    } else {
        payload.hash(&mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stored_events_are_left_out_until_one_comes_that_is_not_stored() {
        let event = |span: u8, name: &str| {
            let process = if span == 9 { "p9" } else { "p1" };
            json!({"type": "started", "spanId": span.to_string(), "name": name, "process": process, "timestamp": "t"})
                .to_string()
        };
        let mut stored = StoredBefore::default();
        for payload in [
            event(1, "masked"),
            event(2, "b"),
            event(2, "b"),
            event(9, "other"),
        ] {
            stored.add(&payload, &BTreeSet::from(["p1".to_owned()]));
        }
        let taken = [
            event(1, "a"),
            event(2, "b"),
            event(2, "b"),
            event(3, "c"),
            event(9, "other"),
        ]
        .map(|payload| stored.take(&payload));
        assert_eq!(taken, [true, true, true, false, false]);
    }

    #[test]
    fn stored_events_are_subtracted_from_the_other_logs_evictions() {
        let mut stored = StoredBefore::default();
        for (kind, span, process) in [
            ("process", "", "p1"),
            ("started", "1", "p1"),
            ("started", "2", "p1"),
            ("updated", "2", "p1"),
            ("ended", "2", "p1"),
            ("started", "3", "p2"),
            ("complete", "1", "p1"),
        ] {
            let is_complete = kind == "complete";
            let kind = if is_complete { "updated" } else { kind };
            let event =
                json!({"type": kind, "spanId": span, "process": process, "complete": is_complete});
            stored.add(&event.to_string(), &BTreeSet::from(["p1".to_owned()]));
        }
        for (mut lost, is_all, left) in [
            (Json::Null, false, Json::Null),
            (json!(2), true, json!(0)),
            (json!(7), false, json!(6)),
            (json!(7), false, json!(7)),
        ] {
            assert_eq!(stored.take_evicted(&mut lost), is_all);
            assert_eq!(lost, left);
        }
    }
}
