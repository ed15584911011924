//! The event type that these tests dispatch through a whole log, and a reader of a subscription.

use futures_util::StreamExt as _;
use livespan::{
    SseEvent,
    sse::{EventId, Message, Subscription},
};

use crate::support::block_on;

#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl SseEvent for Text {
    fn name(&self) -> &'static str {
        "note"
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

/// Reads everything up to the end of the log. Any message that is not an event is an error.
pub(crate) fn read_all(
    mut subscription: Subscription,
) -> Result<Vec<(EventId, String)>, Box<Message>> {
    block_on(async {
        let mut events = Vec::new();
        while let Some(message) = subscription.next().await {
            match message {
                Message::Event(event) => {
                    let text = String::from_utf8(event.payload.to_vec()).unwrap();
                    events.push((event.id, text));
                }
                Message::End(_) => break,
                other => return Err(other.into()),
            }
        }
        Ok(events)
    })
}
