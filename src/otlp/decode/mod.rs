//! Decodes the body of a request into the structs of `opentelemetry-proto`. The body is untrusted:
//! each part is checked against the bounds before it is allocated, and no input may cause a panic.
//! Pure.

mod body;
mod json;
mod protobuf;
mod types;
mod usage;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    body::{decode, decode_document, gunzip},
    types::{DecodeError, DecodeLimits, Decoded, Format, Signal},
};
