//! The envelope of an event that its caller has already encoded, as it is stored in the ingest buffer: framing around
//! opaque bytes. Pure.

use crate::{
    ingest::write_buf::WriteBuf,
    log::event::{Pinning, StreamKey},
};

/// The first byte of a record that holds an encoded event. It selects the decoder for the rest of the record.
pub(crate) const ENCODED: u8 = 0;

/// The fields around the payload of an encoded event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    /// The number of the pending acknowledgement that this event resolves; 0 if no caller waits.
    pub(crate) ack: u64,
    pub(crate) name: &'a str,
    pub(crate) key: Option<StreamKey>,
    pub(crate) pin: Pinning,
    pub(crate) once: bool,
}

/// A flag in the byte of the pin: the event is deduplicated.
const ONCE: u8 = 0x80;

impl Envelope<'_> {
    pub(crate) fn write(&self, buf: &mut WriteBuf<'_>, payload: &[u8]) -> Option<()> {
        let (kind, token) = match self.pin {
            Pinning::None => (0, 0),
            Pinning::Open(token) => (1, token),
            Pinning::Close(token) => (2, token),
            Pinning::State(token) => (3, token),
        };
        buf.put_slice(&[ENCODED])?;
        buf.put_slice(&self.ack.to_le_bytes())?;
        buf.put_slice(&[if self.once { kind | ONCE } else { kind }])?;
        buf.put_slice(&token.to_le_bytes())?;
        let key = self.key.as_ref().map_or(&[][..], StreamKey::as_bytes);
        // A key has at most 63 bytes and a name at most 64.
        buf.put_slice(&[u8::try_from(key.len()).unwrap_or(0)])?;
        buf.put_slice(key)?;
        buf.put_slice(&[u8::try_from(self.name.len()).unwrap_or(0)])?;
        buf.put_slice(self.name.as_bytes())?;
        buf.put_slice(payload)
    }
}

/// Reads the output of [`Envelope::write`]. Returns the envelope and the payload, or `None` if the record is of another
/// kind or malformed.
pub(crate) fn unpack(record: &[u8]) -> Option<(Envelope<'_>, &[u8])> {
    let (&kind, rest) = record.split_first()?;
    if kind != ENCODED {
        return None;
    }
    let (ack, rest) = rest.split_first_chunk::<8>()?;
    let (&pin, rest) = rest.split_first()?;
    let (token, rest) = rest.split_first_chunk::<8>()?;
    let token = u64::from_le_bytes(*token);
    let (&length, rest) = rest.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(length))?;
    let (&length, rest) = rest.split_first()?;
    let (name, payload) = rest.split_at_checked(usize::from(length))?;
    let once = pin & ONCE != 0;
    let pin = match pin & !ONCE {
        1 => Pinning::Open(token),
        2 => Pinning::Close(token),
        3 => Pinning::State(token),
        _ => Pinning::None,
    };
    let name = std::str::from_utf8(name).ok()?;
    let envelope = Envelope {
        ack: u64::from_le_bytes(*ack),
        name,
        key: StreamKey::new(key).ok(),
        pin,
        once,
    };
    Some((envelope, payload))
}
