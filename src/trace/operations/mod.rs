//! Figures of operations: all spans of one service with one name. The index counts them on the worker thread;
//! `GET /operations`, `GET /stats/durations` and the reports of running and of slow spans read them. Bounded.

pub(crate) mod histogram;
pub(crate) mod operation;
pub(crate) mod page;
pub(crate) mod rate;
pub(crate) mod summary;
pub(crate) mod table;
