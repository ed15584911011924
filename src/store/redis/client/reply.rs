//! Parses the replies of the scripts, and encodes pins for them. A reply of unexpected form is an error, never a guess.
//! Pure.

use bytes::Bytes;
use redis::Value;

use crate::{
    log::{
        batch::{BatchRecord, StoredEvent},
        event::{Pinning, StreamKey},
    },
    store::{EpochStart, StoredStream, redis::client::error::StoreError},
    wire::id::Sequence,
};

/// The state of the log. Every reply begins with it.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) head: u64,
    pub(crate) oldest: u64,
    /// The epochs. Sent only if the caller did not know the current one.
    pub(crate) lives: Option<String>,
}

/// A reply: the state of the log, followed by the script's own values.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) state: ServerState,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(crate) fn read(value: Value) -> Result<Self, StoreError> {
        let mut values = array(value)?.into_iter();
        let state = ServerState {
            head: number(values.next())?,
            oldest: number(values.next())?,
            lives: Some(text(values.next())?).filter(|lives| !lives.is_empty()),
        };
        Ok(Self {
            state,
            rest: values,
        })
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        number(self.rest.next())
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Value>, StoreError> {
        array(self.rest.next().ok_or_else(StoreError::unexpected)?)
    }

    /// Reads the indices of some events of a batch: a comma-separated list, in ascending order.
    pub(crate) fn places(&mut self) -> Result<Vec<usize>, StoreError> {
        let list = text(self.rest.next())?;
        let places = list.split(',').filter(|_| !list.is_empty());
        places
            .map(|place| place.parse().ok().ok_or_else(StoreError::unexpected))
            .collect()
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        text(self.rest.next())
    }

    /// Reads a list of streams. Leaves out empty and invalid keys.
    pub(crate) fn streams(&mut self) -> Result<Vec<StreamKey>, StoreError> {
        let keys = self.list()?.into_iter();
        let keys = keys.map(|key| Ok(stream_key(&bytes(Some(key))?).unwrap_or_default()));
        keys.filter_map(Result::transpose).collect()
    }

    /// Reads a list of pins.
    pub(crate) fn pins(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        let list = self.list()?;
        list.into_iter().map(|pin| bytes(Some(pin))).collect()
    }
}

/// Reads `epoch:first epoch:first …`.
pub(crate) fn parse_epochs(text: &str) -> Result<Vec<EpochStart>, StoreError> {
    let life = |part: &str| {
        let (epoch, first) = part.split_once(':')?;
        Some(EpochStart {
            epoch: epoch.parse().ok()?,
            first: Sequence::new(first.parse().ok()?),
        })
    };
    let lives: Option<Vec<EpochStart>> = text.split(' ').map(life).collect();
    lives.ok_or_else(StoreError::unexpected)
}

/// Reads an event. Returns it with the values that follow. Another program may have written the event, so an unreadable
/// name, key or pin is replaced by an empty one. An unreadable key also empties the name: the caller of the store
/// treats an event without a name as damaged.
pub(crate) fn event(value: Value) -> Result<(StoredEvent, std::vec::IntoIter<Value>), StoreError> {
    let mut values = array(value)?.into_iter();
    let sequence = Sequence::new(number(values.next())?);
    let name = String::from_utf8(bytes(values.next())?);
    let key = stream_key(&bytes(values.next())?);
    let pin = text(values.next()).and_then(|pin| read_pin(&pin));
    let payload = bytes(values.next())?;
    let event = StoredEvent {
        sequence,
        name: name.ok().filter(|_| key.is_ok()).unwrap_or_default(),
        key: key.unwrap_or_default(),
        pin: pin.unwrap_or_default(),
        payload: Bytes::from(payload),
    };
    Ok((event, values))
}

/// Reads `first, key, last`. Returns `None` if the key is empty or invalid.
pub(crate) fn stream(value: Value) -> Result<Option<StoredStream>, StoreError> {
    let mut values = array(value)?.into_iter();
    let first = Sequence::new(number(values.next())?);
    let key = stream_key(&bytes(values.next())?);
    let last = Sequence::new(number(values.next())?);
    let key = key.unwrap_or_default();
    Ok(key.map(|key| StoredStream { key, first, last }))
}

/// Reads `sequence, key`. A missing key stands for global events.
pub(crate) fn place(value: Value) -> Result<(Option<StreamKey>, Sequence), StoreError> {
    let mut values = array(value)?.into_iter();
    let sequence = Sequence::new(number(values.next())?);
    Ok((stream_key(&bytes(values.next())?)?, sequence))
}

/// Encodes a pin for a script: empty, `o<token>`, `c<token>` or `s<token>`. The letter of a
/// deduplicated event is a capital. The log
/// stores only small letters.
pub(crate) fn pin_text(record: &BatchRecord<'_>) -> String {
    let text = plain_pin_text(record.pin());
    if record.is_deduplicated() {
        text.to_ascii_uppercase()
    } else {
        text
    }
}

fn plain_pin_text(pin: Pinning) -> String {
    match pin {
        Pinning::None => String::new(),
        Pinning::Open(token) => format!("o{token}"),
        Pinning::Close(token) => format!("c{token}"),
        Pinning::State(token) => format!("s{token}"),
    }
}

fn read_pin(text: &str) -> Result<Pinning, StoreError> {
    let mut characters = text.chars();
    let kind = characters.next();
    let token = characters.as_str().parse();
    match (kind, token) {
        (None, _) => Ok(Pinning::None),
        (Some('o'), Ok(token)) => Ok(Pinning::Open(token)),
        (Some('c'), Ok(token)) => Ok(Pinning::Close(token)),
        (Some('s'), Ok(token)) => Ok(Pinning::State(token)),
        _ => Err(StoreError::unexpected()),
    }
}

/// Returns the name of a pin of this writer in the log: `token:stream`, or `token@writer:` for a global event.
pub(crate) fn pin_name(token: u64, key: Option<&StreamKey>, writer: &str) -> Vec<u8> {
    match key {
        None => format!("{token}@{writer}:").into_bytes(),
        Some(key) => {
            let mut name = format!("{token}:").into_bytes();
            name.extend_from_slice(key.as_bytes());
            name
        }
    }
}

fn stream_key(bytes: &[u8]) -> Result<Option<StreamKey>, StoreError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = StreamKey::new(bytes);
    key.map(Some)
        .map_err(|_invalid: crate::error::Error| StoreError::unexpected())
}

pub(crate) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(StoreError::unexpected()),
    }
}

pub(crate) fn bytes(value: Option<Value>) -> Result<Vec<u8>, StoreError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
        _ => Err(StoreError::unexpected()),
    }
}

fn text(value: Option<Value>) -> Result<String, StoreError> {
    match String::from_utf8(bytes(value)?) {
        Ok(text) => Ok(text),
        Err(_not_utf8) => Err(StoreError::unexpected()),
    }
}

pub(crate) fn number(value: Option<Value>) -> Result<u64, StoreError> {
    let number = match value {
        Some(Value::Int(number)) => u64::try_from(number).ok(),
        other => text(other)?.parse().ok(),
    };
    number.ok_or_else(StoreError::unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_decoded_as_they_were_encoded() {
        for pin in [
            Pinning::None,
            Pinning::Open(0),
            Pinning::Close(u64::MAX),
            Pinning::State(7),
        ] {
            assert_eq!(read_pin(&plain_pin_text(pin)), Ok(pin));
        }
        for text in ["o", "x1", "o-1", "c1 "] {
            assert_eq!(read_pin(text), Err(StoreError::unexpected()), "{text}");
        }
    }

    #[test]
    fn unreadable_fields_of_an_event_of_another_program_are_empty() {
        let read = |name: &[u8], key: &[u8], pin: &str| {
            let texts = [&b"7"[..], name, key, pin.as_bytes(), b"{}"];
            let values = texts.map(|text| Value::BulkString(text.to_vec()));
            let (event, _) = event(Value::Array(values.to_vec())).unwrap();
            (event.name, event.key, event.pin)
        };
        let key = StreamKey::new("a").unwrap();
        let none = Pinning::None;
        assert_eq!(
            read(b"note", b"a", "o1"),
            ("note".to_owned(), Some(key), Pinning::Open(1))
        );
        assert_eq!(read(b"n\xff", b"a", ""), (String::new(), Some(key), none));
        assert_eq!(read(b"note", &[b'a'; 64], ""), (String::new(), None, none));
        assert_eq!(read(b"note", b"", "x1"), ("note".to_owned(), None, none));
    }

    #[test]
    fn a_reply_of_unexpected_form_is_an_error() {
        for value in [
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1), Value::Int(-1), Value::Int(0)]),
            Value::Array(vec![
                Value::Int(1),
                Value::Int(1),
                Value::BulkString(vec![0xff]),
            ]),
        ] {
            assert_eq!(Reply::read(value).unwrap_err(), StoreError::unexpected());
        }
    }
}
