//! A small workflow engine within this process, for development, tests and simple apps.
//!
//! **It is not durable.** Instances, waits and events live in memory. They are gone when the process ends, and no
//! instance continues after a restart. For that you need an engine such as those that the module
//! [`workflow`](crate::workflow) wraps.
//!
//! Therefore its spans do not have `"durable":true`. If a process is *killed*, a log that outlives it shows the
//! process's open spans as lost, like ordinary spans, even those that were waiting. An instance that is cancelled,
//! panics, or ends with its engine or its runtime is shown as ended.
//!
//! ```
//! use std::time::Duration;
//! use livespan::{LiveSpans, local_workflow::{Engine, Instance, InstanceState, StepError, WaitOptions, StepOptions}};
//!
//! async fn order(wf: Instance, item: Option<String>) -> Result<String, StepError> {
//!     let item = item.unwrap_or_else(|| "book".to_owned());
//!     let charge = StepOptions::new("charge").retries(3).delay(Duration::from_millis(10)).timeout(Duration::from_secs(5));
//!     wf.step(charge, || async { Ok::<_, std::io::Error>(()) }).await?;
//!     wf.sleep("cool down", Duration::from_millis(1)).await;
//!     let approval = WaitOptions::new("approval").timeout(Duration::from_secs(3600));
//!     let by: String = wf.wait_for_event(approval).await?;
//!     Ok(format!("{item}, approved by {by}"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let live = LiveSpans::builder().build()?;
//! let orders = Engine::builder(&live).build("Order", order);
//!
//! let id = orders.create("pen")?;
//! orders.send_event(&id, "approval", "Ada")?;
//! assert_eq!(orders.finished(&id).await?, InstanceState::Done("pen, approved by Ada".into()));
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `http`, `Engine::router` serves its instances to `curl` and browsers: `POST /` starts one,
//! `GET /{id}/sse` streams its spans, `POST /{id}/event` resumes the step that waits.

pub(crate) mod engine;
pub(crate) mod error;
#[cfg(feature = "http")]
pub(crate) mod id_rewrite;
pub(crate) mod inbox;
pub(crate) mod instance;
#[cfg(feature = "http")]
pub(crate) mod routes;
pub(crate) mod step_options;
pub(crate) mod task;

pub use crate::local_workflow::{
    engine::{Engine, EngineBuilder},
    error::{EngineError, StepError},
    instance::Instance,
    step_options::{Backoff, StepOptions, WaitOptions},
    task::InstanceState,
};
