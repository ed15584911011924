//! The operations of a log, by service and name, bounded in number. At the bound, a new name
//! replaces one that was not used lately (the clock algorithm). The worker thread writes the table.

use std::sync::Arc;

use crate::{
    trace::{
        operations::operation::{EndedSpan, Operation},
        span_change::SpanStart,
    },
    util::hash::Map,
};

/// The slot of an operation. An open span stores the slot in which it counts as running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OperationId(u16);

impl OperationId {
    /// The operation is not in the table.
    pub(crate) const NONE: Self = Self(u16::MAX);

    fn of(place: usize) -> Self {
        u16::try_from(place).map_or(Self::NONE, Self)
    }

    fn place(self) -> usize {
        self.0.into()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// The slots of the operations.
    by_service: Map<Arc<str>, Map<Arc<str>, usize>>,
    all: Vec<Operation>,
    /// The clock hand: the slot that is examined next when a new name needs one.
    hand: usize,
    recent: Recent,
    /// Number of ended spans whose names are not in the table.
    forgotten: u64,
}

/// The slots of recently used operations, found by the memory address of the name. Names are
/// interned, so most spans find their slot here without comparing texts.
#[derive(Debug, Default)]
struct Recent(Vec<Option<Found>>);

/// A service, a name, and the slot of their operation.
type Found = (Arc<str>, Arc<str>, usize);

impl Recent {
    const SLOTS: usize = 64;

    fn find(&self, service: &Arc<str>, name: &Arc<str>) -> Option<usize> {
        let (known_service, known_name, at) = self.0.get(Self::place(name))?.as_ref()?;
        let is_it = Arc::ptr_eq(known_service, service) && Arc::ptr_eq(known_name, name);
        is_it.then_some(*at)
    }

    fn keep(&mut self, service: &Arc<str>, name: &Arc<str>, at: usize) {
        self.0.resize(Self::SLOTS, None);
        if let Some(place) = self.0.get_mut(Self::place(name)) {
            *place = Some((Arc::clone(service), Arc::clone(name), at));
        }
    }

    /// Forgets the names that map to this slot.
    fn forget(&mut self, at: usize) {
        for found in &mut self.0 {
            found.take_if(|(_, _, place)| *place == at);
        }
    }

    fn place(name: &Arc<str>) -> usize {
        name.as_ptr() as usize / 32 % Self::SLOTS
    }
}

impl Operations {
    /// Upper bound on the operations. One takes some 5 KB, and at most 50 KB if its durations
    /// differ by many orders of magnitude.
    pub(crate) const OPERATIONS_MAX: usize = 1_000;
    /// Upper bound on the slots that the hand passes for one new name.
    const STEPS_MAX: usize = 64;

    /// Returns the operation of a span that starts.
    pub(crate) fn of_start(&mut self, start: &SpanStart) -> OperationId {
        let place = self.place(&start.service, &start.name);
        place.map_or(OperationId::NONE, OperationId::of)
    }

    /// Counts an open span of this operation.
    pub(crate) fn opened(&mut self, operation: OperationId) {
        if let Some(operation) = self.all.get_mut(operation.place()) {
            operation.running += 1;
        }
    }

    /// Stops counting an open span of this operation.
    pub(crate) fn closed(&mut self, operation: OperationId) {
        if let Some(operation) = self.all.get_mut(operation.place()) {
            operation.running = operation.running.saturating_sub(1);
        }
    }

    /// Counts an ended span.
    pub(crate) fn record(&mut self, start: &SpanStart, run: EndedSpan) {
        let place = self.place(&start.service, &start.name);
        match place.and_then(|at| self.all.get_mut(at)) {
            Some(operation) => operation.record(run, start.kind),
            None => self.forgotten += 1,
        }
    }

    /// Returns the slot of an operation, and adds the operation if needed. Returns `None` if there
    /// is no room.
    fn place(&mut self, service: &Arc<str>, name: &Arc<str>) -> Option<usize> {
        if let Some(at) = self.recent.find(service, name) {
            return Some(at);
        }
        let names = self.by_service.get(service);
        let at = if let Some(at) = names.and_then(|names| names.get(name)) {
            *at
        } else {
            let operation = Operation::new(service, name);
            let at = if self.all.len() < Self::OPERATIONS_MAX {
                self.all.push(operation);
                self.all.len() - 1
            } else {
                let at = self.free_place()?;
                *self.all.get_mut(at)? = operation;
                at
            };
            let names = self.by_service.entry(Arc::clone(service)).or_default();
            names.insert(Arc::clone(name), at);
            at
        };
        self.recent.keep(service, name, at);
        Some(at)
    }

    /// Forgets an operation that was not used since the hand last passed it, and returns its slot.
    /// Returns `None` if the next [`STEPS_MAX`](Self::STEPS_MAX) slots have no such operation. The
    /// first use of a name does not count, so a name that was used once is replaced before one that
    /// is used repeatedly. An operation with open spans stays, because they refer to its slot.
    fn free_place(&mut self) -> Option<usize> {
        for _ in 0..Self::STEPS_MAX {
            let at = self.hand;
            self.hand = (at + 1) % Self::OPERATIONS_MAX;
            let operation = self.all.get_mut(at)?;
            if std::mem::take(&mut operation.is_used) || operation.running > 0 {
                continue;
            }
            self.forgotten += operation.count();
            if let Some(names) = self.by_service.get_mut(&operation.service) {
                names.remove(&operation.name);
                if names.is_empty() {
                    self.by_service.remove(&operation.service);
                }
            }
            self.recent.forget(at);
            return Some(at);
        }
        None
    }

    pub(crate) fn get(&self, service: &str, name: &str) -> Option<&Operation> {
        let names = self.by_service.get(service)?;
        self.all.get(*names.get(name)?)
    }

    /// Returns the operations in slot order, from this slot on.
    pub(crate) fn from(&self, place: usize) -> impl Iterator<Item = (OperationId, &Operation)> {
        let all = self.all.iter().enumerate().skip(place);
        all.map(|(at, operation)| (OperationId::of(at), operation))
    }

    /// Returns the number of ended spans whose names are not in the table.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{span::event::SpanKind, trace::span_change::SpanOutcome, util::time::Timestamp};

    fn start(service: &Arc<str>, name: &Arc<str>) -> SpanStart {
        SpanStart {
            parent: None,
            parent_remote: false,
            name: Arc::clone(name),
            service: Arc::clone(service),
            kind: SpanKind::Server,
            start_time: Timestamp::default(),
            links: Box::default(),
            progress: None,
            of_root: None,
        }
    }

    fn record(operations: &mut Operations, service: &Arc<str>, name: &Arc<str>) {
        let run = EndedSpan {
            trace_id: [1; 16],
            span_id: [1; 8],
            start: Timestamp::default(),
            nanos: 1,
            outcome: SpanOutcome::Ok,
        };
        operations.record(&start(service, name), run);
    }

    fn count(operations: &Operations, service: &str, name: &str) -> u64 {
        operations.get(service, name).map_or(0, Operation::count)
    }

    #[test]
    fn names_beyond_the_bound_replace_those_that_are_not_used_again() {
        const ROUNDS: usize = 3 * Operations::OPERATIONS_MAX;
        let mut operations = Operations::default();
        let (service, usual): (Arc<str>, Arc<str>) = ("shop".into(), "usual".into());
        for round in 1..=ROUNDS {
            record(&mut operations, &service, &usual);
            let (service, name) = (format!("service{round}"), round.to_string());
            record(&mut operations, &(&*service).into(), &(&*name).into());
            let newest = count(&operations, &service, &name);
            assert_eq!(newest, 1, "a new name was not counted at once");
        }
        assert_eq!(count(&operations, "shop", "usual"), ROUNDS as u64);
        assert_eq!(count(&operations, "service1", "1"), 0);
        let names: usize = operations.by_service.values().map(Map::len).sum();
        assert_eq!(names, Operations::OPERATIONS_MAX);
        assert_eq!(operations.all.len(), Operations::OPERATIONS_MAX);
        let counted: u64 = operations.all.iter().map(Operation::count).sum();
        assert_eq!(counted + operations.forgotten(), 2 * ROUNDS as u64);
    }

    #[test]
    fn a_forgotten_name_is_not_counted_as_the_name_that_now_has_its_slot() {
        let mut operations = Operations::default();
        let (service, first): (Arc<str>, Arc<str>) = ("shop".into(), "first".into());
        record(&mut operations, &service, &first);
        for number in 0..Operations::OPERATIONS_MAX {
            record(&mut operations, &service, &number.to_string().into());
        }
        assert_eq!(count(&operations, "shop", "first"), 0);
        record(&mut operations, &service, &first);
        assert_eq!(count(&operations, "shop", "first"), 1);
    }

    #[test]
    fn an_operation_with_open_spans_keeps_its_place() {
        let mut operations = Operations::default();
        let service: Arc<str> = "shop".into();
        let name = |number: usize| -> Arc<str> { number.to_string().into() };
        let open: Vec<OperationId> = (0..Operations::OPERATIONS_MAX)
            .map(|number| {
                let operation = operations.of_start(&start(&service, &name(number)));
                operations.opened(operation);
                operation
            })
            .collect();
        let more = start(&service, &"more".into());
        assert_eq!(operations.of_start(&more), OperationId::NONE);
        record(&mut operations, &service, &"more".into());
        assert_eq!(
            (count(&operations, "shop", "more"), operations.forgotten()),
            (0, 1)
        );
        operations.closed(OperationId::NONE);
        operations.closed(open[7]);
        // Each attempt examines a bounded number of operations.
        for _ in 0..=Operations::OPERATIONS_MAX / Operations::STEPS_MAX {
            record(&mut operations, &service, &"more".into());
        }
        assert_ne!(count(&operations, "shop", "more"), 0);
        assert!(operations.get("shop", "7").is_none());
        let running: u64 = operations.all.iter().map(|one| one.running).sum();
        assert_eq!(running, Operations::OPERATIONS_MAX as u64 - 1);
    }
}
