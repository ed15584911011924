//! Workflows: one trace per instance, each span started once and ended once, across crashes and replays.
//!
//! A durable workflow outlives its process: its engine keeps what is done, and runs the function again from its
//! beginning after a crash, or at every turn. Spans put around its steps would then be started and ended again and
//! again, in trace after trace. This module wraps the futures that an engine hands out, whichever it is:
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
//! - The ids follow from namespace, instance, step and how often that step was made ([`Workflow::trace_id`]), so every
//!   replay says the same, and the log keeps the first `started` and the first `ended` of each span as long as it
//!   [retains](crate::Retention) them: a log in memory within its process, one in SQLite or Redis across processes.
//! - A future that is dropped before it is done is suspended, not over: its span is shown as waiting, never as lost.
//! - [`Workflows::cancel`] ends an instance that its engine cancels while no run is at work on it.
//! - What is opened inside a step by `tracing` or `opentelemetry` becomes its child.
//! - Other exporters get each span when it ends, from [`Workflows::exporting`].
//!
//! Two runs of one instance at the same time, which an engine's split brain makes, tell the same spans: the first that
//! starts and the first that ends are shown, whichever run that was, and ordinary spans that both open inside a step are
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
