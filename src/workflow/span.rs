//! One open span of a workflow. Like the span processor, it pushes a record into the log's buffer when the span starts,
//! changes, waits or ends. It runs in the host's tasks and never waits for the log.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Event, Link, SpanKind, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::{
    span::{
        ending,
        event::{SpanId, SpanState},
        record::{SpanOrigin, StepActivity},
    },
    trace::parse,
    util::sync::lock,
    workflow::{
        attributes,
        export::SCOPE,
        outcome::Failure,
        run::Run,
        step::{Step, StepKind},
    },
};

/// Upper bound on the `retry` events of one span.
const EVENTS_MAX: usize = 128;
/// Upper bound on the attributes that a step's work adds.
const ATTRIBUTES_MAX: usize = 128;

/// The data of a span at its start.
#[derive(Debug)]
pub(crate) struct NewSpan {
    pub(crate) span_id: SpanId,
    /// The parent span, or `None` for the root.
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) links: Vec<Link>,
    /// `None` for the root.
    pub(crate) step: Option<Step>,
}

/// One span of a run, or nothing if [`emit_if`](crate::workflow::Workflow::emit_if) hides it. It is open while this
/// value lives. If the value is dropped before it [ends](Self::end), the span is shown as waiting, or as cancelled if
/// the run was cancelled. A step whose work continues elsewhere stays as it is.
pub(crate) struct OpenSpan {
    shown: Option<VisibleSpan>,
}

struct VisibleSpan {
    run: Arc<Run>,
    definition: NewSpan,
    activity: StepActivity,
    start: SystemTime,
    /// Whether the engine was replaying when the span started.
    replayed: bool,
    has_paused: bool,
    progress: Arc<Mutex<Progress>>,
}

/// The reports of a step's work about its span.
#[derive(Debug, Default)]
struct Progress {
    attempts: u32,
    events: Vec<Event>,
    dropped_events: u32,
    attributes: Vec<KeyValue>,
    dropped_attributes: u32,
    has_ended: bool,
}

impl OpenSpan {
    /// Opens the span, and pushes its start unless the engine is replaying.
    pub(crate) fn begin(run: &Arc<Run>, new_span: Option<NewSpan>, replayed: bool) -> Self {
        let shown = new_span.map(|new_span| VisibleSpan::new(run, new_span, replayed));
        if let Some(shown) = shown.as_ref().filter(|shown| !shown.replayed) {
            let mut data = shown.data(shown.start);
            if let Some(step) = &shown.definition.step {
                data.attributes
                    .extend(step.starting_attributes(shown.start));
            }
            let sink = &run.sink;
            sink.parts
                .enqueue_start(sink.source(), &data, shown.origin(shown.activity));
        }
        Self { shown }
    }

    /// Returns the handle with which the step's work reports on the span.
    pub(crate) fn handle(&self) -> StepSpan {
        StepSpan {
            shown: self.shown.as_ref().map(VisibleSpan::reporter),
        }
    }

    /// Reports that the future returned `Pending`. A sleep or a wait is shown as waiting from the first such call on.
    pub(crate) fn paused(&mut self) {
        if let Some(shown) = &mut self.shown {
            let rests = shown.activity == StepActivity::Waiting;
            if !std::mem::replace(&mut shown.has_paused, true) && rests && !shown.replayed {
                shown.wait();
            }
        }
    }

    /// Ends the span. If both its start and its end are replayed, the log keeps the end only if it lacks one.
    pub(crate) fn end(mut self, failure: Option<&Failure>, replaying: bool) {
        if let Some(shown) = self.shown.take() {
            shown.end(failure, replaying);
        }
    }
}

impl Drop for OpenSpan {
    /// Runs when the future is dropped before its end, for example because the engine suspends the workflow.
    fn drop(&mut self) {
        let Some(shown) = self.shown.take() else {
            return;
        };
        if let Some(cancelled) = shown.run.cancelled() {
            shown.end(Some(&cancelled), false);
        } else if !shown
            .definition
            .step
            .as_ref()
            .is_some_and(|step| step.elsewhere)
        {
            shown.wait();
        }
    }
}

impl VisibleSpan {
    fn new(run: &Arc<Run>, definition: NewSpan, replayed: bool) -> Self {
        let kind = definition.step.as_ref().map_or(StepKind::Scope, Step::kind);
        Self {
            run: Arc::clone(run),
            definition,
            activity: if kind.rests() {
                StepActivity::Waiting
            } else {
                StepActivity::Working
            },
            start: SystemTime::now(),
            replayed,
            has_paused: false,
            progress: Arc::default(),
        }
    }

    fn origin(&self, activity: StepActivity) -> SpanOrigin {
        SpanOrigin::Workflow(self.run.sink.durability, activity)
    }

    fn reporter(&self) -> StepReporter {
        StepReporter {
            run: Arc::clone(&self.run),
            span_id: self.definition.span_id,
            progress: Arc::clone(&self.progress),
        }
    }

    fn data(&self, end: SystemTime) -> SpanData {
        SpanData {
            parent_span_id: self
                .definition
                .parent
                .map_or(opentelemetry::SpanId::INVALID, |parent| {
                    opentelemetry::SpanId::from_bytes(parent.to_bytes())
                }),
            name: Cow::Owned(self.definition.name.clone()),
            start_time: self.start,
            end_time: end,
            attributes: self.definition.attributes.clone(),
            links: links(self.definition.links.clone()),
            ..bare(&self.run, self.definition.span_id)
        }
    }

    /// Reports that the span waits, with the event or time that it waits for.
    fn wait(&self) {
        let mut data = self.data(SystemTime::now());
        data.attributes = match &self.definition.step {
            // A relative time counts from the step's first start, which may have been in an earlier run.
            Some(step) if self.replayed => step.lasting_waiting_attributes(),
            Some(step) => step.waiting_attributes(self.start),
            None => Vec::new(),
        };
        data.links = SpanLinks::default();
        let sink = &self.run.sink;
        let waiting = Some(SpanState::Waiting);
        sink.parts
            .enqueue_update(sink.source(), &data, sink.durability, waiting);
    }

    fn end(self, failure: Option<&Failure>, replaying: bool) {
        let now = SystemTime::now();
        let mut data = self.data(now);
        self.take_progress(&mut data);
        let mut activity = self.activity;
        if let Some(failure) = failure {
            data.status = Status::error(failure.to_string());
            if failure.is_cancelled() {
                activity = StepActivity::Cancelled;
            } else {
                data.events.events.push(exception(failure, now));
            }
        }
        let origin = self.origin(activity);
        let sink = &self.run.sink;
        let is_repeated = self.replayed && replaying;
        // Read before the end is pushed, because the log may forget the start after it.
        let first = sink.exporter.as_ref().filter(|_| !is_repeated);
        let first = first.and_then(|_| self.first_start());
        let enqueue = || {
            if is_repeated {
                // The step ended in an earlier run, but that end may have been lost with its process.
                sink.parts.enqueue_end_if_open(sink.source(), &data, origin);
            } else {
                sink.parts.enqueue_end(sink.source(), &data, origin);
            }
        };
        match failure.and_then(Failure::panic) {
            Some(panic) => ending::as_panicked(Some(Arc::clone(panic)), enqueue),
            None => enqueue(),
        }
        if is_repeated {
            return;
        }
        if let Some(exporter) = &sink.exporter {
            data.start_time = first.map_or(data.start_time, |first| first.min(data.start_time));
            let parent = self.definition.parent.map(|one| self.run.span_context(one));
            exporter.export(parent, data);
        }
    }

    fn take_progress(&self, data: &mut SpanData) {
        let mut progress = lock(&self.progress);
        progress.has_ended = true;
        if progress.attempts > 0 {
            let attempts = i64::from(progress.attempts) + 1;
            set(
                &mut data.attributes,
                KeyValue::new(attributes::ATTEMPTS, attempts),
            );
        }
        for pair in progress.attributes.drain(..) {
            set(&mut data.attributes, pair);
        }
        data.dropped_attributes_count = progress.dropped_attributes;
        let mut events = SpanEvents::default();
        events.events = std::mem::take(&mut progress.events);
        events.dropped_count = progress.dropped_events;
        data.events = events;
    }

    /// Returns the time of the span's first start, if the log still has it. That start may be from an earlier run.
    fn first_start(&self) -> Option<SystemTime> {
        let log = &self.run.sink.parts.runtime.log;
        let key = self.run.trace_id.stream_key();
        let opened = log.tail.open_event(&key, self.definition.span_id.token())?;
        let started = opened.events().next()?.payload();
        parse::timestamp(&started)?.to_system_time()
    }
}

/// The span of a running step, on which the step's work reports. Cloning is cheap. Calls after the end of the step have
/// no effect.
///
/// ```
/// use livespan::{LiveSpans, workflow::Workflows};
///
/// # async fn charge(attempt: u32) -> Result<&'static str, std::io::Error> {
/// #     if attempt < 3 { Err(std::io::Error::other("no answer")) } else { Ok("paid") }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let live = LiveSpans::builder().build()?;
/// let wf = Workflows::new(&live).instance("order-42");
/// wf.step_with("charge", |span| async move {
///     let mut attempt = 1;
///     loop {
///         match charge(attempt).await {
///             Err(error) if attempt < 5 => span.retry(&error),
///             last => return last,
///         }
///         attempt += 1;
///     }
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StepSpan {
    shown: Option<StepReporter>,
}

#[derive(Clone)]
struct StepReporter {
    run: Arc<Run>,
    span_id: SpanId,
    progress: Arc<Mutex<Progress>>,
}

impl fmt::Debug for StepSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepSpan").finish_non_exhaustive()
    }
}

impl StepSpan {
    /// Reports that an attempt failed and that another follows. The span counts the attempt and keeps the error as an
    /// event named `retry`. It keeps the first 128 of these events and counts the rest as dropped.
    pub fn retry(&self, error: &impl fmt::Display) {
        let Some(reporter) = &self.shown else {
            return;
        };
        let Some(mut progress) = reporter.open() else {
            return;
        };
        progress.attempts = progress.attempts.saturating_add(1);
        let attempt = i64::from(progress.attempts);
        let event = Event::new(
            "retry",
            SystemTime::now(),
            vec![
                KeyValue::new("attempt", attempt),
                KeyValue::new("exception.message", error.to_string()),
            ],
            0,
        );
        if progress.events.len() < EVENTS_MAX {
            progress.events.push(event);
        } else {
            progress.dropped_events = progress.dropped_events.saturating_add(1);
        }
        drop(progress);
        reporter.report(KeyValue::new(attributes::ATTEMPTS, attempt + 1));
    }

    /// Sets an attribute of the span. Viewers see it while the step runs. The span keeps the first 128 keys and counts
    /// further ones as dropped.
    pub fn set_attribute(&self, key: impl Into<String>, value: impl Into<Value>) {
        let Some(reporter) = &self.shown else {
            return;
        };
        let Some(mut progress) = reporter.open() else {
            return;
        };
        let pair = KeyValue::new(key.into(), value);
        let is_known = progress.attributes.iter().any(|one| one.key == pair.key);
        if !is_known && progress.attributes.len() >= ATTRIBUTES_MAX {
            progress.dropped_attributes = progress.dropped_attributes.saturating_add(1);
            return;
        }
        set(&mut progress.attributes, pair.clone());
        drop(progress);
        reporter.report(pair);
    }
}

impl StepReporter {
    fn open(&self) -> Option<MutexGuard<'_, Progress>> {
        Some(lock(&self.progress)).filter(|progress| !progress.has_ended)
    }

    fn report(&self, change: KeyValue) {
        let data = SpanData {
            attributes: vec![change],
            ..bare(&self.run, self.span_id)
        };
        let sink = &self.run.sink;
        sink.parts
            .enqueue_update(sink.source(), &data, sink.durability, None);
    }
}

/// Returns a span that has its ids, the current time as its start and end, and nothing else.
pub(crate) fn bare(run: &Run, span_id: SpanId) -> SpanData {
    let now = SystemTime::now();
    SpanData {
        span_context: run.span_context(span_id),
        parent_span_id: opentelemetry::SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(""),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
    }
}

pub(crate) fn links(all: Vec<Link>) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links = all;
    links
}

/// Sets an attribute. It replaces an earlier one with the same key.
fn set(attributes: &mut Vec<KeyValue>, pair: KeyValue) {
    match attributes.iter_mut().find(|one| one.key == pair.key) {
        Some(slot) => *slot = pair,
        None => attributes.push(pair),
    }
}

fn exception(failure: &Failure, time: SystemTime) -> Event {
    let mut attributes = Vec::new();
    if !failure.type_name().is_empty() {
        attributes.push(KeyValue::new("exception.type", failure.type_name()));
    }
    attributes.push(KeyValue::new(
        "exception.message",
        failure.message().to_owned(),
    ));
    if failure.has_causes() {
        attributes.push(KeyValue::new("exception.stacktrace", failure.chain()));
    }
    Event::new("exception", time, attributes, 0)
}
