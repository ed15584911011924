//! Attribute values: objects with one field, whose name is the type. Pure.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use serde::de::MapAccess;

use crate::otlp::decode::json::{
    reader::{JsonObject, Path, exceeded},
    scalars::{AnyScalar, Scalar, base64},
};

impl JsonObject for KeyValue {
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        path: &Path<'_>,
    ) -> Result<bool, A::Error> {
        match key {
            "key" => self.key = path.text("key", map)?,
            "value" => self.value = Some(path.object("value", map)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl JsonObject for AnyValue {
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        path: &Path<'_>,
    ) -> Result<bool, A::Error> {
        let value = match key {
            "stringValue" => path.field("stringValue", map, AnyScalar(text))?,
            "boolValue" => path.field("boolValue", map, AnyScalar(boolean))?,
            "intValue" => path.field("intValue", map, AnyScalar(integer))?,
            "doubleValue" => path.field("doubleValue", map, AnyScalar(double))?,
            "bytesValue" => path.field("bytesValue", map, AnyScalar(bytes))?,
            "arrayValue" => {
                let list: Nullable<ArrayValue> = path.object("arrayValue", map)?;
                list.value.map(Value::ArrayValue)
            }
            "kvlistValue" => {
                let list: Nullable<KeyValueList> = path.object("kvlistValue", map)?;
                list.value.map(Value::KvlistValue)
            }
            _ => return Ok(false),
        };
        if let Some(Value::StringValue(text)) = &value {
            let counted = path.usage.bytes(text.len());
            counted.map_err(exceeded)?;
        }
        if value.is_some() {
            self.value = value;
        }
        Ok(true)
    }
}

/// An object that may be null.
#[derive(Default)]
struct Nullable<T> {
    value: Option<T>,
}

impl<T: JsonObject> JsonObject for Nullable<T> {
    const IS_SET: fn(&mut Self) = |object| {
        object.value.get_or_insert_default();
    };

    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        path: &Path<'_>,
    ) -> Result<bool, A::Error> {
        self.value
            .get_or_insert_default()
            .read_field(key, map, path)
    }
}

fn text(scalar: Scalar<'_>) -> Option<Value> {
    Some(Value::StringValue(match scalar {
        Scalar::Text(text) => text.to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Double(value) => value.to_string(),
        Scalar::Null | Scalar::Other => return None,
    }))
}

fn boolean(scalar: Scalar<'_>) -> Option<Value> {
    match scalar {
        Scalar::Null => None,
        other => Some(Value::BoolValue(matches!(
            other,
            Scalar::Bool(true) | Scalar::Text("true")
        ))),
    }
}

/// Reads an integer. For null, a list or an object, returns `None`. Any other value that is not an
/// integer of 64 bits becomes a string.
fn integer(scalar: Scalar<'_>) -> Option<Value> {
    let value = match &scalar {
        Scalar::Int(value) => i64::try_from(*value).ok(),
        Scalar::Text(text) => text.parse().ok(),
        _ => None,
    };
    value.map(Value::IntValue).or_else(|| text(scalar))
}

fn double(scalar: Scalar<'_>) -> Option<Value> {
    let value = match &scalar {
        Scalar::Double(value) => Some(*value),
        Scalar::Int(value) => value.to_string().parse().ok(),
        Scalar::Text("Infinity") => Some(f64::INFINITY),
        Scalar::Text("-Infinity") => Some(f64::NEG_INFINITY),
        Scalar::Text(text) => text.parse().ok(),
        _ => None,
    };
    value.map(Value::DoubleValue).or_else(|| text(scalar))
}

/// Reads bytes. A string that is not base64 stays a string.
fn bytes(scalar: Scalar<'_>) -> Option<Value> {
    let value = match &scalar {
        Scalar::Text(text) => base64(text),
        _ => None,
    };
    value.map(Value::BytesValue).or_else(|| text(scalar))
}
