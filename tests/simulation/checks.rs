//! The promises that every history must have kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::{self, Write as _},
};

use crate::{
    history::number_of,
    ingest::buffer::{PushError, RecordClass},
    log::{batch::StoredEvent, event::StreamKey},
    plan::{Mood, stream_of},
    reader::subscription::Event,
    wire::{
        control::Gap,
        id::{EventId, ResumePoint},
    },
};

/// A record that a task pushed or tried to push.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) site: usize,
    pub(crate) number: u64,
    pub(crate) class: RecordClass,
    pub(crate) mood: Mood,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: Result<(), PushError>,
}

/// A flush that succeeded.
#[derive(Debug)]
pub(crate) struct Flushed {
    pub(crate) site: usize,
    pub(crate) began: u64,
    /// The newest event that readers could see when the flush returned.
    pub(crate) published: u64,
}

/// An event whose dispatch returned an id.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) id: EventId,
    pub(crate) published: u64,
}

/// One item that a reader got.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The reader connects. `oldest` and `head` are those of the log right after that.
    Begins {
        from: ResumePoint,
        oldest: u64,
        head: u64,
    },
    Event(Event),
    Gap(Gap),
    Degraded,
}

/// The history of one reader, of some streams or of everything.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) site: usize,
    pub(crate) streams: Vec<StreamKey>,
    pub(crate) seen: Vec<Seen>,
}

/// The state of the logs at the end, and the facts about the history that the checks need.
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The newest visible event of each log.
    pub(crate) heads: Vec<u64>,
    /// The numbers of dropped starts, ends and other records.
    pub(crate) dropped: [u64; 3],
    pub(crate) broken: Option<&'static str>,
    pub(crate) is_degraded: bool,
    /// Whether a log ended while tasks were still pushing. The last refused records may then be
    /// counted as dropped without a report.
    pub(crate) ends_early: bool,
    /// Whether a log may know less than the shared store has, because reads of the store sometimes
    /// fail.
    pub(crate) is_behind: bool,
    /// Whether every task was idle before the end, and every reader had read everything.
    pub(crate) was_idle: bool,
    /// Whether one log alone appends to the store, and no append fails. A reader then gets
    /// `Degraded` only because its own reads failed.
    pub(crate) has_one_writer_that_works: bool,
    /// Whether a log gives up on slow appends to a shared store once it is shut down.
    pub(crate) may_be_late: bool,
    /// Whether a shared store was late, whether a read failed, and whether a store evicted events.
    pub(crate) witnessed: [bool; 3],
    /// Every event that the store ever stored, or `None` if the store is a `MemoryEventStore`.
    pub(crate) kept: Option<Vec<StoredEvent>>,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) pushes: Vec<Pushed>,
    pub(crate) flushed: Vec<Flushed>,
    pub(crate) answered: Vec<Answered>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) verdict: Verdict,
}

/// The events of interest that a history can have, with the number of histories that had each. If
/// the number is 0, the run proves nothing about that event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    counts: [u64; COVERED.len()],
}

const COVERED: [&str; 12] = [
    "a full buffer",
    "a gap",
    "a gap that lost only some of the events in its range",
    "a store that fails",
    "a store that works again",
    "a reader that reconnects",
    "a dispatch that returned an id",
    "a flush",
    "a log that ends by itself",
    "a shared store that answers late",
    "a read that fails",
    "a store that evicts events",
];

impl Coverage {
    pub(crate) fn add(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Returns the events of interest that no history had.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let counts = COVERED.iter().zip(self.counts);
        counts
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| *name)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in COVERED.iter().zip(self.counts) {
            writeln!(f, "{count:8}  {name}")?;
        }
        Ok(())
    }
}

/// The name and payload of each event that a reader saw or the store stored, by sequence.
type Events = BTreeMap<u64, (String, Vec<u8>)>;

impl Outcome {
    pub(crate) fn check(&self) {
        let events = self.events();
        let numbers = self.numbers(&events);
        let is_shared = self.verdict.heads.len() > 1;
        for reader in &self.readers {
            let published = self.verdict.heads[reader.site];
            let head = match self.own_head(reader.site, &numbers) {
                _ if !is_shared => published,
                own if self.may_have_given_up() => own.min(published),
                own => own,
            };
            // A reader of single streams of a shared store learns of evictions only with its next
            // event, which may never come. See `Reader::accept_paged`.
            let head = match self.verdict.witnessed {
                [.., true] if is_shared && !reader.streams.is_empty() => 0,
                _ => head,
            };
            Place::of(reader, is_shared).follow(&reader.seen, &events, head);
            self.check_outages(reader);
        }
        for site in 0..self.verdict.heads.len() {
            self.check_order(site, &numbers);
        }
        if !self.verdict.is_behind {
            self.check_flushes(&numbers);
        }
        self.check_answers(&numbers);
        self.check_accounts(&events);
    }

    /// Returns whether a log may have ended before the store answered an append. Its events are then
    /// counted as dropped, although the store may keep them.
    fn may_have_given_up(&self) -> bool {
        self.verdict.may_be_late && !self.verdict.was_idle
    }

    pub(crate) fn coverage(&self) -> Coverage {
        let seen = || self.readers.iter().flat_map(|reader| &reader.seen);
        let cuts = |reader: &Reader| {
            let begins = |seen: &&Seen| matches!(seen, Seen::Begins { .. });
            reader.seen.iter().filter(begins).count() > 1
        };
        let is_partial = |seen: &Seen| match seen {
            Seen::Gap(Gap::Evicted {
                from,
                to,
                lost: Some(lost),
            }) => *lost > 0 && *lost <= to.sequence().get() - from.sequence().get(),
            _ => false,
        };
        let [was_late, had_failed_read, had_evictions] = self.verdict.witnessed;
        let was_degraded = seen().any(|seen| matches!(seen, Seen::Degraded));
        let had = [
            self.pushes
                .iter()
                .any(|push| push.outcome == Err(PushError::Full)),
            seen().any(|seen| matches!(seen, Seen::Gap(Gap::Evicted { .. }))),
            seen().any(is_partial),
            was_degraded,
            was_degraded && !self.verdict.is_degraded,
            self.readers.iter().any(cuts),
            !self.answered.is_empty(),
            !self.flushed.is_empty(),
            self.verdict.broken.is_some(),
            was_late,
            had_failed_read,
            had_evictions,
        ];
        Coverage {
            counts: had.map(u64::from),
        }
    }

    /// Describes the history, for finding the cause of a failure.
    pub(crate) fn transcript(&self) -> String {
        let mut transcript = String::new();
        for push in &self.pushes {
            let Pushed {
                site,
                number,
                class,
                mood,
                began,
                ended,
                outcome,
            } = push;
            _ = writeln!(
                transcript,
                "{began}-{ended} in {site}: record {number}, {class:?} {mood:?}: {outcome:?}"
            );
        }
        for reader in &self.readers {
            _ = writeln!(
                transcript,
                "a reader in {} of {:?}",
                reader.site, reader.streams
            );
            for seen in &reader.seen {
                _ = match seen {
                    Seen::Event(event) => {
                        let payload = event.payload.escape_ascii();
                        writeln!(transcript, "  {} {} {payload}", event.id, event.name)
                    }
                    Seen::Gap(Gap::Evicted { from, to, lost }) => {
                        writeln!(transcript, "  gap {from} to {to}, {lost:?} lost")
                    }
                    other => writeln!(transcript, "  {other:?}"),
                };
            }
        }
        _ = writeln!(transcript, "the log at the end:");
        for event in self.verdict.kept.iter().flatten() {
            let payload = event.payload.escape_ascii();
            _ = writeln!(transcript, "  {} {} {payload}", event.sequence, event.name);
        }
        let Verdict {
            heads,
            dropped,
            broken,
            is_degraded,
            ..
        } = &self.verdict;
        _ = writeln!(
            transcript,
            "heads {heads:?}, {dropped:?} dropped, broken: {broken:?}, degraded: {is_degraded}"
        );
        transcript
    }

    /// Returns all events that any reader saw or the store stored. Asserts that all observers saw the
    /// same name and payload.
    fn events(&self) -> Events {
        let mut events = Events::new();
        let mut see = |sequence: u64, name: &str, payload: &[u8]| {
            let seen = (name.to_owned(), payload.to_vec());
            let first = events.entry(sequence).or_insert_with(|| seen.clone());
            assert_eq!(*first, seen, "event {sequence} differs between observers");
        };
        for event in self.readers.iter().flat_map(|reader| &reader.seen) {
            if let Seen::Event(event) = event {
                see(event.id.sequence().get(), &event.name, &event.payload);
            }
        }
        for event in self.verdict.kept.iter().flatten() {
            see(event.sequence.get(), &event.name, &event.payload);
        }
        events
    }

    /// Returns the sequence of each record that became an event, by the record's number.
    fn numbers(&self, events: &Events) -> HashMap<u64, u64> {
        let known: HashSet<u64> = self.pushes.iter().map(|push| push.number).collect();
        let mut numbers = HashMap::new();
        for (sequence, (name, payload)) in events.iter().filter(|(_, (name, _))| name == "record") {
            let number = number_of(name, payload).filter(|number| known.contains(number));
            let number = number.expect("an event belongs to no pushed record");
            assert_eq!(
                numbers.insert(number, *sequence),
                None,
                "record {number} is in the log twice"
            );
        }
        for push in self
            .pushes
            .iter()
            .filter(|push| numbers.contains_key(&push.number))
        {
            assert_eq!(
                push.outcome,
                Ok(()),
                "record {} was refused, but is in the log",
                push.number
            );
            assert_eq!(push.mood, Mood::Event, "record {}", push.number);
        }
        numbers
    }

    /// Returns the newest event that a log appended itself. Its readers need not get events that
    /// others append after the log's end.
    fn own_head(&self, site: usize, numbers: &HashMap<u64, u64>) -> u64 {
        let own = self.pushes.iter().filter(|push| push.site == site);
        own.filter_map(|push| numbers.get(&push.number).copied())
            .max()
            .unwrap_or_default()
    }

    /// Checks the order within one process: a record that was pushed before another has the lower
    /// sequence.
    fn check_order(&self, site: usize, numbers: &HashMap<u64, u64>) {
        let in_log: BTreeMap<u64, &Pushed> = self
            .pushes
            .iter()
            .filter(|push| push.site == site)
            .filter_map(|push| Some((*numbers.get(&push.number)?, push)))
            .collect();
        let mut latest: Option<&Pushed> = None;
        for push in in_log.values() {
            if let Some(latest) = latest {
                assert!(
                    latest.began <= push.ended,
                    "record {} was pushed before {}, but comes after it",
                    push.number,
                    latest.number
                );
            }
            if latest.is_none_or(|latest| latest.began < push.began) {
                latest = Some(push);
            }
        }
    }

    /// Checks the outages that are reported to a reader.
    ///
    /// - If every task was idle before the end, and no log is degraded at the end: a reader that gets
    ///   the beginning of an outage must also get its end, unless the reader disconnects first.
    /// - If one log alone appends, and no append fails: an outage begins only because a read of this
    ///   reader failed. The next item must be the outage's end.
    fn check_outages(&self, reader: &Reader) {
        let is_closing = |seen: &Seen| match seen {
            Seen::Gap(_) => true,
            Seen::Event(event) => event.name == "gap",
            _ => false,
        };
        let begins = |seen: &Seen| matches!(seen, Seen::Begins { .. });
        for (place, _) in reader
            .seen
            .iter()
            .enumerate()
            .filter(|(_, seen)| matches!(seen, Seen::Degraded))
        {
            let after = &reader.seen[place + 1..];
            let is_cut = after.is_empty() || after.iter().any(begins);
            if self.verdict.has_one_writer_that_works && !after.is_empty() && !begins(&after[0]) {
                assert!(
                    is_closing(&after[0]),
                    "an outage without a cause: {:?}",
                    after[0]
                );
            }
            if self.verdict.was_idle && !is_cut && !self.verdict.is_degraded {
                assert!(
                    after.iter().any(is_closing),
                    "an outage that never ends for {reader:?}"
                );
            }
        }
    }

    fn check_flushes(&self, numbers: &HashMap<u64, u64>) {
        for flushed in &self.flushed {
            let before = |push: &&Pushed| push.site == flushed.site && push.ended < flushed.began;
            for push in self.pushes.iter().filter(before) {
                assert!(
                    numbers
                        .get(&push.number)
                        .is_none_or(|place| *place <= flushed.published),
                    "record {} was flushed, but is not visible",
                    push.number
                );
            }
        }
    }

    fn check_answers(&self, numbers: &HashMap<u64, u64>) {
        for answered in &self.answered {
            let place = answered.id.sequence().get();
            assert!(
                place <= answered.published || self.verdict.is_behind,
                "a dispatch returned the id of an event that is not visible: {answered:?}"
            );
            if let Some(known) = numbers.get(&answered.number) {
                assert_eq!(
                    *known, place,
                    "a dispatch returned the id of another event: {answered:?}"
                );
            }
        }
    }

    /// If all events are known, checks that every record is in the log or counted as dropped, and
    /// that the log has a report of every drop.
    fn check_accounts(&self, events: &Events) {
        let Verdict {
            heads,
            dropped,
            broken,
            is_degraded,
            kept,
            ..
        } = &self.verdict;
        let kept: Option<BTreeSet<u64>> = match kept {
            Some(kept) => Some(kept.iter().map(|event| event.sequence.get()).collect()),
            None => (events.len() as u64 == heads[0]).then(|| events.keys().copied().collect()),
        };
        let Some(kept) = kept else {
            return;
        };
        let mut announced = [0; 3];
        let by_number: HashMap<u64, &Pushed> =
            self.pushes.iter().map(|push| (push.number, push)).collect();
        let mut accounted = *dropped;
        for sequence in &kept {
            let (name, payload) = &events[sequence];
            if name == "gap" {
                let lost: serde_json::Value = serde_json::from_slice(payload).unwrap();
                for (sum, class) in announced.iter_mut().zip(["starts", "ends", "other"]) {
                    *sum += lost["lost"][class].as_u64().unwrap();
                }
                continue;
            }
            let number = number_of(name, payload).unwrap();
            accounted[by_number[&number].class as usize] += 1;
        }
        let mut expected = [0; 3];
        for push in &self.pushes {
            let counts = match push.outcome {
                Ok(()) => push.mood != Mood::Nothing,
                Err(PushError::Full) => true,
                Err(PushError::Closed) => false,
            };
            if counts && push.class != RecordClass::Internal {
                expected[push.class as usize] += 1;
            }
        }
        // Events that a store was appending at the end are counted as dropped, but may be kept.
        if broken.is_some() || *is_degraded || self.may_have_given_up() {
            for (accounted, expected) in accounted.iter().zip(expected) {
                assert!(
                    *accounted >= expected,
                    "{accounted} of {expected} records are in the log or counted"
                );
            }
            return;
        }
        assert_eq!(
            accounted, expected,
            "starts, ends, others: not each is in the log or counted exactly once"
        );
        let is_reported = announced == *dropped
            || (self.verdict.ends_early
                && announced
                    .iter()
                    .zip(dropped)
                    .all(|(reported, all)| reported <= all));
        assert!(
            is_reported,
            "starts, ends, others: {announced:?} were announced, but {dropped:?} counted"
        );
    }
}

/// The position of a reader. For every event before it, the reader got the event or an announcement
/// of its loss.
#[derive(Debug)]
struct Place<'a> {
    streams: &'a [StreamKey],
    last: u64,
    /// Missing events up to here need not be announced.
    silent: u64,
    /// Missing events up to here were announced.
    announced: u64,
    /// The number of events within the last gap that the reader must still get, because the store
    /// keeps them beyond retention. `None` if that number is unknown.
    pinned: Option<u64>,
    is_shared: bool,
}

impl<'a> Place<'a> {
    fn of(reader: &'a Reader, is_shared: bool) -> Self {
        Self {
            streams: &reader.streams,
            last: 0,
            silent: 0,
            announced: 0,
            pinned: None,
            is_shared,
        }
    }

    fn follow(mut self, seen: &[Seen], events: &Events, head: u64) {
        for one in seen {
            match one {
                Seen::Begins { from, oldest, head } => self.begin(*from, *oldest, *head),
                Seen::Event(event) => self.step(event, events),
                Seen::Gap(Gap::Evicted { from, to, lost }) => {
                    let (from, to) = (from.sequence().get(), to.sequence().get());
                    self.miss(from, to, *lost, events);
                }
                Seen::Gap(Gap::Epoch) => panic!("the log does not know an id of its own: {seen:?}"),
                Seen::Gap(_) | Seen::Degraded => {}
            }
        }
        self.close_gap();
        // If a shared store could not be read when the log ended, it may have more events. A reader
        // gets them when it reconnects.
        let mut news = seen.iter().rev();
        let news = news.find(|seen| matches!(seen, Seen::Degraded | Seen::Gap(Gap::Recovered)));
        if !(self.is_shared && matches!(news, Some(Seen::Degraded))) {
            self.pass(head + 1, events);
        }
    }

    fn begin(&mut self, from: ResumePoint, oldest: u64, head: u64) {
        self.pinned = None;
        match from {
            ResumePoint::Oldest => self.silent = oldest - 1,
            ResumePoint::Live => self.silent = head,
            // The reader resumes after its last event. Gaps after that event are announced again.
            _ => (self.silent, self.announced) = (0, 0),
        }
    }

    fn step(&mut self, event: &Event, events: &Events) {
        let sequence = event.id.sequence().get();
        assert!(
            sequence > self.last,
            "event {sequence} comes after {}",
            self.last
        );
        assert!(
            self.wants(event.key),
            "event {sequence} is of another stream"
        );
        if sequence > self.announced {
            self.close_gap();
        } else if let Some(pinned) = &mut self.pinned {
            assert!(*pinned > 0, "event {sequence} was announced as gone");
            *pinned -= 1;
        }
        self.pass(sequence, events);
        self.last = sequence;
    }

    fn wants(&self, key: Option<StreamKey>) -> bool {
        self.streams.is_empty() || key.is_none_or(|key| self.streams.contains(&key))
    }

    /// Checks that every event before `next` was delivered or announced as gone.
    fn pass(&self, next: u64, events: &Events) {
        let known = self.last.max(self.silent).max(self.announced);
        let missing = (known + 1..next).find(|sequence| {
            events
                .get(sequence)
                .map_or(self.streams.is_empty(), |(name, payload)| {
                    self.wants(key_of(name, payload))
                })
        });
        assert_eq!(
            missing, None,
            "an event between {known} and {next} is missing, and no gap announced it"
        );
    }

    fn miss(&mut self, from: u64, to: u64, lost: Option<u64>, events: &Events) {
        self.close_gap();
        assert!(from <= to, "a gap begins at {from}, after its end {to}");
        self.pass(from, events);
        assert!(
            from > self.announced.max(self.last),
            "a gap is announced twice, from {from}"
        );
        self.announced = to;
        if self.streams.is_empty() {
            let came = |lost| (to + 1 - from).checked_sub(lost);
            self.pinned =
                lost.map(|lost| came(lost).expect("a gap counts more events than its range has"));
        }
    }

    /// Checks that the reader got every event of the last gap that was not counted as lost.
    fn close_gap(&mut self) {
        let left = self.pinned.take().unwrap_or(0);
        assert_eq!(
            left, 0,
            "events before {} were neither announced as gone nor delivered",
            self.announced
        );
    }
}

fn key_of(name: &str, payload: &[u8]) -> Option<StreamKey> {
    stream_of(number_of(name, payload)?)
}
