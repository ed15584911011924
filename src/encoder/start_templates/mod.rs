//! Start templates: they make starts cheap on the worker. A start with the scope, name and keys of an earlier one is
//! not decoded, checked and encoded again. Its ids, values and time are written between the constant bytes of that
//! payload.
//!
//! 1. [`StartOutline`](crate::span::record::StartOutline) reads the head of a record, and no text.
//! 2. [`TemplateCache`] finds the template by a hash of scope, name and flags, and then compares these bytes.
//! 3. [`PayloadTemplate`](crate::span::json::start_template::PayloadTemplate) copies the common bytes and writes the
//!    rest.
//!
//! Invariant: the bytes equal those that [`json::started`](crate::span::json::started) would write. A start is encoded
//! in full each time if a value would be escaped, cut or redacted, or if redaction's function may examine a key. A
//! property test compares both for arbitrary spans.
//!
//! What pays for it: `cargo bench --bench json`, the row `started`. All of it runs on the worker thread.

mod cache;
mod template;

pub(crate) use self::cache::TemplateCache;
