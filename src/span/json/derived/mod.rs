//! Makes events from the bytes of an earlier event: a start from a template, an end from its start. Values are copied,
//! not encoded again. Pure; mostly the worker thread calls it, and [`lost`] names the others.

pub(in crate::span) mod end_from_start;
pub(in crate::span) mod lost;
pub(crate) mod start_template;
