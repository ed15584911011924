//! Two writers and two servers with fifty clients each. The clients are cut at random places and
//! reconnect, sometimes to the other server.

use std::sync::{Arc, Condvar, Mutex};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Response, Uri};
use livespan::{
    RedisEventStore, SseEvent, SseTarget,
    sse::{StreamKey, Subscribe},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use crate::{stores::redis::server::Server, support::PATIENCE};

const EVENTS: u64 = 100_000;
const CLIENTS: usize = 100;
/// Events that a writer dispatches before it waits for the store.
const BURST: u64 = 1_000;
/// Upper bound on the writers' lead over a client. A log keeps slightly more events in memory.
const LEAD: u64 = 8_000;
/// The number of events that an absent client misses. Memory holds fewer, so the client resumes
/// from the store.
const ABSENCE: u64 = 15_000;

/// The last bytes of the `gap` frame that ends an outage in which nothing was lost. On a busy
/// machine, Redis may be so slow that such an outage begins.
const NOTHING_LOST: &str = "\"lost\":{\"starts\":0,\"ends\":0,\"other\":0}}";

struct Tick {
    writer: u64,
    number: u64,
}

impl SseEvent for Tick {
    fn name(&self) -> &'static str {
        "tick"
    }

    fn stream_key(&self) -> Option<StreamKey> {
        StreamKey::new(format!("job-{}", self.number % 100)).ok()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}-{}", self.writer, self.number).as_bytes());
    }
}

/// Opens the log of one process and serves it on a free port.
async fn serve(server: &Server) -> (SseTarget<Tick>, String) {
    async fn all(
        State(target): State<SseTarget<Tick>>,
        headers: HeaderMap,
        uri: Uri,
    ) -> Response<Body> {
        target
            .respond(Subscribe::all(), &headers, &uri)
            .map(Body::new)
    }
    let store = RedisEventStore::builder(server.url()).build().unwrap();
    let target = SseTarget::builder().store(store).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/", get(all))
        .with_state(target.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (target, url)
}

fn write(target: &SseTarget<Tick>, writer: u64, crowd: &Crowd) {
    for number in 0..EVENTS / 2 {
        target.try_dispatch(&Tick { writer, number }).unwrap();
        if number % BURST == BURST - 1 {
            target.flush(PATIENCE).unwrap();
            crowd.announce(target.status().head.sequence().get());
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    /// The last number that the client has received.
    At(u64),
    /// The client is absent, and the writers do not wait for it.
    Away,
}

/// The position of each client, and the bytes that all clients must receive.
struct Crowd {
    head: watch::Sender<u64>,
    places: Mutex<Vec<Place>>,
    moved: Condvar,
    /// The frames of the log, as received by the first client at each position. All other clients
    /// must receive the same bytes.
    frames: Mutex<Vec<u8>>,
}

impl Crowd {
    fn new() -> Self {
        Self {
            head: watch::Sender::new(0),
            places: Mutex::new(vec![Place::At(0); CLIENTS]),
            moved: Condvar::new(),
            frames: Mutex::default(),
        }
    }

    /// Publishes the head of the log to the absent clients, and waits for the others.
    fn announce(&self, head: u64) {
        self.head.send_if_modified(|known| {
            let has_advanced = *known < head;
            *known = head.max(*known);
            has_advanced
        });
        let places = self.places.lock().unwrap();
        let is_far = |place: &Place| matches!(place, Place::At(last) if last + LEAD < head);
        let (_places, waited) = self
            .moved
            .wait_timeout_while(places, PATIENCE, |places| places.iter().any(is_far))
            .unwrap();
        assert!(!waited.timed_out(), "a client makes no progress");
    }

    fn moves(&self, client: usize, place: Place) {
        self.places.lock().unwrap()[client] = place;
        self.moved.notify_all();
    }

    /// Stays absent after event `last`, until enough events have passed.
    async fn stay_away(&self, client: usize, last: u64) {
        self.moves(client, Place::Away);
        let back = EVENTS.min(last + ABSENCE);
        let mut head = self.head.subscribe();
        timeout(PATIENCE, head.wait_for(|head| *head >= back))
            .await
            .expect("the log goes on")
            .unwrap();
    }

    /// Returns whether another client has received these bytes at this position.
    fn knows(&self, offset: usize, got: &[u8]) -> bool {
        let frames = self.frames.lock().unwrap();
        frames[offset..].starts_with(got)
    }

    /// Compares the received bytes with those that the first client received at the same position.
    fn compare(&self, offset: usize, got: &[u8]) {
        let mut frames = self.frames.lock().unwrap();
        let known = got.len().min(frames.len() - offset);
        assert!(frames[offset..][..known] == got[..known], "frames differ");
        frames.extend_from_slice(&got[known..]);
    }
}

/// Random numbers that differ between clients but not between runs: xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The state of one client.
#[derive(Default)]
struct Got {
    last: u64,
    id: String,
    /// The number of bytes of the log's own frames so far.
    offset: usize,
}

impl Got {
    /// Removes the complete frames from `bytes`, which begins with a frame.
    fn take(&mut self, bytes: &mut Vec<u8>, crowd: &Crowd) {
        let text = std::str::from_utf8(bytes).unwrap();
        let Some(end) = text.rfind("\n\n").map(|end| end + 2) else {
            return;
        };
        let mut rest = &text[..end];
        while !rest.is_empty() {
            // Most clients receive what another one has received before, and need no search.
            let ticks = if crowd.knows(self.offset, rest.as_bytes()) {
                rest.len()
            } else {
                until_control(rest)
            };
            self.take_ticks(&rest[..ticks], crowd);
            rest = &rest[ticks..];
            if let Some((control, others)) = rest.split_once("\n\n") {
                let is_gap = control.starts_with("event: gap");
                assert!(!is_gap || control.ends_with(NOTHING_LOST), "{control}");
                rest = others;
            }
        }
        bytes.drain(..end);
    }

    fn take_ticks(&mut self, ticks: &str, crowd: &Crowd) {
        let Some(place) = ticks.rfind("\nid: ") else {
            return;
        };
        crowd.compare(self.offset, ticks.as_bytes());
        self.offset += ticks.len();
        let id = ticks[place + 5..].lines().next().unwrap();
        id.clone_into(&mut self.id);
        self.last = number(id);
    }
}

/// Returns the position of the first frame that is not an event of the log.
fn until_control(frames: &str) -> usize {
    if !frames.starts_with("event: tick") {
        return 0;
    }
    let kinds = [
        "\n\nevent: hello",
        "\n\nevent: ping",
        "\n\nevent: gap",
        "\n\nevent: degraded",
        "\n\nid: ",
        "\n\n:",
        "\n\nretry:",
    ];
    let places = kinds.iter().filter_map(|kind| frames.find(kind));
    places.min().map_or(frames.len(), |place| place + 2)
}

fn number(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Reads everything. The connection is cut repeatedly, after a random number of bytes, and the
/// client is sometimes absent for a while.
async fn read(urls: Arc<[String; 2]>, client: usize, crowd: Arc<Crowd>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut random = Random(client as u64 * 7_919 + 1);
    let mut got = Got::default();
    while got.last < EVENTS {
        if random.below(60) == 0 {
            crowd.stay_away(client, got.last).await;
        }
        let url = &urls[usize::try_from(random.below(2)).unwrap()];
        let mut request = http.get(url);
        if !got.id.is_empty() {
            request = request.header("last-event-id", &got.id);
        }
        let response = request.send().await.unwrap();
        let mut pieces = response.bytes_stream();
        let mut rest = 1_000 + random.below(400_000);
        let mut bytes = Vec::new();
        while rest > 0 && got.last < EVENTS {
            let piece: Option<Result<Bytes, _>> = timeout(PATIENCE, pieces.next())
                .await
                .expect("the stream goes on");
            let piece = piece.unwrap().unwrap();
            rest = rest.saturating_sub(piece.len() as u64);
            bytes.extend_from_slice(&piece);
            got.take(&mut bytes, &crowd);
            crowd.moves(client, Place::At(got.last));
        }
    }
}

/// Checks that every number occurs once, and that the events of each writer are in order.
fn check(frames: &[u8]) {
    let mut next = [0; 2];
    let text = std::str::from_utf8(frames).unwrap();
    for (expected, frame) in (1..).zip(text.split_terminator("\n\n")) {
        let (id, data) = frame
            .strip_prefix("event: tick\nid: ")
            .and_then(|rest| rest.split_once("\ndata: "))
            .unwrap();
        assert_eq!(number(id), expected);
        let (writer, number) = data.split_once('-').unwrap();
        let writer = usize::from(writer == "2");
        assert_eq!(number, next[writer].to_string());
        next[writer] += 1;
    }
    assert_eq!(next, [EVENTS / 2; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_of_two_servers_end_with_the_same_sequence() {
    let server = Server::start();
    let (one, first) = serve(&server).await;
    let (two, second) = serve(&server).await;
    let urls = Arc::new([first, second]);
    let crowd = Arc::new(Crowd::new());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(read(Arc::clone(&urls), client, Arc::clone(&crowd)));
    }
    let writers = [(one, 1), (two, 2)].map(|(target, number)| {
        let crowd = Arc::clone(&crowd);
        tokio::task::spawn_blocking(move || {
            write(&target, number, &crowd);
            target
        })
    });
    let mut targets = Vec::new();
    for writer in writers {
        targets.push(writer.await.unwrap());
    }
    clients.join_all().await;
    check(&crowd.frames.lock().unwrap());
}
