//! Span events as JSON bytes, and back: writes whole events, and finds fields in written ones. Pure: no clock, no I/O.
//!
//! [`events`] writes complete events with the parts of [`writer`]; [`size_limits`] decides what is cut when an event is
//! too big, and [`derived`] makes events from the bytes of earlier ones. [`scan`] reads fields back. Most callers run on
//! the worker thread; the files name the others.

/// Expands to `,"key":"` for a key known at compile time, which is then written with one copy instead of three.
macro_rules! opening {
    ($key:literal) => {
        concat!(",\"", $key, "\":\"").as_bytes()
    };
}

mod derived;
mod events;
mod fields;
mod log;
mod merged_update;
mod primitives;
mod repeated_keys;
mod scan;
mod size_limits;
mod updated;
mod value;
mod writer;

#[cfg(feature = "otlp")]
pub(crate) use self::{derived::lost::mark_lost, fields::RECEIVED_KEY};
pub(crate) use self::{
    derived::{
        end_from_start::{EndFromStart, StartLayout, ended_from_start},
        lost::{LostReason, cancelled, lost},
        start_template,
    },
    events::{ended, process, started},
    fields::{
        EndCause, EndFields, EndStatus, Link, PanicFields, ProcessFields, SpanFields, TimedEvent,
    },
    log::{LogFields, log},
    merged_update::MergedUpdate,
    primitives::{has_any_of, plain_length},
    scan::{PayloadRewriter, elements, fields, quoted, without_white_space},
    size_limits::{VALUE_BYTES_MAX, clip},
    updated::{ChangeFields, TaskFields, updated},
    value::{Pairs, Value, pairs},
    writer::{kind_name, kind_of_name},
};
