//! The tokio task that runs one instance. The task ends with the workflow's function, when the instance is cancelled,
//! or with the runtime. A panic of the function never leaves the task.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use opentelemetry::Context;
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::{
    local_workflow::inbox::Inbox,
    workflow::{handle::Workflow, outcome::Failure},
};

/// The state of an instance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InstanceState {
    /// The instance runs or waits.
    Running,
    /// The instance ended with this output.
    Done(Json),
    /// The instance failed.
    Failed(Failure),
    /// The instance was cancelled, for this reason.
    Cancelled(String),
}

/// The state of an instance that the engine and the instance's task share.
#[derive(Debug)]
pub(crate) struct InstanceHandle {
    pub(crate) id: String,
    /// The instance's number, in the order in which the engine created its instances.
    pub(crate) number: u64,
    pub(crate) inbox: Inbox,
    pub(crate) state: watch::Sender<InstanceState>,
    cancelled: watch::Sender<Option<String>>,
}

pub(crate) type Function = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send>>;

impl InstanceHandle {
    pub(crate) fn new(id: String, number: u64) -> Self {
        Self {
            id,
            number,
            inbox: Inbox::default(),
            state: watch::Sender::new(InstanceState::Running),
            cancelled: watch::Sender::new(None),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.state.borrow() != InstanceState::Running
    }

    /// Asks the task to stop. Only the first reason counts.
    pub(crate) fn cancel(&self, reason: &str) {
        self.cancelled.send_if_modified(|cancelled| {
            let is_first = cancelled.is_none();
            cancelled.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    async fn cancelled(&self) -> String {
        let mut cancelled = self.cancelled.subscribe();
        // The sender is a field of `self`, so it cannot be dropped before this future.
        let reason = cancelled.wait_for(Option::is_some).await;
        reason
            .map_or(None, |reason| reason.clone())
            .unwrap_or_default()
    }
}

/// Runs the function as the root span. The root links to the span that was current when the instance was created.
pub(crate) async fn run_instance(
    workflow: Workflow,
    name: Arc<str>,
    handle: Arc<InstanceHandle>,
    function: Function,
    caller: Context,
) {
    let state = {
        let work = cancel_on_drop(&workflow, until_cancelled(&workflow, &handle, function));
        let mut run = pin!(workflow.run(&*name, work));
        let result = poll_fn(|cx| {
            let _attached = caller.clone().attach();
            run.as_mut().poll(cx)
        });
        match result.await {
            Ok(value) => InstanceState::Done(value),
            Err(failure) if failure.is_cancelled() => {
                InstanceState::Cancelled(failure.message().to_owned())
            }
            Err(failure) => InstanceState::Failed(failure),
        }
    };
    handle.state.send_replace(state);
}

async fn until_cancelled(
    workflow: &Workflow,
    handle: &InstanceHandle,
    function: Function,
) -> Result<Json, Failure> {
    let mut cancelled = pin!(handle.cancelled());
    let mut function = Box::pin(panic_as_failure(function));
    let first = poll_fn(|cx| {
        if let Poll::Ready(reason) = cancelled.as_mut().poll(cx) {
            return Poll::Ready(Err(reason));
        }
        function.as_mut().poll(cx).map(Ok)
    });
    match first.await {
        Ok(result) => result.flatten(),
        Err(reason) => {
            // Cancelled before the function is dropped, so its open steps end with this reason and before the root.
            workflow.cancel(reason.clone());
            drop(function);
            Err(Failure::cancelled(reason))
        }
    }
}

/// Turns a panic of the future into a failure.
pub(crate) async fn panic_as_failure<F: Future>(future: F) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    // Unwind safe, because the future is never polled again after a panic.
    poll_fn(|cx| {
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match poll {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    })
    .await
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::panicked(text)
}

/// Cancels the workflow's spans if the future is dropped before it finishes. This engine never resumes a dropped
/// future, so the spans must not be shown as waiting.
///
/// The future is boxed, because each wrapper around a future holds it twice. Without the box, the futures of nested
/// scopes would grow to many kilobytes.
pub(crate) fn cancel_on_drop<F: Future>(
    workflow: &Workflow,
    future: F,
) -> impl Future<Output = F::Output> + use<'_, F> {
    let mut future = Box::pin(future);
    async move {
        // A local variable of this block is dropped before the captured `future`. So the workflow is cancelled before
        // the spans inside the future are dropped.
        let mut abandoned = CancelOnDrop(Some(workflow));
        let output = future.as_mut().await;
        abandoned.0 = None;
        output
    }
}

struct CancelOnDrop<'a>(Option<&'a Workflow>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(workflow) = self.0 {
            workflow.cancel("dropped before it finished");
        }
    }
}
