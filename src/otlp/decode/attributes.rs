//! Reads attributes from protobuf, as views into the bytes of the body. [`RequestUsage`]
//! bounds the memory, and [`MessageReader`] bounds the recursion. Pure.

use crate::{
    otlp::{
        config::OtlpReceiver,
        decode::{
            usage::RequestUsage,
            wire::{MessageReader, ReadError},
        },
    },
    span::json::{Pairs, Value},
};

/// Reads one attribute, and adds it to `pairs`.
#[inline(never)]
pub(super) fn read_attribute<'a>(
    reader: MessageReader<'a>,
    pairs: &mut Pairs<'a>,
    usage: &RequestUsage,
) -> Result<(), ReadError> {
    let (key, mut value) = read_pair(reader, usage)?;
    if matches!(value, Value::Array(..) | Value::Map(..)) {
        finish(&mut value, 0);
    }
    pairs.push((key, value));
    Ok(())
}

#[inline]
fn read_pair<'a>(
    mut reader: MessageReader<'a>,
    usage: &RequestUsage,
) -> Result<(&'a str, Value<'a>), ReadError> {
    usage.part(size_of::<(&str, Value<'_>)>())?;
    let mut key = "";
    let mut value = Value::Null;
    while let Some((field, kind)) = reader.field()? {
        match field {
            1 => key = reader.text(kind)?,
            2 => {
                let message = reader.message(kind, "AnyValue")?;
                value = match only_text(message) {
                    Some(text) => Value::Text(text),
                    None => read_value(message, value, usage)?,
                };
            }
            // `key_strindex`: an index into the string table of a profile.
            3 => drop(reader.int32(kind)?),
            _ => reader.skip(kind)?,
        }
    }
    Ok((key, value))
}

/// Returns the text of a value whose only field is `string_value`, the most frequent case.
#[inline]
fn only_text(mut reader: MessageReader<'_>) -> Option<&str> {
    match reader.field() {
        Ok(Some((1, kind))) => reader.text(kind).ok().filter(|_| reader.rest().is_empty()),
        _ => None,
    }
}

/// Reads an `AnyValue`. `value` is the result of an earlier occurrence of the same field. The last
/// value wins, except that consecutive lists, or consecutive maps, are joined.
fn read_value<'a>(
    mut reader: MessageReader<'a>,
    mut value: Value<'a>,
    usage: &RequestUsage,
) -> Result<Value<'a>, ReadError> {
    while let Some((field, kind)) = reader.field()? {
        value = match field {
            1 => Value::Text(reader.text(kind)?),
            2 => Value::Bool(reader.varint(kind)? != 0),
            3 => Value::Int(reader.varint(kind)?.cast_signed()),
            4 => Value::Double(f64::from_bits(reader.fixed64(kind)?)),
            5 => {
                let values = match value {
                    Value::Array(values, _) => values,
                    _ => Vec::new(),
                };
                read_list(reader.message(kind, "ArrayValue")?, values, usage)?
            }
            6 => {
                let pairs = match value {
                    Value::Map(pairs, _) => pairs,
                    _ => Vec::new(),
                };
                read_map(reader.message(kind, "KeyValueList")?, pairs, usage)?
            }
            7 => Value::Bytes(reader.bytes(kind)?),
            8 => {
                let _index_in_a_profile = reader.int32(kind)?;
                Value::Null
            }
            _ => {
                reader.skip(kind)?;
                value
            }
        }
    }
    Ok(value)
}

fn read_list<'a>(
    mut reader: MessageReader<'a>,
    mut values: Vec<Value<'a>>,
    usage: &RequestUsage,
) -> Result<Value<'a>, ReadError> {
    while let Some((field, kind)) = reader.field()? {
        if field != 1 {
            reader.skip(kind)?;
            continue;
        }
        usage.part(size_of::<Value<'_>>())?;
        let message = reader.message(kind, "AnyValue")?;
        values.push(read_value(message, Value::Null, usage)?);
    }
    Ok(Value::Array(values, false))
}

fn read_map<'a>(
    mut reader: MessageReader<'a>,
    mut pairs: Pairs<'a>,
    usage: &RequestUsage,
) -> Result<Value<'a>, ReadError> {
    while let Some((field, kind)) = reader.field()? {
        match field {
            1 => pairs.push(read_pair(reader.message(kind, "KeyValue")?, usage)?),
            _ => reader.skip(kind)?,
        }
    }
    Ok(Value::Map(pairs, false))
}

/// Replaces values that are nested deeper than the bound by null. Sorts maps, and keeps the last
/// value of each key.
fn finish(value: &mut Value<'_>, depth: usize) {
    if depth > OtlpReceiver::VALUE_DEPTH_MAX {
        *value = Value::Null;
        return;
    }
    match value {
        Value::Array(values, _) => values.iter_mut().for_each(|value| finish(value, depth + 1)),
        Value::Map(pairs, _) => {
            keep_last_values(pairs);
            for (_, value) in pairs {
                finish(value, depth + 1);
            }
        }
        _ => {}
    }
}

/// Sorts the entries of a map by key. Keeps only the last value of each key.
pub(crate) fn keep_last_values(pairs: &mut Pairs<'_>) {
    // The sort is stable, so the last value of a key is the last of its run.
    pairs.sort_by_key(|(key, _)| *key);
    pairs.reverse();
    pairs.dedup_by_key(|(key, _)| *key);
    pairs.reverse();
}

/// Checks an attribute that is not used.
pub(super) fn skip_attribute(
    reader: MessageReader<'_>,
    usage: &RequestUsage,
) -> Result<(), ReadError> {
    let _unused = read_pair(reader, usage)?;
    Ok(())
}
