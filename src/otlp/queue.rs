//! The requests that wait for the worker. A record in the ingest buffer stands for each, so that flush and shutdown
//! wait for them, too, and the order is that of all records. Bounded by [`MemoryBudget`](crate::otlp::budget).

use std::{collections::VecDeque, sync::Mutex};

use crate::{
    ingest::buffer::{IngestBuffer, PushError, RecordClass},
    otlp::request::ReceivedRequest,
    span::record,
    util::sync::lock,
};

#[derive(Debug, Default)]
pub(crate) struct RequestQueue(Mutex<VecDeque<ReceivedRequest>>);

impl RequestQueue {
    /// Adds a request: all of it, or nothing if the ingest buffer is full or closed.
    pub(crate) fn push(
        &self,
        request: ReceivedRequest,
        buffer: &IngestBuffer,
    ) -> Result<(), PushError> {
        // Under the lock, so that the worker finds the request when it reads the record. A push never waits.
        let mut waiting = lock(&self.0);
        buffer.try_push(RecordClass::Other, record::write_received)?;
        waiting.push_back(request);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<ReceivedRequest> {
        lock(&self.0).pop_front()
    }
}
