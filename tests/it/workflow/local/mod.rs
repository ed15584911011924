//! Local workflows: the engine, and its routes as `curl` and browsers see them.

mod engine;
mod events;
#[cfg(feature = "http")]
mod recorded;
#[cfg(feature = "http")]
mod routes;
