//! The processes whose spans a log holds. Each tracer provider of this program counts as one process, because it has
//! its own resource and its own span processor. A process is never removed, so its number stays valid.
//! The threads that set up providers or start workflows add and describe this program's processes; the tasks of OTLP
//! requests add the other ones. Any thread may read them. The lock is held only for a search or a push.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex},
};

use crate::{
    span::{event::Attributes, json, redact::Redaction},
    util::{sync::lock, time::Timestamp},
};

/// The identity of one provider, or of another process that reports its spans to a receiver.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// `p` and seven characters of `[0-9a-z]`: random ones, or a hash of the resource of another process.
    pub(crate) id: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) resource: Attributes,
    pub(crate) start: Timestamp,
    /// `None` if it is unknown, as for another process whose resource has no `process.pid`.
    pub(crate) pid: Option<u32>,
    /// Whether this is another process, which reports its spans to a receiver of this program.
    pub(crate) is_other: bool,
}

impl Process {
    fn new() -> Self {
        let mut bits = RandomState::new().hash_one(Timestamp::now().nanos());
        let mut id = String::from("p");
        for _ in 0..7 {
            id.push(char::from_digit((bits % 36) as u32, 36).unwrap_or('0'));
            bits /= 36;
        }
        Self {
            id: id.into(),
            service: "unknown_service".into(),
            resource: Vec::new(),
            start: Timestamp::now(),
            pid: Some(std::process::id()),
            is_other: false,
        }
    }

    /// Returns the token under which the `process` event is kept beyond retention. It consists of the eight characters
    /// of the id, so the tokens of this program's processes differ even across epochs of one log.
    pub(crate) fn token(&self) -> u64 {
        <[u8; 8]>::try_from(self.id.as_bytes()).map_or(0, u64::from_be_bytes)
    }

    /// Appends the `process` event's payload.
    pub(crate) fn write(&self, redaction: &Redaction, out: &mut Vec<u8>) {
        let mut resource = json::pairs(&self.resource);
        redaction.resource(&mut resource);
        let process = json::ProcessFields {
            process: &self.id,
            service: &self.service,
            resource,
            pid: self.pid,
            start: self.start,
            now: Timestamp::now(),
        };
        json::process(out, &process);
    }

    /// Returns the span with this process's id and service.
    pub(crate) fn own_span<'a>(&'a self, mut span: json::SpanFields<'a>) -> json::SpanFields<'a> {
        self.own(&mut span);
        span
    }

    /// Sets the span's process id and service.
    pub(crate) fn own<'a>(&'a self, span: &mut json::SpanFields<'a>) {
        span.process = &self.id;
        span.service = &self.service;
    }
}

/// All processes of a log, by source number.
#[derive(Debug, Default)]
pub(crate) struct Processes(Mutex<Vec<Arc<Process>>>);

impl Processes {
    pub(crate) fn add(&self) -> u32 {
        let mut all = lock(&self.0);
        all.push(Arc::new(Process::new()));
        u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds another process, which reports its spans to a receiver of this program.
    #[cfg(feature = "otlp")]
    pub(crate) fn add_other(&self, process: Process) -> u32 {
        let mut all = lock(&self.0);
        all.push(Arc::new(process));
        u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
    }

    /// Returns the source number of this program's provider that was added last.
    pub(crate) fn newest(&self) -> Option<u32> {
        let all = lock(&self.0);
        u32::try_from(all.iter().rposition(|one| !one.is_other)?).ok()
    }

    /// Returns the source number of this program's first provider with these resource attributes.
    #[cfg(feature = "logs")]
    pub(crate) fn with_resource(&self, resource: &Attributes) -> Option<u32> {
        let all = lock(&self.0);
        let is_same = |one: &Arc<Process>| !one.is_other && one.resource == *resource;
        let at = all.iter().position(is_same)?;
        u32::try_from(at).ok()
    }

    pub(crate) fn get(&self, source: u32) -> Option<Arc<Process>> {
        lock(&self.0).get(source as usize).map(Arc::clone)
    }

    /// Sets the provider's resource, and the service name if the resource has one.
    pub(crate) fn describe(&self, source: u32, service: Option<String>, resource: Attributes) {
        if let Some(process) = lock(&self.0).get_mut(source as usize) {
            let mut described = Process::clone(process);
            described.resource = resource;
            if let Some(service) = service {
                described.service = service.into();
            }
            *process = Arc::new(described);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_poisoned_lock_is_entered() {
        let processes = Processes::default();
        let first = processes.add();
        let poisoning = || {
            let _guard = processes.0.lock();
            panic!("a test poisons the lock");
        };
        catch_unwind(AssertUnwindSafe(poisoning)).unwrap_err();
        assert!(processes.0.is_poisoned());
        processes.describe(first, Some("shop".to_owned()), Attributes::new());
        assert_eq!(processes.get(first).unwrap().service.as_ref(), "shop");
        assert_ne!(
            processes.get(processes.add()).unwrap().id,
            processes.get(first).unwrap().id
        );
    }
}
