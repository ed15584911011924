//! Retention keeps the file within its bounds. Events that are still open have bounds of their own.

mod evict;
mod kept;

pub(crate) use evict::{
    Limits, TrimProgress, has_spare_pages, has_stream_events, record_commit_time, release_closed,
    trim_step, vacuum_step,
};
pub(crate) use kept::{keep, save_kept, stop_keeping};
