//! Reads the stream of one livespan, over all its connections, and appends its events to the log here in their order.
//!
//! The position in the other log moves only when its events are stored here, and a new connection resumes there, also
//! that of a later run of this program. So nothing is taken twice, and nothing is missed, wherever a connection is cut.
//! What the other log lost is told here as a gap. When its process is gone, its open spans end as lost.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use livespan::{Error, SseTarget, span::EncodedEvent};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    console,
    follow::{
        Followers, Source,
        positions::{JoinToken, Position, Positions, Processes},
        stored_before::StoredBefore,
    },
    http::{Client, Frame, Frames, RequestError, StreamEnd},
};

/// Events that are stored together at most.
const BATCH_EVENTS_MAX: usize = 1_024;
/// The id of the beginning of any log. A reader who resumes there is told what is missing.
const BEGINNING: &str = "0";
/// How often it looks whether the store here works again.
const STORE_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before a connection is tried again: the first one, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Follows one livespan.
pub(super) struct Follower {
    followers: Followers,
    target: SseTarget<EncodedEvent>,
    client: Client,
    source: Source,
    address: String,
    /// What a later run of this program needs to read a program that joined.
    joined: Option<JoinToken>,
    /// The id of the last event that is stored here.
    cursor: Option<String>,
    /// Where an earlier run of this program had read to, until this one begins.
    restored: Option<Position>,
    /// What that run stored behind its position.
    stored: StoredBefore,
    /// Whether a gap comes before the next event, unless that event is stored: then this is the log of before.
    is_gap_due: bool,
    /// The epoch of the log that is followed.
    epoch: Option<String>,
    has_warned: bool,
    /// When the last frame came.
    last_heard: SystemTime,
}

/// How a connection ended.
enum Outcome {
    /// The other log has ended, or nothing of it will come any more.
    Gone,
    /// The connection was cut. `true` if anything came.
    Cut(bool),
    /// The store here refused events. Readers got them; they are read again when the store works.
    Refused,
    /// The log here takes no more events.
    Closed,
}

impl Follower {
    pub(super) fn new(followers: &Followers, client: Client, source: Source) -> Self {
        let address = client.address().to_string();
        let token = client.token().filter(|_| source == Source::Joined);
        Self {
            target: followers.live.encoded_target(),
            source,
            joined: token.map(|token| JoinToken {
                token: token.to_owned(),
            }),
            cursor: None,
            restored: followers.progress.positions.take_restored(&address),
            stored: StoredBefore::default(),
            is_gap_due: false,
            epoch: None,
            has_warned: false,
            last_heard: SystemTime::now(),
            address,
            client,
            followers: followers.clone(),
        }
    }

    fn positions(&self) -> &Positions {
        &self.followers.progress.positions
    }

    /// Goes on where an earlier run of this program ended.
    async fn restore(&mut self) {
        let Some(position) = self.restored.take() else {
            return;
        };
        // Without what is stored, the log here is another one than then, and needs everything.
        if let Some(stored) = StoredBefore::behind(&self.followers.live, &position).await {
            // Until they have come again, the saved place stays in front of them.
            if stored.is_empty() {
                self.positions().settle(&position.epoch);
            }
            self.stored = stored;
            self.last_heard = position.last_heard();
            self.cursor = Some(position.id.unwrap_or_else(|| BEGINNING.to_owned()));
            self.epoch = Some(position.epoch);
        }
    }

    /// Follows until the other livespan is gone, or the log here ends.
    pub(super) async fn run(mut self) {
        self.restore().await;
        let (first, longest) = PAUSES;
        let mut pause = first;
        loop {
            match self.connection().await {
                Outcome::Closed => return,
                Outcome::Gone => {
                    if let Some(epoch) = &self.epoch {
                        self.end_processes(epoch).await;
                    }
                    if self.source == Source::Joined {
                        return;
                    }
                }
                Outcome::Cut(true) => pause = first,
                Outcome::Cut(false) => {}
                Outcome::Refused => {
                    self.wait_for_store().await;
                    // Some of the events may be stored.
                    let epoch = self.epoch.as_deref().unwrap_or_default();
                    self.restored = self.positions().get(epoch);
                    self.restore().await;
                }
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits until the store here works, or the log has ended.
    async fn wait_for_store(&self) {
        while self.followers.live.status().store.failure.is_some() {
            sleep_until(Instant::now() + STORE_INTERVAL).await;
        }
    }

    /// Reads one connection to its end.
    async fn connection(&mut self) -> Outcome {
        let opened = self.client.stream("/sse", self.cursor.as_deref()).await;
        let mut frames = match opened {
            Ok(frames) => frames,
            // The program has ended, or another one has its port now.
            Err(RequestError::Refused | RequestError::Status(..))
                if self.source == Source::Joined =>
            {
                return Outcome::Gone;
            }
            Err(error) => {
                self.warn(&format!(
                    "failed to follow {}: {error}",
                    self.client.address()
                ));
                return Outcome::Cut(false);
            }
        };
        let mut has_any = false;
        loop {
            let first = match frames.next().await {
                Ok(frame) => frame,
                Err(StreamEnd::Malformed) if self.source == Source::Joined => return Outcome::Gone,
                Err(_) => return Outcome::Cut(has_any),
            };
            has_any = true;
            self.has_warned = false;
            let taken = self.take(first, &mut frames).await;
            // After it was taken: the first frame of a new log is no news of the one before.
            self.last_heard = SystemTime::now();
            match taken {
                Ok(Some(outcome)) => return outcome,
                Err(error) if error.is_closed() => return Outcome::Closed,
                Err(_) => return Outcome::Refused,
                Ok(None) => {}
            }
        }
    }

    /// Stores a frame and those that came with it.
    async fn take(&mut self, first: Frame, frames: &mut Frames) -> Result<Option<Outcome>, Error> {
        let mut batch = Vec::new();
        let mut cursor = None;
        let mut outcome = None;
        let mut next = Some(first);
        while let Some(frame) = next {
            match &*frame.event {
                "hello" => outcome = self.hello(&frame).await,
                "end" if json_of(&frame)["reason"] == "shutdown" => outcome = Some(Outcome::Gone),
                "end" => outcome = Some(Outcome::Cut(false)),
                "ping" | "degraded" => {}
                _ => self.event(&frame, &mut batch),
            }
            if frame.id.is_some() {
                cursor = frame.id;
            }
            if outcome.is_some() || batch.len() >= BATCH_EVENTS_MAX {
                break;
            }
            next = frames.ready().unwrap_or_default();
        }
        let epoch = self.epoch.clone().unwrap_or_default();
        if !batch.is_empty() {
            let processes = batch.iter().filter_map(EncodedEvent::process);
            if self.positions().begin(&epoch, processes) == Processes::New {
                self.followers.save().await;
            }
        }
        let stored = self.target.dispatch_all(&batch).await;
        if let (Some(id), Ok(here)) = (cursor, stored.as_ref().copied()) {
            // While stored events come again, the saved position stays in front of all of them.
            if self.stored.is_empty() {
                self.positions().set(&epoch, &id, here);
            }
            self.cursor = Some(id);
            let batches = &self.followers.progress.batches;
            batches.fetch_add(1, Ordering::Relaxed);
        }
        stored.map(|_| outcome)
    }

    /// Notes which log this is. If it is another one than before, the processes of that one are gone. If it was read
    /// before, by another follower, a new connection goes on from there.
    async fn hello(&mut self, frame: &Frame) -> Option<Outcome> {
        let hello = json_of(frame);
        let epoch = hello["epoch"].as_str().unwrap_or_default();
        let before = self.epoch.replace(epoch.to_owned());
        let before = before.filter(|before| before != epoch);
        let known = self.positions().get(epoch);
        if known.is_none() {
            self.positions()
                .add(self.first_position(epoch, before.as_deref()));
            // Before anything of it is stored: a later run must know what that was.
            self.followers.save().await;
        }
        if let Some(before) = before {
            let oldest = hello["oldest"].as_str().unwrap_or_default();
            if oldest.starts_with(&format!("{epoch}-")) {
                self.end_processes(&before).await;
            } else {
                // The log outlives its program, and ends the spans itself that are lost.
                let processes = self.positions().gone(&before);
                self.positions().add_processes(epoch, processes);
            }
            // To a reader with an id of the log before, the new one tells this gap itself, unless it goes on there.
            let has_id = self.cursor.as_deref().is_some_and(|id| id != BEGINNING);
            self.is_gap_due = !has_id && !self.stored.is_empty();
        }
        if self.cursor.is_none() {
            self.cursor = known.and_then(|position| position.id);
            return self.cursor.is_some().then_some(Outcome::Cut(true));
        }
        None
    }

    /// Returns the position in a log of which nothing was read, or that goes on under another epoch than before.
    fn first_position(&self, epoch: &str, before: Option<&str>) -> Position {
        let before = before.and_then(|before| self.positions().get(before));
        let mut position = Position {
            epoch: epoch.to_owned(),
            address: self.address.clone(),
            joined: self.joined.clone(),
            is_storing: !self.stored.is_empty(),
            ..Position::default()
        };
        if let Some(before) = before.filter(|_| position.is_storing) {
            // What is stored already has not come again.
            (position.id, position.here) = (before.id, before.here);
        } else {
            // An id of the log before: it is the same store, or the new log tells a gap.
            position.id = self.cursor.clone().filter(|id| id != BEGINNING);
            position.here = Some(self.followers.live.status().head.to_string());
        }
        position
    }

    /// Adds what is to be stored of a frame.
    fn event(&mut self, frame: &Frame, batch: &mut Vec<EncodedEvent>) {
        let Some(data) = frame.data.as_deref() else {
            return;
        };
        let event = if frame.event == "gap" {
            let mut theirs = json_of(frame);
            if theirs["reason"] == "evicted" && self.stored.take_evicted(&mut theirs["lost"]) {
                return;
            }
            EncodedEvent::new(gap(&theirs))
        } else {
            EncodedEvent::new(data)
        };
        match event {
            // What has no id is told on each connection.
            Ok(event) if frame.id.is_some() && self.stored.take(event.payload()) => {
                self.is_gap_due = false;
            }
            Ok(event) => {
                if frame.id.is_some() && std::mem::take(&mut self.is_gap_due) {
                    batch.extend(EncodedEvent::new(dropped(&Json::Null)));
                }
                batch.push(event);
            }
            Err(error) => {
                self.warn(&format!(
                    "{} sent an event that this version does not know: {error}",
                    self.client.address()
                ));
                let lost = json!({"starts": 0, "ends": 0, "other": 1});
                batch.extend(EncodedEvent::new(dropped(&lost)));
            }
        }
    }

    /// Ends the open spans of a log that is gone.
    async fn end_processes(&self, epoch: &str) {
        for process in self.positions().gone(epoch) {
            if self
                .followers
                .live
                .end_process(&process, self.last_heard)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Says something once, until the connection works again.
    fn warn(&mut self, message: &str) {
        if !self.has_warned {
            self.has_warned = true;
            console::say(message);
        }
    }
}

fn json_of(frame: &Frame) -> Json {
    let data = frame.data.as_deref().unwrap_or_default();
    serde_json::from_str(data).unwrap_or_default()
}

/// Returns what the other log lost as a loss of this log. Its own ids mean nothing here.
fn gap(theirs: &Json) -> String {
    match &theirs["lost"] {
        Json::Number(events) => dropped(&json!({"starts": 0, "ends": 0, "other": events})),
        lost => dropped(lost),
    }
}

fn dropped(lost: &Json) -> String {
    json!({"type": "gap", "reason": "dropped", "lost": lost}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_the_other_log_is_one_of_this_log() {
        for (theirs, ours) in [
            (
                json!({"type": "gap", "reason": "dropped", "lost": {"starts": 1, "ends": 2, "other": 3}}),
                json!({"type": "gap", "reason": "dropped", "lost": {"starts": 1, "ends": 2, "other": 3}}),
            ),
            (
                json!({"type": "gap", "reason": "evicted", "from": "a-1", "to": "a-7", "lost": 7}),
                json!({"type": "gap", "reason": "dropped", "lost": {"starts": 0, "ends": 0, "other": 7}}),
            ),
            (
                json!({"type": "gap", "reason": "epoch", "lost": null}),
                json!({"type": "gap", "reason": "dropped", "lost": null}),
            ),
        ] {
            let gap: Json = serde_json::from_str(&gap(&theirs)).unwrap();
            assert_eq!(gap, ours);
        }
    }
}
