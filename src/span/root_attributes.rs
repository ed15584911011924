//! The attributes of a root that distinguish its trace in a list: those that OpenTelemetry's semantic conventions
//! define for the span's operation, and the first [`OWN_MAX`] attributes of the app. They are kept as JSON text. Pure;
//! the worker thread and the tasks of HTTP requests use it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value as Json;

use crate::span::json::{Pairs, Value, clip, start_template::ScalarValue};

/// Upper bound on the bytes of all these attributes as JSON. Attributes that do not fit are left out.
const BYTES_MAX: usize = 1024;
/// The bytes that these attributes need for most roots.
const USUAL_BYTES: usize = 256;
/// Upper bound on the bytes of a text value. Longer texts are cut.
const TEXT_BYTES_MAX: usize = 200;
/// Upper bound on the attributes that no convention defines.
const OWN_MAX: usize = 4;

/// The attributes that OpenTelemetry's semantic conventions (1.37, with earlier names) define for the operation of a
/// span.
const CONVENTIONAL: [&str; 37] = [
    "http.request.method",
    "http.method",
    "http.route",
    "url.template",
    "url.path",
    "http.target",
    "url.full",
    "http.url",
    "http.response.status_code",
    "http.status_code",
    "db.query.summary",
    "db.operation.name",
    "db.operation",
    "db.collection.name",
    "db.sql.table",
    "db.mongodb.collection",
    "db.stored_procedure.name",
    "db.namespace",
    "db.name",
    "messaging.destination.template",
    "messaging.destination.name",
    "messaging.destination",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.operation",
    "rpc.method",
    "rpc.service",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "gen_ai.operation.name",
    "gen_ai.tool.name",
    "gen_ai.agent.name",
    "gen_ai.agent.id",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "graphql.operation.type",
    "graphql.operation.name",
];

/// First parts of keys whose values rarely distinguish roots. A key that begins with one of these parts is kept only if
/// it is in [`CONVENTIONAL`].
const COMMON_PARTS: [&str; 27] = [
    "client",
    "code",
    "db",
    "error",
    "exception",
    "gen_ai",
    "graphql",
    "host",
    "http",
    "livespan",
    "messaging",
    "net",
    "network",
    "otel",
    "peer",
    "process",
    "progress",
    "rpc",
    "server",
    "service",
    "telemetry",
    "thread",
    "url",
    "user_agent",
    "workflow",
    "faas",
    "cloud",
];

/// Keys that `tracing-opentelemetry` sets on its spans.
const COMMON: [&str; 4] = ["target", "level", "busy_ns", "idle_ns"];

/// Some attributes of a root, as a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootAttributes(Box<str>);

impl RootAttributes {
    /// Returns the attributes that distinguish the root, or `None` if there are none. The last value of a key counts.
    pub(crate) fn of(attributes: &Pairs<'_>) -> Option<Self> {
        let mut builder = RootAttributesBuilder::default();
        for (at, (key, value)) in attributes.iter().enumerate() {
            let later = attributes.get(at + 1..).unwrap_or_default();
            if let Some(origin) = AttributeOrigin::of(key)
                && !later.iter().any(|(other, _)| other == key)
            {
                builder.add(origin, key, &RootValue::of(value));
            }
        }
        builder.finish()
    }

    /// Like [`of`](Self::of), for the attributes of a record that was not decoded. Their keys must be distinct.
    pub(crate) fn of_scalars<'a>(
        attributes: impl Iterator<Item = (&'a [u8], ScalarValue<'a>)>,
    ) -> Option<Self> {
        let mut builder = RootAttributesBuilder::default();
        for (key, value) in attributes {
            let Ok(key) = std::str::from_utf8(key) else {
                continue;
            };
            let Some(origin) = AttributeOrigin::of(key) else {
                continue;
            };
            let value = match value {
                ScalarValue::Text(text) => std::str::from_utf8(text).map(RootValue::Text),
                ScalarValue::Int(value) => Ok(RootValue::Int(value)),
                ScalarValue::Double(value) => Ok(RootValue::Double(value)),
            };
            builder.add(origin, key, &value.unwrap_or(RootValue::Other));
        }
        builder.finish()
    }

    /// Returns these attributes with the later changes applied.
    pub(crate) fn updated(&self, change: &Self) -> Self {
        let mut all = self.pairs();
        for (key, value) in change.pairs() {
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => all.push((key, value)),
            }
        }
        let mut builder = RootAttributesBuilder::default();
        for (key, value) in &all {
            if let Some(origin) = AttributeOrigin::of(key) {
                builder.add(origin, key, &RootValue::of_json(value));
            }
        }
        builder.finish().unwrap_or_else(|| self.clone())
    }

    fn pairs(&self) -> Vec<(String, Json)> {
        serde_json::from_str(&self.0)
            .map(|OrderedPairs(pairs)| pairs)
            .unwrap_or_default()
    }
}

impl Serialize for RootAttributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

/// The members of a JSON object, in order.
struct OrderedPairs(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for OrderedPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = OrderedPairs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(OrderedPairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// The reason why a list shows an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributeOrigin {
    Conventional,
    Own,
}

impl AttributeOrigin {
    /// Returns `None` for a key that does not distinguish roots.
    pub(super) fn of(key: &str) -> Option<Self> {
        let first = key.split_once('.').map_or(key, |(first, _)| first);
        if COMMON_PARTS.contains(&first) {
            return CONVENTIONAL.contains(&key).then_some(Self::Conventional);
        }
        (!COMMON.contains(&key)).then_some(Self::Own)
    }
}

/// A value of an attribute. Lists, maps and unset values are `Other`.
pub(super) enum RootValue<'a> {
    Text(&'a str),
    Int(i64),
    Double(f64),
    Bool(bool),
    Other,
}

impl<'a> RootValue<'a> {
    fn of(value: &'a Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Owned(text) => Self::Text(text),
            Value::Int(value) => Self::Int(*value),
            Value::Double(value) => Self::Double(*value),
            Value::Bool(value) => Self::Bool(*value),
            _ => Self::Other,
        }
    }

    pub(super) fn of_json(value: &'a Json) -> Self {
        match value {
            Json::String(text) => Self::Text(text),
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Double(value),
                (None, None) => Self::Other,
            },
            Json::Null | Json::Array(_) | Json::Object(_) => Self::Other,
        }
    }
}

/// Collects attributes up to the bounds.
#[derive(Debug, Default)]
pub(super) struct RootAttributesBuilder {
    json: Vec<u8>,
    own: usize,
}

impl RootAttributesBuilder {
    pub(super) fn add(&mut self, origin: AttributeOrigin, key: &str, value: &RootValue<'_>) {
        match value {
            RootValue::Text("") | RootValue::Other => return,
            RootValue::Double(value) if !value.is_finite() => return,
            _ => {}
        }
        if origin == AttributeOrigin::Own {
            if self.own == OWN_MAX {
                return;
            }
            self.own += 1;
        }
        let before = self.json.len();
        if before == 0 {
            // Without this reservation, the buffer would be reallocated several times.
            self.json.reserve(USUAL_BYTES);
        }
        self.json.push(if before == 0 { b'{' } else { b',' });
        // Room for the closing brace.
        let fits = self.member(key, value).is_ok() && self.json.len() < BYTES_MAX;
        if !fits {
            self.json.truncate(before);
        }
    }

    fn member(&mut self, key: &str, value: &RootValue<'_>) -> serde_json::Result<()> {
        let out = &mut self.json;
        serde_json::to_writer(&mut *out, key)?;
        out.push(b':');
        match value {
            RootValue::Text(text) => serde_json::to_writer(out, clip(text, TEXT_BYTES_MAX).0),
            RootValue::Int(value) => serde_json::to_writer(out, value),
            RootValue::Double(value) => serde_json::to_writer(out, value),
            RootValue::Bool(value) => serde_json::to_writer(out, value),
            RootValue::Other => serde_json::to_writer(out, &()),
        }
    }

    pub(super) fn finish(mut self) -> Option<RootAttributes> {
        if self.json.is_empty() {
            return None;
        }
        self.json.push(b'}');
        let json = String::from_utf8(self.json).ok()?;
        Some(RootAttributes(json.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(attributes: &Pairs<'_>) -> Option<String> {
        let found = RootAttributes::of(attributes)?;
        Some(serde_json::to_string(&found).unwrap())
    }

    #[test]
    fn conventions_and_the_first_own_attributes_are_kept_in_their_order() {
        let attributes: Pairs<'_> = vec![
            ("target", Value::Text("shop")),
            ("code.line.number", Value::Int(7)),
            ("page", Value::Int(1)),
            ("http.request.method", Value::Text("GET")),
            ("http.request.header.accept", Value::Text("*/*")),
            ("http.route", Value::Text("/a\"b")),
            ("page", Value::Int(2)),
            ("share", Value::Double(0.5)),
            ("none", Value::Double(f64::NAN)),
            ("empty", Value::Text("")),
            ("list", Value::Array(vec![Value::Int(1)], false)),
            ("is_new", Value::Bool(true)),
            ("masked", Value::Owned("***".into())),
            ("fifth", Value::Int(5)),
        ];
        assert_eq!(
            of(&attributes).as_deref(),
            Some(
                r#"{"http.request.method":"GET","http.route":"/a\"b","page":2,"share":0.5,"is_new":true,"masked":"***"}"#
            )
        );
        assert_eq!(of(&vec![("thread.id", Value::Int(1))]), None);
        assert_eq!(of(&Vec::new()), None);
    }

    #[test]
    fn each_text_and_the_whole_object_are_bounded() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let clipped = "ä".repeat(TEXT_BYTES_MAX / 2);
        assert_eq!(
            of(&vec![("page", Value::Text(&long))]),
            Some(json!({"page": clipped}).to_string())
        );
        let conventional = CONVENTIONAL.iter().map(|key| (*key, Value::Text(&long)));
        let found = RootAttributes::of(&conventional.collect()).unwrap();
        assert!(found.0.len() <= BYTES_MAX, "{}", found.0.len());
        // An attribute that does not fit is left out; a smaller one after it is kept.
        let escaped = "\u{1}".repeat(TEXT_BYTES_MAX);
        let attributes = vec![("page", Value::Text(&escaped)), ("row", Value::Int(1))];
        assert_eq!(of(&attributes).as_deref(), Some(r#"{"row":1}"#));
    }

    #[test]
    fn a_change_replaces_known_attributes_and_adds_new_ones() {
        let of = |attributes: &Pairs<'_>| RootAttributes::of(attributes).unwrap();
        let known = of(&vec![("page", Value::Int(1)), ("row", Value::Int(2))]);
        let change = of(&vec![
            ("http.route", Value::Text("/a")),
            ("page", Value::Int(3)),
        ]);
        assert_eq!(
            serde_json::to_string(&known.updated(&change)).unwrap(),
            r#"{"page":3,"row":2,"http.route":"/a"}"#
        );
    }
}
