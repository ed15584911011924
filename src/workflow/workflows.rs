//! The entry point for workflows: creates instances, cancels them and returns their trace ids. It runs in the host's
//! tasks.

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

/// The namespace of instances if none is set.
const DEFAULT_NAMESPACE: &str = "default";

/// Shows the workflows of one namespace in a log: see [the module](crate::workflow). Cloning is cheap.
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
    /// Creates the workflows of this log, in the namespace `default`. When the first span is shown, process and service
    /// are taken from the tracer provider that the log watches. Without a provider, they come from `OTEL_SERVICE_NAME`
    /// and `OTEL_RESOURCE_ATTRIBUTES`.
    pub fn new(live: &LiveSpans) -> Self {
        Self::with_durability(live, Durability::Durable)
    }

    /// Creates workflows with this durability.
    pub(crate) fn with_durability(live: &LiveSpans, durability: Durability) -> Self {
        Self {
            namespace: DEFAULT_NAMESPACE.into(),
            sink: Arc::new(SpanSink::new(&live.shared.parts, None, durability)),
        }
    }

    /// Sets the namespace, usually the kind of workflow. It keeps instances with the same id apart. The default is
    /// `default`. To run an instance again in a new trace, use another namespace or another id.
    #[must_use]
    pub fn namespace(self, namespace: impl AsRef<str>) -> Self {
        Self {
            namespace: namespace.as_ref().into(),
            ..self
        }
    }

    /// Passes each span, when it ends, to the other processors of this provider, with its own ids and its real start
    /// time.
    ///
    /// The provider needs [`WorkflowIds`](crate::workflow::WorkflowIds) as its id generator. Without it, the status of
    /// the first span reports this, and no further span is exported. Wrap a sampler other than the default in
    /// [`LiveSpans::sampler`]: it is then asked once per run, so that a trace is exported whole or not at all. A
    /// replayed span is exported again, under the same ids, unless the engine [reports replays](Workflow::replaying).
    #[must_use]
    pub fn exporting(self, provider: &SdkTracerProvider) -> Self {
        let exporter = Exporter::new(provider, &self.sink.parts);
        let sink = SpanSink::new(&self.sink.parts, Some(exporter), self.sink.durability);
        Self {
            sink: Arc::new(sink),
            ..self
        }
    }

    /// Returns a handle for one run of an instance. Call this again each time the engine runs the workflow's function
    /// again.
    pub fn instance(&self, id: impl AsRef<str>) -> Workflow {
        let never: fn() -> bool = || false;
        let always: fn(&Step) -> bool = |_| true;
        Workflow::new(&self.sink, &self.namespace, id.as_ref(), never, always)
    }

    /// Cancels an instance that no process is running: its open spans end as cancelled. It is for an engine that
    /// cancels an instance without loading it. For a run that the engine drops, use [`Workflow::cancel`].
    ///
    /// Returns the number of spans that it ended. The number is 0 if there is no such instance, if the instance has
    /// ended, or if the log no longer has the starts of its spans.
    ///
    /// It reads the instance's trace, including events from other processes, and waits for room in the buffer and for
    /// the store. A span that ends in the meantime keeps its own end. If a process is running the instance
    /// nevertheless, only steps that start later are shown.
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
    /// Returns an error if the log is shut down, cannot be read, or its store fails. The call can be repeated: no span
    /// ends twice.
    pub async fn cancel(
        &self,
        instance: impl AsRef<str>,
        reason: impl Into<String>,
    ) -> Result<usize, Error> {
        let run = Run::new(&self.sink, &self.namespace, instance.as_ref());
        cancel(run, reason.into()).await
    }

    /// Returns the trace id of an instance, for [`LiveSpans::respond`] for example.
    pub fn trace_id(&self, instance: impl AsRef<str>) -> TraceId {
        ids::trace(&self.namespace, instance.as_ref())
    }
}
