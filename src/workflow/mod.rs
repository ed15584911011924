//! Workflows: one trace per instance. Each span starts once and ends once, across crashes and replays.
//! The guide: [workflows](crate::_guide::workflows).
//!
//! A durable workflow outlives its process. Its engine stores the results of finished steps. After a crash, or whenever
//! the workflow continues, the engine runs the function again from the beginning. Ordinary spans around its steps would
//! start and end again in every such run, each time in a new trace. This module avoids that. It wraps the futures of
//! any engine:
//!
//! ```
//! use livespan::{LiveSpans, workflow::Workflows};
//!
//! # async fn charge(_: u32) -> Result<String, std::io::Error> { Ok("paid".to_owned()) }
//! # async fn approval() -> String { "yes".to_owned() }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let live = LiveSpans::builder().build()?;
//! let flows = Workflows::new(&live).namespace("orders");
//!
//! let wf = flows.instance("order-42");
//! wf.run("Order", async {
//!     let receipt = wf.step("charge", charge(42)).await?;
//!     let answer = wf.wait("approval", approval()).await;
//!     wf.scope("ship", |wf| async move { wf.step("label", charge(7)).await }).await?;
//!     Ok::<_, std::io::Error>((receipt, answer))
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! - The ids are derived from the namespace, the instance, the step and how often that step was made before
//!   ([`Workflow::trace_id`]). So every replay emits the same events. The log keeps the first `started` and the first
//!   `ended` of each span as long as it [retains](crate::Retention) them: in memory within one process, in SQLite or
//!   Redis across processes.
//! - A future that is dropped before it finishes is suspended, not ended: its span is shown as waiting, never as lost.
//! - [`Workflows::cancel`] ends an instance that the engine cancels while no process is running it.
//! - A span that `tracing` or `opentelemetry` opens inside a step becomes a child of the step.
//! - [`Workflows::exporting`] also exports each span when it ends.
//!
//! Two processes may run one instance at the same time (split brain). Both emit the same spans. For each span, the
//! first start and the first end are shown, from either run. An ordinary span that both runs open inside a step is
//! shown twice.

pub mod attributes;
pub(crate) mod cancel;
pub(crate) mod export;
pub(crate) mod handle;
pub(crate) mod ids;
pub(crate) mod outcome;
pub(crate) mod run;
pub(crate) mod span;
pub(crate) mod step;
pub(crate) mod workflows;

pub use crate::workflow::{
    handle::Workflow,
    ids::WorkflowIds,
    outcome::{Cause, Failure, Outcome, marker},
    span::StepSpan,
    step::{Step, StepKind},
    workflows::Workflows,
};
