//! `POST /v1/traces`, `/v1/logs` and `/v1/metrics`: OTLP over HTTP, by the OTLP specification 1.x. It runs on the
//! connection's task; large and compressed bodies are decoded on a blocking thread.

mod answer;
mod body;
#[cfg(feature = "otlp-grpc")]
pub(crate) mod grpc;
mod route;
mod writer_access;

#[cfg(test)]
mod tests;

pub(crate) use self::route::{answer, target_of};
