//! A small HTTP/1.1 client for livespan's own routes: one connection for each request, and time
//! limits for connecting and for responses.

mod address;
mod frames;

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

pub(crate) use self::{
    address::Address,
    frames::{Frame, Frames, StreamEnd},
};

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a body that is read as a whole, and for a response's head unless the caller sets
/// one. The server may have to wait until other readers of the store have finished.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Upper bound on a response that is read as a whole: 64 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The reason why a request failed.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The address refuses connections.
    Refused,
    /// The network or the server failed, or a time limit passed.
    Failed(String),
    /// The server responded with a status other than success.
    Status(StatusCode, String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nothing listens there"),
            Self::Failed(message) => f.write_str(message),
            Self::Status(status, message) => write!(f, "{status}: {message}"),
        }
    }
}

/// A client of one livespan.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: Address,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(address: Address, token: Option<String>) -> Self {
        Self { address, token }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Opens a stream of events. With a `last_id`, the stream begins after the event with that id.
    pub(crate) async fn stream(
        &self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Frames, RequestError> {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = self.send(request, Bytes::new()).await?;
        Ok(Frames::new(response.into_body()))
    }

    /// Returns the body of a response.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, RequestError> {
        let request = self.request(Method::GET, path);
        whole(self.send(request, Bytes::new()).await?).await
    }

    /// Sends JSON and returns the response's body. The response's head must arrive within `limit`.
    pub(crate) async fn post_json(
        &self,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        whole(self.send_within(request, body.into(), limit).await?).await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.prefix()))
            .header(header::HOST, self.address.authority());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, RequestError> {
        self.send_within(request, body, ANSWER_TIMEOUT).await
    }

    async fn send_within(
        &self,
        request: http::request::Builder,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<Incoming>, RequestError> {
        let request = request
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        let connecting = TcpStream::connect((self.address.host(), self.address.port()));
        let stream = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(RequestError::Refused);
            }
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_elapsed) => return Err(too_slow("connect", CONNECT_TIMEOUT)),
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
        // The task ends with the response, or when the response is dropped.
        tokio::spawn(connection);
        let response = match timeout(limit, sender.send_request(request)).await {
            Ok(response) => response.map_err(|error| failed(&error))?,
            Err(_elapsed) => return Err(too_slow("answer", limit)),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = whole(response).await.unwrap_or_default();
        Err(RequestError::Status(status, message_of(&body)))
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, RequestError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    match timeout(ANSWER_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(failed(&*error)),
        Err(_elapsed) => Err(too_slow("send its answer", ANSWER_TIMEOUT)),
    }
}

/// Returns the message of an error response: the text in `{"error":"…"}`, or else the body. At most
/// 1,000 characters.
fn message_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json["error"].as_str());
    let text = String::from_utf8_lossy(body);
    let text = message.unwrap_or(text.trim());
    text.chars()
        .take(1_000)
        .filter(|character| !character.is_control())
        .collect()
}

fn failed(error: &(dyn Error + 'static)) -> RequestError {
    RequestError::Failed(crate::failure::with_causes(error))
}

fn too_slow(what: &str, limit: Duration) -> RequestError {
    RequestError::Failed(format!("it did not {what} within {} s", limit.as_secs()))
}
