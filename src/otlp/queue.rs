//! The requests that wait for the worker. Each request has a record in the ingest buffer. Flush and
//! shutdown therefore wait for requests, and the worker keeps the order of requests and other
//! records. [`MemoryBudget`](crate::otlp::budget) bounds their memory.

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
    /// Adds a whole request. Adds nothing if the ingest buffer is full or closed.
    pub(crate) fn push(
        &self,
        request: ReceivedRequest,
        buffer: &IngestBuffer,
    ) -> Result<(), PushError> {
        // Pushed under the lock, so that the worker finds the request when it reads the record. A
        // push never waits.
        let mut waiting = lock(&self.0);
        buffer.try_push(RecordClass::Other, record::write_received)?;
        waiting.push_back(request);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<ReceivedRequest> {
        lock(&self.0).pop_front()
    }
}
