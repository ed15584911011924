//! Maps resources to processes: the identity of a process, and its shown attributes. Pure.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as OtlpValue},
    resource::v1::Resource,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    otlp::mapping::values::{number_of, text_of, value},
    span::{
        event::{AttributeValue, Attributes},
        json::Value,
        process::Process,
    },
    util::time::Timestamp,
};

/// The identity of a process: the service with its namespace, the instance and the process id; or
/// else the service, the host and the process id; or else the whole resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessKey([u8; 32]);

impl ProcessKey {
    pub(crate) fn of(resource: Option<&Resource>) -> Self {
        let attributes = attributes_of(resource);
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        };
        add(text_of(attributes, "service.namespace").unwrap_or_default());
        add(service_name(attributes));
        let pid = number_of(attributes, "process.pid").map(|pid| pid.to_string());
        let host = ["host.id", "host.name", "container.id"]
            .iter()
            .find_map(|key| text_of(attributes, key));
        if let Some(instance) = text_of(attributes, "service.instance.id") {
            add("instance");
            add(instance);
            // An environment may give several processes the same instance id.
            add(pid.as_deref().unwrap_or_default());
        } else if let (Some(host), Some(pid)) = (host, &pid) {
            add("host");
            add(host);
            add(pid);
        } else {
            add("resource");
            let mut texts: Vec<String> =
                attributes.iter().map(|pair| format!("{pair:?}")).collect();
            texts.sort_unstable();
            for text in &texts {
                add(text);
            }
        }
        Self(hash.finalize().into())
    }

    /// Returns the key of the combined process of a service, which is used when too many processes
    /// send.
    pub(crate) fn of_service(service: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update("service\0");
        hash.update(service);
        Self(hash.finalize().into())
    }

    /// Returns the id of the process: `p` and seven characters of `[0-9a-z]`. It stays the same if
    /// livespan restarts.
    fn id(&self) -> String {
        let (bytes, _) = self.0.as_chunks::<8>();
        let mut bits = bytes.first().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut id = String::from("p");
        for _ in 0..7 {
            id.push(char::from_digit((bits % 36) as u32, 36).unwrap_or('0'));
            bits /= 36;
        }
        id
    }
}

/// The identity of a sender, from its resource.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SenderInfo {
    pub(crate) service: String,
    pub(crate) process: String,
    pub(crate) language: String,
    pub(crate) sdk: String,
    pub(crate) sdk_version: String,
}

/// Returns the service's name, or OpenTelemetry's name for an unknown service.
pub(crate) fn service_name(attributes: &[KeyValue]) -> &str {
    let name = text_of(attributes, "service.name").filter(|name| !name.is_empty());
    name.unwrap_or("unknown_service")
}

fn attributes_of(resource: Option<&Resource>) -> &[KeyValue] {
    resource.map_or(&[], |resource| &resource.attributes)
}

/// Returns the process of a resource. Its start is the time of its first request.
pub(crate) fn describe(
    key: &ProcessKey,
    resource: Option<&Resource>,
    received: Timestamp,
) -> Process {
    let attributes = attributes_of(resource);
    let pid = number_of(attributes, "process.pid");
    Process {
        id: key.id().into(),
        service: service_name(attributes).into(),
        resource: owned(attributes),
        start: received,
        pid: pid.and_then(|pid| u32::try_from(pid).ok()),
        is_other: true,
    }
}

/// Returns the entry of a sender in `/status`.
pub(crate) fn sender_info(process: &Process, resource: Option<&Resource>) -> SenderInfo {
    let attributes = attributes_of(resource);
    let text = |key| text_of(attributes, key).unwrap_or_default().to_owned();
    SenderInfo {
        service: process.service.to_string(),
        process: process.id.to_string(),
        language: text("telemetry.sdk.language"),
        sdk: text("telemetry.sdk.name"),
        sdk_version: text("telemetry.sdk.version"),
    }
}

fn owned(attributes: &[KeyValue]) -> Attributes {
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().map(owned_value);
        let value = value.unwrap_or_else(|| AttributeValue::String(String::new()));
        (pair.key.clone(), value)
    };
    attributes.iter().map(pair).collect()
}

/// Converts an attribute value. A nested value, or a null, becomes a string.
fn owned_value(from: &AnyValue) -> AttributeValue {
    match value(from, 0) {
        nested if nested.is_nested() => AttributeValue::String(text_of_nested(from)),
        Value::Null => AttributeValue::String(String::new()),
        plain => plain.owned(),
    }
}

fn text_of_nested(from: &AnyValue) -> String {
    match &from.value {
        Some(OtlpValue::ArrayValue(array)) => {
            let items: Vec<String> = array.values.iter().map(text_of_nested).collect();
            format!("[{}]", items.join(","))
        }
        Some(OtlpValue::KvlistValue(map)) => {
            let member = |pair: &KeyValue| {
                let value = pair.value.as_ref().map(text_of_nested);
                format!("{:?}:{}", pair.key, value.unwrap_or_default())
            };
            let members: Vec<String> = map.values.iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        Some(OtlpValue::StringValue(text)) => format!("{text:?}"),
        Some(OtlpValue::BoolValue(value)) => value.to_string(),
        Some(OtlpValue::IntValue(value)) => value.to_string(),
        Some(OtlpValue::DoubleValue(value)) => value.to_string(),
        Some(OtlpValue::BytesValue(bytes)) => format!("{:?}", crate::util::hex::encode(bytes)),
        Some(OtlpValue::StringValueStrindex(_)) | None => "null".to_owned(),
    }
}
