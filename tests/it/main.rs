//! Integration tests: the crate as its users see it, one module a part.

mod core;
mod support;
mod tidy;
