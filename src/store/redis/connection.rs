//! One connection to Redis, for one thread: it is made when needed, bounded in time, followed to the node that has the
//! log, and made again after a failure, not before a back-off has passed. It never prints and never waits longer than its
//! time-outs.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use redis::{Client, Cmd, Connection, ErrorKind, RedisError, ServerErrorKind, Value};

use crate::{
    store::redis::{
        config::{Settings, label},
        error::Fault,
        scripts::Script,
    },
    util::sync::Instant,
};

const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    settings: Arc<Settings>,
    connection: Option<Connection>,
    /// The node of a cluster that another one named.
    moved: Option<Client>,
    /// Where the last connection went.
    place: String,
    failures: usize,
    /// Not before this moment is a new connection tried, and why.
    blocked: Option<(Instant, Fault)>,
    /// Whether anything was answered on this connection.
    proven: bool,
    /// Counts connections, for what is known of one of them.
    generation: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            place: settings.place(),
            settings,
            connection: None,
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

    /// How long until a new connection may be tried.
    pub(crate) fn delay(&self) -> Duration {
        self.blocked.as_ref().map_or(Duration::ZERO, |(until, _)| {
            until.saturating_duration_since(Instant::now())
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
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

    /// Calls a script, which the server is taught when it does not know it.
    pub(crate) fn call(&mut self, script: &Script, command: &Cmd) -> Result<Value, Fault> {
        let timeout = self.settings.response_timeout;
        let fault = match self.run(command, timeout) {
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
        Err(self.fault(&fault))
    }

    /// Sends one command and waits for the answer.
    pub(crate) fn command(&mut self, command: &Cmd, timeout: Duration) -> Result<Value, Fault> {
        self.run(command, timeout)
            .map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &RedisError) -> Fault {
        match &self.blocked {
            // Why there is no connection says more than that there is none.
            Some((_, fault)) if self.connection.is_none() => fault.clone(),
            _ => Fault::of(error, &self.place, &self.settings),
        }
    }

    fn run(&mut self, command: &Cmd, timeout: Duration) -> Result<Value, RedisError> {
        let fresh = self.connection.is_none();
        let mut result = self.run_once(command, timeout);
        if let Err(error) = &result {
            let moved = self.follow(error);
            // A connection that was closed while nothing went on, by a restart or a time-out in between: every call
            // may be made twice.
            if moved || (!fresh && error.is_connection_dropped() && !error.is_timeout()) {
                result = self.run_once(command, timeout);
            }
        }
        result
    }

    /// Goes to the node that has the log; whether one was named.
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
        self.connection = None;
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
            Err(error) if is_of_connection(error) => {
                self.connection = None;
                // One that worked may just have been closed by a restart: the next is tried at once.
                if !self.proven || !error.is_connection_dropped() || error.is_timeout() {
                    self.block(error);
                }
            }
            // The next node may be the one that takes writes.
            Err(error) if is_of_replica(error) => {
                self.connection = None;
                self.moved = None;
                self.failures += 1;
            }
            Err(_) => {}
        }
        result
    }

    fn connected(&mut self) -> Result<&mut Connection, RedisError> {
        if self.connection.is_none() {
            let connection = self.connect()?;
            self.generation += 1;
            self.proven = false;
            self.connection = Some(connection);
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(no_connection()),
        }
    }

    fn connect(&mut self) -> Result<Connection, RedisError> {
        if self.blocked.is_some() && !self.delay().is_zero() {
            return Err(no_connection());
        }
        let client = match &self.moved {
            Some(moved) => moved.clone(),
            None => match self.settings.node(self.failures) {
                Some(client) => client.clone(),
                None => return Err(no_connection()),
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
            // What a node once named may be gone; those that the user named are asked again.
            self.moved = None;
            self.block(error);
        }
        connected
    }

    /// Tries no new connection for a while, which grows and differs between processes.
    fn block(&mut self, error: &RedisError) {
        let doubled = BACKOFF_MIN * (1 << self.failures.min(16));
        self.failures += 1;
        let bits = RandomState::new().hash_one(self.generation);
        let whole = doubled.min(BACKOFF_MAX);
        let share = u8::try_from(bits % 128).unwrap_or(0);
        let wait = whole / 2 + whole * u32::from(share) / 256;
        let fault = Fault::of(error, &self.place, &self.settings);
        self.blocked = Some((Instant::now() + wait, fault));
    }
}

fn no_connection() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::NotConnected, "not connected").into()
}

/// After which nothing that is read on the connection can be trusted to be the answer.
fn is_of_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::AuthenticationFailed
        )
}

fn is_of_replica(error: &RedisError) -> bool {
    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
    matches!(
        error.kind(),
        ErrorKind::Server(ReadOnly | MasterDown | ClusterDown)
    )
}
