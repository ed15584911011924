//! Decodes the body of a request into the structs of `opentelemetry-proto`. The body comes from anywhere: each part is
//! bounded before it is allocated, and nothing may panic. Pure.

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
