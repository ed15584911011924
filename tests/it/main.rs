//! Integration tests: the crate as its users see it, one module for each part.

mod core;
mod documents;
#[cfg(all(feature = "http", feature = "sqlite"))]
mod fuzz;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "spans")]
mod spans;
mod stores;
mod supply;
mod support;
mod tidy;
#[cfg(feature = "spans")]
mod workflow;
