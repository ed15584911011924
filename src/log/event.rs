//! The event trait, the stream that an event belongs to, and how long retention must keep it. Any thread of the app
//! runs it; it does no I/O.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use crate::error::Error;

/// An event of an app, which [`SseTarget`](crate::SseTarget) stores and sends to all readers.
///
/// ```
/// use livespan::{SseEvent, sse::StreamKey};
///
/// #[derive(serde::Serialize)]
/// struct Progress {
///     job: String,
///     done: u32,
/// }
///
/// impl SseEvent for Progress {
///     fn name(&self) -> &str {
///         "progress"
///     }
///     fn stream_key(&self) -> Option<StreamKey> {
///         StreamKey::new(self.job.as_bytes()).ok()
///     }
///     fn encode(&self, out: &mut Vec<u8>) {
///         serde_json::to_writer(out, self).expect("a Vec takes every write");
///     }
/// }
/// ```
pub trait SseEvent: Send + 'static {
    /// Returns the SSE event name: 1 to 64 characters of `[A-Za-z0-9._-]`; any other is refused by the dispatch.
    fn name(&self) -> &str;

    /// Returns the stream that the event belongs to; an event without one is delivered on every stream.
    fn stream_key(&self) -> Option<StreamKey> {
        None
    }

    /// Appends the payload, UTF-8 text, usually JSON. Line breaks in it (CR, LF, CRLF) reach a client as LF, as SSE
    /// has no other way to carry them. It runs once per event, on the thread that dispatches it.
    fn encode(&self, out: &mut Vec<u8>);

    /// Returns how retention treats the event; by default it may be removed when it is the oldest.
    fn pin(&self) -> Pinning {
        Pinning::None
    }

    /// Returns whether the log keeps the event only once, which needs a stream and a [token](Self::pin): a second event
    /// that opens, or that closes, the same token is left out while the first is kept. By default every event is kept.
    fn is_deduplicated(&self) -> bool {
        false
    }
}

/// Keeps the opening event of something that still runs beyond retention, until its closing event arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pinning {
    /// Retained like any other.
    #[default]
    None,
    /// Kept until an event of the same stream closes this token, or opens it again. The token of an event that belongs
    /// to every stream is its writer's own: the same number used by another epoch of the log, or by another process, is
    /// another token.
    Open(u64),
    /// Releases the opening event of this token.
    Close(u64),
}

/// The name of one stream within a log, such as a trace id or a job number: 1 to 63 bytes, compared exactly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StreamKey {
    length: u8,
    bytes: [u8; Self::LENGTH_MAX],
}

impl StreamKey {
    /// The longest key, in bytes.
    pub const LENGTH_MAX: usize = 63;

    /// Makes a key.
    ///
    /// # Errors
    /// An empty key or one longer than [`LENGTH_MAX`](Self::LENGTH_MAX) is [invalid](Error::is_invalid).
    ///
    /// ```
    /// let key = livespan::sse::StreamKey::new("job-42")?;
    /// assert_eq!(key.as_bytes(), b"job-42");
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let key = key.as_ref();
        let mut bytes = [0; Self::LENGTH_MAX];
        match (u8::try_from(key.len()), bytes.get_mut(..key.len())) {
            (Ok(length @ 1..), Some(slot)) => {
                slot.copy_from_slice(key);
                Ok(Self { length, bytes })
            }
            _ => Err(Error::invalid("a stream key has 1 to 63 bytes")),
        }
    }

    /// The key of a trace.
    #[inline]
    pub(crate) fn of_id(id: [u8; 16]) -> Self {
        let mut bytes = [0; Self::LENGTH_MAX];
        if let Some(slot) = bytes.first_chunk_mut() {
            *slot = id;
        }
        Self { length: 16, bytes }
    }

    #[inline]
    pub(crate) fn is_id(&self, id: [u8; 16]) -> bool {
        self.length == 16 && self.bytes.first_chunk() == Some(&id)
    }

    /// A key that no trace has, because an id is never all zero: an empty stream.
    pub(crate) fn nobody() -> Self {
        Self::of_id([0; 16])
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

impl AsRef<[u8]> for StreamKey {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl TryFrom<&str> for StreamKey {
    type Error = Error;

    /// Makes a key of the text's bytes.
    ///
    /// # Errors
    /// As [`StreamKey::new`].
    fn try_from(key: &str) -> Result<Self, Error> {
        Self::new(key)
    }
}

/// Compares the bytes, as slices do.
impl Ord for StreamKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for StreamKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Writes printable ASCII as it is, and other bytes escaped as in a byte string of Rust.
impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

/// Hashes the bytes that are used: most keys are ids of sixteen. All bytes behind them are zero, so equal keys have
/// equal hashes.
impl Hash for StreamKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamKey({})", self.as_bytes().escape_ascii())
    }
}

/// Returns whether `text` may follow `event: `. A line break there would forge frames.
pub(crate) fn is_event_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
