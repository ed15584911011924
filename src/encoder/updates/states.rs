//! The merged updates of open spans. Retention removes `updated` events like any others, while the span that they belong
//! to may run for days. So when retention has passed an update of an open span, the worker writes the span's updates
//! again, merged into one event that is kept until the span ends (see [`Pinning::State`](crate::log::event::Pinning)).
//! Only the worker thread uses it.

use std::collections::BTreeSet;

use crate::{
    log::retention::Retention,
    span::{json::MergedUpdate, updates::SlotIds},
    util::hash::{Map, Set},
};

/// Upper bound on the merged updates of one span, in bytes. The updates of a span that exceeds it are not written
/// again.
const SPAN_BYTES_MAX: usize = 256 * 1024;
/// Upper bound on all merged updates, in bytes. Further spans are left out.
const BYTES_MAX: usize = Retention::STATE_BYTES_MAX;

/// The merged updates of one span.
#[derive(Debug)]
struct OpenSpanState {
    merged: MergedUpdate,
    /// The merged updates are all updates of the span if its start has at least this sequence.
    whole_from: u64,
    /// Whether an earlier run of the log began the span. Its start may be in the store only.
    is_restored: bool,
    /// The first update that no stored state has.
    first: Option<u64>,
}

/// The merged updates of the open spans.
#[derive(Debug, Default)]
pub(in crate::encoder) struct SpanStates {
    /// By trace, then by span.
    states: Map<[u8; 16], Map<[u8; 8], OpenSpanState>>,
    /// The spans with an update that no stored state has, by the first such update.
    waiting: BTreeSet<(u64, SlotIds)>,
    /// The spans whose state is in the batch that is not stored yet.
    written: Set<SlotIds>,
    bytes: usize,
    /// Updates of spans that began before this sequence may be missing here.
    whole_from: u64,
}

impl SpanStates {
    /// Sets the sequence of the first event of this run of the log.
    pub(in crate::encoder) fn begin_at(&mut self, first: u64) {
        self.whole_from = first;
    }

    /// Adds an `updated` event. `next` is the sequence that the log gives its next event. Returns whether the span is
    /// left out from now on, because a bound is reached.
    pub(in crate::encoder) fn add(&mut self, span: SlotIds, payload: &[u8], next: u64) -> bool {
        let whole_from = self.whole_from;
        let spans = self.states.entry(span.0).or_default();
        let is_new = !spans.contains_key(&span.1);
        if is_new && self.bytes >= BYTES_MAX {
            self.whole_from = next;
            return true;
        }
        let state = spans.entry(span.1).or_insert_with(|| OpenSpanState {
            merged: MergedUpdate::default(),
            whole_from,
            is_restored: false,
            first: None,
        });
        if state.whole_from == u64::MAX {
            return false;
        }
        let before = if is_new { 0 } else { state.merged.size() };
        state.merged.add(payload);
        let is_too_large = state.merged.size() > SPAN_BYTES_MAX;
        if is_too_large {
            state.merged = MergedUpdate::default();
            state.whole_from = u64::MAX;
        }
        self.bytes = (self.bytes + state.merged.size()).saturating_sub(before);
        is_too_large
    }

    /// Sets the updates that an earlier run of the log stored of a span, which is still open. `merged` is `None` if they
    /// are not known. `opened` is the sequence of the span's start; the state is written when retention has passed it.
    /// `opened` is `None` if the start is appended again, which releases the stored state: it is then written soon.
    pub(in crate::encoder) fn restore(
        &mut self,
        span: SlotIds,
        merged: Option<MergedUpdate>,
        opened: Option<u64>,
    ) {
        self.forget(span);
        let merged = merged.filter(|_| self.bytes < BYTES_MAX);
        if merged.is_none() && opened.is_some() {
            // The start is older than this run of the log. That tells later that updates are missing.
            return;
        }
        let has_updates = merged.as_ref().is_some_and(|merged| !merged.is_empty());
        let state = OpenSpanState {
            whole_from: if merged.is_some() { 0 } else { u64::MAX },
            merged: merged.unwrap_or_default(),
            is_restored: true,
            first: None,
        };
        self.bytes += state.merged.size();
        self.states.entry(span.0).or_default().insert(span.1, state);
        if has_updates {
            self.wait(span, opened.unwrap_or_default());
        }
    }

    /// Records that an `updated` event got this sequence. A state that the worker has written does not wait for
    /// retention, unless it is `unstored`.
    pub(in crate::encoder) fn on_stored(&mut self, span: SlotIds, sequence: u64, unstored: bool) {
        if unstored || !self.written.contains(&span) {
            self.wait(span, sequence);
        }
    }

    /// Called when the events of the batch have got their sequences.
    pub(in crate::encoder) fn end_batch(&mut self) {
        self.written.clear();
    }

    /// Called when the store has refused the batch. `next` is the sequence of the log's next event.
    pub(in crate::encoder) fn on_rejected(&mut self, next: u64) {
        for span in std::mem::take(&mut self.written) {
            self.wait(span, next);
        }
    }

    fn wait(&mut self, span: SlotIds, sequence: u64) {
        let spans = self.states.get_mut(&span.0);
        let state = spans.and_then(|spans| spans.get_mut(&span.1));
        if let Some(state) = state
            && state.first.is_none()
            && state.whole_from < u64::MAX
        {
            state.first = Some(sequence);
            self.waiting.insert((sequence, span));
        }
    }

    /// Forgets a span, because it has ended.
    pub(in crate::encoder) fn forget(&mut self, span: SlotIds) {
        let Some(spans) = self.states.get_mut(&span.0) else {
            return;
        };
        if let Some(state) = spans.remove(&span.1) {
            self.bytes -= state.merged.size();
            if let Some(first) = state.first {
                self.waiting.remove(&(first, span));
            }
        }
        if spans.is_empty() {
            self.states.remove(&span.0);
        }
    }

    /// Forgets the spans of a trace, because memory has no event of it. Spans of an earlier run stay: the store has their
    /// starts.
    pub(in crate::encoder) fn forget_trace(&mut self, trace_id: [u8; 16]) {
        let spans = self.states.get(&trace_id).into_iter().flatten();
        let own = spans.filter(|(_, state)| !state.is_restored);
        let ids: Vec<[u8; 8]> = own.map(|(id, _)| *id).collect();
        for id in ids {
            self.forget((trace_id, id));
        }
    }

    pub(in crate::encoder) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Returns whether [`take_due`](Self::take_due) would return a span.
    pub(in crate::encoder) fn is_due(&self, oldest: impl FnOnce() -> u64) -> bool {
        let first = self.waiting.first();
        first.is_some_and(|(first, _)| *first < oldest())
    }

    /// Takes a span with an update before `oldest`, the log's oldest event, that no stored state has.
    pub(in crate::encoder) fn take_due(&mut self, oldest: u64) -> Option<SlotIds> {
        let (_, span) = *self.waiting.first().filter(|(first, _)| *first < oldest)?;
        self.waiting.pop_first();
        let state = self.states.get_mut(&span.0)?.get_mut(&span.1)?;
        state.first = None;
        Some(span)
    }

    /// Returns the merged updates of an open span, if they are all its updates. `started` is the sequence of its start,
    /// if memory has the start.
    pub(in crate::encoder) fn whole(
        &self,
        span: SlotIds,
        started: Option<u64>,
    ) -> Option<&MergedUpdate> {
        let state = self.states.get(&span.0)?.get(&span.1)?;
        let started = started.or(state.is_restored.then_some(0))?;
        (started >= state.whole_from).then_some(&state.merged)
    }

    /// Records that the batch has the state of this span.
    pub(in crate::encoder) fn mark_written(&mut self, span: SlotIds) {
        self.written.insert(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: SlotIds = ([1; 16], [2; 8]);

    fn update(fields: &str) -> Vec<u8> {
        format!(r#"{{"type":"updated","spanId":"2"{fields}}}"#).into_bytes()
    }

    fn text(states: &SpanStates, span: SlotIds, started: u64) -> Option<String> {
        let mut out = Vec::new();
        states.whole(span, Some(started))?.write(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    fn due(states: &mut SpanStates, oldest: u64) -> Vec<SlotIds> {
        std::iter::from_fn(|| states.take_due(oldest)).collect()
    }

    #[test]
    fn a_span_is_due_when_retention_has_passed_its_first_update_that_no_state_has() {
        let mut states = SpanStates::default();
        for (sequence, name) in [(11, "a"), (12, "b")] {
            assert!(!states.add(SPAN, &update(&format!(r#","name":"{name}""#)), sequence));
            states.on_stored(SPAN, sequence, false);
            states.end_batch();
        }
        assert!(!states.is_due(|| 11));
        assert_eq!(due(&mut states, 11), []);
        assert!(states.is_due(|| 12));
        assert_eq!(due(&mut states, 12), [SPAN]);
        let whole = r#"{"type":"updated","spanId":"2","name":"b"}"#;
        assert_eq!(text(&states, SPAN, 10).as_deref(), Some(whole));

        // The state itself does not make the span due again, unless the store lacks it.
        for (unstored, is_due) in [(false, false), (true, true)] {
            states.mark_written(SPAN);
            states.on_stored(SPAN, 20, unstored);
            states.end_batch();
            assert_eq!(due(&mut states, 100) == [SPAN], is_due);
        }
        states.mark_written(SPAN);
        states.on_rejected(30);
        assert_eq!(due(&mut states, 31), [SPAN]);

        states.add(SPAN, &update(""), 40);
        states.on_stored(SPAN, 40, false);
        states.forget(SPAN);
        assert_eq!(due(&mut states, 100), []);
        assert_eq!((states.is_empty(), states.bytes), (true, 0));
    }

    #[test]
    fn the_state_of_a_span_whose_updates_are_not_all_known_is_not_written() {
        let mut states = SpanStates::default();
        states.begin_at(100);
        states.add(SPAN, &update(""), 110);
        assert_eq!(text(&states, SPAN, 99), None);
        assert!(text(&states, SPAN, 100).is_some());
        // Memory does not have the start.
        assert!(states.whole(SPAN, None).is_none());

        let mut merged = MergedUpdate::default();
        merged.add(&update(r#","name":"a""#));
        states.restore(SPAN, Some(merged), Some(5));
        assert!(states.whole(SPAN, None).is_some());
        states.forget_trace(SPAN.0);
        assert_eq!(due(&mut states, 6), [SPAN]);
        states.restore(SPAN, None, Some(5));
        assert!(states.is_empty());
        states.restore(SPAN, None, None);
        states.add(SPAN, &update(""), 120);
        states.on_stored(SPAN, 120, false);
        assert_eq!(
            (due(&mut states, 200), text(&states, SPAN, 100)),
            (vec![], None)
        );
    }

    #[test]
    fn merged_updates_take_bounded_memory() {
        let mut states = SpanStates::default();
        let large = update(&format!(r#","name":"{}""#, "x".repeat(SPAN_BYTES_MAX)));
        assert!(states.add(SPAN, &large, 1));
        // Later updates of this span are a part only.
        assert!(!states.add(SPAN, &update(""), 2));
        assert_eq!(text(&states, SPAN, 1), None);

        let fitting = update(&format!(r#","name":"{}""#, "x".repeat(SPAN_BYTES_MAX / 2)));
        let span = |number: u64| ([3; 16], number.to_be_bytes());
        let added = (1..).take_while(|number| !states.add(span(*number), &fitting, 10 + number));
        let added = added.count() as u64;
        assert!(
            states.bytes < BYTES_MAX + SPAN_BYTES_MAX,
            "{}",
            states.bytes
        );
        // There is room again, but an update of this span was left out.
        states.forget(span(1));
        assert!(!states.add(span(added + 1), &fitting, 1_000));
        assert_eq!(text(&states, span(added + 1), 11 + added - 1), None);
        // A span that begins later is known from its start on.
        assert!(text(&states, span(added + 1), 11 + added).is_some());
        states.forget_trace([3; 16]);
        states.forget(SPAN);
        assert_eq!((states.is_empty(), states.bytes), (true, 0));
    }
}
