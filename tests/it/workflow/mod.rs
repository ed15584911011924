//! Workflows through a real log: what is shown of them, across crashes and replays.

mod cancel;
mod declined;
mod export;
mod local;
mod random;
mod replay;
#[cfg(feature = "http")]
mod route;
mod shown;
mod told;
