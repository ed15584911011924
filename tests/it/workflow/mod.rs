//! Workflows through a real log, as readers see them, across crashes and replays. Comments that name
//! `@oselvar/ssetarget` say how that npm package differs from livespan.

mod cancel;
mod error_with_cause;
mod event_lines;
mod export;
mod local;
mod random;
mod replay;
#[cfg(feature = "http")]
mod route;
mod run_events;
