//! Masks values in an event that its caller encoded. No other byte changes. It runs on the worker thread.

use serde::de::IgnoredAny;

use crate::span::{event::AttributeValue, json, redact::redaction::Redaction};

impl Redaction {
    /// Returns the event with its secrets masked, or `None` if there are none.
    pub(crate) fn encoded(&self, payload: &[u8]) -> Option<Vec<u8>> {
        if self.masks_nothing() {
            return None;
        }
        let name = json::fields(payload).find(|(key, _)| *key == b"name");
        let name: Option<String> = name.and_then(|(_, value)| serde_json::from_slice(value).ok());
        let mut rewritten = json::PayloadRewriter::of(payload);
        self.object(name.as_deref().unwrap_or_default(), payload, &mut rewritten);
        rewritten.finish()
    }

    /// Rewrites the fields of an object: of the event itself, or of a span event or a link in it.
    fn object(&self, span: &str, object: &[u8], rewritten: &mut json::PayloadRewriter<'_>) {
        let mut masked: Vec<Vec<u8>> = Vec::new();
        for (key, value) in json::fields(object) {
            match key {
                b"name" => {
                    let name: Option<String> = serde_json::from_slice(value).ok();
                    if let Some(masked) = name.and_then(|name| self.name(&name)) {
                        rewritten.replace(value, &json::quoted(&masked));
                    }
                }
                b"attributes" | b"resource" => {
                    for (key, value) in json::fields(value) {
                        if let Some(mask) = self.mask_encoded(span, key, value) {
                            rewritten.replace(value, &mask);
                            masked.push(key.to_vec());
                        }
                    }
                }
                // A masked value is text, so its type becomes `string`.
                b"attributeTypes" => {
                    for (key, value) in json::fields(value) {
                        if masked.iter().any(|masked| masked == key) {
                            rewritten.replace(value, b"\"string\"");
                        }
                    }
                }
                b"status" => {
                    for (key, value) in json::fields(value) {
                        if key == b"message"
                            && let Some(mask) = self.mask_encoded(span, b"status.message", value)
                        {
                            rewritten.replace(value, &mask);
                        }
                    }
                }
                b"body" => {
                    if let Some(mask) = self.mask_encoded(span, key, value) {
                        rewritten.replace(value, &mask);
                    }
                }
                b"events" | b"links" => {
                    for element in json::elements(value) {
                        self.object(span, element, rewritten);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the JSON that replaces a raw value, if it is masked.
    fn mask_encoded(&self, span: &str, key: &[u8], raw: &[u8]) -> Option<Vec<u8>> {
        let key: String = serde_json::from_slice(&[b"\"", key, b"\""].concat()).ok()?;
        let value: serde_json::Value = serde_json::from_slice(raw).ok()?;
        let is_object = value.is_object();
        let value = attribute_value(&value);
        let pairs = vec![(key, value)];
        let mut shown = json::pairs(&pairs);
        let (key, value) = shown.first_mut()?;
        let masked = self.mask(span, key, value)?;
        // An object in which values are masked is still an object.
        let is_json = is_object
            && masked.starts_with('{')
            && serde_json::from_str::<IgnoredAny>(&masked).is_ok();
        Some(if is_json {
            masked.into_bytes()
        } else {
            json::quoted(&masked)
        })
    }
}

/// The value of an attribute, decoded from JSON.
fn attribute_value(value: &serde_json::Value) -> AttributeValue {
    use serde_json::Value as Json;
    match value {
        Json::Bool(value) => AttributeValue::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => AttributeValue::Int(value),
            None => AttributeValue::Double(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => AttributeValue::String(text.clone()),
        Json::Array(values) => {
            let text = |value: &Json| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            AttributeValue::Strings(values.iter().map(text).collect())
        }
        other => AttributeValue::String(other.to_string()),
    }
}
