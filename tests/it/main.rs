//! Integration tests: the crate as its users see it, one module a part.

mod core;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "spans")]
mod spans;
mod support;
mod tidy;
