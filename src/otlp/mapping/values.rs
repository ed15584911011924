//! Converts and finds OTLP attribute values. Pure.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as OtlpValue};

use crate::{
    otlp::{config::OtlpReceiver, decode::keep_last_values},
    span::json::{Pairs, Value},
};

/// Converts attributes.
pub(crate) fn attributes(pairs: &[KeyValue]) -> Pairs<'_> {
    nested(pairs, 0)
}

fn nested(pairs: &[KeyValue], depth: usize) -> Pairs<'_> {
    pairs
        .iter()
        .map(|pair| (pair.key.as_str(), optional(pair.value.as_ref(), depth)))
        .collect()
}

/// Converts a value. A value that is nested too deep becomes null.
pub(crate) fn value(from: &AnyValue, depth: usize) -> Value<'_> {
    if depth > OtlpReceiver::VALUE_DEPTH_MAX {
        return Value::Null;
    }
    match &from.value {
        // A string index has a meaning only within a profile.
        None | Some(OtlpValue::StringValueStrindex(_)) => Value::Null,
        Some(OtlpValue::StringValue(text)) => Value::Text(text),
        Some(OtlpValue::BoolValue(value)) => Value::Bool(*value),
        Some(OtlpValue::IntValue(value)) => Value::Int(*value),
        Some(OtlpValue::DoubleValue(value)) => Value::Double(*value),
        Some(OtlpValue::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(OtlpValue::ArrayValue(array)) => {
            let values = array.values.iter().map(|item| value(item, depth + 1));
            Value::Array(values.collect(), false)
        }
        Some(OtlpValue::KvlistValue(map)) => {
            let mut pairs = nested(&map.values, depth + 1);
            keep_last_values(&mut pairs);
            Value::Map(pairs, false)
        }
    }
}

fn optional(from: Option<&AnyValue>, depth: usize) -> Value<'_> {
    from.map_or(Value::Null, |from| value(from, depth))
}

fn find<'a>(pairs: &'a [KeyValue], key: &str) -> Option<&'a OtlpValue> {
    let pair = pairs.iter().rev().find(|pair| pair.key == key)?;
    pair.value.as_ref()?.value.as_ref()
}

/// Returns the text of an attribute, if it is a string.
pub(crate) fn text_of<'a>(pairs: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match find(pairs, key)? {
        OtlpValue::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Returns the number of an attribute, if it is a number or an integer as a string. A double is
/// rounded.
pub(crate) fn number_of(pairs: &[KeyValue], key: &str) -> Option<i64> {
    match find(pairs, key)? {
        OtlpValue::IntValue(value) => Some(*value),
        OtlpValue::StringValue(text) => text.parse().ok(),
        OtlpValue::DoubleValue(value) => format!("{value:.0}").parse().ok(),
        _ => None,
    }
}

/// Returns the text of a span's attribute, if it is a string.
pub(crate) fn span_text<'a>(pairs: &Pairs<'a>, key: &str) -> Option<&'a str> {
    match last(pairs, key)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns whether a span's attribute is true.
pub(crate) fn is_true(pairs: &Pairs<'_>, key: &str) -> bool {
    matches!(last(pairs, key), Some(Value::Bool(true)))
}

fn last<'p, 'a>(pairs: &'p Pairs<'a>, key: &str) -> Option<&'p Value<'a>> {
    let pair = pairs.iter().rev().find(|(one, _)| *one == key)?;
    Some(&pair.1)
}
