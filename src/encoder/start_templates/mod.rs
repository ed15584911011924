//! Start templates: how a start is made cheap on the worker. A start that looks like one before it (same scope, name and
//! keys) is not decoded, checked and encoded again. Its ids, values and time are written into the payload of the first.
//!
//! 1. [`StartOutline`](crate::span::record::StartOutline) reads the head of a record, and no text.
//! 2. [`TemplateCache`] finds the template by a hash of scope, name and flags, and compares both whole.
//! 3. [`PayloadTemplate`](crate::span::json::start_template::PayloadTemplate) copies the common bytes and writes the rest.
//!
//! Invariant: the bytes equal those that [`json::started`](crate::span::json::started) would write. A value that would be
//! escaped, cut or redacted, or a key that redaction's function may look at, takes the long way each time. A property
//! test compares both for arbitrary spans.
//!
//! What pays for it: `cargo bench --bench json`, the row `started`. All of it runs on the worker thread.

mod cache;
mod template;

pub(crate) use self::cache::TemplateCache;
