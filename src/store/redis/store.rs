//! The Redis store: combines the write side, the heartbeat, the queue of reads and the blocking waits.
//!
//! Appends and the recovery of open events run on the log's thread, waits on follower threads, queries and heartbeats
//! on threads of the store. Any thread may request that a stream is kept.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use redis::Value;

use crate::{
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        event::StreamKey,
        retention::{EvictedEvents, KeepError, Retention},
    },
    store::{
        Appended, EpochStart, EventStore, EvictedFuture, HeadFuture, KeptStreams,
        OpenEventRecovery, PageLimit, ReadFuture, RecoveredEvents, SharedLog, StreamsFuture,
        redis::{
            append::{KeptChange, KeptOutcome, RedisWriter},
            blocking_read::{BlockingReader, StreamCursor},
            client::error::{StoreError, StoreErrorKind},
            config::{self, RedisEventStoreBuilder, Settings},
            heartbeat,
            heartbeat_timer::HeartbeatTimer,
            known_state::KnownState,
            queries::{Query, QueryKind},
            read_pool::{ReadQueue, SharedResult},
            takeover::Takeovers,
        },
        threads::spawn_store_thread,
    },
    util::sync::{Mutex, lock},
    wire::id::Sequence,
};

/// Number of threads that run queries.
const READERS: usize = 2;
/// Oldest version of Redis that runs the scripts.
const VERSION_MIN: u64 = 7;
const OPEN: &str = "open the log in Redis";
const APPEND: &str = "append to the log in Redis";
const READ: &str = "read the log in Redis";
const KEEP: &str = "keep a stream in Redis";
const TAKEOVER: &str = "take over open events in Redis";

/// Keeps the log in Redis (7 or later) or Valkey: many processes write and serve one log, with the same ids in the same
/// order everywhere.
///
/// A running trace stays whole beyond retention, because the server does not trim the key of an open stream. This holds
/// as long as the events of such traces beyond retention need less than a [quarter](Retention::CARRIED_DIVISOR) of the
/// bounds. If the process of a trace dies, another process ends the trace's spans (see below). The stream is then an
/// ended one, and ended streams are removed first. A stream with more events than the share loses all but its opening
/// events.
///
/// The guide: [stores](crate::_guide::stores).
///
/// ```no_run
/// use livespan::{LiveSpans, RedisEventStore};
///
/// # #[cfg(feature = "spans")]
/// # fn example() -> Result<(), livespan::Error> {
/// let store = RedisEventStore::new("redis://127.0.0.1:6379")?;
/// let live = LiveSpans::builder().store(store).build()?;
/// # drop(live);
/// # Ok(())
/// # }
/// ```
///
/// The URL is `redis://user:password@host:port/database`, `rediss://` for TLS, or `unix:///path/to/socket`; special
/// characters in a password are percent-encoded. No error and no `Debug` shows a password.
///
/// # What is promised
///
/// The server numbers events 1, 2, 3 …, in one script call for each batch. A failed call may be repeated: no event is
/// stored twice, and identical events are all kept. No number is assigned twice under one epoch.
///
/// After a fail-over, or after a restart from an old copy, Redis may lack its newest events. Every living process then
/// reports its newest sequence, within 1.25 heartbeats, and a new epoch begins above all of these. Readers always get a
/// gap for the missing events, and for events that another program trimmed, deleted or evicted.
///
/// The durability of an event when `append` returns, and readers get the event, depends on the configuration of Redis:
///
/// | Redis | what can be lost |
/// | --- | --- |
/// | no persistence | everything, when Redis restarts |
/// | `save` (RDB) | the events after the last snapshot |
/// | `appendonly yes`, `appendfsync everysec` | nothing when Redis dies; up to about 2 s when the machine dies |
/// | `appendonly yes`, `appendfsync always` | nothing, provided that the disk keeps what it has confirmed |
/// | replicas, fail-over | the events that the new master had not received yet: replication is asynchronous |
///
/// In each case, living processes notice the loss and report it. Use `maxmemory-policy noeviction`: a full Redis then
/// refuses appends, and the processes buffer the events. Other policies delete parts of the log.
///
/// # In a cluster
///
/// One log is in one hash slot, so one node does all its work. A cluster gives the log availability, not throughput.
/// The store follows a slot that moves, and tries every configured [`node`](RedisEventStoreBuilder::node). Several logs
/// with different [prefixes](RedisEventStoreBuilder::prefix) spread over the nodes.
///
/// # What the user of Redis must be allowed
///
/// `~{prefix}:*` and the commands
/// `+@connection +@scripting +@stream +@hash +@sortedset +@set +@read +del +exists +pexpire +time +info`. Without
/// `client|unblock`, interrupting a wait takes longer. Without `info`, the version is not checked.
///
/// # What happens to a process that dies
///
/// Each process sends a heartbeat every [5 seconds](Self::DEFAULT_HEARTBEAT). After [20
/// seconds](Self::DEFAULT_DEAD_AFTER) of silence, measured by Redis' clock, one living process takes over its open
/// events. If the silent process was only suspended, it gets its open events back.
pub struct RedisEventStore {
    settings: Arc<Settings>,
    known: Arc<KnownState>,
    heartbeat_timer: Arc<HeartbeatTimer>,
    read_queue: Arc<ReadQueue>,
    write_side: Mutex<WriteSide>,
    all: BlockingReader,
    some: BlockingReader,
}

#[derive(Debug)]
struct WriteSide {
    writer: RedisWriter,
    takeovers: Takeovers,
    open: bool,
}

impl fmt::Debug for RedisEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEventStore")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl RedisEventStoreBuilder {
    /// Creates the store. It connects when a log opens it.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error for a URL or prefix that cannot be used. No message contains a
    /// password.
    pub fn build(self) -> Result<RedisEventStore, Error> {
        Ok(RedisEventStore::with_settings(Arc::new(self.check()?)))
    }
}

impl RedisEventStore {
    /// The default prefix of a log's keys.
    pub const DEFAULT_PREFIX: &'static str = config::DEFAULT_PREFIX;
    /// The default time limit for connecting: 2 seconds.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = config::DEFAULT_CONNECT_TIMEOUT;
    /// The default time limit for an answer of Redis: 2 seconds. After this time, the call fails and the connection is
    /// closed.
    pub const DEFAULT_RESPONSE_TIMEOUT: Duration = config::DEFAULT_RESPONSE_TIMEOUT;
    /// The default time between two heartbeats of a process: 5 seconds.
    pub const DEFAULT_HEARTBEAT: Duration = config::DEFAULT_HEARTBEAT;
    /// The default time without a heartbeat after which a process counts as dead: 20 seconds.
    pub const DEFAULT_DEAD_AFTER: Duration = config::DEFAULT_DEAD_AFTER;
    /// Longest time between two heartbeats: 1 hour. A new epoch of the log waits for a heartbeat of every process.
    pub const HEARTBEAT_MAX: Duration = config::HEARTBEAT_MAX;
    /// Longest time-out: 1 hour. Dropping a store waits for the server at most for the store's response time-out.
    pub const TIMEOUT_MAX: Duration = config::TIMEOUT_MAX;

    /// Creates a store with default settings.
    ///
    /// # Errors
    /// Returns an [invalid](Error::is_invalid) error for a URL that cannot be used. An unreachable server causes an
    /// error only when a log opens the store.
    pub fn new(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Returns a builder of a store.
    ///
    /// ```
    /// use std::time::Duration;
    /// use livespan::{RedisEventStore, Retention};
    ///
    /// let store = RedisEventStore::builder("rediss://app:secret@redis.example/2")
    ///     .prefix("shop")
    ///     .retention(Retention::default().events(1_000_000).age(Duration::from_secs(3600)))
    ///     .build()?;
    /// # drop(store);
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn builder(url: impl Into<String>) -> RedisEventStoreBuilder {
        RedisEventStoreBuilder::new(url.into())
    }

    fn with_settings(settings: Arc<Settings>) -> Self {
        let heartbeat_timer = Arc::new(HeartbeatTimer::default());
        let known = Arc::new(KnownState::new(Arc::clone(&heartbeat_timer)));
        let writer = RedisWriter::new(writer_id(), Arc::clone(&settings), Arc::clone(&known));
        Self {
            write_side: Mutex::new(WriteSide {
                writer,
                takeovers: Takeovers::default(),
                open: false,
            }),
            all: BlockingReader::new(Arc::clone(&settings)),
            some: BlockingReader::new(Arc::clone(&settings)),
            read_queue: Arc::default(),
            known,
            heartbeat_timer,
            settings,
        }
    }

    /// Starts the threads, which end when the store is dropped.
    fn start(&self, writer: &Arc<str>) -> Result<(), Error> {
        for _ in 0..READERS {
            let (read_queue, settings, known) = (
                Arc::clone(&self.read_queue),
                Arc::clone(&self.settings),
                Arc::clone(&self.known),
            );
            // The threads are not joined. A thread that waits for a hanging server ends after its time-out.
            spawn_store_thread("livespan-redis", move || read_queue.run(&settings, &known))?;
        }
        let (heartbeat_timer, settings, known, writer) = (
            Arc::clone(&self.heartbeat_timer),
            Arc::clone(&self.settings),
            Arc::clone(&self.known),
            Arc::clone(writer),
        );
        spawn_store_thread("livespan-beat", move || {
            heartbeat::run(&heartbeat_timer, &writer, &settings, &known);
        })?;
        Ok(())
    }

    async fn answer(&self, query: Query) -> SharedResult {
        let answered = self.read_queue.query(query).await;
        answered.unwrap_or_else(|_gone| {
            Err(StoreError::new(
                StoreErrorKind::Refused,
                "the store is closed",
            ))
        })
    }

    fn change_kept(&self, change: KeptChange, key: &StreamKey) -> Result<KeptOutcome, Error> {
        if let Some(error) = self.known.away() {
            return Err(error.into_error(KEEP));
        }
        let changed = lock(&self.write_side).writer.change_kept(change, key);
        changed.map_err(|error| error.into_error(KEEP))
    }

    fn events(&self, query: Query) -> ReadFuture<'_> {
        Box::pin(async move {
            let answer = self.answer(query).await;
            let answer = answer.map_err(|error| error.into_error(READ))?;
            Ok(answer.events.clone())
        })
    }
}

impl Drop for RedisEventStore {
    fn drop(&mut self) {
        self.read_queue.stop();
        self.close();
    }
}

impl EventStore for RedisEventStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn open(&self) -> Result<Sequence, Error> {
        let mut write_side = lock(&self.write_side);
        check_server(&mut write_side.writer).map_err(|error| error.into_error(OPEN))?;
        let head = write_side.writer.open();
        let head = head.map_err(|error| error.into_error(OPEN))?;
        if !write_side.open {
            write_side.open = true;
            self.start(&write_side.writer.id)?;
        }
        Ok(head)
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.known.epochs()
    }

    fn append(&self, _first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let appended = lock(&self.write_side).writer.append(batch);
        appended.map_err(|error| error.into_error(APPEND))
    }

    /// Ends the heartbeats, and reports to Redis that this process leaves. Waits for the reply at most for the response
    /// time-out, and not at all if the server is known not to answer.
    fn close(&self) {
        if lock(&self.write_side).open {
            let timeout = if self.known.away().is_some() {
                Duration::ZERO
            } else {
                self.settings.response_timeout
            };
            self.heartbeat_timer.stop(timeout);
        }
    }

    fn oldest(&self) -> Sequence {
        self.known.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.events(Query::new(QueryKind::All, after, limit))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        let query = Query::new(QueryKind::Streams, after, limit);
        self.events(query.with_keys(keys.iter().copied().map(Some)))
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        let limit = PageLimit {
            events: limit,
            bytes: 0,
        };
        let query = Query::new(QueryKind::Before, before, limit);
        Box::pin(async move {
            if limit.events == 0 {
                return Ok(Vec::new());
            }
            let answer = self.answer(query).await;
            let answer = answer.map_err(|error| error.into_error(READ))?;
            Ok(answer.streams.clone())
        })
    }

    /// The server does not count closing events, because it would have to read the events that it trims.
    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        let query = Query::new(QueryKind::Evicted, Sequence::START, PageLimit::default());
        let query = query.with_keys(keys.iter().copied().map(Some));
        let keys = keys.to_vec();
        Box::pin(async move {
            let answer = self.answer(query).await;
            let answer = answer.map_err(|error| error.into_error(READ))?;
            let evicted = |key: &StreamKey| {
                let found = answer
                    .cursors
                    .iter()
                    .find(|(one, _)| one.as_ref() == Some(key));
                found.map(|(_, events)| EvictedEvents::new(events.get(), None))
            };
            Ok(keys.iter().map(evicted).collect())
        })
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        Some(self)
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        Some(self)
    }

    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        Some(self)
    }

    fn append_timeout(&self) -> Option<Duration> {
        None
    }

    fn retention(&self) -> Option<Retention> {
        Some(self.settings.retention)
    }

    fn tail_retention(&self) -> Retention {
        // The tail keeps no more than the log in Redis. Otherwise readers here would get events that other processes no
        // longer have.
        let most = Retention::default().events(10_000).bytes(8 * 1024 * 1024);
        let kept = self.settings.retention;
        most.events(most.events_max().min(kept.events_max()))
            .bytes(most.bytes_max().min(kept.bytes_max()))
            .age(most.age_max().min(kept.age_max()))
    }
}

impl KeptStreams for RedisEventStore {
    fn keep(&self, key: &StreamKey) -> Result<(), KeepError> {
        match self.change_kept(KeptChange::Keep, key) {
            Ok(KeptOutcome::Kept) => Ok(()),
            Ok(KeptOutcome::TooMany) => Err(KeepError::TooMany),
            Ok(KeptOutcome::TooLarge) => Err(KeepError::TooLarge),
            Ok(KeptOutcome::Unknown | KeptOutcome::Stopped) => Err(KeepError::Unknown),
            Err(error) => Err(KeepError::Store(error)),
        }
    }

    fn stop_keeping(&self, key: &StreamKey) -> Result<bool, Error> {
        let outcome = self.change_kept(KeptChange::Stop, key)?;
        Ok(outcome == KeptOutcome::Stopped)
    }

    /// Another process's changes are known after the next heartbeat.
    fn kept(&self) -> Vec<StreamKey> {
        self.known.kept()
    }
}

impl OpenEventRecovery for RedisEventStore {
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error> {
        let mut write_side = lock(&self.write_side);
        let WriteSide {
            writer, takeovers, ..
        } = &mut *write_side;
        let tended = takeovers.recover(writer);
        tended.map_err(|error| error.into_error(TAKEOVER))
    }

    fn read_open_global_events(&self) -> ReadFuture<'_> {
        let query = Query::new(QueryKind::Standing, Sequence::START, PageLimit::default());
        self.events(query)
    }
}

impl SharedLog for RedisEventStore {
    fn head(&self) -> HeadFuture<'_> {
        let query = Query::new(QueryKind::Head, Sequence::START, PageLimit::default());
        Box::pin(async move {
            let answer = self.answer(query).await;
            Ok(answer.map_err(|error| error.into_error(READ))?.head)
        })
    }

    fn known_head(&self) -> Sequence {
        Sequence::new(self.known.snapshot().head)
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        let page = self.all.after(&self.known, after, limit, timeout);
        page.map_err(|error| error.into_error(READ))
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        let mut all: Vec<StreamCursor<'_>> = streams
            .iter()
            .map(|(key, after)| StreamCursor {
                key: Some(key),
                after: *after,
            })
            .collect();
        all.push(StreamCursor {
            key: None,
            after: global_after,
        });
        let cursors = self.some.streams(&self.known, &all, timeout);
        cursors.map_err(|error| error.into_error(READ))
    }

    fn interrupt(&self) {
        for waiter in [&self.all, &self.some] {
            if waiter.interrupt.raise() {
                self.read_queue.unblock(&waiter.interrupt);
            }
        }
    }
}

/// Returns a random writer id of sixteen hexadecimal digits.
fn writer_id() -> Arc<str> {
    let bits = RandomState::new().hash_one(std::process::id());
    format!("{bits:016x}").into()
}

/// Checks the version of the server.
fn check_server(writer: &mut RedisWriter) -> Result<(), StoreError> {
    let timeout = writer.connection.settings().response_timeout;
    let mut command = redis::cmd("INFO");
    command.arg("server");
    let info = match writer.connection.command(&command, timeout) {
        Ok(Value::BulkString(info)) => info,
        Ok(_) => return Err(StoreError::unexpected()),
        // Without the permission for INFO, the version is not checked: on an old server, the scripts themselves fail.
        Err(error) if error.is_missing_command_permission() => return Ok(()),
        Err(error) => return Err(error),
    };
    let info = String::from_utf8_lossy(&info);
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let version = field("redis_version").ok_or_else(StoreError::unexpected)?;
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if field("valkey_version").is_none() && major.is_none_or(|major: u64| major < VERSION_MIN) {
        return Err(StoreError::new(
            StoreErrorKind::Refused,
            format!("Redis {version} is too old: the log needs Redis 7 or later, or Valkey"),
        ));
    }
    Ok(())
}
