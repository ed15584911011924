//! Checks the frames of one client, one by one, against the guarantees of the wire format.

use std::sync::Arc;

use serde_json::Value;

use crate::{ledger::Ledger, load::LongTrace, wire::Frame};

/// The stream that a client reads.
#[derive(Clone, Debug)]
pub(crate) enum Follow {
    Everything,
    Trace(Arc<LongTrace>),
    /// The stored reports of dropped events.
    Drops,
}

/// A gap. Some of its events may still arrive, because starts of open spans are retained longer.
#[derive(Debug)]
struct Gone {
    from: u64,
    to: u64,
    lost: Option<u64>,
    kept: u64,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    name: String,
    follow: Follow,
    ledger: Arc<Ledger>,
    epoch: String,
    last: u64,
    gone: Option<Gone>,
    /// The events before this sequence were gone when the stream began. They do not count as lost
    /// on a stream that does not resume.
    silent: u64,
    has_hello: bool,
    seen: u64,
    lost: u64,
    /// Whether every event of the trace must be either seen or lost.
    counts: bool,
    pub(crate) end: Option<String>,
    /// Whether the log reports that it no longer knows the trace.
    pub(crate) forgotten: bool,
}

impl Sequence {
    pub(crate) fn new(name: String, follow: Follow, ledger: Arc<Ledger>) -> Self {
        Self {
            name,
            follow,
            ledger,
            epoch: String::new(),
            last: 0,
            gone: None,
            silent: 0,
            has_hello: false,
            seen: 0,
            lost: 0,
            counts: true,
            end: None,
            forgotten: false,
        }
    }

    /// Returns the id from which to resume, if any event was seen.
    pub(crate) fn last_id(&self) -> Option<String> {
        (self.last > 0).then(|| format!("{}-{}", self.epoch, self.last))
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Resets the state for a new connection. The server repeats a gap if no event with an id followed it.
    pub(crate) fn connected(&mut self) {
        if self.gone.take().is_some_and(|gone| gone.kept > 0) {
            self.counts = false;
        }
        self.has_hello = false;
        self.silent = 0;
        self.end = None;
        self.forgotten = false;
    }

    fn wrong(&self, what: &str) {
        self.ledger
            .violate(format!("{} after {}: {what}", self.name, self.last));
    }

    pub(crate) fn take(&mut self, frame: &Frame<'_>) {
        if let Some(end) = &self.end {
            return self.wrong(&format!("a frame after the end ({end})"));
        }
        let empty = frame.event.is_empty() && frame.data.is_empty();
        if frame.id.is_empty() {
            // A `retry` without data is not an event.
            if !empty {
                self.control(frame);
            }
            return;
        }
        if !self.has_hello {
            self.wrong("an event before hello");
        }
        let Some(number) = self.number(frame.id) else {
            return;
        };
        if empty {
            // A cursor frame: the client has got every event of this stream up to this id.
            self.settle(number);
            if number < self.last {
                self.wrong(&format!("the cursor went back to {number}"));
            }
            self.last = number;
            return;
        }
        self.ledger.events.add(1);
        self.event(number, frame);
    }

    /// Returns the sequence of an id, if it has this epoch.
    fn number(&mut self, id: &[u8]) -> Option<u64> {
        let text = String::from_utf8_lossy(id);
        let parts = text.split_once('-');
        let parsed = parts.and_then(|(epoch, number)| Some((epoch, number.parse().ok()?)));
        let Some((epoch, number)) = parsed else {
            self.wrong(&format!("an invalid id: {text:?}"));
            return None;
        };
        if self.epoch.is_empty() {
            epoch.clone_into(&mut self.epoch);
        }
        if epoch != self.epoch {
            self.wrong(&format!("the epoch {epoch} follows {}", self.epoch));
            return None;
        }
        Some(number)
    }

    fn event(&mut self, number: u64, frame: &Frame<'_>) {
        if number <= self.last {
            return self.wrong(&format!("the event {number} is repeated or late"));
        }
        self.settle(number);
        let is_kept = self.gone.as_ref().is_some_and(|gone| number <= gone.to);
        match &self.follow {
            Follow::Everything => {
                if !is_kept && number != self.last + 1 && number > self.silent {
                    self.wrong(&format!("events before {number} are missing"));
                }
                self.seen += 1;
            }
            Follow::Drops => self.drops(frame),
            Follow::Trace(trace) => {
                let is_own = is_of(&trace.id, frame);
                self.of_trace(is_own, number, frame);
            }
        }
        if let Some(gone) = self.gone.as_mut().filter(|_| is_kept) {
            gone.kept += 1;
        }
        self.last = number;
    }

    fn of_trace(&mut self, is_own: bool, number: u64, frame: &Frame<'_>) {
        // `process` and `gap` events belong to every stream.
        if !is_own && !matches!(frame.event, b"process" | b"gap") {
            let data = String::from_utf8_lossy(frame.data);
            self.wrong(&format!("the event {number} is of another trace: {data}"));
        }
        if is_own && self.seen == 0 {
            // Events that were gone before this client connected are not announced: the events after a retained start,
            // or the first events of an ended trace.
            let is_root = memchr::memmem::find(frame.data, b"\"parentSpanId\":null").is_some();
            self.counts &= frame.event == b"started" && is_root && number >= self.silent;
        }
        self.seen += u64::from(is_own);
    }

    /// Closes the open gap if an event or a cursor is beyond it.
    fn settle(&mut self, number: u64) {
        let Some(gone) = self.gone.take_if(|gone| number > gone.to) else {
            return;
        };
        let lost = gone.lost.unwrap_or(0);
        if matches!(self.follow, Follow::Everything) {
            let length = gone.to + 1 - gone.from;
            if gone.kept + lost != length {
                self.wrong(&format!(
                    "not all {length} events of {gone:?} are accounted for"
                ));
            }
        }
        self.lost += lost;
        self.counts &= gone.lost.is_some();
        self.ledger.lost.add(lost);
        self.last = self.last.max(gone.to);
    }

    fn control(&mut self, frame: &Frame<'_>) {
        let data: Value = match serde_json::from_slice(frame.data) {
            Ok(data) => data,
            Err(error) => return self.wrong(&format!("data that is not JSON: {error}")),
        };
        let name = String::from_utf8_lossy(frame.event);
        if self.has_hello == (name == "hello") {
            self.wrong(&format!("{name} instead of hello, or a second hello"));
        }
        match &*name {
            "hello" => {
                self.has_hello = true;
                if self.last == 0 {
                    self.silent = place(&data["oldest"]).unwrap_or(0);
                }
            }
            "ping" => self.forgotten |= data["known"] == false,
            "end" => {
                self.settle(u64::MAX);
                self.end = data["reason"].as_str().map(str::to_owned);
            }
            "gap" if data["reason"] == "evicted" => self.gap(&data),
            // No client here reads a stream that carries other control events.
            _ => self.wrong(&format!("an unexpected control event {name}: {data}")),
        }
    }

    fn gap(&mut self, data: &Value) {
        let (Some(from), Some(to)) = (place(&data["from"]), place(&data["to"])) else {
            return self.wrong(&format!("a gap without ids: {data}"));
        };
        self.settle(from);
        let lost = data["lost"].as_u64();
        self.ledger.gaps.add(1);
        let follows = match self.follow {
            Follow::Everything => {
                lost.is_some()
                    && (from == self.last + 1 || (from > self.last && from <= self.silent + 1))
            }
            Follow::Trace(_) | Follow::Drops => from > self.last,
        };
        if to < from || !follows || self.gone.is_some() {
            self.wrong(&format!("a gap that does not follow: {data}"));
        }
        if matches!(self.follow, Follow::Drops) {
            self.wrong("the reader of drops fell behind retention, so its sum is incomplete");
        }
        self.gone = Some(Gone {
            from,
            to,
            lost,
            kept: 0,
        });
    }

    /// Checks a resume that was answered with 204.
    pub(crate) fn no_content(&self, dropped: u64) {
        if self.last == 0 || !matches!(self.follow, Follow::Trace(_)) {
            self.wrong("status 204 before any event was read");
        }
        self.check_complete(dropped);
    }

    fn drops(&self, frame: &Frame<'_>) {
        if frame.event == b"process" {
            return;
        }
        let data: Value = serde_json::from_slice(frame.data).unwrap_or_default();
        let numbers = ["starts", "ends", "other"].map(|of| data["lost"][of].as_u64());
        if frame.event != b"gap" || numbers.contains(&None) {
            return self.wrong(&format!("an event that does not report drops: {data}"));
        }
        self.ledger
            .announced_drops
            .add(numbers.into_iter().flatten().sum());
    }

    /// Checks a complete trace: if its events could be counted, each was seen or announced as lost.
    pub(crate) fn check_complete(&self, dropped: u64) {
        let Follow::Trace(trace) = &self.follow else {
            return;
        };
        self.ledger.traces.add(1);
        let Some(events) = trace.events() else {
            return self.wrong("its trace was reported as complete but is still running");
        };
        if self.counts && trace.dropped_before == Some(dropped) {
            self.ledger.traces_counted.add(1);
            if self.seen + self.lost != events {
                let (seen, lost) = (self.seen, self.lost);
                self.wrong(&format!(
                    "of {events} events, {seen} arrived and {lost} were lost"
                ));
            }
        } else if self.seen > events {
            self.wrong(&format!("{} events of a trace of {events}", self.seen));
        }
    }
}

fn is_of(trace: &str, frame: &Frame<'_>) -> bool {
    let key = b"\"traceId\":\"";
    let at = memchr::memmem::find(frame.data, key).map(|at| at + key.len());
    let id = at.and_then(|at| frame.data.get(at..at + trace.len()));
    id == Some(trace.as_bytes())
}

fn place(id: &Value) -> Option<u64> {
    id.as_str()?.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests;
