//! Start templates make starts cheap for the worker. The second start with the same scope, name and keys makes a
//! template. Later such starts are not decoded, checked and encoded in full. Only their ids, values and times are
//! written, between the constant bytes of the template's payload.
//!
//! 1. [`StartOutline`](crate::span::record::StartOutline) reads the head of a record, but no text.
//! 2. [`TemplateCache`] finds the template by a hash of scope, name and flags, and then compares these bytes.
//! 3. [`PayloadTemplate`](crate::span::json::start_template::PayloadTemplate) copies the constant bytes and writes the
//!    rest.
//!
//! Invariant: the bytes equal the output of [`json::started`](crate::span::json::started). A start is encoded in full
//! each time if it reports progress, if a value would be escaped, cut or redacted, or if a redaction function may
//! examine a key. A property test compares the two outputs for arbitrary spans.
//!
//! The benchmark that justifies it: `cargo bench -p livespan-benches --bench json`, row `started`. The code runs on
//! the worker thread.

mod cache;
mod template;

pub(crate) use self::cache::TemplateCache;
