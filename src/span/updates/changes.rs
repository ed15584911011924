//! The pending changes of one open span, which wait to be reported. Plain data: the host's thread fills it, the worker
//! reads it.

use std::{borrow::Cow, sync::Arc};

use opentelemetry::{
    Key, KeyValue, Value,
    trace::{Event, Link, Status},
};

use crate::{span::ending::PanicDetails, util::time::Timestamp};

/// Upper bound on the pending attributes, events and links of one span, each. The SDK's default limits are the same, so
/// only a host that raised them reaches this bound.
const PARTS_MAX: usize = 128;

/// An operation that a span waits for and that has no span itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Await {
    pub(crate) name: Cow<'static, str>,
    pub(crate) since: Timestamp,
}

/// A change of the operation that a span waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Awaiting<T> {
    #[default]
    Unchanged,
    Nothing,
    On(T),
}

/// Figures on the polls of a span's task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskState {
    pub(crate) polls: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) idle_nanos: u64,
    pub(crate) longest_poll_nanos: u64,
    /// The time when the current poll began, and its thread.
    pub(crate) polling: Option<(Timestamp, Arc<str>)>,
}

/// The changes of one open span since its last event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) attributes: Vec<KeyValue>,
    /// The index of the attribute that changed last, because loops change the same attribute repeatedly.
    latest: usize,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) status: Option<Status>,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
    pub(crate) awaiting: Awaiting<Await>,
    pub(crate) panic: Option<Arc<PanicDetails>>,
    pub(crate) task: Option<TaskState>,
}

impl Changes {
    /// Returns whether there are no changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.attributes.is_empty()
            && self.name.is_none()
            && self.status.is_none()
            && self.events.is_empty()
            && self.links.is_empty()
            && self.awaiting == Awaiting::Unchanged
            && self.panic.is_none()
            && self.task.is_none()
    }

    /// Sets an attribute, replacing an earlier value of its key. Returns `false` if there is no room for another key.
    #[inline]
    pub(crate) fn set_attribute(&mut self, pair: &KeyValue) -> bool {
        if let Some(known) = self.attributes.get_mut(self.latest)
            && is_same_key(&known.key, &pair.key)
        {
            assign(&mut known.value, &pair.value);
            return true;
        }
        self.set_other_attribute(pair)
    }

    /// Sets again the attribute that was set last. The caller knows that `pair` has the same key.
    #[inline]
    pub(crate) fn set_latest_attribute(&mut self, pair: &KeyValue) -> bool {
        match self.attributes.get_mut(self.latest) {
            Some(known) => {
                assign(&mut known.value, &pair.value);
                true
            }
            // The worker has taken the pending changes, so the list is empty or shorter.
            None => self.set_other_attribute(pair),
        }
    }

    /// Sets an attribute whose key the span never had. Returns `false` if there is no room for it.
    #[inline]
    pub(crate) fn set_new_attribute(&mut self, pair: KeyValue) -> bool {
        self.latest = self.attributes.len();
        push_bounded(&mut self.attributes, pair)
    }

    #[inline(never)]
    fn set_other_attribute(&mut self, pair: &KeyValue) -> bool {
        let is_known = |known: &KeyValue| is_same_key(&known.key, &pair.key);
        let known = self.attributes.iter().position(is_known);
        self.latest = known.unwrap_or(self.attributes.len());
        if let Some(known) = self.attributes.get_mut(self.latest) {
            assign(&mut known.value, &pair.value);
            return true;
        }
        push_bounded(&mut self.attributes, pair.clone())
    }

    /// Adds an event of the span. Returns `false` if there is no room for it.
    pub(crate) fn add_event(&mut self, event: Event) -> bool {
        push_bounded(&mut self.events, event)
    }

    /// Sets the figures on the polls of the span's task.
    #[cfg(feature = "tracing")]
    pub(crate) fn set_task(&mut self, task: TaskState) {
        self.task = Some(task);
    }

    /// Adds a link. Returns `false` if there is no room for it.
    pub(crate) fn add_link(&mut self, link: Link) -> bool {
        push_bounded(&mut self.links, link)
    }
}

/// Assigns a value. Numbers, the values that loops change most, are copied directly; other values are cloned.
#[inline]
pub(crate) fn assign(to: &mut Value, from: &Value) {
    match (to, from) {
        (Value::I64(to), Value::I64(from)) => *to = *from,
        (Value::F64(to), Value::F64(from)) => *to = *from,
        (to, from) => to.clone_from(from),
    }
}

/// Compares keys. Most equal keys have the same address, because each place in a program sets its attribute with the
/// same literal.
#[inline]
pub(crate) fn is_same_key(one: &Key, other: &Key) -> bool {
    let (one, other) = (one.as_str(), other.as_str());
    std::ptr::eq(one, other) || one == other
}

#[inline]
fn push_bounded<T>(parts: &mut Vec<T>, part: T) -> bool {
    let has_room = parts.len() < PARTS_MAX;
    if has_room {
        parts.push(part);
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_keys_keep_their_order() {
        let mut changes = Changes::default();
        for (key, value) in [("a", 1), ("b", 2), ("b", 3), ("a", 4), ("a", 5), ("c", 6)] {
            assert!(changes.set_attribute(&KeyValue::new(key, value)));
        }
        let expected = [("a", 5), ("b", 3), ("c", 6)];
        assert_eq!(
            changes.attributes,
            expected.map(|(key, value)| KeyValue::new(key, value))
        );
    }

    #[test]
    fn the_attribute_that_was_set_last_can_be_set_again_after_the_changes_were_taken() {
        let pair = |value: i64| KeyValue::new("b", value);
        let mut changes = Changes::default();
        assert!(changes.set_attribute(&KeyValue::new("a", 1)));
        assert!(changes.set_attribute(&pair(2)) && changes.set_latest_attribute(&pair(3)));
        let taken = std::mem::take(&mut changes);
        assert_eq!(taken.attributes, [KeyValue::new("a", 1), pair(3)]);
        assert!(changes.set_latest_attribute(&pair(4)) && changes.set_latest_attribute(&pair(5)));
        assert_eq!(changes.attributes, [pair(5)]);
    }

    #[test]
    fn every_list_is_bounded_and_known_keys_still_change() {
        let mut changes = Changes::default();
        for number in 0..PARTS_MAX {
            assert!(changes.set_attribute(&KeyValue::new(number.to_string(), 0)));
            assert!(changes.add_event(Event::with_name("tick")));
        }
        assert!(!changes.set_attribute(&KeyValue::new("more", 0)));
        assert!(!changes.add_event(Event::with_name("tick")));
        assert!(changes.set_attribute(&KeyValue::new("7", 1)));
        assert_eq!(changes.attributes[7], KeyValue::new("7", 1));
        assert_eq!(changes.attributes.len(), PARTS_MAX);
        assert_eq!(changes.events.len(), PARTS_MAX);
    }
}
