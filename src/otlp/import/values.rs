//! Converts values, ids and times of other formats to OTLP. Pure.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use serde_json::Value as Json;

/// The latest time that OTLP can represent, in microseconds.
const LAST_MICROS: f64 = 18_446_744_073_709_551.0;

/// Converts any JSON to an attribute value.
pub(super) fn any_value(json: &Json) -> AnyValue {
    let value = match json {
        Json::Null => None,
        Json::Bool(value) => Some(Value::BoolValue(*value)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Value::IntValue(value),
            (None, Some(value)) if number.is_f64() => Value::DoubleValue(value),
            _ => Value::StringValue(number.to_string()),
        }),
        Json::String(text) => Some(Value::StringValue(text.clone())),
        Json::Array(values) => Some(Value::ArrayValue(ArrayValue {
            values: values.iter().map(any_value).collect(),
        })),
        Json::Object(fields) => Some(Value::KvlistValue(KeyValueList {
            values: fields
                .iter()
                .map(|(key, value)| attribute(key, any_value(value)))
                .collect(),
        })),
    };
    AnyValue { value }
}

pub(super) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

pub(super) fn text_attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(Value::StringValue(text.to_owned()));
    attribute(key, AnyValue { value })
}

/// Returns a member of an object, or null if there is none.
pub(super) fn member<'a>(json: &'a Json, name: &str) -> &'a Json {
    json.get(name).unwrap_or(&Json::Null)
}

/// Returns a string, or an empty one for any other value.
pub(super) fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

/// Returns the elements of a list. An absent value, a null and an empty string count as an empty
/// list.
pub(super) fn list<'a>(json: &'a Json, path: &str) -> Result<&'a [Json], String> {
    match json {
        Json::Null => Ok(&[]),
        Json::String(text) if text.is_empty() => Ok(&[]),
        Json::Array(values) => Ok(values),
        _ => Err(format!("{path} is not a list")),
    }
}

/// Returns an id, with the leading zeros that these formats omit. A text that is not an id yields
/// a wrong length.
pub(super) fn id(json: &Json, bytes: usize) -> Vec<u8> {
    let text = text(json);
    if text.is_empty() {
        return Vec::new();
    }
    let width = 2 * bytes;
    let is_id = text.len() <= width && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let padded = format!("{text:0>width$}");
    let decoded: Option<Vec<u8>> = is_id
        .then(|| {
            let (pairs, _) = padded.as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| {
                let digits = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(digits, 16).ok()
            };
            pairs.iter().map(byte).collect()
        })
        .flatten();
    decoded.unwrap_or_else(|| vec![0])
}

/// Converts microseconds since 1970 to nanoseconds. An absent value is 0.
pub(super) fn micros(json: &Json, path: &str) -> Result<u64, String> {
    let wrong = || {
        let shown: String = json.to_string().chars().take(40).collect();
        format!("{path} is not a time: {shown}")
    };
    if let Some(whole) = json.as_u64() {
        return whole.checked_mul(1_000).ok_or_else(wrong);
    }
    let value = match json {
        Json::Null => return Ok(0),
        Json::String(text) if text.trim().is_empty() => return Ok(0),
        Json::String(text) => text.trim().parse().unwrap_or(f64::NAN),
        other => other.as_f64().unwrap_or(f64::NAN),
    };
    if !(0.0..=LAST_MICROS).contains(&value) {
        return Err(wrong());
    }
    let whole: Option<u64> = format!("{value:.0}").parse().ok();
    whole
        .and_then(|whole| whole.checked_mul(1_000))
        .ok_or_else(wrong)
}

/// Returns OTLP's number for the name of a span kind. Any other value counts as `INTERNAL`.
pub(super) fn kind(json: &Json) -> i32 {
    match text(json).to_ascii_uppercase().as_str() {
        "SERVER" => 2,
        "CLIENT" => 3,
        "PRODUCER" => 4,
        "CONSUMER" => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_get_their_leading_zeros_back_and_other_texts_are_invalid() {
        assert_eq!(id(&json!("1"), 8), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(id(&json!("00F067aa0ba902b7"), 8).len(), 8);
        assert_eq!(id(&json!(""), 8), Vec::<u8>::new());
        assert_eq!(id(&json!(null), 8), Vec::<u8>::new());
        for wrong in [json!("x"), json!("00f067aa0ba902b7a"), json!("\u{e9}")] {
            assert_eq!(id(&wrong, 8), [0], "{wrong}");
        }
    }

    #[test]
    fn microseconds_are_whole_fractions_or_texts() {
        let cases = [
            (json!(7), Ok(7_000)),
            (json!(7.4), Ok(7_000)),
            (json!("7"), Ok(7_000)),
            (json!(null), Ok(0)),
            (json!(-1), Err("t is not a time: -1".to_owned())),
            (json!("x"), Err("t is not a time: \"x\"".to_owned())),
            (
                json!(18_446_744_073_709_552_u64),
                Err("t is not a time: 18446744073709552".to_owned()),
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(micros(&json, "t"), expected, "{json}");
        }
    }
}
