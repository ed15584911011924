//! What runs one instance: a task that ends as the workflow's function does, when it is cancelled, or with the runtime.

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

/// How an instance does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InstanceState {
    /// It runs, or waits.
    Running,
    /// It ended with this.
    Done(Json),
    /// It failed.
    Failed(Failure),
    /// It was cancelled, for this reason.
    Cancelled(String),
}

/// What an instance is known by to the engine and to itself.
#[derive(Debug)]
pub(crate) struct InstanceHandle {
    pub(crate) id: String,
    /// Counts the instances of the engine in the order in which they were made.
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

    /// Tells the task to stop; the first reason counts.
    pub(crate) fn cancel(&self, reason: &str) {
        self.cancelled.send_if_modified(|cancelled| {
            let is_first = cancelled.is_none();
            cancelled.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    async fn cancelled(&self) -> String {
        let mut cancelled = self.cancelled.subscribe();
        // The sender is our own: it cannot go before us.
        let reason = cancelled.wait_for(Option::is_some).await;
        reason
            .map_or(None, |reason| reason.clone())
            .unwrap_or_default()
    }
}

/// Runs the function as the root span, below the span that was current where the instance was made.
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
            // Before the function is dropped: its open steps end with this reason, and before the root.
            workflow.cancel(reason.clone());
            drop(function);
            Err(Failure::cancelled(reason))
        }
    }
}

/// Gives a panic as a failure: a step that panics fails, and takes neither its instance's trace nor the engine with it.
pub(crate) async fn panic_as_failure<F: Future>(future: F) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    // Safe to unwind through: after a panic the future is dropped, never polled.
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
    Failure::new(format!("panicked: {}", text.unwrap_or("(no message)")))
}

/// Says when the future is dropped unfinished that it is over: nothing here comes back to it, so that its span must not
/// be shown as waiting.
///
/// It is boxed, because each wrapper around a future holds it twice: steps within scopes would grow to many kilobytes.
pub(crate) fn cancel_on_drop<F: Future>(
    workflow: &Workflow,
    future: F,
) -> impl Future<Output = F::Output> + use<'_, F> {
    let mut future = Box::pin(future);
    async move {
        // Declared here, so that it speaks before what is in the future is dropped.
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
            workflow.cancel("dropped before it was done");
        }
    }
}
