//! The conformance suite of [`EventStore`](livespan::EventStore): what the trait promises, checked on a store of yours, in
//! three lines of a test:
//!
//! ```no_run
//! // #[test]
//! fn my_store_keeps_its_promises() {
//!     # use livespan::MemoryEventStore;
//!     # use livespan_conformance::{Place, conformance};
//!     # fn my_store(place: &Place) -> MemoryEventStore { MemoryEventStore::with_retention(place.retention()) }
//!     conformance(|place| my_store(place)); // at `place.directory()`, with `place.retention()`
//! }
//! ```
//!
//! [`conformance`] takes what makes a store at a [`Place`] and runs every check. The log at a place is opened more than
//! once, so the store must find it again; the place also says how much of it to retain. A promise that is broken is told
//! with its name, what was expected, what came, and the steps that led there; random histories that fail are shortened
//! first.
//!
//! [`Suite`] says more about a store: that its log goes with its handle ([`volatile`](Suite::volatile)), what it does
//! not do ([`without`](Suite::without)), how to make it fail ([`faults`](Suite::faults)). Each check can be [run
//! alone](Suite::run_only). For a store that [several append to](livespan::EventStore::shared_log), handles at one place
//! are open side by side, and the checks of following run, too.
//!
//! What the suite cannot check: that a read does not block, that what is kept survives a crash or a power cut, and that
//! a store whose writer is one refuses a second one. Retention is checked to a factor of two, because some stores let go
//! of events in lumps.
//!
//! # Example
//!
//! A store that keeps everything in one file, one line an event, and holds the events in memory, too:
//!
//! ```
//! use std::{
//!     fs::{self, File, OpenOptions},
//!     future::ready,
//!     io::{Error as IoError, Write as _},
//!     path::PathBuf,
//!     sync::{Arc, Mutex},
//! };
//!
//! use livespan::{
//!     Error, EventStore,
//!     sse::{Epoch, Pinning, Sequence, StreamKey},
//!     store::{Appended, Batch, EpochStart, PageLimit, ReadFuture, StoredEvent},
//! };
//! use livespan_conformance::Suite;
//!
//! #[derive(Debug)]
//! struct LineStore {
//!     path: PathBuf,
//!     log: Mutex<Log>,
//! }
//!
//! #[derive(Debug, Default)]
//! struct Log {
//!     lives: Vec<EpochStart>,
//!     events: Vec<StoredEvent>,
//! }
//!
//! impl LineStore {
//!     fn at(path: PathBuf) -> Self {
//!         Self { path, log: Mutex::default() }
//!     }
//!
//!     fn write(&self, lines: &str) -> Result<(), Error> {
//!         let file = OpenOptions::new().create(true).append(true).open(&self.path);
//!         file.and_then(|mut file: File| file.write_all(lines.as_bytes()))
//!             .map_err(|error| Error::store("write to the log", error))
//!     }
//!
//!     fn page(
//!         &self,
//!         after: Sequence,
//!         limit: PageLimit,
//!         wanted: impl Fn(&StoredEvent) -> bool,
//!     ) -> ReadFuture<'_> {
//!         let log = self.log.lock().expect("nobody panics with it");
//!         let from = log.events.partition_point(|event| event.sequence <= after);
//!         let (mut page, mut bytes) = (Vec::new(), 0);
//!         for event in log.events[from..].iter().filter(|event| wanted(event)) {
//!             bytes += event.payload.len();
//!             if !page.is_empty() && (page.len() >= limit.events || bytes > limit.bytes) {
//!                 break;
//!             }
//!             page.push(event.clone());
//!         }
//!         Box::pin(ready(Ok(page)))
//!     }
//! }
//!
//! impl EventStore for LineStore {
//!     fn kind(&self) -> &'static str {
//!         "line"
//!     }
//!
//!     fn open(&self) -> Result<Sequence, Error> {
//!         self.write("")?;
//!         let text = fs::read_to_string(&self.path).map_err(|error| Error::store("read the log", error))?;
//!         let damaged = || Error::store("read the log", IoError::other("a line is damaged"));
//!         let mut log = self.log.lock().expect("nobody panics with it");
//!         for line in text.lines() {
//!             log.take(line).ok_or_else(damaged)?;
//!         }
//!         // Each opening begins a life, so that the ids of an earlier one are never misread.
//!         let head = log.events.last().map_or(0, |event| event.sequence.get());
//!         let life = format!("life {} {}", Epoch::random(), head + 1);
//!         self.write(&format!("{life}\n"))?;
//!         log.take(&life).ok_or_else(damaged)?;
//!         Ok(Sequence::new(head))
//!     }
//!
//!     fn epochs(&self) -> Arc<[EpochStart]> {
//!         self.log.lock().expect("nobody panics with it").lives.clone().into()
//!     }
//!
//!     fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
//!         let records = batch.iter().zip(first.get()..);
//!         let lines: String = records
//!             .map(|(record, sequence)| {
//!                 let key = record.stream_key().map(|key| hex(key.as_bytes())).unwrap_or_default();
//!                 format!("{sequence} {} {key} {}\n", record.name(), hex(record.payload()))
//!             })
//!             .collect();
//!         self.write(&lines)?;
//!         let mut log = self.log.lock().expect("nobody panics with it");
//!         for line in lines.lines() {
//!             log.take(line);
//!         }
//!         Ok(first.into())
//!     }
//!
//!     fn oldest(&self) -> Sequence {
//!         Sequence::new(1)
//!     }
//!
//!     fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
//!         self.page(after, limit, |_| true)
//!     }
//!
//!     fn read_streams_after(&self, keys: &[StreamKey], after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
//!         self.page(after, limit, |event| event.key.is_none_or(|key| keys.contains(&key)))
//!     }
//! }
//!
//! impl Log {
//!     fn take(&mut self, line: &str) -> Option<()> {
//!         let mut words = line.split(' ');
//!         let mut word = || words.next();
//!         let number = |word: &str| word.parse().ok().map(Sequence::new);
//!         match word()? {
//!             "life" => self.lives.push(EpochStart { epoch: word()?.parse().ok()?, first: number(word()?)? }),
//!             sequence => self.events.push(StoredEvent {
//!                 sequence: number(sequence)?,
//!                 name: word()?.to_owned(),
//!                 key: StreamKey::new(unhex(word()?)).ok(),
//!                 pin: Pinning::None,
//!                 payload: unhex(word()?).into(),
//!             }),
//!         }
//!         Some(())
//!     }
//! }
//!
//! fn hex(bytes: &[u8]) -> String {
//!     bytes.iter().map(|byte| format!("{byte:02x}")).collect()
//! }
//!
//! fn unhex(text: &str) -> Vec<u8> {
//!     let digits = |at| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
//!     (0..text.len()).step_by(2).filter_map(digits).collect()
//! }
//!
//! // #[test]
//! fn my_store_keeps_its_promises() {
//!     let keeps_all = "it keeps everything";
//!     Suite::new(|place| LineStore::at(place.directory().join("log")))
//!         .without("retains_by_events", keeps_all)
//!         .without("retains_by_bytes", keeps_all)
//!         .without("retains_by_age", keeps_all)
//!         .without("hands_out_abandoned_events", "it does not know what is open")
//!         .keeping_repeats()
//!         .run();
//! }
//! # my_store_keeps_its_promises();
//! ```

mod checks;
mod context;
mod handle;
mod histories;
mod location;
mod model;
mod random;
mod report;
mod suite;
mod test_event;

pub use self::{
    context::{Check, Fault},
    location::Place,
    suite::{DEFAULT_HISTORIES, DEFAULT_PATIENCE, DEFAULT_SEED, Suite, conformance},
};
