//! Joins the livespan under which this program was started: `LIVESPAN_JOIN` has its address. The program then opens no
//! page of its own. It serves its stream on a free loopback port, with a token, and announces the port. The other
//! livespan reads the stream and shows its events.
//!
//! The thread that calls `init()` or `layer()` makes the announcement, with a time limit. If the other livespan refuses
//! the announcement or does not answer, the program opens a page of its own. Another thread repeats the announcement
//! whenever the stream has no reader, because the other livespan may have been restarted.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::{error::Error, http::server::LiveServer, live_spans::LiveSpans};

/// The variable with the address where the other livespan listens for announcements.
const ADDRESS: &str = "LIVESPAN_JOIN";
/// The variable with the token for an announcement.
const TOKEN: &str = "LIVESPAN_JOIN_TOKEN";
/// The variable with the address of the other livespan's page.
const PAGE: &str = "LIVESPAN_URL";
/// Number of random bytes in a token, which is written as hex digits.
const TOKEN_BYTES: usize = 16;
/// The time limit of each step of an announcement: connect, send, and answer.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the thread checks for a reader.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the end of the program waits for a first reader, and then for the last events to become visible.
const FIRST_READER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of the program waits until everything is read.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the end of the program checks whether everything is read.
const READER_INTERVAL: Duration = Duration::from_millis(2);

/// Returns a random token that cannot be guessed.
pub(super) fn random_token() -> Result<String, Error> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::io("make a token", io::Error::from(error)))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The address and token for the announcement, from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invitation {
    address: SocketAddr,
    path: String,
    token: String,
}

impl Invitation {
    /// Reads the invitation. Returns `None` if the environment has none.
    pub(super) fn from_env() -> Result<Option<Self>, Error> {
        let text = |name| env::var_os(name).filter(|value| !value.is_empty());
        let Some(address) = text(ADDRESS) else {
            return Ok(None);
        };
        let (address, token) = (address.to_string_lossy(), text(TOKEN).unwrap_or_default());
        Self::parse(&address, &token.to_string_lossy())
            .map(Some)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "read {ADDRESS}={address} and {TOKEN}: the first must be http:// with a loopback address and a \
                     port, such as http://127.0.0.1:4381/, and both must be printable ASCII without spaces"
                ))
            })
    }

    fn parse(url: &str, token: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address: SocketAddr = address.parse().ok()?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        (address.ip().is_loopback() && is_plain(path) && is_plain(token)).then(|| Self {
            address,
            path: format!("/{path}"),
            token: token.to_owned(),
        })
    }

    /// Sends the address of this program's stream to the other livespan. Returns whether the other livespan accepts it.
    fn announce(&self, body: &str) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANNOUNCE_TIMEOUT)?;
        stream.set_read_timeout(Some(ANNOUNCE_TIMEOUT))?;
        stream.set_write_timeout(Some(ANNOUNCE_TIMEOUT))?;
        let Self {
            address,
            path,
            token,
        } = self;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut status = String::new();
        BufReader::new(io::Read::take(stream, 1024)).read_line(&mut status)?;
        Ok(status.starts_with("HTTP/1.1 2"))
    }
}

/// A program that joined another livespan.
#[derive(Debug)]
pub(super) struct Joined {
    live: LiveSpans,
    /// The address of the other livespan's page, if the environment has it.
    page: Option<String>,
    /// Dropped to stop the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Thread,
    /// Carries no message. It is closed when the thread ends.
    ended: mpsc::Receiver<()>,
}

impl Joined {
    /// Announces this program, and starts the thread that repeats this. Returns `None` if the other livespan refuses it
    /// or does not answer.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(super) fn new(
        invitation: &Invitation,
        (live, server, token): (&LiveSpans, &LiveServer, &str),
    ) -> Result<Option<Self>, Error> {
        let url = server.url();
        let body = serde_json::json!({"url": url, "token": token}).to_string();
        if !invitation.announce(&body).unwrap_or(false) {
            return Ok(None);
        }
        let (stop, stopping) = mpsc::channel();
        let (alive, ended) = mpsc::channel::<()>();
        let (invitation, watched) = (invitation.clone(), live.clone());
        let thread = thread::Builder::new()
            .name("livespan-join".to_owned())
            .spawn(move || {
                let _alive = alive;
                repeat(&watched, &stopping, || {
                    // An error is ignored: the other livespan may be gone for good.
                    drop(invitation.announce(&body));
                });
            })
            .map_err(|error| Error::io("start the thread that announces this program", error))?;
        Ok(Some(Self {
            live: live.clone(),
            page: env::var(PAGE).ok().filter(|page| !page.is_empty()),
            stop: Some(stop),
            thread: thread.thread().clone(),
            ended,
        }))
    }

    /// Returns the address of the page that shows this program, if it is known.
    pub(super) fn page(&self) -> Option<&str> {
        self.page.as_deref()
    }

    /// Waits until the other livespan has read everything, within the time limits of the function [`wait_for_reader`].
    pub(super) fn wait_for_reader(&self) {
        wait_for_reader(&self.live, READ_TIMEOUT);
    }

    /// Ends the thread, so this program is not announced again. Waits for the thread, at most two seconds: if an
    /// announcement takes longer, the thread ends by itself later.
    pub(super) fn stop_announcing(&mut self) {
        self.stop = None;
        self.thread.unpark();
        // Nothing is ever sent. The wait ends with the thread.
        let _ended = self.ended.recv_timeout(2 * ANNOUNCE_TIMEOUT);
    }
}

/// Waits at most [`FIRST_READER_TIMEOUT`] until a reader has opened a stream, because a program may end just after it
/// has begun. Then waits, at most as long again, until the last events are visible. If they are not visible in time,
/// returns. Otherwise ends the streams, and waits at most `timeout` until each has sent its last event.
pub(super) fn wait_for_reader(live: &LiveSpans, timeout: Duration) {
    let streams = &live.shared.stream_limits;
    wait_while(FIRST_READER_TIMEOUT, || streams.opened_streams() == 0);
    // The last events must be visible before the streams end.
    if live.target().flush(FIRST_READER_TIMEOUT).is_ok() {
        live.end_streams();
        wait_while(timeout, || streams.open_streams() > 0);
    }
}

fn wait_while(limit: Duration, is_waiting: impl Fn() -> bool) {
    let begun = Instant::now();
    while is_waiting() && begun.elapsed() < limit {
        thread::park_timeout(READER_INTERVAL);
    }
}

/// Announces the program again whenever it has no reader, until `stopping` is closed or the log ends.
fn repeat(live: &LiveSpans, stopping: &mpsc::Receiver<()>, announce: impl Fn()) {
    let streams = &live.shared.stream_limits;
    loop {
        thread::park_timeout(CHECK_INTERVAL);
        let is_stopped = stopping.try_recv() != Err(mpsc::TryRecvError::Empty);
        if is_stopped || live.shared.parts.buffer().is_closed() {
            return;
        }
        if streams.open_streams() == 0 {
            announce();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_names_a_loopback_address_and_its_port() {
        let of = |address: &str, path: &str| {
            Some(Invitation {
                address: address.parse().unwrap(),
                path: path.to_owned(),
                token: "t".to_owned(),
            })
        };
        for (url, expected) in [
            ("http://127.0.0.1:4381/", of("127.0.0.1:4381", "/")),
            ("http://127.0.0.1:4381", of("127.0.0.1:4381", "/")),
            ("http://[::1]:4381/join", of("[::1]:4381", "/join")),
            ("http://127.0.0.1/", None),
            ("http://localhost:4381/", None),
            ("http://192.0.2.1:4381/", None),
            ("https://127.0.0.1:4381/", None),
            ("http://127.0.0.1:4381/a b", None),
            ("127.0.0.1:4381", None),
        ] {
            assert_eq!(Invitation::parse(url, "t"), expected, "{url}");
        }
        assert_eq!(Invitation::parse("http://127.0.0.1:1/", "a\r\nb"), None);
    }
}
