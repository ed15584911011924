//! The counts of one service in a trace. Pure.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The counts of one service in a trace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    #[serde(serialize_with = "shared")]
    pub(crate) name: Arc<str>,
    spans: u64,
    errors: u64,
}

impl Service {
    pub(super) fn new(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            spans: 0,
            errors: 0,
        }
    }

    pub(super) fn is_named(&self, name: &Arc<str>) -> bool {
        // Names are interned, so equal names usually share one allocation.
        Arc::ptr_eq(&self.name, name) || self.name == *name
    }

    pub(super) fn count(&mut self, spans: i64, errors: i64) {
        self.spans = self.spans.saturating_add_signed(spans);
        self.errors = self.errors.saturating_add_signed(errors);
    }
}

fn shared<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
