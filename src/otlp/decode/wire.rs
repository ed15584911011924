//! The wire format of protobuf: the fields of a message, as views into its bytes. The reader
//! accepts a message exactly if `prost` does; the tests of [`trace_request`](super::trace_request)
//! compare both. Its recursion is bounded. Pure.
//!
//! Every received span passes through this reader. So the frequent methods are inlined into the
//! loop over the fields, and the functions that create errors take copies. Otherwise the compiler
//! would keep the reader in memory instead of registers.

#![expect(
    clippy::inline_always,
    reason = "a call for each field would keep the reader in memory"
)]

use prost::encoding::{WireType, decode_varint};

use crate::otlp::decode::usage::Exceeded;

/// Upper bound on the levels of nested messages: the recursion limit of `prost`.
const DEPTH_MAX: u32 = 100;

/// The reason why a message cannot be read. It is one pointer, so that results stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError(Box<ReadErrorKind>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadErrorKind {
    /// The bytes are not the protobuf of the message.
    Malformed(String),
    /// A bound was exceeded.
    Exceeded,
}

impl ReadError {
    pub(super) fn malformed(why: String) -> Self {
        Self(Box::new(ReadErrorKind::Malformed(why)))
    }

    pub(super) fn into_kind(self) -> ReadErrorKind {
        *self.0
    }
}

impl From<Exceeded> for ReadError {
    #[cold]
    fn from(Exceeded: Exceeded) -> Self {
        Self(Box::new(ReadErrorKind::Exceeded))
    }
}

/// The unread fields of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageReader<'a> {
    rest: &'a [u8],
    /// The offset of the message's end in the outermost message.
    end: usize,
    place: FieldPlace,
    /// How many levels of messages may be nested in this one.
    depth_left: u32,
}

/// The field that an error names.
#[derive(Clone, Copy, Debug)]
struct FieldPlace {
    /// The name of the message. Empty for the outermost one.
    message: &'static str,
    /// The number of the field, or 0 before the first one.
    field: u32,
}

/// A type of field on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldKind(u8);

impl FieldKind {
    const VARINT: Self = Self(WireType::Varint as u8);
    const SIXTY_FOUR_BIT: Self = Self(WireType::SixtyFourBit as u8);
    const LENGTH_DELIMITED: Self = Self(WireType::LengthDelimited as u8);
    const START_GROUP: Self = Self(WireType::StartGroup as u8);
    const END_GROUP: Self = Self(WireType::EndGroup as u8);
    const THIRTY_TWO_BIT: Self = Self(WireType::ThirtyTwoBit as u8);
}

impl<'a> MessageReader<'a> {
    /// Creates a reader of a message that is nested in `depth` others.
    pub(super) fn new(bytes: &'a [u8], message: &'static str, depth: u32) -> Self {
        Self {
            rest: bytes,
            end: bytes.len(),
            place: FieldPlace { message, field: 0 },
            depth_left: DEPTH_MAX.saturating_sub(depth),
        }
    }

    /// Returns the unread bytes.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the offsets of the unread bytes in the outermost message.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.end - self.rest.len(), self.end)
    }

    /// Returns the number and the type of the next field, or `None` at the end. The caller must
    /// read or skip the field's value.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Result<Option<(u32, FieldKind)>, ReadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.any_varint()?;
        let field = u32::try_from(key).unwrap_or(0) >> 3;
        let kind = FieldKind((key & 7) as u8);
        if field == 0 || kind.0 > FieldKind::THIRTY_TWO_BIT.0 {
            return Err(wrong_key(self.place, key));
        }
        self.place.field = field;
        Ok(Some((field, kind)))
    }

    /// Reads a field with a length.
    #[inline(always)]
    pub(super) fn bytes(&mut self, kind: FieldKind) -> Result<&'a [u8], ReadError> {
        self.expect(FieldKind::LENGTH_DELIMITED, kind)?;
        let length = self.any_varint()?;
        self.take(length)
    }

    #[inline(always)]
    pub(super) fn text(&mut self, kind: FieldKind) -> Result<&'a str, ReadError> {
        let bytes = self.bytes(kind)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => Err(malformed(
                self.place,
                "invalid string value: data is not UTF-8 encoded",
            )),
        }
    }

    /// Returns a reader of a nested message.
    #[inline(always)]
    pub(super) fn message(
        &mut self,
        kind: FieldKind,
        message: &'static str,
    ) -> Result<Self, ReadError> {
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            return Err(too_deep(self.place));
        };
        let rest = self.bytes(kind)?;
        Ok(Self {
            rest,
            end: self.end - self.rest.len(),
            place: FieldPlace { message, field: 0 },
            depth_left,
        })
    }

    #[inline(always)]
    pub(super) fn varint(&mut self, kind: FieldKind) -> Result<u64, ReadError> {
        self.expect(FieldKind::VARINT, kind)?;
        self.any_varint()
    }

    /// Reads a number of 32 bits. The upper bits of a longer one are ignored.
    #[inline(always)]
    pub(super) fn uint32(&mut self, kind: FieldKind) -> Result<u32, ReadError> {
        let [a, b, c, d, ..] = self.varint(kind)?.to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    #[inline(always)]
    pub(super) fn int32(&mut self, kind: FieldKind) -> Result<i32, ReadError> {
        self.uint32(kind).map(u32::cast_signed)
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self, kind: FieldKind) -> Result<u64, ReadError> {
        self.expect(FieldKind::SIXTY_FOUR_BIT, kind)?;
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(too_short(self.place));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    pub(super) fn fixed32(&mut self, kind: FieldKind) -> Result<u32, ReadError> {
        self.expect(FieldKind::THIRTY_TWO_BIT, kind)?;
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(too_short(self.place));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// Skips the value of a field.
    #[inline(always)]
    pub(super) fn skip(&mut self, kind: FieldKind) -> Result<(), ReadError> {
        if kind == FieldKind::LENGTH_DELIMITED && self.depth_left > 0 {
            return self.bytes(kind).map(drop);
        }
        *self = self.after_unknown(kind)?;
        Ok(())
    }

    #[inline(never)]
    fn after_unknown(mut self, kind: FieldKind) -> Result<Self, ReadError> {
        self.skip_in_group(kind, self.place.field, self.depth_left)?;
        Ok(self)
    }

    fn skip_in_group(
        &mut self,
        kind: FieldKind,
        field: u32,
        depth_left: u32,
    ) -> Result<(), ReadError> {
        let Some(depth_inside) = depth_left.checked_sub(1) else {
            return Err(too_deep(self.place));
        };
        let length = match kind {
            FieldKind::VARINT => self.any_varint().map(|_value| 0)?,
            FieldKind::THIRTY_TWO_BIT => 4,
            FieldKind::SIXTY_FOUR_BIT => 8,
            FieldKind::LENGTH_DELIMITED => self.any_varint()?,
            FieldKind::START_GROUP => loop {
                match self.field()? {
                    None => return Err(too_short(self.place)),
                    Some((inner, FieldKind::END_GROUP)) if inner == field => break 0,
                    Some((inner, kind)) => self.skip_in_group(kind, inner, depth_inside)?,
                }
            },
            _ => return Err(malformed(self.place, "unexpected end group tag")),
        };
        self.take(length).map(drop)
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'a [u8], ReadError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err(too_short(self.place));
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    fn any_varint(&mut self) -> Result<u64, ReadError> {
        // Most keys and lengths are one byte.
        let (value, rest) = match self.rest {
            [byte @ 0..=0x7f, rest @ ..] => (u64::from(*byte), rest),
            _ => long_varint(self.place, self.rest)?,
        };
        self.rest = rest;
        Ok(value)
    }

    #[inline(always)]
    fn expect(&self, expected: FieldKind, actual: FieldKind) -> Result<(), ReadError> {
        if expected == actual {
            return Ok(());
        }
        Err(wrong_kind(self.place, expected, actual))
    }
}

#[inline(never)]
fn long_varint(place: FieldPlace, mut bytes: &[u8]) -> Result<(u64, &[u8]), ReadError> {
    match decode_varint(&mut bytes) {
        Ok(value) => Ok((value, bytes)),
        Err(_) => Err(malformed(place, "invalid varint")),
    }
}

#[cold]
fn wrong_key(place: FieldPlace, key: u64) -> ReadError {
    malformed(place, &format!("invalid key value: {key}"))
}

#[cold]
fn wrong_kind(place: FieldPlace, expected: FieldKind, actual: FieldKind) -> ReadError {
    let (expected, actual) = (expected.0, actual.0);
    malformed(
        place,
        &format!("invalid wire type: {actual} (expected {expected})"),
    )
}

#[cold]
fn too_short(place: FieldPlace) -> ReadError {
    malformed(place, "buffer underflow")
}

#[cold]
fn too_deep(place: FieldPlace) -> ReadError {
    malformed(place, "recursion limit reached")
}

#[cold]
fn malformed(FieldPlace { message, field }: FieldPlace, why: &str) -> ReadError {
    const START: &str = "failed to decode Protobuf message: ";
    ReadError::malformed(match (message, field) {
        ("", _) => format!("{START}{why}"),
        (message, 0) => format!("{START}{message}: {why}"),
        (message, field) => format!("{START}{message}, field {field}: {why}"),
    })
}
