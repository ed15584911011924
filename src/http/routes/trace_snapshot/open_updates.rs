//! The updates of a trace's open spans, merged into one event per span while the trace is read. So
//! a span that is updated 8 times a second for hours does not fill the document. It runs on the
//! task that writes the response.

use crate::{
    access::projection,
    http::routes::trace_snapshot::{overview::span_of, read::TraceEvent},
    span::json::MergedUpdate,
    trace::parse,
    util::hash::Map,
};

/// Upper bound on the bytes of merged updates that are held while a trace is read. At this size,
/// the merged updates are written, and merging starts again. Such a document has several updates of
/// one span, in their order.
pub(super) const OPEN_UPDATES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The updates of open spans, merged by span.
#[derive(Debug, Default)]
pub(super) struct OpenUpdates {
    /// The merged updates, in the order of the first update of each span. `None` if the span has
    /// ended.
    merged: Vec<Option<MergedUpdate>>,
    places: Map<SpanOfProcess, usize>,
    size: usize,
}

/// The process and the id of a span. Only its own process updates a span, and spans of two
/// processes may share an id.
type SpanOfProcess = (u64, Box<str>);

impl OpenUpdates {
    /// Adds an event. A real end discards the updates of its span, because a later update belongs to another span with
    /// this id. A lost end does not, because it may be wrong.
    pub(super) fn add(&mut self, event: &TraceEvent<'_>) {
        let process = projection::process(event.payload).unwrap_or_default();
        let span = (span_of(event.payload), Box::from(&*process));
        match event.name {
            "updated" => {
                let next = self.merged.len();
                let place = *self.places.entry(span).or_insert(next);
                if place == next {
                    self.merged.push(Some(MergedUpdate::default()));
                }
                if let Some(Some(merged)) = self.merged.get_mut(place) {
                    let counted = if place == next { 0 } else { merged.size() };
                    merged.add(event.payload);
                    self.size = (self.size + merged.size()).saturating_sub(counted);
                }
            }
            "ended" if !parse::is_lost(event.payload) => {
                if let Some(place) = self.places.remove(&span)
                    && let Some(merged) = self.merged.get_mut(place)
                    && let Some(merged) = merged.take()
                {
                    self.size = self.size.saturating_sub(merged.size());
                }
            }
            _ => {}
        }
    }

    /// Returns whether the merged updates should be written because they take much memory.
    pub(super) fn is_full(&self) -> bool {
        self.size >= OPEN_UPDATES_BYTES_MAX
    }

    /// Returns the merged updates, one event per span, and starts again.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let Self { merged, .. } = std::mem::take(self);
        merged.into_iter().flatten().map(|merged| {
            let mut out = Vec::with_capacity(merged.size());
            merged.write(&mut out);
            out
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, span: usize, process: &str, more: &str) -> (String, String) {
        let payload = format!(
            r#"{{"type":"{name}","spanId":"{span:016x}","process":"{process}","timestamp":"T"{more}}}"#
        );
        (name.to_owned(), payload)
    }

    fn add(updates: &mut OpenUpdates, (name, payload): &(String, String)) {
        updates.add(&TraceEvent {
            sequence: 1,
            name,
            payload: payload.as_bytes(),
        });
    }

    fn texts(updates: &mut OpenUpdates) -> Vec<String> {
        let taken = updates.take().map(|text| String::from_utf8(text).unwrap());
        taken.collect()
    }

    #[test]
    fn updates_are_merged_by_span_and_process() {
        let mut updates = OpenUpdates::default();
        let set = |value: u8| format!(r#","attributes":{{"n":{value}}}"#);
        for event in [
            event("updated", 1, "p", &set(1)),
            event("updated", 2, "p", &set(2)),
            event("updated", 1, "q", &set(3)),
            event("updated", 1, "p", &set(4)),
            // A lost end may be wrong: a start of the same span may follow.
            event("ended", 2, "p", r#","lost":{}"#),
            // A span of another process ends.
            event("ended", 1, "q", ""),
        ] {
            add(&mut updates, &event);
        }
        assert_eq!(
            texts(&mut updates),
            [(1, 4), (2, 2)].map(|(span, value)| format!(
                r#"{{"type":"updated","spanId":"{span:016x}","process":"p","attributes":{{"n":{value}}},"timestamp":"T"}}"#
            ))
        );
    }

    #[test]
    fn a_reused_id_begins_without_earlier_updates() {
        let mut updates = OpenUpdates::default();
        add(&mut updates, &event("updated", 1, "p", r#","name":"a""#));
        add(&mut updates, &event("ended", 1, "p", ""));
        let second = event("updated", 1, "p", r#","state":"waiting""#);
        add(&mut updates, &second);
        assert_eq!(
            texts(&mut updates),
            [
                r#"{"type":"updated","spanId":"0000000000000001","process":"p","state":"waiting","timestamp":"T"}"#
            ]
        );
    }

    #[test]
    fn merged_updates_take_bounded_memory() {
        let mut updates = OpenUpdates::default();
        let long = "x".repeat(100_000);
        let mut spans = 0;
        while !updates.is_full() {
            spans += 1;
            for _ in 0..3 {
                let text = format!(r#","attributes":{{"n":"{long}"}}"#);
                add(&mut updates, &event("updated", spans, "p", &text));
            }
        }
        // Only the last value of an attribute is kept.
        assert_eq!(spans, OPEN_UPDATES_BYTES_MAX.div_ceil(100_500));
        assert_eq!(texts(&mut updates).len(), spans);
        assert_eq!(updates.size, 0);
        assert!(!updates.is_full());
        assert_eq!(texts(&mut updates).len(), 0);
    }
}
