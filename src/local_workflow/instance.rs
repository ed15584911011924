//! What a workflow's function works with: its instance.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;

use crate::{
    local_workflow::{
        error::StepError,
        step_options::{StepOptions, StepResult, WaitOptions, pause, timed_out_after},
        task::{InstanceHandle, cancel_on_drop},
    },
    workflow::{
        handle::Workflow,
        outcome::{Cause, Failure, Outcome},
        step::Step,
    },
};

/// One instance of a local workflow, as its function sees it. Cloning is cheap.
///
/// Which step it is, is settled when a method is called; a future that it returns and that is dropped before it is done
/// is over, and shown as cancelled.
#[derive(Clone, Debug)]
pub struct Instance {
    workflow: Workflow,
    handle: Arc<InstanceHandle>,
}

impl Instance {
    pub(crate) fn new(workflow: Workflow, handle: Arc<InstanceHandle>) -> Self {
        Self { workflow, handle }
    }

    /// Returns the instance's id.
    pub fn id(&self) -> &str {
        &self.handle.id
    }

    /// Returns what shows it: for its trace, and for spans of your own.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// Runs a step, as often as [`StepOptions::retries`] says. A panic in it is a failure like any other.
    ///
    /// # Errors
    /// When the last attempt failed or took longer than [`StepOptions::timeout`].
    pub fn step<T, E, Way, F>(
        &self,
        work: impl Into<StepOptions>,
        run: impl FnMut() -> F,
    ) -> impl Future<Output = Result<T, StepError>>
    where
        F: Future<Output = Result<T, E>>,
        E: Cause<Way>,
    {
        let StepOptions { step, attempts } = work.into();
        let tried = self.workflow.step_with(step, move |span| {
            cancel_on_drop(&self.workflow, attempts.run(span, run))
        });
        async { tried.await.0 }
    }

    /// Waits for a time.
    pub fn sleep(&self, step: impl Into<Step>, duration: Duration) -> impl Future<Output = ()> {
        let timer = cancel_on_drop(&self.workflow, pause(duration));
        self.workflow.sleep(step.into().lasting(duration), timer)
    }

    /// Waits until a time; not at all if that is past. What the clock says counts when the wait begins: setting it later
    /// changes nothing.
    pub fn sleep_until(&self, step: impl Into<Step>, time: SystemTime) -> impl Future<Output = ()> {
        let timer = async move {
            let left = time.duration_since(SystemTime::now());
            pause(left.unwrap_or_default()).await;
        };
        let timer = cancel_on_drop(&self.workflow, timer);
        self.workflow.sleep_until(step, time, timer)
    }

    /// Waits for an event and gives its payload. One that came before is taken at once; each is taken once, by one step
    /// of those that wait for it.
    ///
    /// # Errors
    /// When [`WaitOptions::timeout`] has passed, or the payload is not what was asked for.
    pub fn wait_for_event<T: DeserializeOwned>(
        &self,
        wait: impl Into<WaitOptions>,
    ) -> impl Future<Output = Result<T, StepError>> {
        let WaitOptions {
            step,
            event,
            timeout,
        } = wait.into();
        let taken = async move {
            let taken = self.handle.inbox.take(&event);
            let payload = match timeout {
                None => taken.await,
                Some(timeout) => {
                    tokio::time::timeout(timeout, taken)
                        .await
                        .map_err(|_elapsed| {
                            timed_out_after(
                                format_args!("the event {event:?} has not come"),
                                timeout,
                            )
                        })?
                }
            };
            serde_json::from_value(payload).map_err(|error| {
                let message = format!("the event {event:?} has another payload: {error}");
                StepError::failed(Failure::new(message))
            })
        };
        let tried = async move { StepResult(taken.await) };
        let tried = cancel_on_drop(&self.workflow, tried);
        let tried = self.workflow.wait(step, tried);
        async { tried.await.0 }
    }

    /// Holds steps together: those made with the instance that `work` is given are inside it.
    pub fn scope<F, Way>(
        &self,
        step: impl Into<Step>,
        work: impl FnOnce(Self) -> F,
    ) -> impl Future<Output = F::Output>
    where
        F: Future,
        F::Output: Outcome<Way>,
    {
        self.workflow.scope(step, |workflow| {
            let inner = Self::new(workflow, Arc::clone(&self.handle));
            cancel_on_drop(&self.workflow, work(inner))
        })
    }
}
