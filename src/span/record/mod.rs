//! The compact binary record that carries a span from the host's thread to the worker. The host's thread writes it
//! without allocation; the worker reads it as borrowed fields. Both sides come from the same build, so the format has
//! no version. Pure, except for the clock that a shutdown record reads.
//!
//! A record is a head of fixed size, followed by texts and values. Writing the head takes a few store instructions.
//! [`layout`] defines it, [`mod@write`] and [`mod@read`] are its two sides, and [`outline`] reads just enough of a
//! start to find its template.

#![expect(
    clippy::inline_always,
    reason = "the compiler's own choice changes with the number of callers, and with it the cost of a span by 8 %"
)]

mod changes;
pub(in crate::span) mod layout;
mod log;
mod outline;
pub(in crate::span) mod read;
mod types;
mod write;
pub(in crate::span) mod writer;

#[cfg(any(feature = "logs", feature = "tracing"))]
pub(crate) use self::log::LogHead;
#[cfg(feature = "logs")]
pub(crate) use self::log::write_log;
#[cfg(feature = "tracing")]
pub(crate) use self::log::{LogPairs, write_log_pairs};
#[cfg(feature = "http")]
pub(crate) use self::write::write_hide;
#[cfg(feature = "otlp")]
pub(crate) use self::write::write_received;
pub(crate) use self::{
    changes::write_changes,
    layout::{PartCounts, kind_of},
    outline::StartOutline,
    read::{needs_stored, read, read_start_input},
    types::{Durability, Record, ScopeFields, SpanChanges, SpanOrigin, SpanRecord, StepActivity},
    write::{
        HandedStartRecord, WrittenScope, write_dropped_end, write_dropped_ends_fence, write_end,
        write_end_if_shown, write_fence, write_handed_start, write_process_gone, write_shutdown,
        write_start, write_start_input, write_update,
    },
};
