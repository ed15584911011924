//! The event trait, the key of an event's stream, and the rule for how long retention keeps an event. Plain data
//! without I/O; any thread of the app may use it.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use crate::error::Error;

/// An event of an app. [`SseTarget`](crate::SseTarget) stores it and sends it to the readers of its stream.
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
    /// Returns the SSE event name: 1 to 64 characters of `[A-Za-z0-9._-]`. The log rejects an event with any other
    /// name.
    fn name(&self) -> &str;

    /// Returns the stream that the event belongs to. An event without a stream is delivered on every stream.
    fn stream_key(&self) -> Option<StreamKey> {
        None
    }

    /// Appends the payload: UTF-8 text, usually JSON. Line breaks in it (CR, LF, CRLF) reach clients as LF, because SSE
    /// has no other way to carry them. The log calls it once per event, on the thread that dispatches the event.
    fn encode(&self, out: &mut Vec<u8>);

    /// Returns how retention treats the event. By default, retention removes it when it is the oldest event.
    fn pin(&self) -> Pinning {
        Pinning::None
    }

    /// Returns whether the log keeps the event only once. This requires a stream and a [token](Self::pin). A second
    /// event that closes the token is left out while the first is kept. An event that opens the token is left out while
    /// another that opens or closes it is kept. By default every event is kept.
    fn is_deduplicated(&self) -> bool {
        false
    }
}

/// How retention treats an event. The opening event of something that still runs is kept beyond retention, up to a
/// bound of its own, until its closing event arrives. The newest event with its state is kept for the same time, up to
/// half of that bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pinning {
    /// Retained like any other event.
    #[default]
    None,
    /// Kept until an event of the same stream closes this token, or opens it again. If the event belongs to every
    /// stream, the token is private to its writer: the same number in another epoch of the log, or in another process,
    /// is a different token.
    Open(u64),
    /// Releases the opening event of this token, and its state.
    Close(u64),
    /// Kept together with the opening event of this token, which is open. The event repeats the information about the
    /// token from earlier events of the stream, so a reader whose cursor is before those events needs only this event.
    /// It is kept until an event of the same stream closes the token, opens it again, or has a newer state. If the
    /// token is not open, or the event belongs to every stream, it is retained like any other event.
    State(u64),
}

/// The name of one stream within a log, such as a trace id or a job number: 1 to 63 bytes, compared exactly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StreamKey {
    length: u8,
    bytes: [u8; Self::LENGTH_MAX],
}

impl StreamKey {
    /// Upper bound on the length of a key, in bytes: 63.
    pub const LENGTH_MAX: usize = 63;

    /// Creates a key.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error if the key is empty or longer than
    /// [`LENGTH_MAX`](Self::LENGTH_MAX).
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

    /// Returns the key of a trace's stream.
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

    /// Returns the key of the log records outside of traces. No trace has this key: it is shorter than a trace id.
    pub(crate) fn outside_of_traces() -> Self {
        let mut bytes = [0; Self::LENGTH_MAX];
        if let Some(slot) = bytes.first_chunk_mut() {
            *slot = *b"logs";
        }
        Self { length: 4, bytes }
    }

    /// Returns a key that no trace has, because a trace id is never all zero. Its stream is always empty.
    pub(crate) fn nobody() -> Self {
        Self::of_id([0; 16])
    }

    /// Returns the bytes of the key.
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

    /// Creates a key from the bytes of the text.
    ///
    /// # Errors
    /// Returns the same errors as [`StreamKey::new`].
    fn try_from(key: &str) -> Result<Self, Error> {
        Self::new(key)
    }
}

/// Compares the used bytes, as slices do.
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

/// Writes printable ASCII unchanged, and escapes other bytes as a Rust byte string does.
impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

/// Hashes only as many bytes as are in use, because most keys are ids of 16 bytes. All bytes behind them are zero, so
/// equal keys have equal hashes.
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

/// Returns whether `text` may follow `event: ` in a frame. With a line break in it, an app could forge frames.
pub(crate) fn is_event_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
