//! Routes one request: checks access, selects the route, completes the response. It runs on the connection's task,
//! which may be the host's.

use std::{
    borrow::Cow,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll},
};

use axum::{Router, body::Body, extract::OriginalUri};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, header, request::Parts, uri::Authority,
};
use opentelemetry::{Context, trace::TraceContextExt as _};
use tower_service::Service;

#[cfg(feature = "otlp-grpc")]
use crate::span::own_requests::GRPC_SERVICES;
#[cfg(feature = "otlp")]
use crate::span::own_requests::OTLP_ROUTES;
use crate::{
    access::config::AccessConfig,
    http::{
        auth::authorize::{self, AuthError, Authorization},
        auth::cors,
        auth::host_check::{self, Peer},
        auth::login,
        error::HttpError,
        event_filter::{FilteredProjection, StreamFilter},
        query_params::QueryParams,
        routes::{self, trace_list::LiveListQuery},
        stream_guard::{self, ServerShutdown, StreamServer},
    },
    ingest::buffer::RecordClass,
    live_spans::LiveSpans,
    log::event::StreamKey,
    reader::subscription::Subscribe,
    span::{event::TraceId, own_requests::ROUTES, record},
    sse::body::{SseBody, resume_point},
    util::{
        query::{self, NotUtf8},
        sync::lock,
    },
    wire::{control::EndReason, id::ResumePoint},
    workflow::Workflows,
};

impl LiveSpans {
    /// Returns the routes, for your own axum app under any prefix: `app.nest_service("/live",
    /// live.router())`, or `.nest("/live", live.router())`. With `.nest`, axum answers `/live` but
    /// not `/live/`; `.nest_service` answers both. If you merge it into an app, it serves the path
    /// `/` and its own routes, and leaves all others to the app.
    ///
    /// **Set [`auth`](crate::LiveSpansBuilder::auth) before your app listens beyond loopback.**
    /// Without access control, a request is answered only if its `Host` is a loopback host or one
    /// of [`allowed_hosts`](crate::LiveSpansBuilder::allowed_hosts). This check stops browsers but
    /// not other programs, because a program can send any `Host`. If your server provides the
    /// client's address ([`ConnectInfo`](axum::extract::ConnectInfo), by
    /// `into_make_service_with_connect_info::<SocketAddr>()`), clients on other machines are
    /// refused as well. Behind a proxy on this machine, every client seems to be local.
    ///
    /// Spans that your own middleware makes around these routes are not shown; `/status` counts them. All events are
    /// delayed by 100 ms until the first request shows where the router is mounted. The delay stays if livespan can
    /// recognise such spans only by their ids, as with routes mounted at the root: it must know an id before it
    /// encodes the span.
    ///
    /// A client that stops reading costs one block of at most 64 KiB, until your server's write
    /// time-out, if any, closes its connection.
    ///
    /// An open stream delays a graceful shutdown of your server. Call
    /// [`end_streams`](LiveSpans::end_streams) in the future that you give to
    /// `with_graceful_shutdown`, and [`shutdown`](LiveSpans::shutdown) after the server has ended.
    /// In an app with a state, nest or merge the router after `with_state`.
    ///
    /// Senders of OTLP over HTTP put the prefix into their endpoint. Senders over gRPC cannot: they
    /// work with a merged router, and need `grpc_router` beside one under a prefix (feature
    /// `otlp-grpc`).
    pub fn router(&self) -> Router {
        let service = self.mounted_service();
        #[cfg(feature = "otlp")]
        let otlp = match self.shared.receiver {
            Some(_) => OTLP_ROUTES,
            None => &[],
        };
        #[cfg(not(feature = "otlp"))]
        let otlp: &[&str] = &[];
        // No fallback route: axum loses it when a router is nested twice, and refuses it below a
        // path with parameters.
        let names = ROUTES.iter().chain(otlp);
        let router = names.fold(
            Router::new().route_service("/", service.clone()),
            |router, name| {
                router
                    .route_service(&format!("/{name}"), service.clone())
                    .route_service(&format!("/{name}/{{*rest}}"), service.clone())
            },
        );
        #[cfg(feature = "otlp-grpc")]
        let router = match self.shared.receiver {
            Some(_) => router.merge(grpc_routes(&service)),
            None => router,
        };
        router
    }

    /// Returns only the routes of OTLP over gRPC, for an app that nests [`router`](Self::router)
    /// under a prefix. Senders of gRPC cannot use a prefix, so these routes must be at the root.
    /// Your server must speak HTTP/2, even without TLS; `axum::serve` does, with axum's feature
    /// `http2`. Without [`otlp`](crate::LiveSpansBuilder::otlp), the response to a call is
    /// `UNIMPLEMENTED`.
    ///
    /// ```
    /// use livespan::{LiveSpans, otlp::OtlpReceiver};
    ///
    /// let live = LiveSpans::builder().otlp(OtlpReceiver::default()).build()?;
    /// let app: axum::Router = axum::Router::new()
    /// .nest_service("/live", live.router())
    /// .merge(live.grpc_router());
    /// # live.shutdown()?;
    /// # Ok::<(), livespan::Error>(())
    /// ```
    #[cfg(feature = "otlp-grpc")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otlp-grpc")))]
    pub fn grpc_router(&self) -> Router {
        grpc_routes(&self.mounted_service())
    }

    fn mounted_service(&self) -> LiveService {
        self.shared.mounts.expect_request();
        LiveService {
            live: self.clone(),
            mounted: true,
        }
    }
}

#[cfg(feature = "otlp-grpc")]
fn grpc_routes(service: &LiveService) -> Router {
    GRPC_SERVICES.iter().fold(Router::new(), |router, name| {
        router.route_service(&format!("/{name}/{{method}}"), service.clone())
    })
}

/// Our routes as a service.
#[derive(Clone, Debug)]
pub(crate) struct LiveService {
    pub(crate) live: LiveSpans,
    /// Whether the service is mounted in an app, whose middleware may surround it.
    pub(crate) mounted: bool,
}

impl Service<Request<Body>> for LiveService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        // This runs before the future is returned: the worker must learn that the span is ours before it encodes the
        // span.
        if self.mounted {
            self.hide_own_request(&req);
        }
        let live = self.live.clone();
        let (mut request, body) = req.into_parts();
        cors::strip_foreign_cookies(&live.shared.access, &mut request);
        #[cfg(feature = "otlp-grpc")]
        if routes::otlp::grpc::is_grpc(&request) {
            let answer = async move { Ok(routes::otlp::grpc::answer(&live, &request, body).await) };
            return Box::pin(answer);
        }
        #[cfg(feature = "otlp")]
        if let Some(target) = routes::otlp::target_of(&request) {
            return Box::pin(async move {
                let mut response = routes::otlp::answer(&live, &request, target, body).await;
                set_security_headers(&live.shared.access, &request, &mut response);
                Ok(response)
            });
        }
        #[cfg(feature = "mcp")]
        if routes::mcp::route::is_mcp(&request) {
            return Box::pin(async move { Ok(ask_by_agent(&live, &request, body).await) });
        }
        // Only one other route reads a body: the login form.
        if request.method == Method::POST && request.uri.path().trim_start_matches('/').is_empty() {
            return Box::pin(async move { Ok(sign_in_by_form(&live, &request, body).await) });
        }
        // The body is not `Sync`. Without it, a future that borrows the request is `Send`.
        drop(body);
        Box::pin(async move { Ok(answer(&live, &request).await) })
    }
}

impl LiveService {
    /// Keeps the span that the host's middleware made for this request out of the log.
    fn hide_own_request(&self, request: &Request<Body>) {
        let path = request.uri().path();
        let original = request.extensions().get::<OriginalUri>();
        let original = original.map_or(path, |OriginalUri(uri)| uri.path());
        let context = Context::current();
        let span = context.span();
        let is_recording = span.is_recording();
        let span = span.span_context();
        // A span that does not record never reaches the log, so its id need not be stored.
        if is_recording && !span.is_remote() {
            let buffer = &self.live.shared.parts.runtime.buffer;
            drop(buffer.push(RecordClass::Internal, |buf| record::write_hide(buf, span)));
        }
        let mounts = &self.live.shared.mounts;
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let uri = request.uri().authority().map(Authority::as_str);
        mounts.learn(original, path, uri.or(host));
        if !is_recording {
            mounts.require_no_ids();
        }
    }
}

#[cfg(feature = "mcp")]
async fn ask_by_agent(live: &LiveSpans, request: &Parts, body: Body) -> Response<Body> {
    let answered = routes::mcp::route::answer(live, request, body).await;
    let mut response = answered.unwrap_or_else(|error| denied(request, error));
    set_security_headers(&live.shared.access, request, &mut response);
    response
}

async fn sign_in_by_form(live: &LiveSpans, request: &Parts, body: Body) -> Response<Body> {
    let config = &live.shared.access;
    let mut response = match host_check::check_host(config, request) {
        Ok(()) => login::by_form(live, request, body).await,
        Err(error) => Err(error),
    }
    .unwrap_or_else(HttpError::into_response);
    set_security_headers(config, request, &mut response);
    response
}

async fn answer(live: &LiveSpans, request: &Parts) -> Response<Body> {
    let head = request.method == Method::HEAD;
    let config = &live.shared.access;
    let routed = if cors::is_preflight(request) {
        cors::preflight(config, request, "GET, HEAD").map_err(AuthError::from)
    } else {
        route(live, request).await
    };
    let mut response = match routed {
        Ok(response) => response,
        Err(error) => denied(request, error),
    };
    if head {
        *response.body_mut() = Body::empty();
    }
    set_security_headers(config, request, &mut response);
    response
}

/// Responds to a refused request. If access has expired, a stream gets an `end` (`expired`) instead of an error: an
/// `EventSource` gives up for ever after an error, but the permission may be renewed.
pub(crate) fn denied(request: &Parts, error: AuthError) -> Response<Body> {
    match error {
        AuthError::Expired if is_stream(request) => stream_guard::ended_stream(EndReason::Expired),
        error => HttpError::from(error).into_response(),
    }
}

fn is_stream(request: &Parts) -> bool {
    let segments = segments(request.uri.path()).unwrap_or_default();
    segments.last().is_some_and(|segment| segment == "sse")
}

/// Sets the headers that every response needs: CORS, and those that keep a browser from guessing the type, sending a
/// referrer, embedding the response in another site, or running scripts in it.
pub(crate) fn set_security_headers(
    config: &AccessConfig,
    request: &Parts,
    response: &mut Response<Body>,
) {
    cors::mark(config, request, response);
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
}

async fn route(live: &LiveSpans, request: &Parts) -> Result<Response<Body>, AuthError> {
    let config = &live.shared.access;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return change(live, request).await;
    }
    // A browser sends the origin with a module script even to the script's own server. A proxy may
    // call the server by another name, so assets skip this check.
    if !cors::is_asset(request) {
        cors::check_reader(config, request)?;
    }
    let params = QueryParams::of(&request.uri)?;
    let decoded = segments(request.uri.path())?;
    let segments: Vec<&str> = decoded.iter().map(|segment| &**segment).collect();
    let trace = match segments.as_slice() {
        ["traces", id, "sse"] => Some(id.parse().map_err(HttpError::from)),
        ["workflows", namespace, instance, "sse"] => Some(Ok(Workflows::new(live)
            .namespace(*namespace)
            .trace_id(instance))),
        _ => None,
    };
    if let Some(trace) = trace {
        let (authorization, trace) =
            authorize::authorize_trace(live, request, trace, params.one("ticket")?).await?;
        let stream = || trace_events(live, request, trace, (&params, &authorization));
        return Ok(with_stream_permit(live, request, &authorization, stream)?);
    }
    if segments == [""]
        && let Some(response) = sign_in_by_link(live, request, &params)?
    {
        return Ok(response);
    }
    let authorization = match authorize::authorize(live, request).await {
        Err(error) if segments == [""] => {
            return Ok(login::page(error.into(), &request.headers)?);
        }
        authorization => authorization?,
    };
    Ok(match segments.as_slice() {
        [""] => page(request).await,
        ["assets", file] => asset(request, file).await,
        ["sse"] => with_stream_permit(live, request, &authorization, || {
            all_events(live, request, (&params, &authorization))
        }),
        ["traces"] => traces(live, (&params, &authorization)).await,
        ["traces", "sse"] => {
            let query = LiveListQuery::of(live, (&params, &authorization)).await?;
            with_stream_permit(live, request, &authorization, || {
                Ok(routes::trace_list::live(live, query))
            })
        }
        ["traces", id] => {
            routes::trace_snapshot::route::answer(
                live,
                id.parse().map_err(HttpError::from)?,
                (&params, &authorization),
            )
            .await
        }
        ["logs"] => routes::logs::page(live, (&params, &authorization)).await,
        ["running"] => routes::running::answer(live, (&params, &authorization)).await,
        ["operations" | "status"] | ["stats", "durations"] => {
            authorization.require_full_access()?;
            figures(live, &segments, &params)
        }
        _ => Err(HttpError::not_found("no such route")),
    }?)
}

/// Responds with figures of the whole log.
fn figures(
    live: &LiveSpans,
    segments: &[&str],
    params: &QueryParams<'_>,
) -> Result<Response<Body>, HttpError> {
    match segments {
        ["operations"] => routes::operations::page(live, params),
        ["status"] => Ok(routes::status::status(live)),
        _ => routes::durations::durations(live, params),
    }
}

/// Responds with a page of the list, or with traces in one file.
async fn traces(
    live: &LiveSpans,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    if params.one("format")? == Some("html") {
        return routes::trace_snapshot::route::answer_file(live, (params, authorization)).await;
    }
    routes::trace_list::page(live, (params, authorization)).await
}

/// Responds to a request that changes something and has no body.
async fn change(live: &LiveSpans, request: &Parts) -> Result<Response<Body>, AuthError> {
    host_check::check_host(&live.shared.access, request)?;
    let decoded = segments(request.uri.path())?;
    let segments: Vec<&str> = decoded.iter().map(|segment| &**segment).collect();
    match routes::keep::trace_of(request, &segments) {
        Some(trace) => routes::keep::answer(live, request, trace).await,
        None => Err(HttpError::method_not_allowed().into()),
    }
}

/// Signs in by the one-time link, if the request has one.
fn sign_in_by_link(
    live: &LiveSpans,
    request: &Parts,
    params: &QueryParams<'_>,
) -> Result<Option<Response<Body>>, HttpError> {
    host_check::check_host(&live.shared.access, request)?;
    login::by_link(live, request, params)
}

/// Responds with a stream if a permit is free for its reader, and otherwise with a stream that ends at once with the
/// reason `overload`. The stream ends when the reader may no longer read.
pub(crate) fn with_stream_permit(
    live: &LiveSpans,
    request: &Parts,
    authorization: &Authorization,
    stream: impl FnOnce() -> Result<Response<Body>, HttpError>,
) -> Result<Response<Body>, HttpError> {
    let peer = request.extensions.get::<Peer>();
    let Some(permit) = live
        .shared
        .stream_limits
        .acquire(peer.map(|Peer(address)| *address))
    else {
        return Ok(stream_guard::ended_stream(EndReason::Overload));
    };
    let response = stream()?;
    let server = request.extensions.get::<StreamServer>();
    let shutdown = server.map(|server| ServerShutdown::new(live.log(), server));
    Ok(stream_guard::guard_stream(
        response,
        authorization.clone(),
        permit,
        shutdown,
    ))
}

#[cfg(feature = "dashboard")]
async fn page(request: &Parts) -> Result<Response<Body>, HttpError> {
    let original = request.extensions.get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri.path(), |OriginalUri(uri)| uri.path());
    let forwarded = request.headers.get("x-forwarded-prefix");
    let forwarded = forwarded.and_then(|prefix| Some(prefix.to_str().ok()?.to_owned()));
    let (path, headers) = (path.to_owned(), request.headers.clone());
    let made = move || crate::dashboard::page(&path, forwarded.as_deref(), &headers);
    crate::http::blocking::run_blocking(made).await
}

#[cfg(feature = "dashboard")]
async fn asset(request: &Parts, file: &str) -> Result<Response<Body>, HttpError> {
    let (file, headers) = (file.to_owned(), request.headers.clone());
    // The first request for a file compresses it, which takes up to tens of milliseconds.
    let made =
        crate::http::blocking::run_blocking(move || crate::dashboard::asset(&file, &headers))
            .await?;
    made.ok_or_else(|| HttpError::not_found("no such asset"))
}

#[cfg(not(feature = "dashboard"))]
#[expect(
    clippy::unused_async,
    reason = "it awaits with the feature `dashboard`"
)]
async fn page(_request: &Parts) -> Result<Response<Body>, HttpError> {
    Err(HttpError::not_found(
        "livespan was built without its feature `dashboard`",
    ))
}

#[cfg(not(feature = "dashboard"))]
async fn asset(request: &Parts, _file: &str) -> Result<Response<Body>, HttpError> {
    page(request).await
}

fn all_events(
    live: &LiveSpans,
    request: &Parts,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let filter = params.event_filter()?;
    let resume = resume_point(&request.headers, &request.uri);
    let mut options = Subscribe::all().resume(resume);
    let wanted = params.trace_ids()?;
    match authorization.traces() {
        None => {
            for trace in wanted {
                options = options.stream(trace.stream_key());
            }
        }
        Some(allowed) => {
            // With no streams selected, the subscription would cover all streams.
            options = options
                .open_global_events(authorization.open_global_events())
                .stream(StreamKey::nobody());
            let is_wanted = |trace: &&TraceId| wanted.is_empty() || wanted.contains(trace);
            for trace in allowed.iter().filter(is_wanted) {
                options = options.stream(trace.stream_key());
            }
        }
    }
    if !filter.is_empty() {
        let filter = Mutex::new(StreamFilter::new(filter, live.log()));
        options = options.filter(move |name, payload| lock(&filter).accepts(name, payload));
    }
    let server = request.extensions.get::<StreamServer>();
    let reader = options
        .wake_group(server.map(|server| Arc::clone(&server.readers)))
        .reader(live.log());
    let body = SseBody::new(reader, resume == ResumePoint::Live, None);
    let body = body.with_projection(authorization.projection());
    Ok(body.into_response().map(Body::new))
}

pub(crate) fn trace_events(
    live: &LiveSpans,
    request: &Parts,
    trace: TraceId,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let resume = resume_point(&request.headers, &request.uri);
    let response = match params.one("until")? {
        Some("end") => live.respond_until_end(trace, resume, authorization.open_global_events()),
        Some(other) => {
            let message = format!("the parameter until is {other:?}, not \"end\"");
            return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
        }
        None => {
            let options = Subscribe::to(trace.stream_key()).resume(resume);
            let reader = options
                .open_global_events(authorization.open_global_events())
                .reader(live.log());
            SseBody::new(reader, resume == ResumePoint::Live, None).into_response()
        }
    };
    let mut projection = authorization.projection();
    let filter = params.event_filter()?;
    if !filter.is_empty() {
        let filter = StreamFilter::new(filter, live.log());
        let filtered = FilteredProjection::new(projection, filter, authorization.is_viewed());
        projection = Some(Box::new(filtered));
    }
    Ok(response.map(|body| Body::new(body.with_projection(projection))))
}

/// Returns the decoded segments of a path.
pub(crate) fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, HttpError> {
    let segments = path.trim_start_matches('/').split('/');
    let decoded = segments.map(|segment| {
        query::segment(segment).map_err(|NotUtf8| {
            let message = format!("the path segment {segment:?} is not percent-encoded UTF-8");
            HttpError::new(StatusCode::BAD_REQUEST, message)
        })
    });
    decoded.collect()
}
