//! The workflows of a log: what all their instances share.

use std::sync::Arc;

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{
    error::Error,
    live_spans::LiveSpans,
    span::{event::TraceId, record::Durability},
    workflow::{
        cancel::cancel,
        export::Exporter,
        handle::Workflow,
        ids,
        run::{Run, SpanSink},
        step::Step,
    },
};

/// The namespace of instances where none is given.
const DEFAULT_NAMESPACE: &str = "default";

/// Shows the workflows of one kind in a log: see [the module](crate::workflow). Cloning is cheap.
///
/// ```
/// use livespan::{LiveSpans, workflow::Workflows};
///
/// let live = LiveSpans::builder().build()?;
/// let orders = Workflows::new(&live).namespace("orders");
/// assert_eq!(orders.trace_id("order-42"), orders.instance("order-42").trace_id());
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Workflows {
    namespace: Arc<str>,
    sink: Arc<SpanSink>,
}

impl Workflows {
    /// Shows workflows in this log. Their process and service are those of the tracer provider that the log watches
    /// when the first span is shown, or else what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say.
    pub fn new(live: &LiveSpans) -> Self {
        Self::with_durability(live, Durability::Durable)
    }

    /// Shows workflows that last as long as this says.
    pub(crate) fn with_durability(live: &LiveSpans, durability: Durability) -> Self {
        Self {
            namespace: DEFAULT_NAMESPACE.into(),
            sink: Arc::new(SpanSink::new(&live.shared.parts, None, durability)),
        }
    }

    /// Sets what tells instances of the same id apart: the kind of workflow, usually; by default `default`. An instance
    /// that is to be run anew in a trace of its own needs another namespace, or another id.
    #[must_use]
    pub fn namespace(self, namespace: impl AsRef<str>) -> Self {
        Self {
            namespace: namespace.as_ref().into(),
            ..self
        }
    }

    /// Hands each span, when it ends, to the other processors of this provider, with its own ids and its true start.
    ///
    /// The provider needs [`WorkflowIds`](crate::workflow::WorkflowIds) as its id generator; without it the first span
    /// says so in its status, and no other follows. A sampler other than the default goes into
    /// [`LiveSpans::sampler`]: it is then asked once per instance, so that a trace is exported whole or not at all. A
    /// span that is replayed by an engine that does not [tell](Workflow::replaying) is exported again, under the same
    /// ids.
    #[must_use]
    pub fn exporting(self, provider: &SdkTracerProvider) -> Self {
        let exporter = Exporter::new(provider, &self.sink.parts);
        let sink = SpanSink::new(&self.sink.parts, Some(exporter), self.sink.durability);
        Self {
            sink: Arc::new(sink),
            ..self
        }
    }

    /// Begins to watch an instance. What it returns belongs to one run of the workflow's function: an engine that runs
    /// the function again asks again.
    pub fn instance(&self, id: impl AsRef<str>) -> Workflow {
        let never: fn() -> bool = || false;
        let always: fn(&Step) -> bool = |_| true;
        Workflow::new(&self.sink, &self.namespace, id.as_ref(), never, always)
    }

    /// Says that an instance is cancelled at which no run is at work: what is open of it, and waits, ends as cancelled.
    /// For an engine that cancels an instance without loading it; [`Workflow::cancel`] is for a run that it drops.
    /// Returns how many spans that were: none, if there is no such instance, it is over, or the log's store keeps
    /// nothing.
    ///
    /// It reads the instance's trace, also where other processes told of it, and waits for room in the buffer and for
    /// the store. What ended meanwhile stays as it ended. A run that goes on all the same shows only steps that had not
    /// begun.
    ///
    /// ```
    /// use std::{future::pending, pin::pin};
    /// use livespan::{LiveSpans, workflow::Workflows};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), livespan::Error> {
    /// let live = LiveSpans::builder().build()?;
    /// let orders = Workflows::new(&live).namespace("orders");
    /// {
    ///     let wf = orders.instance("order-42");
    ///     let mut run = pin!(wf.run("Order", wf.wait("approval", pending::<()>())));
    ///     // … the engine polls it, and drops it as soon as it waits …
    /// #   std::future::poll_fn(|cx| { assert!(run.as_mut().poll(cx).is_pending()); std::task::Poll::Ready(()) }).await;
    /// }
    /// assert_eq!(orders.cancel("order-42", "the customer changed their mind").await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the log is shut down, cannot be read, or its store fails: try again, nothing is told twice.
    pub async fn cancel(
        &self,
        instance: impl AsRef<str>,
        reason: impl Into<String>,
    ) -> Result<usize, Error> {
        let run = Run::new(&self.sink, &self.namespace, instance.as_ref());
        cancel(run, reason.into()).await
    }

    /// Returns the trace of an instance, for [`LiveSpans::respond`] for example.
    pub fn trace_id(&self, instance: impl AsRef<str>) -> TraceId {
        ids::trace(&self.namespace, instance.as_ref())
    }
}
