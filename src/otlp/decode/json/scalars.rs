//! Strings, ids, numbers, times and enums. Each reads null as its default value. Pure.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::otlp::decode::json::reader::{Path, exceeded, refuse_others};

/// A value in its JSON type. The contents of objects and lists are skipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Double(f64),
    Text(&'a str),
    /// An object or a list.
    Other,
}

/// Reads any value, and passes it to the function.
pub(super) struct AnyScalar<F>(pub(super) F);

impl<'de, T, F: FnOnce(Scalar<'_>) -> T> DeserializeSeed<'de> for AnyScalar<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F: FnOnce(Scalar<'_>) -> T> Visitor<'de> for AnyScalar<F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Ok((self.0)(Scalar::Null))
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<T, E> {
        Ok((self.0)(Scalar::Bool(v)))
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<T, E> {
        Ok((self.0)(Scalar::Int(v.into())))
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<T, E> {
        Ok((self.0)(Scalar::Int(v.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<T, E> {
        Ok((self.0)(Scalar::Double(v)))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<T, E> {
        Ok((self.0)(Scalar::Text(v)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((self.0)(Scalar::Other))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok((self.0)(Scalar::Other))
    }
}

/// Reads a text.
pub(super) struct TextSeed<'p, 't> {
    path: &'p Path<'t>,
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed<'_, '_> {
    type Value = String;

    refuse_others!("is not text": visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<String, E> {
        let counted = self.path.usage.bytes(v.len());
        counted.map_err(exceeded)?;
        Ok(v.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<String, A::Error> {
        Err(self.path.error("is not text"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<String, A::Error> {
        Err(self.path.error("is not text"))
    }
}

impl Path<'_> {
    pub(super) fn text<'de, A: MapAccess<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<String, A::Error> {
        self.field(name, map, TextSeed { path: self })
    }

    /// Reads an id. It is hexadecimal, or base64 of this many bytes. Hexadecimal digits of another
    /// length are decoded too, and a later check finds the wrong length. Null is an empty id. Any
    /// other value is returned as [`NOT_AN_ID`].
    pub(super) fn id<'de, A: MapAccess<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
        length: usize,
    ) -> Result<Vec<u8>, A::Error> {
        let read = |scalar: Scalar<'_>| match scalar {
            Scalar::Text(text) => id(text, length),
            Scalar::Null => Vec::new(),
            _ => NOT_AN_ID.to_vec(),
        };
        self.field(name, map, AnyScalar(read))
    }

    /// Reads nanoseconds since 1970.
    pub(super) fn time<'de, A: MapAccess<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<u64, A::Error> {
        let read = |scalar: Scalar<'_>| match scalar {
            Scalar::Null | Scalar::Text("") => Ok(0),
            Scalar::Int(value) => u64::try_from(value).map_err(|_outside| value.to_string()),
            Scalar::Double(value) => whole(value).ok_or_else(|| value.to_string()),
            Scalar::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text
                .parse()
                .map_err(|_outside| format!("{:?}", shown(text))),
            Scalar::Text(text) => Err(format!("{:?}", shown(text))),
            Scalar::Bool(value) => Err(value.to_string()),
            Scalar::Other => Err("an object or a list".to_owned()),
        };
        // The error must be created while the path still ends with this field.
        self.field(name, map, Checked { path: self, read })
    }

    /// Reads a count. A value that is not a count is read as zero.
    pub(super) fn count<'de, A: MapAccess<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<u32, A::Error> {
        let read = |scalar: Scalar<'_>| match scalar {
            Scalar::Int(value) => u32::try_from(value).unwrap_or(0),
            Scalar::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        };
        self.field(name, map, AnyScalar(read))
    }

    /// Reads an enum by its number or by one of these names, with or without the prefix. A number
    /// is not checked against the names. Null and an empty string are 0. Any other value is -1.
    pub(super) fn choice<'de, A: MapAccess<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
        (prefix, names): (&str, &[&str]),
    ) -> Result<i32, A::Error> {
        let read = |scalar: Scalar<'_>| match scalar {
            Scalar::Null | Scalar::Text("") => 0,
            Scalar::Int(value) => i32::try_from(value).unwrap_or(-1),
            Scalar::Text(text) => {
                let text = text.to_ascii_uppercase();
                let short = text.strip_prefix(prefix).unwrap_or(&text);
                let at = names.iter().position(|name| *name == short);
                let by_name = at.and_then(|at| i32::try_from(at).ok());
                by_name.or_else(|| text.parse().ok()).unwrap_or(-1)
            }
            _ => -1,
        };
        self.field(name, map, AnyScalar(read))
    }
}

/// Reads a time. An invalid one is an error.
struct Checked<'p, 't, F> {
    path: &'p Path<'t>,
    read: F,
}

impl<'de, T, F: FnOnce(Scalar<'_>) -> Result<T, String>> DeserializeSeed<'de>
    for Checked<'_, '_, F>
{
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        let read = AnyScalar(self.read).deserialize(deserializer)?;
        read.map_err(|wrong| self.path.error(format!("is not a time: {wrong}")))
    }
}

/// Rounds a number of nanoseconds. Returns `None` if it is negative or too large.
fn whole(value: f64) -> Option<u64> {
    let text = format!("{value:.0}");
    text.parse().ok()
}

/// Stands for a value that is not an id. No id has one byte, so a later check rejects it.
const NOT_AN_ID: [u8; 1] = [0];

fn id(text: &str, length: usize) -> Vec<u8> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    if let Some(digits) = digits.filter(|digits| digits.len().is_multiple_of(2)) {
        let (pairs, _) = digits.as_chunks::<2>();
        let bytes = pairs
            .iter()
            .map(|[high, low]| u8::try_from(high * 16 + low).unwrap_or(0));
        return bytes.collect();
    }
    base64(text)
        .filter(|bytes| bytes.len() == length)
        .unwrap_or_else(|| NOT_AN_ID.to_vec())
}

/// Decodes base64 of either alphabet, with or without padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let digits = digits.replace('-', "+").replace('_', "/");
    STANDARD_NO_PAD.decode(digits).ok()
}

/// Returns the beginning of a text, for an error message.
fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= 40 {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("AAEC", Some(&[0, 1, 2][..])),
            ("AAE=", Some(&[0, 1][..])),
            ("AAE", Some(&[0, 1][..])),
            ("AA==", Some(&[0][..])),
            ("-_8=", Some(&[0xfb, 0xff][..])),
            ("+/8=", Some(&[0xfb, 0xff][..])),
            ("A", None),
            ("AB==", None),
            ("A*==", None),
        ] {
            assert_eq!(base64(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn an_id_is_hexadecimal_or_base64() {
        let bytes = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7].to_vec();
        assert_eq!(id("00f067aa0ba902b7", 8), bytes);
        assert_eq!(id("00F067AA0BA902B7", 8), bytes);
        assert_eq!(id("APBnqgupArc=", 8), bytes);
        assert_eq!(id("", 8), b"");
        for text in ["zz", "eight.ch", "z".repeat(16).as_str()] {
            assert_eq!(id(text, 8), NOT_AN_ID, "{text}");
        }
        assert_eq!(id("00f0", 8), [0x00, 0xf0]);
    }
}
