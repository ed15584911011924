//! One connection to Redis, used by one thread.
//!
//! It connects when needed, follows the log to another node of a cluster, and reconnects after a failure once its
//! back-off has passed. It never prints and never waits longer than its time-outs.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use redis::{Client, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use crate::{
    store::redis::{
        client::error::StoreError,
        client::scripts::Script,
        config::{Settings, label},
    },
    util::sync::Instant,
};

const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Connection {
    settings: Arc<Settings>,
    socket: Option<redis::Connection>,
    /// The cluster node that another node redirected to.
    moved: Option<Client>,
    /// Address of the last connection.
    place: String,
    failures: usize,
    /// The moment before which no connection is tried, and the error that caused this.
    blocked: Option<(Instant, StoreError)>,
    /// Whether a reply has arrived on this connection.
    proven: bool,
    /// Number of connections made so far. Callers use it to check which connection a remembered state belongs to.
    generation: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("connected", &self.socket.is_some())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            place: settings.place(),
            settings,
            socket: None,
            moved: None,
            failures: 0,
            blocked: None,
            proven: false,
            generation: 0,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the time until a new connection may be tried.
    pub(crate) fn delay(&self) -> Duration {
        self.blocked.as_ref().map_or(Duration::ZERO, |(until, _)| {
            until.saturating_duration_since(Instant::now())
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Begins the call of a script of the log, with room for its arguments.
    pub(crate) fn script(&self, script: &Script, arguments: usize, bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(arguments + 4, bytes + 128);
        command
            .arg("EVALSHA")
            .arg(&script.sha)
            .arg(1)
            .arg(self.settings.key("meta"));
        command
    }

    /// Calls a script. If the server does not know the script, loads it first.
    pub(crate) fn call(&mut self, script: &Script, command: &Cmd) -> Result<Value, StoreError> {
        let timeout = self.settings.response_timeout;
        let error = match self.run(command, timeout) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(script.source);
                match self
                    .run(&load, timeout)
                    .and_then(|_| self.run(command, timeout))
                {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                }
            }
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        Err(self.error(&error))
    }

    /// Sends one command and waits for the reply.
    pub(crate) fn command(
        &mut self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Value, StoreError> {
        self.run(command, timeout)
            .map_err(|error| self.error(&error))
    }

    fn error(&self, error: &RedisError) -> StoreError {
        match &self.blocked {
            // The cause of the missing connection is more helpful than the fact itself.
            Some((_, error)) if self.socket.is_none() => error.clone(),
            _ => StoreError::of(error, &self.place, &self.settings),
        }
    }

    fn run(&mut self, command: &Cmd, timeout: Duration) -> Result<Value, RedisError> {
        let fresh = self.socket.is_none();
        let mut result = self.run_once(command, timeout);
        if let Err(error) = &result {
            let moved = self.follow(error);
            // The connection was closed while it was idle: the server restarted, or a proxy or firewall timed out. A
            // retry is safe, because every call may be made twice.
            if moved || (!fresh && error.is_connection_dropped() && !error.is_timeout()) {
                result = self.run_once(command, timeout);
            }
        }
        result
    }

    /// Follows a redirection to the node that has the log. Returns whether the error was a redirection.
    fn follow(&mut self, error: &RedisError) -> bool {
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return false;
        }
        let named = error.redirect_node();
        let named = named.and_then(|(node, _slot)| node.rsplit_once(':'));
        let Some((host, Ok(port))) = named.map(|(host, port)| (host, port.parse())) else {
            return false;
        };
        self.moved = self.settings.node_at(host, port);
        self.socket = None;
        self.blocked = None;
        self.moved.is_some()
    }

    fn run_once(&mut self, command: &Cmd, timeout: Duration) -> Result<Value, RedisError> {
        let connection = self.connected()?;
        connection.set_read_timeout(Some(timeout))?;
        let result = command.query::<Value>(connection);
        match &result {
            Ok(_) => {
                self.failures = 0;
                self.blocked = None;
                self.proven = true;
            }
            Err(error) if breaks_connection(error) => {
                self.socket = None;
                // A working connection may just have been closed by a restart, so the next one is tried at once.
                if !self.proven || !error.is_connection_dropped() || error.is_timeout() {
                    self.block(error);
                }
            }
            // The next node may be the one that accepts writes.
            Err(error) if is_replica_error(error) => {
                self.socket = None;
                self.moved = None;
                self.failures += 1;
            }
            Err(_) => {}
        }
        result
    }

    fn connected(&mut self) -> Result<&mut redis::Connection, RedisError> {
        if self.socket.is_none() {
            let connection = self.connect()?;
            self.generation += 1;
            self.proven = false;
            self.socket = Some(connection);
        }
        match &mut self.socket {
            Some(connection) => Ok(connection),
            None => Err(not_connected()),
        }
    }

    fn connect(&mut self) -> Result<redis::Connection, RedisError> {
        if self.blocked.is_some() && !self.delay().is_zero() {
            return Err(not_connected());
        }
        let client = match &self.moved {
            Some(moved) => moved.clone(),
            None => match self.settings.node(self.failures) {
                Some(client) => client.clone(),
                None => return Err(not_connected()),
            },
        };
        self.place = label(&client);
        let connected = client
            .get_connection_with_timeout(self.settings.connect_timeout)
            .and_then(|connection| {
                connection.set_write_timeout(Some(self.settings.response_timeout))?;
                Ok(connection)
            });
        if let Err(error) = &connected {
            // The node of the redirection may be gone, so the configured nodes are tried again.
            self.moved = None;
            self.block(error);
        }
        connected
    }

    /// Starts a back-off that grows with each failure. Its length is random, so processes do not retry together.
    fn block(&mut self, error: &RedisError) {
        let doubled = BACKOFF_MIN * (1 << self.failures.min(16));
        self.failures += 1;
        let bits = RandomState::new().hash_one(self.generation);
        let whole = doubled.min(BACKOFF_MAX);
        let share = u8::try_from(bits % 128).unwrap_or(0);
        let wait = whole / 2 + whole * u32::from(share) / 256;
        let error = StoreError::of(error, &self.place, &self.settings);
        self.blocked = Some((Instant::now() + wait, error));
    }
}

fn not_connected() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::NotConnected, "not connected").into()
}

/// Returns whether no further reply on this connection can be trusted.
fn breaks_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::AuthenticationFailed
        )
}

fn is_replica_error(error: &RedisError) -> bool {
    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
    matches!(
        error.kind(),
        ErrorKind::Server(ReadOnly | MasterDown | ClusterDown)
    )
}
