//! Finds the ended spans of a trace that are problems: they failed, panicked, were lost, or took far longer than spans
//! of their name usually do. If a failure or a delay propagated to the spans above, only the innermost span counts as a
//! problem. It runs on the task of a request, within a budget.

use std::collections::BTreeMap;

use crate::{
    live_spans::LiveSpans,
    report::{
        event_fields::{EventText, ReportFields},
        problems::report::{Problem, ProblemKind},
        running::{
            collect::UsualDurations,
            span_now::{UsualDuration, age_of},
        },
        trace::spans::ShownState,
        trace_events::{ReadBudget, ReadResult, read_trace},
    },
    span::json::clip,
    trace::{
        index::matching::is_far_slower, operations::histogram::DurationHistogram,
        summary::milliseconds,
    },
    util::{hash::Set, hex, time::Timestamp},
};

/// Upper bound on the bytes of a message.
const MESSAGE_BYTES_MAX: usize = 512;

/// Spans by id, each with its parent's id.
type FoundSpans = BTreeMap<String, (Option<String>, Problem)>;

/// Reads the ended spans of one trace after the other.
pub(super) struct EndedSpans<'a> {
    live: &'a LiveSpans,
    /// Only spans whose end comes after this event count.
    after: u64,
    now: Timestamp,
    budget: ReadBudget,
    usual: UsualDurations,
}

impl<'a> EndedSpans<'a> {
    pub(super) fn new(live: &'a LiveSpans, after: u64, now: Timestamp) -> Self {
        Self {
            live,
            after,
            now,
            budget: ReadBudget::new(),
            usual: UsualDurations::default(),
        }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// Returns the problems of one trace, and whether the trace was read to its end. Slow spans count only if
    /// `with_slow`.
    pub(super) async fn read(
        &mut self,
        id: [u8; 16],
        with_slow: bool,
    ) -> (Vec<Problem>, ReadResult) {
        let (mut failed, mut slow) = (FoundSpans::new(), FoundSpans::new());
        let mut root = String::new();
        let (after, now) = (self.after, self.now);
        let (usual, index) = (&mut self.usual, &self.live.shared.index);
        let log = self.live.log();
        let result = read_trace(log, id, log.head(), &mut self.budget, |event| {
            if event.name != "ended" {
                return;
            }
            let Some(fields) = ReportFields::of(event.payload) else {
                return;
            };
            let parent = fields
                .parent_span_id
                .as_ref()
                .map(|parent| parent.0.to_string());
            if parent.is_none() {
                root = text(fields.name.as_ref());
            }
            let span_id = text(fields.span_id.as_ref());
            // A real end replaces a lost end.
            failed.remove(&span_id);
            if event.sequence <= after {
                return;
            }
            let kind = match ShownState::of(&fields) {
                ShownState::Error => ProblemKind::Error,
                ShownState::Panicked => ProblemKind::Panicked,
                ShownState::Lost => ProblemKind::Lost,
                ShownState::Ok if with_slow => ProblemKind::Slow,
                ShownState::Open | ShownState::Ok | ShownState::Cancelled => return,
            };
            let mut problem = problem_of(&fields, kind, (id, now));
            if kind != ProblemKind::Slow {
                failed.insert(span_id, (parent, problem));
                return;
            }
            let start = fields.start_timestamp.as_ref().and_then(EventText::time);
            let took = age_of(start.unwrap_or(now), fields.time().unwrap_or_default());
            let (count, p95) = usual.of(index, &problem.service, &problem.name);
            if let Some(p95) = p95.filter(|p95| {
                count >= DurationHistogram::USUAL_SPANS_MIN && is_far_slower(took, *p95)
            }) {
                problem.took = took;
                problem.duration_ms = Some(milliseconds(took));
                problem.usual = Some(UsualDuration::of(count, p95, took));
                slow.insert(span_id, (parent, problem));
            }
        })
        .await;
        let mut problems = innermost(failed, &root);
        problems.extend(innermost(slow, &root));
        (problems, result)
    }
}

fn problem_of(
    fields: &ReportFields<'_>,
    kind: ProblemKind,
    (id, now): ([u8; 16], Timestamp),
) -> Problem {
    let time = fields.time().unwrap_or_default();
    let message = fields
        .status
        .as_ref()
        .and_then(|status| status.message.as_ref());
    let age = age_of(time, now);
    Problem {
        kind,
        trace_id: hex::encode(&id),
        trace_name: String::new(),
        span_id: text(fields.span_id.as_ref()),
        name: text(fields.name.as_ref()),
        service: text(fields.service.as_ref()),
        timestamp: time.text(),
        age_ms: milliseconds(age),
        open: false,
        message: message.map(|message| text(Some(message))),
        failed_above: 0,
        now: None,
        duration_ms: None,
        usual: None,
        records: None,
        age,
        took: 0,
    }
}

/// Returns the found spans that have no found child. Each has the number of found spans in the unbroken chain of
/// parents above it.
fn innermost(mut found: FoundSpans, root: &str) -> Vec<Problem> {
    let parents: BTreeMap<String, Option<String>> = found
        .iter()
        .map(|(id, (parent, _))| (id.clone(), parent.clone()))
        .collect();
    let outer: Set<&String> = parents.values().flatten().collect();
    let mut problems = Vec::new();
    for id in parents.keys().filter(|id| !outer.contains(id)) {
        let mut above = Set::default();
        let mut next = parents.get(id).and_then(Option::as_ref);
        while let Some(parent) = next.filter(|parent| above.insert(*parent)) {
            next = parents.get(parent).and_then(Option::as_ref);
        }
        let failed_above = above
            .iter()
            .filter(|parent| parents.contains_key(**parent))
            .count();
        if let Some((_, mut problem)) = found.remove(id) {
            problem.failed_above = failed_above as u64;
            root.clone_into(&mut problem.trace_name);
            problems.push(problem);
        }
    }
    problems
}

fn text(value: Option<&EventText<'_>>) -> String {
    value.map_or_else(String::new, |value| {
        clip(&value.0, MESSAGE_BYTES_MAX).0.to_owned()
    })
}
