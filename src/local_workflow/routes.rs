//! The three HTTP routes of an engine: start an instance, stream its spans, send it an event. They run on the
//! connection's task and never block.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use axum::{Router, body::Body, extract::OriginalUri};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tower_service::Service;

use crate::{
    http::{
        auth::authorize::{self, AuthError},
        auth::cors,
        auth::host_check,
        error::HttpError,
        query_params::QueryParams,
        response,
        router::{denied, segments, set_security_headers, trace_events, with_stream_permit},
    },
    live_spans::LiveSpans,
    local_workflow::{engine::Engine, error::EngineError, id_rewrite::IdRewriter},
};

/// The bytes to percent-encode in a path: all but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Engine {
    /// Returns the routes for your axum app. Mount them at its root, or under a prefix with
    /// `.nest_service("/orders", ..)`.
    ///
    /// - `POST /` starts an instance. Its input is the JSON body, or `null` without a body. The response is `201` with
    ///   `Location: /{id}` and `{"id":…}`.
    /// - `GET /{id}/sse` streams the instance's spans, with the resume rules, the control events and the `?until=end`
    ///   of the log's own routes. In these events the trace id and the root span's id are the instance's id. The log's
    ///   own routes send the same events with hexadecimal ids. An unknown instance does not get an error status, from
    ///   which `EventSource` could not recover: the stream opens, reports `"known":false`, and ends with the reason
    ///   `unknown` after 5 minutes.
    /// - `POST /{id}/event` sends the event `{"type":…,"payload":…}`. Without a body or a `type`, the event is for the
    ///   step that waits, or for the next one to wait. The response is `204`; `404` if there is no such instance,
    ///   `409` if it has ended, or `429` if too many events wait for it.
    ///
    /// The access rules are those of the log. Without [`auth`](crate::LiveSpansBuilder::auth), only requests to
    /// loopback hosts are answered. A page of another site may not start or resume an instance.
    pub fn router(&self) -> Router {
        let routes = Routes {
            engine: self.clone(),
        };
        Router::new()
            .route_service("/", routes.clone())
            .route_service("/{instance}/sse", routes.clone())
            .route_service("/{instance}/event", routes)
    }
}

#[derive(Clone, Debug)]
struct Routes {
    engine: Engine,
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        let engine = self.engine.clone();
        Box::pin(async move {
            let (mut request, body) = req.into_parts();
            let config = &engine.live().shared.access;
            cors::strip_foreign_cookies(config, &mut request);
            let answer = if cors::is_preflight(&request) {
                cors::preflight(config, &request, "GET, POST").map_err(AuthError::from)
            } else {
                route(&engine, &request, body).await
            };
            let mut response = answer.unwrap_or_else(|error| denied(&request, error));
            set_security_headers(config, &request, &mut response);
            Ok(response)
        })
    }
}

async fn route(engine: &Engine, request: &Parts, body: Body) -> Result<Response<Body>, AuthError> {
    let live = engine.live();
    let config = &live.shared.access;
    let decoded = segments(request.uri.path())?;
    let segments: Vec<&str> = decoded.iter().map(|segment| &**segment).collect();
    let (allowed, method) = match segments.as_slice() {
        [""] | [_, "event"] => ("POST", Method::POST),
        _ => ("GET", Method::GET),
    };
    if request.method != method {
        host_check::check_host(config, request)?;
        let message = format!("only {allowed} is allowed");
        let mut response = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
        let allow = HeaderValue::from_static(allowed);
        response.headers_mut().insert(header::ALLOW, allow);
        return Ok(response);
    }
    match segments.as_slice() {
        [""] => {
            expect_writer(live, request).await?;
            Ok(create(engine, request, body).await?)
        }
        [instance, "event"] => {
            expect_writer(live, request).await?;
            Ok(event(engine, instance, body).await?)
        }
        [instance, "sse"] => stream(engine, request, instance).await,
        _ => {
            authorize::authorize(live, request).await?;
            Err(HttpError::not_found("no such route").into())
        }
    }
}

/// Refuses clients without access to the whole log, because there is no separate permission to write. Also refuses
/// requests from pages of other sites, because a browser sends such a `POST` without a CORS preflight.
async fn expect_writer(live: &LiveSpans, request: &Parts) -> Result<(), AuthError> {
    let authorization = authorize::authorize(live, request).await?;
    authorization.require_full_access()?;
    Ok(cors::check_writer(&live.shared.access, request)?)
}

async fn create(engine: &Engine, request: &Parts, body: Body) -> Result<Response<Body>, HttpError> {
    #[derive(Serialize)]
    struct Created<'a> {
        id: &'a str,
    }
    let input: Option<Json> = read(engine, body).await?;
    let id = engine.create(input.unwrap_or_default())?;
    let mut response = response::json(&Created { id: &id });
    *response.status_mut() = StatusCode::CREATED;
    let original = request.extensions.get::<OriginalUri>();
    let prefix = original.map_or("", |OriginalUri(uri)| uri.path());
    let location = format!(
        "{}/{}",
        prefix.trim_end_matches('/'),
        utf8_percent_encode(&id, ESCAPED)
    );
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn event(engine: &Engine, instance: &str, body: Body) -> Result<Response<Body>, HttpError> {
    #[derive(Deserialize)]
    struct Sent {
        r#type: Option<String>,
        #[serde(default)]
        payload: Json,
    }
    // Checked before the body is read, so a request with a guessed id costs the server nothing.
    engine.state(instance)?;
    let sent: Option<Sent> = read(engine, body).await?;
    let (event, payload) = sent.map_or((None, Json::Null), |sent| (sent.r#type, sent.payload));
    engine.put(instance, event.as_deref(), payload)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn stream(
    engine: &Engine,
    request: &Parts,
    instance: &str,
) -> Result<Response<Body>, AuthError> {
    let live = engine.live();
    cors::check_reader(&live.shared.access, request)?;
    let params = QueryParams::of(&request.uri)?;
    let trace = Ok(engine.trace_id(instance));
    let (authorization, trace) =
        authorize::authorize_trace(live, request, trace, params.one("ticket")?).await?;
    let rewriter = IdRewriter::new(trace, instance);
    let stream = || trace_events(live, request, trace, (&params, &authorization));
    let response = with_stream_permit(live, request, &authorization, || {
        Ok(stream()?.map(|body| rewriter.body(body)))
    });
    Ok(response?)
}

/// Reads a body as JSON. Returns `None` for an empty body.
async fn read<T: serde::de::DeserializeOwned>(
    engine: &Engine,
    body: Body,
) -> Result<Option<T>, HttpError> {
    let max = engine.body_bytes_max();
    let bytes = axum::body::to_bytes(body, max).await.map_err(|_error| {
        let message = format!("the body is unreadable or longer than {max} bytes");
        HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let message = format!("the body is not the expected JSON: {error}");
        HttpError::new(StatusCode::BAD_REQUEST, message)
    })
}

impl From<EngineError> for HttpError {
    fn from(refused: EngineError) -> Self {
        let status = match refused {
            EngineError::Unknown => StatusCode::NOT_FOUND,
            EngineError::Over | EngineError::Taken => StatusCode::CONFLICT,
            EngineError::Full => StatusCode::TOO_MANY_REQUESTS,
            EngineError::Invalid(_) => StatusCode::BAD_REQUEST,
            EngineError::NoRuntime => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refused.to_string())
    }
}
