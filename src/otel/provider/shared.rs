//! The common state of the tracers and spans of one provider. Host threads read it.

use std::sync::Arc;

use crate::otel::{limits::SeenLimits, shared::ProcessorShared};

/// The common state of all tracers and spans of a provider.
pub(crate) struct ProviderShared {
    pub(crate) shared: Arc<ProcessorShared>,
    /// The number that identifies the provider's process in the log.
    pub(crate) source: u32,
    pub(crate) limits: Arc<SeenLimits>,
}
