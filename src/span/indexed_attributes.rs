//! Reads the attributes of an encoded event that the trace index needs: the progress of the span, and the attributes of
//! a root that distinguish traces in lists. Pure.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value as Json;

use crate::span::{
    progress::SpanProgress,
    root_attributes::{AttributeOrigin, RootAttributes, RootAttributesBuilder, RootValue},
};

/// The attributes of an encoded event that the index needs. All others are skipped.
#[derive(Debug, Default)]
pub(crate) struct IndexedAttributes {
    pub(crate) progress: Option<Box<SpanProgress>>,
    pub(crate) of_root: Option<RootAttributes>,
}

impl IndexedAttributes {
    /// Returns whether an attribute with this key may report progress.
    pub(crate) fn is_progress(key: &str) -> bool {
        SpanProgress::is_progress_key(key)
    }
}

impl<'de> Deserialize<'de> for IndexedAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = IndexedAttributes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut progress = SpanProgress::default();
        let mut of_root = RootAttributesBuilder::default();
        while let Some(AttributeKey(key)) = map.next_key()? {
            if SpanProgress::is_progress_key(&key) {
                progress.set_json(&key, &map.next_value()?);
            } else if let Some(origin) = AttributeOrigin::of(&key) {
                let value: Json = map.next_value()?;
                of_root.add(origin, &key, &RootValue::of_json(&value));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(IndexedAttributes {
            progress: progress.if_any(),
            of_root: of_root.finish(),
        })
    }
}

/// An attribute key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct AttributeKey<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::span::json::{Pairs, Value};

    #[test]
    fn attributes_and_their_json_give_the_same_index_data() {
        let pairs: Pairs<'_> = vec![
            ("progress.current", Value::Int(1)),
            ("http.route", Value::Text("/a\n")),
            ("progress.total", Value::Double(9.0)),
            ("page", Value::Int(7)),
            ("progress.units", Value::Owned("rows".into())),
            ("progress.message", Value::Text("half")),
            ("share", Value::Double(2.0)),
        ];
        let json = r#"{"progress.current": 1, "http.route": "/a\n", "progress.total": 9.0, "page": 7,
            "progress.units": "rows", "progress.message": "half", "share": 2.0, "\u0061": [1]}"#;
        let read: IndexedAttributes = serde_json::from_str(json).unwrap();
        assert_eq!(read.progress, SpanProgress::of(&pairs));
        assert_eq!(read.of_root, RootAttributes::of(&pairs));
        assert_eq!(
            json!(read.of_root),
            json!({"http.route": "/a\n", "page": 7, "share": 2.0})
        );
        let nothing: IndexedAttributes = serde_json::from_str("{}").unwrap();
        assert_eq!((nothing.progress, nothing.of_root), (None, None));
    }
}
