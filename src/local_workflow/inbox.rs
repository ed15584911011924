//! The events that were sent to one instance and that no step has taken yet: bounded, and kept for a wait that comes
//! later.

use std::{collections::VecDeque, pin::pin, sync::Mutex};

use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::{local_workflow::error::EngineError, util::sync::lock};

/// Events that wait for one instance.
pub(crate) const INBOX_EVENTS_MAX: usize = 256;
/// Bytes of the events that wait for one instance, as JSON: 256 KiB.
pub(crate) const INBOX_BYTES_MAX: usize = 256 * 1024;

/// An event before a step takes it.
#[derive(Debug)]
struct QueuedEvent {
    /// `None` for one that is for whichever step waits.
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

    /// Waits for an event. It is taken in the very poll that returns it, so that a wait that is given up loses none.
    pub(crate) async fn take(&self, event: &str) -> Json {
        loop {
            let mut arrived = pin!(self.arrived.notified());
            // Before the look, so that what arrives after it wakes us.
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
