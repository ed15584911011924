//! The progress that a span reports: its attributes `progress.current`, `progress.total`, `progress.units` and
//! `progress.message`. Pure; the worker and the tasks of HTTP requests use it.

use serde::Serialize;
use serde_json::{Number, Value as Json};

use crate::span::json::{Pairs, Value, clip};

/// Upper bound on the bytes of the units, and on the bytes of the message.
const TEXT_BYTES_MAX: usize = 256;

/// The progress of a span, or a change of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct SpanProgress {
    current: Option<Number>,
    total: Option<Number>,
    units: Option<Box<str>>,
    message: Option<Box<str>>,
}

/// An attribute value that progress can use.
enum ProgressValue<'a> {
    Number(Number),
    Text(&'a str),
    Other,
}

impl SpanProgress {
    /// Returns the progress in these attributes, or `None` if there is none. The last value of a key counts.
    #[inline]
    pub(crate) fn of(attributes: &Pairs<'_>) -> Option<Box<Self>> {
        attributes
            .iter()
            .any(|(key, _)| Self::is_progress_key(key))
            .then(|| Self::read(attributes))?
    }

    #[cold]
    fn read(attributes: &Pairs<'_>) -> Option<Box<Self>> {
        let mut progress = Self::default();
        for (key, value) in attributes {
            let value = match value {
                Value::Int(number) => ProgressValue::Number((*number).into()),
                Value::Double(number) => {
                    Number::from_f64(*number).map_or(ProgressValue::Other, ProgressValue::Number)
                }
                Value::Text(text) => ProgressValue::Text(text),
                Value::Owned(text) => ProgressValue::Text(text),
                _ => ProgressValue::Other,
            };
            progress.set(key, &value);
        }
        progress.if_any()
    }

    /// Returns whether an attribute with this key may report progress.
    #[inline]
    pub(super) fn is_progress_key(key: &str) -> bool {
        key.starts_with("progress.")
    }

    /// Applies an attribute of an encoded event.
    pub(super) fn set_json(&mut self, key: &str, value: &Json) {
        let value = match value {
            Json::Number(number) => ProgressValue::Number(number.clone()),
            Json::String(text) => ProgressValue::Text(text),
            _ => ProgressValue::Other,
        };
        self.set(key, &value);
    }

    /// Returns whether there is a current value or a message to show. A total alone is not shown.
    pub(crate) fn is_shown(&self) -> bool {
        self.current.is_some() || self.message.is_some()
    }

    /// Returns the current value, or `None` if there is none.
    #[cfg(feature = "http")]
    pub(crate) fn current(&self) -> Option<f64> {
        self.current.as_ref()?.as_f64()
    }

    /// Returns the total, or `None` if it is unknown.
    #[cfg(feature = "http")]
    pub(crate) fn total(&self) -> Option<f64> {
        let total = self.total.as_ref()?.as_f64();
        total.filter(|total| *total > 0.0)
    }

    #[cfg(feature = "http")]
    pub(crate) fn units(&self) -> &str {
        self.units.as_deref().unwrap_or_default()
    }

    #[cfg(feature = "http")]
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Applies a later change.
    pub(crate) fn update(&mut self, change: &Self) {
        let Self {
            current,
            total,
            units,
            message,
        } = change;
        replace(&mut self.current, current.as_ref());
        replace(&mut self.total, total.as_ref());
        replace(&mut self.units, units.as_ref());
        replace(&mut self.message, message.as_ref());
    }

    fn set(&mut self, key: &str, value: &ProgressValue<'_>) {
        match key {
            "progress.current" => self.current = value.number().or(self.current.take()),
            "progress.total" => self.total = value.number().or(self.total.take()),
            "progress.units" => self.units = value.text().or(self.units.take()),
            "progress.message" => self.message = value.text().or(self.message.take()),
            _ => {}
        }
    }

    pub(super) fn if_any(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl ProgressValue<'_> {
    /// Returns the number. The value may be a text, because `tracing` passes on a `u64` as text.
    fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(number.clone()),
            Self::Text(text) => {
                let is_number = text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.');
                let whole = text.parse::<u64>().ok().map(Number::from);
                let number = || Number::from_f64(text.parse().ok()?);
                is_number.then(|| whole.or_else(number)).flatten()
            }
            Self::Other => None,
        }
        .filter(|number| number.as_f64().is_some_and(|number| number >= 0.0))
    }

    fn text(&self) -> Option<Box<str>> {
        match self {
            Self::Text(text) => Some(clip(text, TEXT_BYTES_MAX).0.into()),
            Self::Number(_) | Self::Other => None,
        }
    }
}

fn replace<T: Clone>(known: &mut Option<T>, new: Option<&T>) {
    if let Some(new) = new {
        *known = Some(new.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_json(attributes: &Json) -> Option<Box<SpanProgress>> {
        let mut progress = SpanProgress::default();
        for (key, value) in attributes.as_object().unwrap() {
            progress.set_json(key, value);
        }
        progress.if_any()
    }

    fn parsed(value: &Json) -> Json {
        let progress = of_json(&json!({"progress.current": value}));
        json!(progress.map(|progress| progress.current))
    }

    #[test]
    fn numbers_may_be_texts_and_nothing_else_is_a_number() {
        for value in [json!(0), json!(7), json!(2.5), json!(u64::MAX)] {
            assert_eq!(parsed(&value), value);
        }
        assert_eq!(parsed(&json!("121")), json!(121));
        assert_eq!(parsed(&json!("18446744073709551615")), json!(u64::MAX));
        assert_eq!(parsed(&json!("2.5")), json!(2.5));
        for value in [
            json!(-1),
            json!("-1"),
            json!("NaN"),
            json!("inf"),
            json!("1e3"),
            json!(""),
            json!("1.2.3"),
            json!(true),
            json!([1]),
            json!(null),
        ] {
            assert_eq!(parsed(&value), Json::Null, "{value}");
        }
    }

    #[test]
    fn a_change_replaces_only_the_fields_that_it_has_and_texts_are_bounded() {
        let of = |attributes: Json| *of_json(&attributes).unwrap();
        let mut progress = of(json!({"progress.total": 9, "progress.units": "rows", "other": 1}));
        assert!(!progress.is_shown());
        progress.update(&of(json!({"progress.current": "3"})));
        progress.update(&of(json!({"progress.message": "ä".repeat(200)})));
        assert!(progress.is_shown());
        assert_eq!(
            json!(progress),
            json!({"current": 3, "total": 9, "units": "rows", "message": "ä".repeat(128)})
        );
        assert_eq!(of_json(&json!({"progress.x": 1})), None);
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_other_keys_are_ignored() {
        let twice: Pairs<'_> = vec![
            ("progress.current", Value::Int(1)),
            ("progress.current", Value::Text("2")),
        ];
        assert_eq!(
            SpanProgress::of(&twice),
            of_json(&json!({"progress.current": 2}))
        );
        assert_eq!(SpanProgress::of(&vec![("a", Value::Int(1))]), None);
    }
}
