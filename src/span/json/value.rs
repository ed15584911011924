//! Attribute values and pairs, the input of the JSON writer: borrowed from a record, from the app's own event, from an
//! OTLP request or from an imported file. Pure; every thread that writes events uses it.

use crate::{
    span::{
        event::{AttributeValue, Attributes},
        json::primitives::SAFE_INTEGER_MAX,
    },
    util::hex,
};

/// A borrowed attribute value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A value that was not set, or that is nested too deep. Only other processes send such values.
    #[cfg(feature = "otlp")]
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    /// Text that redaction put in place of a value.
    Owned(Box<str>),
    /// Values, and whether the record already cut some off. In a span of this program, all have one kind.
    Array(Vec<Value<'a>>, bool),
    /// Only log records, and spans of other processes, have bytes and maps. Bytes are written as hexadecimal digits.
    Bytes(&'a [u8]),
    /// Entries sorted by key, and whether the record already cut some off.
    Map(Vec<(&'a str, Value<'a>)>, bool),
}

impl Value<'_> {
    /// Returns the value as the app's own type.
    pub(crate) fn owned(&self) -> AttributeValue {
        match self {
            #[cfg(feature = "otlp")]
            Self::Null => AttributeValue::String(String::new()),
            Self::Bool(value) => AttributeValue::Bool(*value),
            Self::Int(value) => AttributeValue::Int(*value),
            Self::Double(value) => AttributeValue::Double(*value),
            Self::Text(value) => AttributeValue::String((*value).to_owned()),
            Self::Owned(value) => AttributeValue::String(value.to_string()),
            Self::Array(values, _) => array(values),
            Self::Bytes(bytes) => AttributeValue::String(hex::encode(bytes)),
            Self::Map(pairs, _) => {
                let keys = pairs.iter().map(|(key, _)| (*key).to_owned());
                AttributeValue::Strings(keys.collect())
            }
        }
    }

    /// Returns whether this value is a map, an array of arrays or maps, or an array of values of several kinds.
    pub(crate) fn is_nested(&self) -> bool {
        let Self::Array(values, _) = self else {
            return matches!(self, Self::Map(..));
        };
        let kind = values.first().map(std::mem::discriminant);
        values.iter().any(|value| {
            matches!(value, Self::Map(..) | Self::Array(..))
                || Some(std::mem::discriminant(value)) != kind
        })
    }
}

/// Borrowed attributes.
pub(crate) type Pairs<'a> = Vec<(&'a str, Value<'a>)>;

pub(crate) fn pairs(attributes: &Attributes) -> Pairs<'_> {
    fn all<'a, T>(values: &'a [T], value: impl Fn(&'a T) -> Value<'a>) -> Value<'a> {
        Value::Array(values.iter().map(value).collect(), false)
    }
    fn borrow(value: &AttributeValue) -> Value<'_> {
        match value {
            AttributeValue::Bool(value) => Value::Bool(*value),
            AttributeValue::Int(value) => Value::Int(*value),
            AttributeValue::Double(value) => Value::Double(*value),
            AttributeValue::String(value) => Value::Text(value),
            AttributeValue::Bools(values) => all(values, |value| Value::Bool(*value)),
            AttributeValue::Ints(values) => all(values, |value| Value::Int(*value)),
            AttributeValue::Doubles(values) => all(values, |value| Value::Double(*value)),
            AttributeValue::Strings(values) => all(values, |value| Value::Text(value)),
        }
    }
    attributes
        .iter()
        .map(|(key, value)| (key.as_str(), borrow(value)))
        .collect()
}

pub(super) fn type_lost_in_json(value: &Value<'_>) -> Option<&'static str> {
    match value {
        Value::Int(value) if value.unsigned_abs() > SAFE_INTEGER_MAX => Some("int"),
        Value::Double(value) if !value.is_finite() => Some("double"),
        Value::Bytes(_) => Some("bytes"),
        Value::Array(values, _) => match values.iter().find_map(type_lost_in_json)? {
            "int" => Some("int[]"),
            "double" => Some("double[]"),
            "bytes" => Some("bytes[]"),
            // The wire format names the types of values and of arrays of values, but of nothing nested deeper.
            _ => None,
        },
        _ => None,
    }
}

/// Returns an array of the kind of its first value. It leaves out values of other kinds.
fn array(values: &[Value<'_>]) -> AttributeValue {
    fn all<T>(values: &[Value<'_>], pick: impl Fn(&Value<'_>) -> Option<T>) -> Vec<T> {
        values.iter().filter_map(pick).collect()
    }
    match values.first() {
        Some(Value::Bool(_)) => AttributeValue::Bools(all(values, |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })),
        Some(Value::Int(_)) => AttributeValue::Ints(all(values, |value| match value {
            Value::Int(value) => Some(*value),
            _ => None,
        })),
        Some(Value::Double(_)) => AttributeValue::Doubles(all(values, |value| match value {
            Value::Double(value) => Some(*value),
            _ => None,
        })),
        _ => AttributeValue::Strings(all(values, |value| match value {
            Value::Text(value) => Some((*value).to_owned()),
            _ => None,
        })),
    }
}
