//! One open store of a test, and the calls that all tests make.

use std::{sync::Arc, time::Duration};

use livespan::{
    Error, EventStore as _, RedisEventStore,
    sse::{Pinning, Sequence, StreamKey},
    store::{Batch, PageLimit, RedisEventStoreBuilder, StoredEvent},
};

use crate::support::{PATIENCE, block_on, until};

/// A heartbeat interval so short that no test waits for it, and a silence so long that no living process reaches it.
pub(crate) const LIVELY: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_secs(600));

pub(crate) fn key(name: &str) -> StreamKey {
    StreamKey::new(name).unwrap()
}

/// An event to append: stream (`""` means every stream), pin, payload.
pub(crate) type Draft<'a> = (&'a str, Pinning, &'a [u8]);

pub(crate) fn note<'a>(stream: &'a str, payload: &'a str) -> Draft<'a> {
    (stream, Pinning::None, payload.as_bytes())
}

pub(crate) fn batch(drafts: &[Draft<'_>]) -> Batch {
    let mut batch = Batch::default();
    for (stream, pin, payload) in drafts {
        let key = (!stream.is_empty()).then(|| key(stream));
        batch.add("note", key, *pin, payload);
    }
    batch
}

pub(crate) struct Handle(pub(crate) Arc<RedisEventStore>);

impl Handle {
    /// Opens a store with the settings that most tests use.
    pub(crate) fn open(url: &str) -> Self {
        Self::open_with(url, |builder| builder)
    }

    pub(crate) fn open_with(
        url: &str,
        set_up: impl FnOnce(RedisEventStoreBuilder) -> RedisEventStoreBuilder,
    ) -> Self {
        let handle = Self::make(url, set_up);
        // On a busy machine, a short time limit of a test may expire, so opening is repeated.
        let deadline = std::time::Instant::now() + PATIENCE;
        while let Err(error) = handle.0.open() {
            assert!(std::time::Instant::now() < deadline, "{error}");
        }
        handle
    }

    pub(crate) fn make(
        url: &str,
        set_up: impl FnOnce(RedisEventStoreBuilder) -> RedisEventStoreBuilder,
    ) -> Self {
        // A test that does not set time limits must not depend on speed.
        let builder = RedisEventStore::builder(url)
            .heartbeat(LIVELY.0)
            .dead_after(LIVELY.1)
            .connect_timeout(PATIENCE)
            .response_timeout(PATIENCE);
        Self(Arc::new(set_up(builder).build().unwrap()))
    }

    pub(crate) fn append(&self, drafts: &[Draft<'_>]) -> u64 {
        self.try_append(drafts).unwrap()
    }

    pub(crate) fn try_append(&self, drafts: &[Draft<'_>]) -> Result<u64, Error> {
        let appended = self.0.append(Sequence::START, &batch(drafts));
        appended.map(|appended| appended.first.get())
    }

    /// Appends the batch again and again, as a log does, until the store accepts it.
    pub(crate) fn insist(&self, drafts: &[Draft<'_>]) -> u64 {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            match self.try_append(drafts) {
                Ok(first) => return first,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Reads everything after a sequence, page by page.
    pub(crate) fn read(&self, after: u64) -> Vec<StoredEvent> {
        self.pages(after, |store, after| {
            block_on(store.read_after(after, LIMIT))
        })
    }

    /// Reads as soon as the store responds again. While the store knows that its server is unreachable, reads fail at
    /// once.
    pub(crate) fn insist_read(&self, after: u64) -> Vec<StoredEvent> {
        until(|| block_on(self.0.read_after(Sequence::new(after), LIMIT)).is_ok());
        self.read(after)
    }

    pub(crate) fn read_stream(&self, stream: &str, after: u64) -> Vec<StoredEvent> {
        let keys = [key(stream)];
        self.pages(after, |store, after| {
            block_on(store.read_streams_after(&keys, after, LIMIT))
        })
    }

    fn pages(
        &self,
        after: u64,
        read: impl Fn(&RedisEventStore, Sequence) -> Result<Vec<StoredEvent>, Error>,
    ) -> Vec<StoredEvent> {
        let mut events: Vec<StoredEvent> = Vec::new();
        loop {
            let after = events.last().map_or(after, |event| event.sequence.get());
            let page = read(&self.0, Sequence::new(after)).unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page);
        }
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.0.oldest().get()
    }

    /// Returns the first sequences of the epochs. The names of epochs are random.
    pub(crate) fn firsts(&self) -> Vec<u64> {
        self.0
            .epochs()
            .iter()
            .map(|life| life.first.get())
            .collect()
    }
}

/// Small, so that every read takes several pages.
const LIMIT: PageLimit = PageLimit::UNBOUNDED.events(7).bytes(64 * 1024);

/// Returns events as `(sequence, payload)`.
pub(crate) fn shown(events: &[StoredEvent]) -> Vec<(u64, String)> {
    let show = |event: &StoredEvent| {
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        (event.sequence.get(), payload)
    };
    events.iter().map(show).collect()
}

/// Returns the expected result of [`shown`].
pub(crate) fn texts(events: &[(u64, &str)]) -> Vec<(u64, String)> {
    let text = |(sequence, payload): &(u64, &str)| (*sequence, (*payload).to_owned());
    events.iter().map(text).collect()
}
