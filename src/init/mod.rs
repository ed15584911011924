//! The entry points for programs that use `tracing`: [`init()`] sets up everything, [`layer()`] adds to an existing
//! registry.

mod console;
pub(crate) mod duration_text;
pub(crate) mod environment;
mod guard;
#[expect(
    clippy::module_inception,
    reason = "it holds the function of this name"
)]
mod init;
mod join;
mod layer;
mod linger;
mod log_layer;
pub(crate) mod setup;

#[cfg(test)]
mod tests;

pub use self::{guard::InitGuard, init::init, layer::layer};
