//! The plug-in into the OpenTelemetry SDK.

pub(crate) mod diagnostics;
pub(crate) mod filter;
pub(crate) mod processor;
pub(crate) mod sampler;
pub(crate) mod sampler_handoff;
pub(crate) mod shared;
pub(crate) mod span_override;
