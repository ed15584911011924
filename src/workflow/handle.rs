//! One run of a workflow's function: wraps its futures in spans. It runs in the host's tasks. It never blocks and never
//! changes when or how often a wrapped future is polled.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::SystemTime,
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanContext, TraceContextExt as _},
};

use crate::{
    span::event::{SpanId, TraceId},
    workflow::{
        attributes, ids,
        outcome::{Failure, Outcome},
        run::{Run, SpanSink, StepCounts},
        span::{NewSpan, OpenSpan, StepSpan},
        step::{Step, StepKind},
    },
};

/// One run of a workflow's function. Cloning is cheap, and a clone belongs to the same run. The handle is `Send` if the
/// closures passed to [`replaying`](Self::replaying) and [`emit_if`](Self::emit_if) are `Send` and `Sync`.
///
/// The returned futures do nothing until they are polled. A step gets its span id when the method is called, not when
/// the future is polled.
pub struct Workflow<R = fn() -> bool, E = fn(&Step) -> bool> {
    run: Arc<Run>,
    replaying: Arc<R>,
    emit_if: Arc<E>,
    position: StepPosition,
    /// The counts of the steps below `position.parent`.
    step_counts: Arc<StepCounts>,
}

/// The place of new steps in the trace.
#[derive(Clone, Copy, Debug)]
struct StepPosition {
    /// The enclosing step, even if it is hidden. The ids of new steps are derived from it.
    parent: SpanId,
    /// The nearest enclosing visible step. It becomes the parent of new spans.
    shown: SpanId,
}

impl<R, E> Clone for Workflow<R, E> {
    fn clone(&self) -> Self {
        Self {
            run: Arc::clone(&self.run),
            replaying: Arc::clone(&self.replaying),
            emit_if: Arc::clone(&self.emit_if),
            position: self.position,
            step_counts: Arc::clone(&self.step_counts),
        }
    }
}

impl<R, E> fmt::Debug for Workflow<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow")
            .field("namespace", &self.run.namespace)
            .field("instance", &self.run.instance)
            .field("trace_id", &self.run.trace_id)
            .finish_non_exhaustive()
    }
}

impl<R, E> Workflow<R, E> {
    pub(crate) fn new(
        sink: &Arc<SpanSink>,
        namespace: &Arc<str>,
        instance: &str,
        replaying: R,
        emit_if: E,
    ) -> Self {
        let run = Run::new(sink, namespace, instance);
        let root = ids::root(run.trace_id);
        Self {
            step_counts: Arc::clone(&run.root_step_counts),
            run: Arc::new(run),
            replaying: Arc::new(replaying),
            emit_if: Arc::new(emit_if),
            position: StepPosition {
                parent: root,
                shown: root,
            },
        }
    }

    /// Sets a function that returns whether the engine is replaying. It is called at the start and at the end of each
    /// step. A replayed start is not shown. A replayed end is shown only if the log lacks one. An engine that cannot
    /// tell whether it replays does not need this function, because the log leaves out repeated events.
    #[must_use]
    pub fn replaying<F: Fn() -> bool>(self, replaying: F) -> Workflow<F, E> {
        Workflow {
            run: self.run,
            replaying: Arc::new(replaying),
            emit_if: self.emit_if,
            position: self.position,
            step_counts: self.step_counts,
        }
    }

    /// Shows only the steps that `emit_if` accepts. A step inside a hidden one becomes a child of the nearest visible
    /// step. The root is always shown.
    #[must_use]
    pub fn emit_if<F: Fn(&Step) -> bool>(self, emit_if: F) -> Workflow<R, F> {
        Workflow {
            run: self.run,
            replaying: self.replaying,
            emit_if: Arc::new(emit_if),
            position: self.position,
            step_counts: self.step_counts,
        }
    }

    /// Returns the trace id of the instance.
    pub fn trace_id(&self) -> TraceId {
        self.run.trace_id
    }

    /// Returns the id of the instance.
    pub fn instance_id(&self) -> &str {
        &self.run.instance
    }

    /// Marks the instance as cancelled. From now on, a span of this run whose future is dropped ends as cancelled and
    /// is not shown as waiting. Only the first reason counts.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.run.cancel(reason.into());
    }
}

impl<R: Fn() -> bool, E: Fn(&Step) -> bool> Workflow<R, E> {
    /// Runs the workflow's function as the root span. If a span of another trace is current, the root links to it.
    pub fn run<F, Way>(&self, name: impl Into<String>, future: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.run_classified(name, future, Outcome::failed)
    }

    /// Runs the workflow's function like [`run`](Self::run), and calls `classify` to decide whether its output is a
    /// failure.
    pub fn run_classified<F, J>(
        &self,
        name: impl Into<String>,
        future: F,
        classify: J,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        J: FnOnce(&F::Output) -> Option<Failure>,
    {
        let name = name.into();
        async move {
            self.run.reset_steps();
            let caller = Context::current().span().span_context().clone();
            let root = ids::root(self.run.trace_id);
            let mut attributes = self.attributes();
            attributes.push(KeyValue::new(attributes::DEFINITION, name.clone()));
            attributes.push(KeyValue::new(
                attributes::NAMESPACE,
                String::from(&*self.run.namespace),
            ));
            let is_elsewhere =
                caller.is_valid() && caller.trace_id().to_bytes() != self.run.trace_id.to_bytes();
            let links = is_elsewhere.then(|| Link::with_context(caller));
            let new_span = NewSpan {
                span_id: root,
                parent: None,
                name,
                attributes,
                links: links.into_iter().collect(),
                step: None,
            };
            self.run_in_span(root, Some(new_span), |_| future, classify)
                .await
        }
    }

    /// Runs a step. If its output is an `Err`, the span's status is an error with the error's message and sources.
    pub fn step<F, Way>(&self, step: impl Into<Step>, future: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.step_classified(step, future, Outcome::failed)
    }

    /// Runs a step like [`step`](Self::step), and calls `classify` to decide whether its output is a failure. Use it
    /// for outputs that do not implement [`Outcome`], and for an `Ok` that is a failure, such as an HTTP response.
    pub fn step_classified<F, J>(
        &self,
        step: impl Into<Step>,
        future: F,
        classify: J,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        J: FnOnce(&F::Output) -> Option<Failure>,
    {
        self.run_step(step.into(), |_, _| future, classify)
    }

    /// Runs a step like [`step`](Self::step), and passes `work` a [`StepSpan`]. With it, the work reports on the step
    /// while it runs: a failed attempt, for example.
    pub fn step_with<F, Way>(
        &self,
        step: impl Into<Step>,
        work: impl FnOnce(StepSpan) -> F,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.run_step(step.into(), |_, span| work(span), Outcome::failed)
    }

    /// Runs a step that sleeps: `timer` is the engine's timer. Set its end with [`Step::lasting`] or [`Step::until`].
    pub fn sleep<F, Way>(&self, step: impl Into<Step>, timer: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        let step = step.into().of_kind(StepKind::Sleep);
        self.run_step(step, |_, _| timer, Outcome::failed)
    }

    /// Runs a step that sleeps until a time: `timer` is the engine's timer.
    pub fn sleep_until<F, Way>(
        &self,
        step: impl Into<Step>,
        time: SystemTime,
        timer: F,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.sleep(step.into().until(time), timer)
    }

    /// Runs a step that waits for an event. The event has the step's name unless [`Step::event`] sets another.
    pub fn wait<F, Way>(&self, step: impl Into<Step>, event: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        let step = step.into().of_kind(StepKind::Wait);
        self.run_step(step, |_, _| event, Outcome::failed)
    }

    /// Groups steps: `work` gets a handle, and every step made with this handle is inside the scope.
    pub fn scope<F, Way>(
        &self,
        step: impl Into<Step>,
        work: impl FnOnce(Self) -> F,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        let step = step.into().of_kind(StepKind::Scope);
        self.run_step(step, |position, _| work(self.at(position)), Outcome::failed)
    }

    /// Returns a handle at this position in the trace.
    fn at(&self, position: StepPosition) -> Self {
        Self {
            position,
            step_counts: Arc::default(),
            ..self.clone()
        }
    }

    /// Derives the step's span id now. Everything else happens when the future is polled.
    fn run_step<F: Future>(
        &self,
        step: Step,
        work: impl FnOnce(StepPosition, StepSpan) -> F,
        classify: impl FnOnce(&F::Output) -> Option<Failure>,
    ) -> impl Future<Output = F::Output> {
        let key = step.step_key();
        let StepPosition { parent, shown } = self.position;
        let ordinal = self.step_counts.next_ordinal(&key);
        let span_id = ids::step(self.run.trace_id, parent, &key, ordinal);
        async move {
            let is_shown = (self.emit_if)(&step);
            let position = StepPosition {
                parent: span_id,
                shown: if is_shown { span_id } else { shown },
            };
            let new_span = is_shown.then(|| {
                let mut attributes = self.attributes();
                attributes.extend(step.lasting_attributes());
                NewSpan {
                    span_id,
                    parent: Some(shown),
                    name: step.name().to_owned(),
                    attributes,
                    links: Vec::new(),
                    step: Some(step),
                }
            });
            self.run_in_span(
                position.shown,
                new_span,
                |span| work(position, span),
                classify,
            )
            .await
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        vec![KeyValue::new(
            attributes::INSTANCE,
            String::from(&*self.run.instance),
        )]
    }

    /// Opens `new_span`, if there is one, polls the future with `current` as the current span, and ends `new_span` with
    /// the future's output.
    async fn run_in_span<F: Future>(
        &self,
        current: SpanId,
        new_span: Option<NewSpan>,
        work: impl FnOnce(StepSpan) -> F,
        classify: impl FnOnce(&F::Output) -> Option<Failure>,
    ) -> F::Output {
        let context = self.run.span_context(current);
        // Declared before the future, so it is dropped after the spans that the future holds.
        let mut span = OpenSpan::begin(&self.run, new_span, (self.replaying)());
        let attached = |context: &SpanContext| {
            Context::current()
                .with_remote_span_context(context.clone())
                .attach()
        };
        let future = {
            let _attached = attached(&context);
            work(span.handle())
        };
        let mut future = pin!(future);
        let output = poll_fn(|cx| {
            let _attached = attached(&context);
            let poll = future.as_mut().poll(cx);
            if poll.is_pending() {
                span.paused();
            }
            poll
        })
        .await;
        span.end(classify(&output).as_ref(), (self.replaying)());
        output
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::{live_spans::LiveSpans, workflow::workflows::Workflows};

    #[tokio::test]
    async fn scope_that_has_ended_keeps_no_counts_of_its_steps() {
        let live = LiveSpans::builder().build().unwrap();
        let wf = Workflows::new(&live).instance("actor");
        let mut counts = Weak::new();
        wf.scope("tick", |wf| {
            counts = Arc::downgrade(&wf.step_counts);
            async move { wf.step("poll", async {}).await }
        })
        .await;
        assert!(counts.upgrade().is_none());
    }
}
