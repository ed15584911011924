//! The inbox of one instance: a bounded queue of events that no step has received yet. The host's tasks add events, and
//! the instance's task removes them. A full inbox refuses an event; it never waits for room.

use std::{collections::VecDeque, pin::pin, sync::Mutex};

use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::{local_workflow::error::EngineError, util::sync::lock};

/// Upper bound on the events that wait for one instance.
pub(crate) const INBOX_EVENTS_MAX: usize = 256;
/// Upper bound on the size of the events that wait for one instance, in bytes of their names and JSON: 256 KiB.
pub(crate) const INBOX_BYTES_MAX: usize = 256 * 1024;

/// An event that no step has received yet.
#[derive(Debug)]
struct QueuedEvent {
    /// The event's name. `None` if any waiting step may receive it.
    event: Option<String>,
    payload: Json,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    events: Mutex<VecDeque<QueuedEvent>>,
    arrived: Notify,
}

impl Inbox {
    pub(crate) fn put(&self, event: Option<&str>, payload: Json) -> Result<(), EngineError> {
        let bytes = payload.to_string().len() + event.map_or(0, str::len);
        let mut events = lock(&self.events);
        let waiting: usize = events.iter().map(|queued| queued.bytes).sum();
        if events.len() >= INBOX_EVENTS_MAX || waiting + bytes > INBOX_BYTES_MAX {
            return Err(EngineError::Full);
        }
        events.push_back(QueuedEvent {
            event: event.map(str::to_owned),
            payload,
            bytes,
        });
        drop(events);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Waits for an event and removes it. The poll that removes the event also returns it, so a dropped wait loses no
    /// event.
    pub(crate) async fn take(&self, event: &str) -> Json {
        loop {
            let mut arrived = pin!(self.arrived.notified());
            // Enabled before the queue is read, so an event that arrives after the read wakes this task.
            arrived.as_mut().enable();
            if let Some(payload) = self.first(event) {
                return payload;
            }
            arrived.await;
        }
    }

    fn first(&self, event: &str) -> Option<Json> {
        let mut events = lock(&self.events);
        let fits =
            |queued: &QueuedEvent| queued.event.as_deref().is_none_or(|named| named == event);
        let index = events.iter().position(fits)?;
        events.remove(index).map(|queued| queued.payload)
    }
}
