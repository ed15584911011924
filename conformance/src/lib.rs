//! A test suite for your own [`EventStore`](livespan::EventStore). A test of three lines runs it:
//!
//! ```no_run
//! // #[test]
//! fn my_store_keeps_its_promises() {
//!     # use livespan::MemoryEventStore;
//!     # use livespan_conformance::{StoreLocation, conformance};
//!     # fn my_store(location: &StoreLocation) -> MemoryEventStore {
//!     #     MemoryEventStore::with_retention(location.retention())
//!     # }
//!     conformance(|location| my_store(location)); // in `location.directory()`, with `location.retention()`
//! }
//! ```
//!
//! [`conformance`] takes a function that makes a store at a [`StoreLocation`]. The suite opens the log at one location
//! more than once, so the store must find the log again. When the store breaks a promise, the test panics. The message
//! names the promise, the expected and the actual value, and the steps before the failure. A random history that fails
//! is shortened before it is reported.
//!
//! Methods of [`Suite`] adapt the suite to the store:
//!
//! - [`volatile`](Suite::volatile): the log is lost when its handle is dropped.
//! - [`evicts_in_lumps`](Suite::evicts_in_lumps): the store exceeds the bounds of retention for a while.
//! - [`skip_check`](Suite::skip_check): the store does not keep one of the promises.
//! - [`without_dedup`](Suite::without_dedup): the store does not deduplicate events.
//! - [`faults`](Suite::faults): how to make the store fail.
//! - [`run_only`](Suite::run_only): runs a single check.
//!
//! If the store has a [shared log](livespan::EventStore::shared_log), the suite opens several handles at one location
//! at the same time, and also checks that they can wait for each other's events.
//!
//! The suite cannot check these:
//!
//! - Reads do not block.
//! - Stored events survive a crash or a power cut.
//! - A store that allows one writer refuses a second one.
//!
//! A store may keep fewer events than retention allows, but at least half as many.
//!
//! # Example
//!
//! A store that keeps everything in one file, one event a line, and also holds the events in memory:
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
//!     epochs: Vec<EpochStart>,
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
//!         let log = self.log.lock().expect("the lock is not poisoned");
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
//!         let mut log = self.log.lock().expect("the lock is not poisoned");
//!         for line in text.lines() {
//!             log.take(line).ok_or_else(damaged)?;
//!         }
//!         // Each opening begins an epoch, so that ids of an earlier epoch are not misread.
//!         let head = log.events.last().map_or(0, |event| event.sequence.get());
//!         let epoch = format!("epoch {} {}", Epoch::random(), head + 1);
//!         self.write(&format!("{epoch}\n"))?;
//!         log.take(&epoch).ok_or_else(damaged)?;
//!         Ok(Sequence::new(head))
//!     }
//!
//!     fn epochs(&self) -> Arc<[EpochStart]> {
//!         self.log.lock().expect("the lock is not poisoned").epochs.clone().into()
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
//!         let mut log = self.log.lock().expect("the lock is not poisoned");
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
//!             "epoch" => self.epochs.push(EpochStart::new(word()?.parse().ok()?, number(word()?)?)),
//!             sequence => {
//!                 let (name, key) = (word()?, StreamKey::new(unhex(word()?)).ok());
//!                 let payload = unhex(word()?);
//!                 let sequence = number(sequence)?;
//!                 self.events.push(StoredEvent::new(sequence, name, key, Pinning::None, payload));
//!             }
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
//!     Suite::new(|location| LineStore::at(location.directory().join("log")))
//!         .skip_check("retains_by_events", keeps_all)
//!         .skip_check("retains_by_bytes", keeps_all)
//!         .skip_check("retains_by_age", keeps_all)
//!         .skip_check("hands_out_abandoned_events", "it does not record which events are open")
//!         .without_dedup()
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
mod report;
mod suite;
mod test_event;

pub use self::{
    context::{Check, Fault},
    location::StoreLocation,
    suite::{Suite, conformance},
};
