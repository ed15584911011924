//! The wire format below the span layer: ids, SSE frames and control events. Pure: no I/O, and no clock except for the
//! time that control events report.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "only the live list uses parts of it")
)]

pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod id;
