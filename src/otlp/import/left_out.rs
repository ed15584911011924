//! Counts of the items that an import left out or changed, or that the file lacks, by reason. Pure.

/// The counts by reason, in the order in which the reasons occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut(Vec<(&'static str, u64)>);

impl LeftOut {
    pub(super) const NO_TIME: &'static str = "log records without a time";
    pub(super) const METRICS: &'static str = "metrics";
    pub(super) const PROFILES: &'static str = "profiles";
    pub(super) const LINES: &'static str = "lines that cannot be read";
    pub(super) const SPAN_IDS: &'static str = "spans with an id that is not valid";
    pub(super) const LINK_IDS: &'static str = "links with an id that is not valid";
    pub(super) const STATUS_CODES: &'static str = "status codes that OTLP does not have";
    pub(super) const OPEN: &'static str = "spans without an end";
    pub(super) const EVICTED: &'static str = "events that were gone when the file was made";
    pub(super) const INCOMPLETE: &'static str = "ends of files that their server could not write";
    pub(super) const WARNINGS: &'static str = "warnings of Jaeger";
    pub(super) const NO_START: &'static str = "spans without a start";
    pub(super) const SHARED: &'static str =
        "spans of servers with the id of their client, which got one of their own";

    /// Adds to the count of a reason. `what` is in the plural.
    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, known)) => *known += count,
            None => self.0.push((what, count)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }
}
