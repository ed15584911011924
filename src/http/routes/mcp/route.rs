//! The HTTP side of `POST /mcp`. Host, origin and access are checked as on every route. The request
//! and the response are one bounded JSON message each. It runs on the connection's task.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::OriginalUri,
};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts, uri::Authority,
};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::{
    http::{
        auth::{
            authorize::{self, AuthError},
            cors,
            host_check::{self, Peer},
        },
        error::HttpError,
        response,
        routes::mcp::{
            arguments::Arguments,
            call::ToolCall,
            rpc::{INVALID_PARAMS, RpcError, RpcMessage, RpcRequest},
            tools::Tool,
        },
    },
    live_spans::LiveSpans,
    trace::filter::TraceFilter,
};

/// Upper bound on the bytes of a message.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Time within which a client must send the whole message.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns whether the request is for this route.
pub(crate) fn is_mcp(request: &Parts) -> bool {
    request.uri.path().trim_start_matches('/') == "mcp"
}

pub(crate) async fn answer(
    live: &LiveSpans,
    request: &Parts,
    body: Body,
) -> Result<Response<Body>, AuthError> {
    let config = &live.shared.access;
    host_check::check_host(config, request)?;
    if cors::is_preflight(request) {
        return Ok(cors::preflight(config, request, "POST")?);
    }
    if request.method != Method::POST {
        return Ok(only_post());
    }
    cors::check_writer(config, request)?;
    let authorization = authorize::authorize(live, request).await?;
    require_json(&request.headers)?;
    let body = read(body).await?;
    let filter = TraceFilter {
        within: authorization.traces().map(Arc::clone),
        ..TraceFilter::default()
    };
    let message = match RpcMessage::read(&body) {
        Ok(RpcMessage::Request(message)) => message,
        Ok(RpcMessage::Notification) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            return Ok(response);
        }
        Err(error) => return Ok(failed(&error, None)),
    };
    if let Err(error) = message.check(&request.headers) {
        return Ok(failed(&error, Some(&message.id)));
    }
    Ok(match message.answer_at_once() {
        Some(Ok(result)) => response::json(&message.response(result)),
        Some(Err(error)) => failed(&error, Some(&message.id)),
        None => match call(live, request, filter, &message).await? {
            Ok(result) => {
                // The call may have waited for longer than its reader's permission lasts.
                authorize::authorize(live, request).await?;
                response::json(&message.response(result))
            }
            Err(error) => failed(&error, Some(&message.id)),
        },
    })
}

/// Calls a tool. An error that an agent can correct becomes a result with a message; only an
/// unknown tool is an RPC error.
async fn call(
    live: &LiveSpans,
    request: &Parts,
    filter: TraceFilter,
    message: &RpcRequest,
) -> Result<Result<Json, RpcError>, HttpError> {
    let name = message.params.get("name").and_then(Json::as_str);
    let Some(tool) = name.and_then(Tool::named) else {
        let name: String = name.unwrap_or_default().chars().take(80).collect();
        let message = format!("Unknown tool: {name:?}. The tools are {}", Tool::names());
        return Ok(Err(RpcError::new(INVALID_PARAMS, message)));
    };
    // Each call takes the permit of a stream: `wait` occupies the server like a stream, and a read takes memory.
    let peer = request.extensions.get::<Peer>();
    let limits = &live.shared.stream_limits;
    let permit = limits.acquire(peer.map(|Peer(address)| *address));
    let _permit = permit.ok_or_else(|| busy("too many readers are connected: try again"))?;
    let page = page_of(request);
    let answered = match Arguments::of(tool, message.params.get("arguments")) {
        Err(error) => Err(error),
        Ok(arguments) => {
            let call = ToolCall {
                live,
                tool,
                filter,
                page: page.as_deref(),
                arguments,
            };
            call.answer().await
        }
    };
    let is_error = answered.is_err();
    let text = answered.unwrap_or_else(|error| error);
    Ok(Ok(json!({
        "content": [{"type": "text", "text": text}],
        "isError": is_error,
    })))
}

pub(super) fn busy(message: &str) -> HttpError {
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn require_json(headers: &HeaderMap) -> Result<(), HttpError> {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the content type of the body must be application/json";
    Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

async fn read(body: Body) -> Result<bytes::Bytes, HttpError> {
    let read = timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    let read = read.map_err(|_elapsed| {
        let message = "the message did not come in time";
        HttpError::new(StatusCode::REQUEST_TIMEOUT, message)
    })?;
    read.map_err(|_error| {
        let message = format!("the message is longer than {BODY_BYTES_MAX} bytes, or was cut off");
        HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })
}

fn failed(error: &RpcError, id: Option<&Json>) -> Response<Body> {
    let mut response = response::json(&error.json(id));
    *response.status_mut() = error.status;
    response
}

fn only_post() -> Response<Body> {
    let message = "only POST is answered: this server holds no session and sends nothing by itself";
    let mut response = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
    let allow = HeaderValue::from_static("POST");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Returns the page's address from the client's point of view, or `None` if it is unknown, long or has unusual
/// characters.
fn page_of(request: &Parts) -> Option<String> {
    if cfg!(not(feature = "dashboard")) {
        return None;
    }
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let host = request.uri.authority().map(Authority::as_str);
    let host = host.or_else(|| header("host"))?;
    let original = request.extensions.get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri.path(), |OriginalUri(uri)| uri.path());
    let path = path.trim_end_matches('/').strip_suffix("mcp")?;
    let prefix = header("x-forwarded-prefix").unwrap_or_default();
    let scheme = match header("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    // The client controls these parts, and they become part of a text for an agent.
    let is_plain = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:/[]%".contains(&byte);
        text.len() <= 200 && text.bytes().all(plain)
    };
    let address = format!("{scheme}://{host}{}{path}", prefix.trim_end_matches('/'));
    is_plain(&address).then_some(address)
}
