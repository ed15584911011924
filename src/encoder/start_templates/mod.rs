//! Start templates make starts cheap for the worker. A start with the scope, name and keys of an earlier one is not
//! decoded, checked and encoded again. Only its ids, values and time are written, between the constant bytes of the
//! earlier payload.
//!
//! 1. [`StartOutline`](crate::span::record::StartOutline) reads the head of a record, but no text.
//! 2. [`TemplateCache`] finds the template by a hash of scope, name and flags, and then compares these bytes.
//! 3. [`PayloadTemplate`](crate::span::json::start_template::PayloadTemplate) copies the constant bytes and writes the
//!    rest.
//!
//! Invariant: the bytes equal the output of [`json::started`](crate::span::json::started). A start is encoded in full
//! each time if a value would be escaped, cut or redacted, or if a redaction function may examine a key. A property
//! test compares both for arbitrary spans.
//!
//! The benchmark that justifies it: `cargo bench -p livespan-benches --bench json`, row `started`. All of it runs on
//! the worker thread.

mod cache;
mod template;

pub(crate) use self::cache::TemplateCache;
