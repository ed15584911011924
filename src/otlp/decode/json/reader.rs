//! Readers of objects and lists, with `serde`. Pure.

use std::{borrow::Cow, cell::RefCell, fmt, marker::PhantomData};

use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use crate::otlp::decode::usage::{Exceeded, RequestUsage};

/// The path to the current value. After an error it stays at the value with the error.
pub(super) struct Path<'t> {
    pub(super) usage: &'t RequestUsage,
    steps: RefCell<Vec<PathStep>>,
    /// The reader's own message, for an error that is not a JSON syntax error.
    message: RefCell<Option<String>>,
}

#[derive(Clone, Copy)]
enum PathStep {
    Field(&'static str),
    Index(usize),
}

impl<'t> Path<'t> {
    pub(super) fn new(usage: &'t RequestUsage) -> Self {
        Self {
            usage,
            steps: RefCell::default(),
            message: RefCell::default(),
        }
    }

    fn enter(&self, step: PathStep) {
        self.steps.borrow_mut().push(step);
    }

    fn leave(&self) {
        self.steps.borrow_mut().pop();
    }

    /// Reads the value of a field.
    pub(super) fn field<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
        &self,
        name: &'static str,
        map: &mut A,
        seed: S,
    ) -> Result<S::Value, A::Error> {
        self.enter(PathStep::Field(name));
        let value = map.next_value_seed(seed)?;
        self.leave();
        Ok(value)
    }

    /// Reads the value of a field that is an object.
    pub(super) fn object<'de, A: MapAccess<'de>, T: JsonObject>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<T, A::Error> {
        self.field(name, map, Object::new(self))
    }

    /// Reads the value of a field that holds a message.
    pub(super) fn message<'de, A: MapAccess<'de>, T: JsonObject>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<Option<T>, A::Error> {
        self.object(name, map).map(Some)
    }

    /// Reads the value of a field that is a list of objects.
    pub(super) fn list<'de, A: MapAccess<'de>, T: JsonObject>(
        &self,
        name: &'static str,
        map: &mut A,
    ) -> Result<Vec<T>, A::Error> {
        self.field(name, map, List::new(self))
    }

    /// Stores the message for [`describe`](Self::describe), which appends it to the path. Returns
    /// an error whose own text is not shown.
    pub(super) fn error<E: serde::de::Error>(&self, what: impl Into<String>) -> E {
        self.message.replace(Some(what.into()));
        E::custom("the value has another type")
    }

    /// Describes an error and its place.
    pub(super) fn describe(&self, error: &serde_json::Error) -> String {
        let mut place = String::new();
        for step in self.steps.borrow().iter() {
            match step {
                PathStep::Field(name) if place.is_empty() => place.push_str(name),
                PathStep::Field(name) => {
                    place.push('.');
                    place.push_str(name);
                }
                PathStep::Index(index) => {
                    place.push('[');
                    place.push_str(&index.to_string());
                    place.push(']');
                }
            }
        }
        if place.is_empty() {
            "the body".clone_into(&mut place);
        }
        match self.message.borrow().as_deref() {
            Some(message) => format!("{place} {message}"),
            None => format!("{place} is not JSON: {error}"),
        }
    }
}

/// Creates the error for an exceeded bound. [`RequestUsage::error`] returns the bound.
pub(super) fn exceeded<E: serde::de::Error>(Exceeded: Exceeded) -> E {
    E::custom("a bound is exceeded")
}

/// An OTLP message, which is an object in JSON.
pub(super) trait JsonObject: Default {
    /// Reads the value of this field. If the message has no such field, reads nothing and returns
    /// `false`.
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        path: &Path<'_>,
    ) -> Result<bool, A::Error>;

    /// Called for an object that is present, even if it has no fields.
    const IS_SET: fn(&mut Self) = |_| {};

    /// Counts one object of this type.
    fn count(usage: &RequestUsage) -> Result<(), Exceeded> {
        usage.part(size_of::<Self>())
    }
}

pub(super) struct Object<'p, 't, T> {
    path: &'p Path<'t>,
    of: PhantomData<T>,
}

impl<'p, 't, T> Object<'p, 't, T> {
    pub(super) fn new(path: &'p Path<'t>) -> Self {
        Self {
            path,
            of: PhantomData,
        }
    }
}

impl<'de, T: JsonObject> DeserializeSeed<'de> for Object<'_, '_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::count(self.path.usage).map_err(exceeded)?;
        deserializer.deserialize_any(self)
    }
}

/// Implements `expecting`, and the listed methods, which reject a value of that type.
macro_rules! refuse_others {
    ($message:literal: $($visit:ident($type:ty)),*) => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str($message)
        }

        $(fn $visit<E: serde::de::Error>(self, _v: $type) -> Result<Self::Value, E> {
            Err(self.path.error($message))
        })*
    };
}
pub(super) use refuse_others;

impl<'de, T: JsonObject> Visitor<'de> for Object<'_, '_, T> {
    type Value = T;

    refuse_others!("is not an object": visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<T, E> {
        if v.is_empty() {
            return Ok(T::default());
        }
        Err(self.path.error("is not an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<T, A::Error> {
        Err(self.path.error("is not an object"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = T::default();
        (T::IS_SET)(&mut message);
        while let Some(FieldKey(key)) = map.next_key()? {
            if !message.read_field(&key, &mut map, self.path)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(message)
    }
}

pub(super) struct List<'p, 't, T> {
    path: &'p Path<'t>,
    of: PhantomData<T>,
}

impl<'p, 't, T> List<'p, 't, T> {
    pub(super) fn new(path: &'p Path<'t>) -> Self {
        Self {
            path,
            of: PhantomData,
        }
    }
}

impl<'de, T: JsonObject> DeserializeSeed<'de> for List<'_, '_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: JsonObject> Visitor<'de> for List<'_, '_, T> {
    type Value = Vec<T>;

    refuse_others!("is not a list": visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Vec<T>, E> {
        if v.is_empty() {
            return Ok(Vec::new());
        }
        Err(self.path.error("is not a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<Vec<T>, A::Error> {
        Err(self.path.error("is not a list"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        loop {
            self.path.enter(PathStep::Index(items.len()));
            let next = seq.next_element_seed(Object::new(self.path))?;
            self.path.leave();
            match next {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
    }
}

/// The key of a field. It is borrowed from the body unless it contains escapes.
struct FieldKey<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for FieldKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldKeyVisitor;

        impl<'de> Visitor<'de> for FieldKeyVisitor {
            type Value = FieldKey<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                v: &'de str,
            ) -> Result<FieldKey<'de>, E> {
                Ok(FieldKey(Cow::Borrowed(v)))
            }

            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<FieldKey<'de>, E> {
                Ok(FieldKey(Cow::Owned(v.to_owned())))
            }

            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<FieldKey<'de>, E> {
                Err(E::invalid_type(Unexpected::Bytes(v), &self))
            }
        }

        deserializer.deserialize_str(FieldKeyVisitor)
    }
}
