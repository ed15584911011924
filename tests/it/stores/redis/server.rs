//! A `redis-server` for one test, on a free port and in a temporary folder. Process and folder are
//! removed when the test ends, even if it panics.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::PATIENCE;

#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Mutex<Option<Child>>,
    /// The password that the test's own commands use.
    password: Option<String>,
}

impl Server {
    /// Starts a server that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "livespan-redis-{}-{}",
            std::process::id(),
            FOLDERS.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let password = options
            .iter()
            .position(|option| *option == "--requirepass")
            .map(|at| options[at + 1].to_owned());
        let mut server = Self {
            folder,
            port: 0,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            child: Mutex::default(),
            password,
        };
        // A port that is free now may be taken before the server binds it.
        for _ in 0..20 {
            server.port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start: see {}", server.log());
    }

    /// Starts the process. Returns whether it responds.
    fn launch(&self) -> bool {
        let spawned = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--logfile")
            .arg(self.folder.join("log"))
            .args(["--enable-debug-command", "yes"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("these tests need redis-server, which is not installed")
            }
            Err(error) => panic!("redis-server: {error}"),
        };
        *self.child.lock().unwrap() = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.has_ended() {
                return false;
            }
            if self.try_command::<String>(&["PING"]).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        child
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub(crate) fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Kills the process, as a power failure would.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the process again, in the same folder and on the same port.
    pub(crate) fn restart(&self) {
        assert!(self.launch(), "{}", self.log());
    }

    /// Sends a signal that suspends or continues the process.
    pub(crate) fn signal(&self, signal: &str) {
        let child = self.child.lock().unwrap();
        let id = child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).unwrap()
    }

    fn try_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // The folder is removed after a failed test, too. An error here changes no result.
        drop(fs::remove_dir_all(&self.folder));
    }
}
