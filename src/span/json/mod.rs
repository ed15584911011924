//! Span events as JSON bytes, and back: the only folder that spells their field names. Pure: no clock, no I/O.
//!
//! [`events`] writes complete events with the parts of [`writer`]; [`size_limits`] decides what is cut when an event is
//! too big, and [`mod@lost`] ends a span whose own end will never come. [`scan`] reads fields back. The worker thread runs
//! it.

/// `,"key":"` for a key that is known at compile time: one copy instead of three.
macro_rules! opening {
    ($key:literal) => {
        concat!(",\"", $key, "\":\"").as_bytes()
    };
}

mod end_from_start;
mod events;
mod fields;
mod lost;
mod primitives;
mod repeated_keys;
mod scan;
mod size_limits;
pub(crate) mod start_template;
mod value;
mod writer;

pub(crate) use self::{
    end_from_start::{EndFromStart, StartLayout, ended_from_start},
    events::{ended, process, started, updated},
    fields::{
        EndCause, EndFields, EndStatus, Link, PanicFields, ProcessFields, SpanFields, TimedEvent,
    },
    lost::{LostReason, cancelled, lost},
    scan::{PayloadRewriter, elements, fields, quoted},
    size_limits::{VALUE_BYTES_MAX, clip},
    value::{Pairs, Value, pairs},
    writer::kind_name,
};
