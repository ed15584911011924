//! Counts the items and the memory that a request needs, and checks the bounds before the memory is
//! allocated. Pure.

use std::cell::{Cell, RefCell};

use crate::otlp::decode::types::{DecodeError, DecodeLimits};

/// Factor on the size of a part: growing vectors reserve up to twice the room that they need.
const GROWTH: usize = 2;

/// The items and the memory of one request so far, and their bounds.
#[derive(Debug)]
pub(super) struct RequestUsage {
    limits: DecodeLimits,
    items: Cell<usize>,
    memory: Cell<usize>,
    largest: Cell<usize>,
    exceeded: RefCell<Option<String>>,
}

/// A bound was exceeded. [`RequestUsage::error`] returns which one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceeded;

impl RequestUsage {
    pub(super) fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            items: Cell::new(0),
            memory: Cell::new(0),
            largest: Cell::new(0),
            exceeded: RefCell::new(None),
        }
    }

    /// Counts without bounds, for a part of a request that was within its bounds.
    pub(super) fn unbounded() -> Self {
        Self::new(DecodeLimits {
            items_max: usize::MAX,
            memory_bytes_max: usize::MAX,
        })
    }

    /// Counts a span or a log record.
    #[inline]
    pub(super) fn item(&self, size: usize) -> Result<(), Exceeded> {
        self.items.set(self.items.get() + 1);
        let max = self.limits.items_max;
        if self.items.get() > max {
            let message = format!("the request has more than {max} spans or log records");
            self.exceeded.replace(Some(message));
            return Err(Exceeded);
        }
        self.part(size)
    }

    /// Counts a message of this size.
    #[inline]
    pub(super) fn part(&self, size: usize) -> Result<(), Exceeded> {
        self.bytes(size * GROWTH)
    }

    /// Counts the bytes of a text or an id.
    #[inline]
    pub(super) fn bytes(&self, size: usize) -> Result<(), Exceeded> {
        self.memory.set(self.memory.get() + size);
        let max = self.limits.memory_bytes_max;
        if self.memory() > max {
            let message = format!("the request needs more than {max} bytes of memory");
            self.exceeded.replace(Some(message));
            return Err(Exceeded);
        }
        Ok(())
    }

    /// Counts memory that is in use only during `read`. Only the largest such part counts for the
    /// request.
    pub(super) fn briefly<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = self.memory.get();
        let result = read()?;
        let largest = self.memory.replace(before) - before;
        self.largest.set(self.largest.get().max(largest));
        Ok(result)
    }

    /// Returns the greatest memory that the request needs at one time.
    pub(super) fn memory(&self) -> usize {
        self.memory.get() + self.largest.get()
    }

    /// Returns the error of the bound that was exceeded.
    pub(super) fn exceeded(&self) -> DecodeError {
        let error = self.error();
        error.unwrap_or_else(|| DecodeError::TooLarge("the request is too large".to_owned()))
    }

    /// Returns the error of the bound that was exceeded, if one was.
    pub(super) fn error(&self) -> Option<DecodeError> {
        self.exceeded.borrow().clone().map(DecodeError::TooLarge)
    }
}
