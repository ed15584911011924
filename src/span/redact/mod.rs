//! Redaction: which values of spans, events, links, log records and resources are masked. [`redaction`] holds the rules and
//! asks them, [`patterns`] compares keys, [`url`] finds secrets within URLs, [`encoded`] masks events that came as JSON.
//! It runs on the log's thread, before an event is stored or sent.

mod encoded;
mod patterns;
mod redaction;
mod url;

#[cfg(test)]
mod tests;

pub use self::redaction::{RedactAction, Redaction};
