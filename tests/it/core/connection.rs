//! A client of an SSE response. It reads bytes, can be cut after any byte, and interprets only
//! complete frames.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use http::{HeaderMap, HeaderValue, Uri};
use http_body::Body as _;
use livespan::{
    SseTarget,
    sse::{SseBody, Subscribe},
};
use tokio::runtime::Runtime;

use super::test_event::Note;

/// Response bodies need a runtime for their timers. Nothing is spawned on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

/// Counts how often a task was woken.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The body of one response, polled by hand.
pub(crate) struct Connection {
    body: Pin<Box<SseBody>>,
    wakes: Arc<Wakes>,
}

/// The result of polling the body.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Quiet,
    End,
}

impl Connection {
    pub(crate) fn open(target: &SseTarget<Note>, options: Subscribe) -> Self {
        Self::request(target, options, "/", None)
    }

    pub(crate) fn resume(target: &SseTarget<Note>, options: Subscribe, id: &str) -> Self {
        Self::request(target, options, "/", Some(id.as_bytes()))
    }

    pub(crate) fn request(
        target: &SseTarget<Note>,
        options: Subscribe,
        uri: &str,
        id: Option<&[u8]>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert("last-event-id", HeaderValue::from_bytes(id).unwrap());
        }
        let _runtime = RUNTIME.enter();
        let response = target.respond(options, &headers, &uri.parse::<Uri>().unwrap());
        Self {
            body: Box::pin(response.into_body()),
            wakes: Arc::default(),
        }
    }

    /// Returns the next piece, or whether the body is waiting or has ended.
    pub(crate) fn piece(&mut self) -> Piece {
        let _runtime = RUNTIME.enter();
        let waker = Waker::from(Arc::clone(&self.wakes));
        loop {
            let before = self.wakes.count();
            match self
                .body
                .as_mut()
                .poll_frame(&mut Context::from_waker(&waker))
            {
                Poll::Ready(Some(frame)) => {
                    return Piece::Bytes(frame.unwrap().into_data().unwrap().to_vec());
                }
                Poll::Ready(None) => return Piece::End,
                // The body may yield to other tasks before it has finished its work.
                Poll::Pending if self.wakes.count() > before => {}
                Poll::Pending => return Piece::Quiet,
            }
        }
    }

    /// Returns how often the body has woken its task.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.count()
    }

    /// Reads everything up to the next wait, or to the end.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Piece::Bytes(piece) = self.piece() {
            bytes.extend(piece);
        }
        bytes
    }

    /// Reads the frames up to the next wait, without `retry` and `hello`.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let frames = parse(&self.bytes());
        frames
            .into_iter()
            .filter(|frame| frame.get("retry").is_none() && frame.get("event") != Some("hello"))
            .collect()
    }

    /// Reads the frames up to the next wait, as short texts such as `note 3 payload`, without the epoch and `now`.
    pub(crate) fn transcript(&mut self) -> Vec<String> {
        self.frames().iter().map(Frame::line).collect()
    }
}

/// The fields of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame(HashMap<String, String>);

impl Frame {
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        self.get("id").map(sequence)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.get("data").unwrap()).unwrap()
    }

    fn line(&self) -> String {
        let Some(event) = self.get("event") else {
            return format!("cursor {}", self.sequence().unwrap());
        };
        if event != "note" && self.get("data").unwrap().starts_with('{') {
            let mut json = self.json();
            let object = json.as_object_mut().unwrap();
            object.remove("type");
            object.remove("now");
            for field in ["from", "to", "head"] {
                if let Some(id) = object.get(field) {
                    let number = sequence(id.as_str().unwrap());
                    object.insert(field.to_owned(), number.into());
                }
            }
            let id = self
                .sequence()
                .map(|sequence| format!(" {sequence}"))
                .unwrap_or_default();
            return format!("{event}{id} {json}");
        }
        let id = self
            .sequence()
            .map_or("-".to_owned(), |sequence| sequence.to_string());
        format!("{event} {id} {}", self.get("data").unwrap())
    }
}

pub(crate) fn sequence(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Returns the complete frames in the bytes. A frame that is cut before its blank line is ignored.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Frame> {
    let complete = bytes
        .windows(2)
        .rposition(|pair| pair == b"\n\n")
        .map_or(0, |at| at + 2);
    let text = std::str::from_utf8(&bytes[..complete]).unwrap();
    text.split_terminator("\n\n").map(frame).collect()
}

fn frame(text: &str) -> Frame {
    let mut fields: HashMap<String, String> = HashMap::new();
    for line in text.split('\n') {
        let (field, value) = line.split_once(": ").unwrap();
        match fields.get_mut(field) {
            Some(data) => {
                assert_eq!(field, "data", "a field other than `data` has several lines");
                data.push('\n');
                data.push_str(value);
            }
            None => {
                fields.insert(field.to_owned(), value.to_owned());
            }
        }
    }
    Frame(fields)
}

/// Replaces the parts that differ between runs: the epoch, `now` and the reconnection time.
pub(crate) fn normal(bytes: &[u8], epoch: &str) -> String {
    let text = std::str::from_utf8(bytes).unwrap().replace(epoch, "EPOCH");
    let text = between(&text, "\"now\":\"", "\"", |now| {
        assert_eq!(
            now.len(),
            30,
            "the time does not have nine decimals and a Z"
        );
        "NOW".to_owned()
    });
    between(&text, "retry: ", "\n", |retry| {
        assert!((1000..3000).contains(&retry.parse::<u64>().unwrap()));
        "JITTER".to_owned()
    })
}

fn between(text: &str, from: &str, to: &str, replace: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        let (value, after) = after.split_once(to).unwrap();
        out.extend([before, from, &replace(value), to]);
        rest = after;
    }
    out + rest
}
