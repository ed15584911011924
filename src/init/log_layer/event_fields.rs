//! Copies the fields of a `tracing` event into a log record. It runs on the host's threads. It formats the host's
//! values while it holds no lock of ours.

use std::{error::Error as StdError, fmt};

use tracing::field::{Field, Visit};

use crate::span::record::LogPairs;

/// Upper bound on the causes of an error that are written after its message.
const CAUSES_MAX: usize = 16;

/// Collects the fields of one event.
#[derive(Debug)]
pub(super) struct EventFields<'a> {
    pub(super) pairs: &'a mut LogPairs,
    /// Whether the event is a record of the crate `log`, whose `log.*` fields hold its source location.
    pub(super) is_of_log_crate: bool,
}

impl EventFields<'_> {
    fn wants(&self, field: &Field) -> bool {
        !(self.is_of_log_crate && field.name().starts_with("log."))
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.wants(field) {
            self.pairs.formatted(field.name(), value);
        }
    }
}

impl Visit for EventFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.pairs.double(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.pairs.int(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !self.wants(field) {
            return;
        }
        match i64::try_from(value) {
            Ok(value) => self.pairs.int(field.name(), value),
            Err(_too_large) => self.text(field, format_args!("{value}")),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.text(field, format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.text(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pairs.bool(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.wants(field) {
            self.pairs.text(field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.text(field, format_args!("{}", WithCauses(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// Writes an error, followed by its causes.
struct WithCauses<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        for _ in 0..CAUSES_MAX {
            let Some(one) = cause else { break };
            write!(f, ": {one}")?;
            cause = one.source();
        }
        Ok(())
    }
}
