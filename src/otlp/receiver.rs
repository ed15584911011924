//! The handle of request tasks: it decodes requests, prepares them and adds them to the queue. It
//! may run on a blocking thread, because a large request takes milliseconds.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use crate::{
    access::token_signer::TokenSigner,
    encoder::SharedReceiver,
    error::Error,
    ingest::buffer::{IngestBuffer, PushError},
    otlp::{
        budget::{MemoryBudget, MemoryShare, NoRoom},
        config::OtlpReceiver,
        decode::{DecodeError, DecodeLimits, Format, Signal, decode, gunzip},
        encoder::{OtlpEncoder, SpanPreparer},
        queue::RequestQueue,
        request::{Contents, ReceivedRequest, Rejected, SpanDigest, StoreResult},
        senders::{OtlpReport, SharedSenders},
    },
    span::{process::Processes, redact::Redaction},
    util::{sync::lock, time::Timestamp},
};

/// The receiver of a log.
pub(crate) struct Receiver {
    pub(crate) config: OtlpReceiver,
    /// Compares the token of a sender in constant time.
    pub(crate) token: Option<TokenSigner>,
    pub(crate) budget: Arc<MemoryBudget>,
    queue: Arc<RequestQueue>,
    senders: SharedSenders,
    processes: Arc<Processes>,
    preparer: SpanPreparer,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The body of a request, and its format.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_gzip: bool,
    pub(crate) signal: Signal,
    pub(crate) format: Format,
    /// The share of the memory budget for the bytes.
    pub(crate) memory: MemoryShare,
}

/// An accepted request.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) rejected: Rejected,
    /// Receives whether the store has the events; `None` if the request has no events.
    pub(crate) stored: Option<oneshot::Receiver<StoreResult>>,
}

/// The reason why a request was rejected as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed(String),
    TooLarge(String),
    /// There is no room now. The sender should try again.
    Busy(&'static str),
    /// The log has ended.
    Closed,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(message) => Self::Malformed(message),
            DecodeError::TooLarge(message) => Self::TooLarge(message),
        }
    }
}

impl From<NoRoom> for Refusal {
    fn from(NoRoom: NoRoom) -> Self {
        Self::Busy("too many requests wait for the event log")
    }
}

impl Receiver {
    /// # Errors
    /// Returns an error if the system cannot provide random numbers.
    pub(crate) fn new(
        config: OtlpReceiver,
        processes: Arc<Processes>,
        redaction: Redaction,
    ) -> Result<Self, Error> {
        let senders = SharedSenders::default();
        let token = config.token.as_deref();
        let token = token.map(|token| TokenSigner::new(Some(token), None));
        Ok(Self {
            token: token.transpose()?,
            budget: MemoryBudget::new(config.memory_bytes_max),
            config,
            queue: Arc::default(),
            preparer: SpanPreparer::new(redaction, Arc::clone(&processes), Arc::clone(&senders)),
            senders,
            processes,
        })
    }

    /// Returns the part of the receiver that the worker uses.
    pub(crate) fn encoder(&self) -> SharedReceiver {
        let encoder = OtlpEncoder::new(Arc::clone(&self.queue), Arc::clone(&self.senders));
        Arc::new(Mutex::new(encoder))
    }

    /// Accepts a request without its invalid parts, or rejects it as a whole.
    pub(crate) fn receive(&self, body: Body, buffer: &IngestBuffer) -> Result<Accepted, Refusal> {
        let received = Timestamp::now();
        let Body {
            bytes,
            is_gzip,
            signal,
            format,
            mut memory,
        } = body;
        let bytes = if is_gzip {
            let plain = gunzip(&bytes, self.config.body_bytes_max)?;
            memory.grow(plain.len())?;
            plain
        } else {
            bytes
        };
        let limits = DecodeLimits {
            items_max: self.config.items_max,
            memory_bytes_max: OtlpReceiver::REQUEST_BYTES_MAX,
        };
        let (decoded, used) = decode(bytes, (signal, format), limits, SpanDigest::of)?;
        memory.grow(used)?;
        let (mut contents, rejected) = {
            let mut senders = lock(&self.senders);
            Contents::of(decoded, (&mut senders, &self.processes), received)
        };
        if contents.places.is_empty() && contents.logs.is_empty() {
            return Ok(Accepted {
                rejected,
                stored: None,
            });
        }
        self.preparer.prepare(&mut contents, received);
        if memory.grow(contents.prepared.size()).is_err() {
            // The worker encodes the spans itself.
            contents.forget_prepared();
        }
        let (answer, stored) = oneshot::channel();
        let request = ReceivedRequest {
            contents,
            received,
            stored: answer,
            memory,
        };
        match self.queue.push(request, buffer) {
            Ok(()) => Ok(Accepted {
                rejected,
                stored: Some(stored),
            }),
            Err(PushError::Full) => Err(Refusal::Busy("the buffer of the event log is full")),
            Err(PushError::Closed) => Err(Refusal::Closed),
        }
    }

    /// Counts a rejected request.
    pub(crate) fn refused(&self, reason: &str, sender: &str) {
        lock(&self.senders).refused(reason, sender);
    }

    /// Returns the receiver's part of `/status`.
    pub(crate) fn report(&self) -> OtlpReport {
        lock(&self.senders).report()
    }
}
