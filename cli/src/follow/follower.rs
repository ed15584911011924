//! Reads the stream of one livespan, over all its connections, and appends its events to the log here in their order.
//!
//! The position in the other log moves only when its events are stored here, and a new connection resumes there. So
//! nothing is taken twice, and nothing is missed, wherever a connection is cut. What the other log lost is told here as
//! a gap. When its process is gone, its open spans end as lost.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use livespan::{Error, LiveSpans, SseTarget, span::EncodedEvent};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    console,
    follow::{Progress, Source},
    http::{Client, Frame, Frames, RequestError, StreamEnd},
};

/// Events that are stored together at most.
const BATCH_EVENTS_MAX: usize = 1_024;
/// Upper bound on the processes of one log whose spans are ended when it is gone.
const PROCESSES_MAX: usize = 4_096;
/// Pause before a connection is tried again: the first one, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Follows one livespan.
pub(super) struct Follower {
    live: LiveSpans,
    target: SseTarget<EncodedEvent>,
    client: Client,
    source: Source,
    /// The id of the last event that is stored here.
    cursor: Option<String>,
    /// The processes whose events came, except those that are gone.
    processes: BTreeSet<String>,
    /// The epoch of the log that is followed.
    epoch: Option<String>,
    has_warned: bool,
    /// When the last frame came.
    last_heard: SystemTime,
    progress: Arc<Progress>,
}

/// How a connection ended.
enum Outcome {
    /// The other log has ended, or nothing of it will come any more.
    Gone,
    /// The connection was cut. `true` if anything came.
    Cut(bool),
    /// The log here takes no more events.
    Closed,
}

impl Follower {
    pub(super) fn new(
        live: &LiveSpans,
        (client, source): (Client, Source),
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            live: live.clone(),
            target: live.encoded_target(),
            client,
            source,
            cursor: None,
            processes: BTreeSet::new(),
            epoch: None,
            has_warned: false,
            last_heard: SystemTime::now(),
            progress,
        }
    }

    /// Follows until the other livespan is gone, or the log here ends.
    pub(super) async fn run(mut self) {
        let (first, longest) = PAUSES;
        let mut pause = first;
        loop {
            match self.connection().await {
                Outcome::Closed => return,
                Outcome::Gone => {
                    self.end_processes().await;
                    if self.source == Source::Joined {
                        return;
                    }
                }
                Outcome::Cut(true) => pause = first,
                Outcome::Cut(false) => {}
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(longest);
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
                // If the store failed, readers here got the events, and a gap tells them what the store has lost.
                Ok(None) | Err(_) => {}
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
                _ => batch.extend(self.event(&frame)),
            }
            if frame.id.is_some() {
                cursor = frame.id;
            }
            if outcome.is_some() || batch.len() >= BATCH_EVENTS_MAX {
                break;
            }
            next = frames.ready().unwrap_or_default();
        }
        let stored = self.target.dispatch_all(&batch).await;
        if let Some(id) = cursor {
            if let Some(epoch) = &self.epoch {
                self.progress.positions.set(epoch, &id);
            }
            self.cursor = Some(id);
            self.progress.batches.fetch_add(1, Ordering::Relaxed);
        }
        stored.map(|_| outcome)
    }

    /// Notes which log this is. If it is another one than before, the processes of that one are gone. If it was read
    /// before, by another follower, a new connection goes on from there.
    async fn hello(&mut self, frame: &Frame) -> Option<Outcome> {
        let hello = json_of(frame);
        let epoch = hello["epoch"].as_str().unwrap_or_default();
        if self.epoch.as_deref().is_some_and(|before| before != epoch) {
            self.end_processes().await;
        }
        self.epoch = Some(epoch.to_owned());
        if self.cursor.is_some() {
            return None;
        }
        self.cursor = self.progress.positions.get(epoch);
        self.cursor.is_some().then_some(Outcome::Cut(true))
    }

    /// Returns the event to store for a frame.
    fn event(&mut self, frame: &Frame) -> Option<EncodedEvent> {
        let data = frame.data.as_deref()?;
        let event = if frame.event == "gap" {
            EncodedEvent::new(gap(&json_of(frame)))
        } else {
            EncodedEvent::new(data)
        };
        match event {
            Ok(event) => {
                if let Some(process) = event.process()
                    && self.processes.len() < PROCESSES_MAX
                    && !self.processes.contains(process)
                {
                    self.processes.insert(process.to_owned());
                }
                Some(event)
            }
            Err(error) => {
                self.warn(&format!(
                    "{} sent an event that this version does not know: {error}",
                    self.client.address()
                ));
                let lost = json!({"starts": 0, "ends": 0, "other": 1});
                EncodedEvent::new(dropped(&lost)).ok()
            }
        }
    }

    async fn end_processes(&mut self) {
        for process in std::mem::take(&mut self.processes) {
            if self
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
