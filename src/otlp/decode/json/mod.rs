//! Decodes OTLP/JSON into the same structs as protobuf, by the rules of protobuf's JSON, and a little more tolerant: a
//! field that is absent, one that is null and one with its default value are the same; an enum is a number or a name;
//! 64-bit integers are numbers or texts; ids are hexadecimal digits of either case, or base64. Unknown fields are
//! skipped. `tests/otlp.json` has the cases. Pure.
//!
//! It does not use the `serde` of `opentelemetry-proto`, which refuses integers that are numbers, and nulls.

mod document;
mod fields;
mod reader;
mod scalars;
mod values;

pub(super) use self::document::{logs, traces};
