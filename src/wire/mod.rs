//! The wire format below the span layer: ids, SSE frames and control events. No I/O; only control events read the
//! clock.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing uses some parts")
)]

pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod id;
