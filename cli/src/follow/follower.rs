//! Reads the stream of another livespan, over as many connections as needed, and appends its events
//! in order to our log.
//!
//! The position in the other log advances only when its events are stored here. Every new
//! connection resumes at that position, even in a later run of this program. So a cut connection
//! neither repeats nor loses events. A loss in the other log becomes a gap here. When the other
//! process is gone, its open spans end as lost.

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

/// Upper bound on the events of one batch.
const BATCH_EVENTS_MAX: usize = 1_024;
/// An id before the first event of any log. A reader that resumes at this id gets a gap for missing
/// events.
const BEGINNING: &str = "0";
/// The interval at which the follower checks whether our store works again.
const STORE_INTERVAL: Duration = Duration::from_millis(100);
/// The first and the longest pause before a new connection attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Follows one livespan.
pub(super) struct Follower {
    followers: Followers,
    target: SseTarget<EncodedEvent>,
    client: Client,
    source: Source,
    address: String,
    /// The token that a later run of this program needs to read from a program that joined.
    joined: Option<JoinToken>,
    /// The id of the last event of the other log that is stored here.
    cursor: Option<String>,
    /// The position that an earlier run of this program reached; `None` once this run resumes from
    /// it.
    restored: Option<Position>,
    /// The events that the earlier run stored after its position.
    stored: StoredBefore,
    /// Whether a gap must precede the next event. If the next event is already stored here, the log
    /// is the same as before and needs no gap.
    is_gap_due: bool,
    /// The epoch of the other log.
    epoch: Option<String>,
    has_warned: bool,
    /// The time of the last frame.
    last_heard: SystemTime,
}

/// The way in which a connection ended.
enum Outcome {
    /// The other log has ended, or its process is gone.
    Gone,
    /// The connection has ended. The value is `true` if the next attempt needs only the shortest
    /// pause.
    Cut(bool),
    /// Our store rejected events, although readers of our log got them. The follower reads them
    /// again when the store works.
    Refused,
    /// Our log accepts no more events.
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

    /// Resumes where an earlier run of this program stopped.
    async fn restore(&mut self) {
        let Some(position) = self.restored.take() else {
            return;
        };
        // Without those stored events, our log is another one than in that run. It then needs
        // every event.
        if let Some(stored) = StoredBefore::behind(&self.followers.live, &position).await {
            // The saved position must not pass the stored events until the other log has sent all
            // of them again.
            if stored.is_empty() {
                self.positions().finish_storing(&position.epoch);
            }
            self.stored = stored;
            self.last_heard = position.last_heard();
            self.cursor = Some(position.id.unwrap_or_else(|| BEGINNING.to_owned()));
            self.epoch = Some(position.epoch);
        }
    }

    /// Follows the other livespan until its process is gone or our log ends.
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
                    // Some of the rejected events may be stored.
                    let epoch = self.epoch.as_deref().unwrap_or_default();
                    self.restored = self.positions().get(epoch);
                    self.restore().await;
                }
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits until our store works. If it never does, this task ends with the program.
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
            // The program has ended, or another program has its port now.
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
            // Set after the frame was handled, because the first frame of a new log is not a sign
            // of life of the previous log.
            self.last_heard = SystemTime::now();
            match taken {
                Ok(Some(outcome)) => return outcome,
                Err(error) if error.is_closed() => return Outcome::Closed,
                Err(_) => return Outcome::Refused,
                Ok(None) => {}
            }
        }
    }

    /// Handles a frame and frames that have already arrived behind it. Stores their events as one
    /// batch.
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
            // The saved position stays before the stored events until the other log has sent all of
            // them again.
            if self.stored.is_empty() {
                self.positions().set(&epoch, &id, here);
            }
            self.cursor = Some(id);
            let batches = &self.followers.progress.batches;
            batches.fetch_add(1, Ordering::Relaxed);
        }
        stored.map(|_| outcome)
    }

    /// Identifies the other log by the epoch in its `hello`. A new epoch means one of two things.
    /// If the log is new, the processes of the previous log are gone. If the same log continues, it
    /// keeps its processes. If another follower has already read this log, a new connection resumes
    /// at that follower's position.
    async fn hello(&mut self, frame: &Frame) -> Option<Outcome> {
        let hello = json_of(frame);
        let epoch = hello["epoch"].as_str().unwrap_or_default();
        let before = self.epoch.replace(epoch.to_owned());
        let before = before.filter(|before| before != epoch);
        let known = self.positions().get(epoch);
        if known.is_none() {
            self.positions()
                .add(self.first_position(epoch, before.as_deref()));
            // Saved before any event of the log is stored here, so that a later run can recognize
            // those events.
            self.followers.save().await;
        }
        if let Some(before) = before {
            let oldest = hello["oldest"].as_str().unwrap_or_default();
            if oldest.starts_with(&format!("{epoch}-")) {
                self.end_processes(&before).await;
            } else {
                // The log outlives its program, and ends the lost spans itself.
                let processes = self.positions().gone(&before);
                self.positions().add_processes(epoch, processes);
            }
            // A reader that resumes with an id of the previous log gets a gap from the new log
            // itself. Without an id, the follower must add the gap, unless the log turns out to be
            // the same.
            let has_id = self.cursor.as_deref().is_some_and(|id| id != BEGINNING);
            self.is_gap_due = !has_id && !self.stored.is_empty();
        }
        if self.cursor.is_none() {
            self.cursor = known.and_then(|position| position.id);
            return self.cursor.is_some().then_some(Outcome::Cut(true));
        }
        None
    }

    /// Returns the position in a log that is new here, or that continues under a new epoch.
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
            // The stored events have not been sent again yet.
            (position.id, position.here) = (before.id, before.here);
        } else {
            // This id is of the previous log. If that log continues, it knows the id. A new log
            // answers with a gap.
            position.id = self.cursor.clone().filter(|id| id != BEGINNING);
            position.here = Some(self.followers.live.status().head.to_string());
        }
        position
    }

    /// Adds the event of a frame to the batch, if it must be stored.
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
            // Events without an id are repeated on each connection.
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

    /// Ends the open spans of a log whose process is gone.
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

    /// Prints a warning. Omits further warnings until a frame arrives.
    fn warn(&mut self, message: &str) {
        if !self.has_warned {
            self.has_warned = true;
            console::print_message(message);
        }
    }
}

fn json_of(frame: &Frame) -> Json {
    let data = frame.data.as_deref().unwrap_or_default();
    serde_json::from_str(data).unwrap_or_default()
}

/// Converts a gap of the other log to one of this log. The ids in the other log's gap are
/// meaningless here.
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
    fn a_gap_of_the_other_log_becomes_a_gap_of_this_log() {
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
