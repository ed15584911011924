//! A TCP proxy in front of a server. On demand it drops answers, or holds all of them back.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of answers to appends that are still to be dropped. Each drop closes the
    /// connection.
    lose: AtomicUsize,
    /// Whether answers are held back.
    held: Mutex<bool>,
    changed: Condvar,
    appends: AtomicUsize,
    ended: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect(("127.0.0.1", server_port)))
                else {
                    continue;
                };
                join(&client, &server, &shared);
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Drops the answers to the next `count` appends.
    pub(crate) fn lose_answers(&self, count: usize) {
        self.state.lose.store(count, Ordering::SeqCst);
    }

    /// Holds all answers back, or releases them.
    pub(crate) fn hold(&self, held: Hold) {
        *self.state.held.lock().unwrap() = held == Hold::Answers;
        self.state.changed.notify_all();
    }

    /// Returns how many appends have passed through.
    pub(crate) fn appends(&self) -> usize {
        self.state.appends.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Answers,
    Nothing,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.hold(Hold::Nothing);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Returns the SHA-1 with which the append script is called.
fn append_sha() -> String {
    let source = concat!(
        "#!lua\n",
        include_str!("../../../../src/store/redis/lua/common.lua"),
        "\n",
        include_str!("../../../../src/store/redis/lua/writing.lua"),
        "\n",
        include_str!("../../../../src/store/redis/lua/retention.lua"),
        "\n",
        include_str!("../../../../src/store/redis/lua/append.lua")
    );
    redis::Script::new(source).get_hash().to_owned()
}

fn join(client: &TcpStream, server: &TcpStream, state: &Arc<State>) {
    let appending = Arc::new(AtomicBool::new(false));
    let sha = append_sha();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (asked, shared) = (Arc::clone(&appending), Arc::clone(state));
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let is_append = bytes[..count]
                .windows(sha.len())
                .any(|part| part == sha.as_bytes());
            if is_append {
                shared.appends.fetch_add(1, Ordering::SeqCst);
                asked.store(true, Ordering::SeqCst);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let mut held = state.held.lock().unwrap();
            while *held {
                held = state.changed.wait(held).unwrap();
            }
            drop(held);
            let lose = appending.swap(false, Ordering::SeqCst)
                && state
                    .lose
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            if lose || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
    });
}
