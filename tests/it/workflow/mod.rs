//! Workflows through a real log: what is shown of them, across crashes and replays.

mod local;
mod shown;
mod told;
