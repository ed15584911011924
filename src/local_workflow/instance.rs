//! The handle with which a workflow's function makes its steps. It runs on the instance's task and never blocks.

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

/// The instance of a local workflow, passed to the workflow's function. Cloning is cheap.
///
/// A step gets its span id when the method is called, not when the future is polled. If a returned future is dropped
/// before it finishes, its step ends and is shown as cancelled.
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

    /// Returns the [`Workflow`] that shows the instance. Use it for the trace id, and for spans of your own.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// Runs a step, and tries it again up to [`StepOptions::retries`] times. A panic counts as a failed attempt.
    ///
    /// # Errors
    /// Returns an error if the last attempt failed or took longer than [`StepOptions::timeout`].
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

    /// Sleeps for a duration.
    pub fn sleep(&self, step: impl Into<Step>, duration: Duration) -> impl Future<Output = ()> {
        let timer = cancel_on_drop(&self.workflow, pause(duration));
        self.workflow.sleep(step.into().lasting(duration), timer)
    }

    /// Sleeps until a time. Returns at once if that time has passed. The wall clock is read once, when the sleep
    /// begins; setting it later has no effect.
    pub fn sleep_until(&self, step: impl Into<Step>, time: SystemTime) -> impl Future<Output = ()> {
        let timer = async move {
            let left = time.duration_since(SystemTime::now());
            pause(left.unwrap_or_default()).await;
        };
        let timer = cancel_on_drop(&self.workflow, timer);
        self.workflow.sleep_until(step, time, timer)
    }

    /// Waits for an event and returns its payload. If the event arrived earlier, this returns at once. If several steps
    /// wait for an event, only one of them gets it.
    ///
    /// # Errors
    /// Returns an error if [`WaitOptions::timeout`] has passed, or if the payload does not deserialize into `T`.
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
                                format_args!("the event {event:?} did not arrive"),
                                timeout,
                            )
                        })?
                }
            };
            serde_json::from_value(payload).map_err(|error| {
                let message = format!("the event {event:?} has a payload of another type: {error}");
                StepError::failed(Failure::new(message))
            })
        };
        let tried = async move { StepResult(taken.await) };
        let tried = cancel_on_drop(&self.workflow, tried);
        let tried = self.workflow.wait(step, tried);
        async { tried.await.0 }
    }

    /// Groups steps: `work` gets an instance, and every step made with it is inside the scope.
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
