//! The events that the log has removed or dropped. A reader of problems must know about them,
//! because they may hide further problems.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    engine::log::Log,
    log::{block::Slice, tail::TailRead},
    report::text::{Count, Plural},
    wire::control::Dropped,
};

/// Upper bound on the events in memory that are searched for reports of drops.
const SCANNED_MAX: usize = 1_000_000;

/// Events that are missing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LostEvents {
    /// Events after the cursor that retention has removed.
    evicted: u64,
    /// Events that the log has dropped since it was opened.
    dropped: Dropped,
    /// The dropped events that the log has reported after the cursor, as far as these reports are
    /// in memory.
    dropped_since: Dropped,
    #[serde(skip)]
    has_cursor: bool,
}

#[derive(Deserialize)]
struct DropReport {
    lost: LostCounts,
}

#[derive(Deserialize)]
struct LostCounts {
    starts: u64,
    ends: u64,
    other: u64,
}

impl LostEvents {
    pub(super) fn of(log: &Log, after: u64) -> Self {
        let dropped = log.dropped();
        let mut dropped_since = Dropped::default();
        if dropped.total() > 0 {
            dropped_since = reported_after(log, after);
        }
        Self {
            evicted: log.oldest().saturating_sub(after.saturating_add(1)),
            dropped,
            dropped_since,
            has_cursor: after > 0,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.evicted > 0 {
            let evicted = Plural(self.evicted, "event");
            let since = if self.has_cursor {
                " after the cursor"
            } else {
                ""
            };
            let _fits = writeln!(
                text,
                "Retention has removed {evicted}{since}: problems that were only in them are missing here."
            );
        }
        let new = self.dropped_since;
        if self.has_cursor && new.total() > 0 {
            let _fits = writeln!(
                text,
                "After the cursor, the log has dropped {} starts, {} ends and {} other events.",
                Count(new.starts),
                Count(new.ends),
                Count(new.other)
            );
        }
        if self.dropped.total() > 0 {
            let _fits = writeln!(
                text,
                "The log has dropped {} starts, {} ends and {} other events since it was opened: problems may be \
                 missing here.",
                Count(self.dropped.starts),
                Count(self.dropped.ends),
                Count(self.dropped.other)
            );
        }
        text
    }
}

/// Sums up the reports of dropped events in memory after this event.
fn reported_after(log: &Log, mut after: u64) -> Dropped {
    let mut sum = Dropped::default();
    let mut scanned = 0;
    while scanned < SCANNED_MAX {
        match log.tail.read_after(after) {
            TailRead::Events(slices) => {
                for event in slices.iter().flat_map(Slice::events) {
                    after = event.sequence();
                    scanned += 1;
                    if event.name() != "gap" {
                        continue;
                    }
                    event.with_payload(|payload| {
                        if let Ok(DropReport { lost }) = serde_json::from_slice(payload) {
                            sum.starts += lost.starts;
                            sum.ends += lost.ends;
                            sum.other += lost.other;
                        }
                    });
                }
            }
            TailRead::Evicted(oldest) if oldest > after + 1 => after = oldest - 1,
            TailRead::Evicted(_) | TailRead::Nothing(_) => break,
        }
    }
    sum
}
