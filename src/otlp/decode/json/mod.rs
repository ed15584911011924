//! Decodes OTLP/JSON into the same structs as protobuf. It follows protobuf's JSON mapping, but is
//! more tolerant:
//!
//! - An absent field, a null and the default value are equivalent.
//! - An enum is a number or a name.
//! - A 64-bit integer is a number or a string.
//! - An id is hexadecimal digits of either case, or base64.
//!
//! Unknown fields are skipped. The test cases are in `tests/otlp.json`. Pure.
//!
//! This module does not use the `serde` implementation of `opentelemetry-proto`, which rejects
//! 64-bit integers written as numbers, and nulls.

mod document;
mod fields;
mod reader;
mod scalars;
mod values;

pub(super) use self::document::{logs, traces};
