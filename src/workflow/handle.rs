//! One run of a workflow's function, and what wraps its futures. It works in the host's tasks: it never blocks, and
//! what it wraps is polled as it would be without it.

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

/// One run of a workflow's function; cloning is cheap, and a clone is the same run. It is `Send` if what
/// [`replaying`](Self::replaying) and [`emit_if`](Self::emit_if) are given is `Send` and `Sync`.
///
/// The futures it returns do nothing until they are polled, like any other; which step it is, is settled before, when
/// the method is called.
pub struct Workflow<R = fn() -> bool, E = fn(&Step) -> bool> {
    run: Arc<Run>,
    replaying: Arc<R>,
    emit_if: Arc<E>,
    position: StepPosition,
    /// Those below `position.parent`.
    step_counts: Arc<StepCounts>,
}

/// Where steps are made.
#[derive(Clone, Copy, Debug)]
struct StepPosition {
    /// Below which span, for their ids.
    parent: SpanId,
    /// Below which span they are shown.
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

    /// Asks the engine, at the start and at the end of each step, whether it replays what was done before: then nothing
    /// is shown, but an end that the log misses. An engine that cannot tell needs none of this: what it shows again is
    /// left out by the log.
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

    /// Shows only steps that this accepts; what is inside the others hangs under the nearest step that is shown. The
    /// root is always shown.
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

    /// Returns the trace of the instance.
    pub fn trace_id(&self) -> TraceId {
        self.run.trace_id
    }

    /// Returns the instance's own id.
    pub fn instance_id(&self) -> &str {
        &self.run.instance
    }

    /// Says that the instance is cancelled: spans of this run whose futures are dropped from now on are over, as
    /// cancelled, and do not wait for anything.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.run.cancel(reason.into());
    }
}

impl<R: Fn() -> bool, E: Fn(&Step) -> bool> Workflow<R, E> {
    /// Runs the workflow's function as the root span. If a span is current here, the root links to it.
    pub fn run<F, Way>(&self, name: impl Into<String>, future: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.run_classified(name, future, Outcome::failed)
    }

    /// [`run`](Self::run), with a word of your own about when what the future gives is a failure.
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

    /// Runs a step. A `Result` that is an error makes the step an error, with the error's sources.
    pub fn step<F, Way>(&self, step: impl Into<Step>, future: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.step_classified(step, future, Outcome::failed)
    }

    /// [`step`](Self::step), with a word of your own about when what the future gives is a failure: for outputs that
    /// are no [`Outcome`], or a response that is one all the same.
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

    /// [`step`](Self::step) whose work says more about it while it goes on, such as that an attempt failed.
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

    /// Waits for a time: the future is the engine's timer. Say with [`Step::lasting`] or [`Step::until`] when it wakes.
    pub fn sleep<F, Way>(&self, step: impl Into<Step>, timer: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        let step = step.into().of_kind(StepKind::Sleep);
        self.run_step(step, |_, _| timer, Outcome::failed)
    }

    /// Waits until a time: the future is the engine's timer.
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

    /// Waits for an event, which has the step's name unless [`Step::event`] says another.
    pub fn wait<F, Way>(&self, step: impl Into<Step>, event: F) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        let step = step.into().of_kind(StepKind::Wait);
        self.run_step(step, |_, _| event, Outcome::failed)
    }

    /// Holds steps together: those made with the handle that `work` is given are inside it.
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

    /// A handle of a scope that begins.
    fn at(&self, position: StepPosition) -> Self {
        Self {
            position,
            step_counts: Arc::default(),
            ..self.clone()
        }
    }

    /// Which step it is, is settled here; all else when the future is polled.
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

    /// Shows the span, if there is one, while the future is polled with `current` as its context's span.
    async fn run_in_span<F: Future>(
        &self,
        current: SpanId,
        new_span: Option<NewSpan>,
        work: impl FnOnce(StepSpan) -> F,
        classify: impl FnOnce(&F::Output) -> Option<Failure>,
    ) -> F::Output {
        let context = self.run.span_context(current);
        // Declared before the future, so that it outlives what the future opens.
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
