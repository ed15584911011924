//! Redaction masks values of spans, events, links, log records and resources. [`redaction`] holds and applies the
//! rules, [`patterns`] compares keys, [`text`] finds secrets within texts, [`encoded`] masks events that arrive as
//! JSON. All of this runs on the worker thread. No event is stored or sent before it is redacted.

mod encoded;
mod name;
mod patterns;
mod redaction;
mod text;
mod user_info;
mod value;

#[cfg(test)]
mod tests;

pub use self::redaction::{RedactAction, Redaction};
