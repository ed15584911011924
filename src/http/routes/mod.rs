//! The routes, one file for each family. They run on the connections' tasks.

pub(crate) mod durations;
pub(crate) mod keep;
pub(crate) mod logs;
#[cfg(feature = "mcp")]
pub(crate) mod mcp;
pub(crate) mod operations;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod otlp_json;
pub(crate) mod running;
pub(crate) mod status;
pub(crate) mod trace_list;
pub(crate) mod trace_snapshot;
