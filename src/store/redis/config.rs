//! The settings of a log in Redis: the server's address, names of keys, limits and time-outs.
//!
//! Only these settings and their builder hold the passwords, and neither prints them.

use std::{fmt, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates,
};

use crate::{error::Error, log::retention::Retention};

/// The defaults of [`RedisEventStore`](crate::RedisEventStore).
pub(crate) const DEFAULT_PREFIX: &str = "livespan";
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);
pub(crate) const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(20);

/// The bounds of the settings. An unbounded time could overflow the clock.
pub(crate) const HEARTBEAT_MAX: Duration = Duration::from_secs(60 * 60);
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
const DEAD_AFTER_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const DURATION_MIN: Duration = Duration::from_millis(1);

/// How late retention may remove events, in addition to a sixteenth of its age.
const LATE_MAX: Duration = Duration::from_secs(60);

/// The longest prefix, in bytes.
const PREFIX_LENGTH_MAX: usize = 128;

pub(crate) struct Settings {
    nodes: Vec<Client>,
    secrets: Vec<String>,
    prefix: String,
    pub(crate) retention: Retention,
    pub(crate) trace_ttl: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) dead_after: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(label).collect();
        f.debug_struct("Settings")
            .field("nodes", &nodes)
            .field("prefix", &self.prefix)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Returns the node to try after this many failed attempts.
    pub(crate) fn node(&self, failures: usize) -> Option<&Client> {
        self.nodes.get(failures.checked_rem(self.nodes.len())?)
    }

    /// Returns a client for another node of the same cluster. Host and port come from a redirection.
    pub(crate) fn node_at(&self, host: &str, port: u16) -> Option<Client> {
        let mut info = self.nodes.first()?.get_connection_info().clone();
        let addr = match info.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        info = info.set_addr(addr);
        Client::open(info).ok()
    }

    /// Returns `{prefix}:` and the name. The braces put every key of the log into one slot of a cluster.
    pub(crate) fn key(&self, name: &str) -> Vec<u8> {
        format!("{{{}}}:{name}", self.prefix).into_bytes()
    }

    /// Returns the key of one stream's own events.
    pub(crate) fn stream(&self, name: &[u8]) -> Vec<u8> {
        let mut key = self.key("s:");
        key.extend_from_slice(name);
        key
    }

    /// Returns how long a stream's own key lives after its last event: longer than the log has that event, because
    /// retention must find the key when it passes the events of an open stream.
    pub(crate) fn stream_ttl(&self) -> Duration {
        let age = self.retention.age_max();
        let passed = age.saturating_add(age / 16).saturating_add(LATE_MAX);
        self.trace_ttl.max(passed)
    }

    /// Returns how long the log waits for heartbeats before a new epoch begins. In that time, each living writer
    /// reports its newest sequence and epoch.
    pub(crate) fn grace(&self) -> Duration {
        self.heartbeat + self.heartbeat / 4
    }

    /// Returns the text with the passwords removed.
    pub(crate) fn redact(&self, text: String) -> String {
        redact(&self.secrets, text)
    }

    /// Returns whether a password was given.
    pub(crate) fn has_password(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Returns whether connections are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|node| {
            let info = node.get_connection_info();
            matches!(info.addr(), ConnectionAddr::TcpTls { .. })
        })
    }

    /// Returns the addresses of the log's nodes, for messages.
    pub(crate) fn place(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(label).collect();
        nodes.join(", ")
    }
}

fn redact(secrets: &[String], text: String) -> String {
    secrets
        .iter()
        .fold(text, |text, secret| text.replace(secret.as_str(), "***"))
}

/// Returns the address that a client connects to.
pub(crate) fn label(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

/// Configures a [`RedisEventStore`](crate::RedisEventStore). [`build`](Self::build) checks the settings; the log connects
/// when it opens the store.
///
/// ```
/// use std::time::Duration;
/// use livespan::RedisEventStore;
///
/// let store = RedisEventStore::builder("redis://127.0.0.1:6379")
///     .prefix("shop")
///     .connect_timeout(Duration::from_secs(1))
///     .build()?;
/// # drop(store);
/// # Ok::<(), livespan::Error>(())
/// ```
#[must_use]
pub struct RedisEventStoreBuilder {
    urls: Vec<String>,
    root_certificate: Option<Vec<u8>>,
    prefix: String,
    retention: Retention,
    trace_ttl: Duration,
    connect_timeout: Duration,
    response_timeout: Duration,
    heartbeat: Duration,
    dead_after: Duration,
}

impl fmt::Debug for RedisEventStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold a password.
        f.debug_struct("RedisEventStoreBuilder")
            .field("prefix", &self.prefix)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

impl RedisEventStoreBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            urls: vec![url],
            root_certificate: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            retention: Retention::default(),
            trace_ttl: Duration::ZERO,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            heartbeat: DEFAULT_HEARTBEAT,
            dead_after: DEFAULT_DEAD_AFTER,
        }
    }

    /// Adds another node of the same Redis: a further node of a cluster, or the other node of a fail-over pair. It is
    /// tried when a node cannot be reached or is a replica.
    pub fn node(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Trusts this certificate authority (PEM) for `rediss://`, instead of those that the system trusts.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Names the log: 1 to 128 bytes without braces; by default
    /// [`DEFAULT_PREFIX`](crate::RedisEventStore::DEFAULT_PREFIX). Every key is `{prefix}:…`, so several logs can
    /// share a server, and one log is in one hash slot of a cluster.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Bounds the events that the log keeps; by default [`Retention::DEFAULT_EVENTS`] events,
    /// [`Retention::DEFAULT_BYTES`] and [`Retention::DEFAULT_AGE`]. Bytes are those of SSE frames. Redis needs about
    /// twice as much memory, because an event is stored in the log and in its stream's own key. If the processes of one
    /// log have different bounds, the narrowest applies.
    ///
    /// Each call that appends also trims the log, and age is checked about once a second. One call trims at most 512
    /// streams, and keeps at most 2,048 events of open ones beyond retention. Each appended event raises these limits
    /// by two streams and four events. So when much must be removed at once, the log exceeds its bounds for some
    /// calls.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how long after its last event a stream's own key expires, in case no process is left to trim it. The
    /// default and the minimum is 17/16 of the retention's age, and one minute more. If a key is gone early, its events
    /// are read from the log itself. The key of a running trace that keeps events beyond retention does not expire.
    pub fn trace_ttl(mut self, ttl: Duration) -> Self {
        self.trace_ttl = ttl;
        self
    }

    /// Bounds the time to connect: 1 ms to [`TIMEOUT_MAX`](crate::RedisEventStore::TIMEOUT_MAX), by default
    /// [`DEFAULT_CONNECT_TIMEOUT`](crate::RedisEventStore::DEFAULT_CONNECT_TIMEOUT). The bound does not include the
    /// look-up of the host's name by the operating system.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.clamp(DURATION_MIN, TIMEOUT_MAX);
        self
    }

    /// Bounds the time in which Redis must answer: 1 ms to [`TIMEOUT_MAX`](crate::RedisEventStore::TIMEOUT_MAX), by
    /// default [`DEFAULT_RESPONSE_TIMEOUT`](crate::RedisEventStore::DEFAULT_RESPONSE_TIMEOUT).
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout.clamp(DURATION_MIN, TIMEOUT_MAX);
        self
    }

    /// Sets the interval of this process's heartbeats: 1 ms to
    /// [`HEARTBEAT_MAX`](crate::RedisEventStore::HEARTBEAT_MAX), by default
    /// [`DEFAULT_HEARTBEAT`](crate::RedisEventStore::DEFAULT_HEARTBEAT). All processes of a log must use the same
    /// value.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.clamp(DURATION_MIN, HEARTBEAT_MAX);
        self
    }

    /// Sets how long a process may be silent before it counts as dead: by default
    /// [`DEFAULT_DEAD_AFTER`](crate::RedisEventStore::DEFAULT_DEAD_AFTER), at least two [heartbeats](Self::heartbeat),
    /// and at most 366 days. All processes of a log must use the same value.
    pub fn dead_after(mut self, silence: Duration) -> Self {
        self.dead_after = silence;
        self
    }

    pub(crate) fn check(self) -> Result<Settings, Error> {
        let length = self.prefix.len();
        if !(1..=PREFIX_LENGTH_MAX).contains(&length) || self.prefix.contains(['{', '}']) {
            return Err(Error::invalid(
                "a Redis key prefix has 1 to 128 bytes and no braces",
            ));
        }
        let mut secrets = Vec::new();
        let mut nodes = Vec::new();
        for url in &self.urls {
            let info = url
                .as_str()
                .into_connection_info()
                .map_err(|error| refused(&secrets, &error))?;
            if let Some(password) = info.redis_settings().password() {
                secrets.push(password.to_owned());
                // The password as the URL spells it.
                let written = url
                    .split_once("://")
                    .and_then(|(_, rest)| rest.split_once('@'));
                let written = written.and_then(|(user, _)| user.split_once(':'));
                secrets.extend(written.map(|(_, password)| password.to_owned()));
            }
            secrets.retain(|secret| !secret.is_empty());
            nodes.push(
                self.client(info)
                    .map_err(|error| refused(&secrets, &error))?,
            );
        }
        Ok(Settings {
            nodes,
            secrets,
            prefix: self.prefix,
            retention: self.retention,
            trace_ttl: self.trace_ttl,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            heartbeat: self.heartbeat,
            dead_after: self.dead_after.clamp(self.heartbeat * 2, DEAD_AFTER_MAX),
        })
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Client::open(info);
        }
        // Without an installed provider, rustls panics at the first connection if the program contains two crypto
        // providers.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // If another thread installs one at the same time, that provider is used.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        Client::build_with_tls(
            info,
            TlsCertificates {
                client_tls: None,
                root_cert: self.root_certificate.clone(),
            },
        )
    }
}

fn refused(secrets: &[String], error: &RedisError) -> Error {
    let text = redact(secrets, error.to_string());
    // The client appends ` - ` and the kind of the error, which is left out here.
    let reason = text.split(" - ").next().unwrap_or_default();
    Error::invalid(format!(
        "cannot use the Redis URL ({reason}): write redis://user:password@host:port/database (only the host is required), \
         rediss://… for TLS, or unix:///path for a socket"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_moved_within_its_bounds() {
        for time in [Duration::ZERO, Duration::MAX] {
            let builder = RedisEventStoreBuilder::new("redis://127.0.0.1".to_owned())
                .heartbeat(time)
                .dead_after(time)
                .connect_timeout(time)
                .response_timeout(time)
                .trace_ttl(time)
                .retention(Retention::default().age(time));
            let settings = builder.check().unwrap();
            assert!(settings.dead_after >= settings.heartbeat * 2, "{time:?}");
            assert!(settings.grace() > settings.heartbeat, "{time:?}");
            let bounds = [
                (settings.heartbeat, HEARTBEAT_MAX),
                (settings.connect_timeout, TIMEOUT_MAX),
                (settings.response_timeout, TIMEOUT_MAX),
            ];
            for (value, max) in bounds {
                let expected = if time.is_zero() { DURATION_MIN } else { max };
                assert_eq!(value, expected);
            }
        }
    }
}
