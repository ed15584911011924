//! Two writers, two servers, fifty clients on each, which are cut at random places and come again, also to the other
//! server.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Response, Uri};
use livespan::{RedisEventStore, SseEvent, SseTarget, StreamKey, Subscribe};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::{stores::redis::server::Server, support::PATIENCE};

/// Few enough for a debug build on two cores; the same holds for more.
const EVENTS: u64 = 20_000;
const CLIENTS: u64 = 100;
/// Events that a writer hands over before it waits for the store.
const BURST: u64 = 1_000;

/// How a stretch ends in which Redis did not answer in time, because this machine is busy.
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

fn write(target: &SseTarget<Tick>, writer: u64) {
    for number in 0..EVENTS / 2 {
        target.try_dispatch(&Tick { writer, number }).unwrap();
        if number % BURST == BURST - 1 {
            target.flush(PATIENCE).unwrap();
        }
    }
}

/// Numbers that differ from client to client and not from run to run: xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What one client has got so far.
#[derive(Default)]
struct Got {
    last: u64,
    id: String,
    digest: DefaultHasher,
}

impl Got {
    /// Takes what a connection brought, but for what it says of itself and a frame that was cut.
    fn take(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let Some(end) = text.rfind("\n\n") else {
            return;
        };
        for frame in text[..end].split("\n\n") {
            let Some(rest) = frame.strip_prefix("event: tick\nid: ") else {
                let is_gap = frame.starts_with("event: gap");
                assert!(!is_gap || frame.ends_with(NOTHING_LOST), "{frame}");
                continue;
            };
            let (id, data) = rest.split_once('\n').unwrap();
            self.last += 1;
            assert_eq!(id.rsplit_once('-').unwrap().1, self.last.to_string());
            id.clone_into(&mut self.id);
            self.digest.write(data.as_bytes());
        }
    }
}

/// Reads everything, with a cut after a random number of bytes, again and again.
async fn read(urls: Arc<[String; 2]>, client: u64) -> u64 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut random = Random(client * 7_919 + 1);
    let mut got = Got::default();
    while got.last < EVENTS {
        let url = &urls[usize::try_from(random.below(2)).unwrap()];
        let mut request = http.get(url);
        if !got.id.is_empty() {
            request = request.header("last-event-id", &got.id);
        }
        let response = request.send().await.unwrap();
        let mut pieces = response.bytes_stream();
        let cut = 1_000 + random.below(800_000);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < cut && !is_last(&bytes) {
            let piece: Option<Result<Bytes, _>> = timeout(PATIENCE, pieces.next())
                .await
                .expect("the stream goes on");
            bytes.extend(piece.unwrap().unwrap());
        }
        got.take(&bytes);
    }
    got.digest.finish()
}

/// Whether these bytes end with the last event.
fn is_last(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(80)..];
    tail.ends_with(b"\n\n") && {
        let id = format!("-{EVENTS}\n");
        tail.windows(id.len()).any(|window| window == id.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_of_two_servers_end_with_the_same_sequence() {
    let server = Server::start();
    let (one, first) = serve(&server).await;
    let (two, second) = serve(&server).await;
    let urls = Arc::new([first, second]);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(read(Arc::clone(&urls), client));
    }
    let writers = [(one, 1), (two, 2)].map(|(target, number)| {
        tokio::task::spawn_blocking(move || {
            write(&target, number);
            target
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let digests = clients.join_all().await;
    assert_eq!(digests.len() as u64, CLIENTS);
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "{digests:?}"
    );
}
