//! Authorizes each request by token, cookie, ticket or the app's own check. The result is the access that the sender
//! has, or an error such as 401 or 403. `access::token_signer` compares the token and verifies cookies and tickets. All
//! of this runs on the connection's task.

use std::{
    collections::HashSet,
    fmt, future,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use tokio::time::timeout;

use crate::{
    access::{
        Access, AccessScope, Auth, AuthRule, Check, CheckAsync,
        token_signer::{TokenSigner, Verification},
        trace_scope::TraceScope,
        view::View,
    },
    engine::diagnostics::Diagnostic,
    http::{auth::host_check, error::HttpError},
    live_spans::LiveSpans,
    reader::OpenGlobalEvents,
    span::event::TraceId,
    sse::body::Projection,
    util::sync::catch_panic,
};

/// The reason why a request is refused.
#[derive(Debug)]
pub(crate) enum AuthError {
    Http(HttpError),
    /// The sender's access has expired.
    Expired,
}

impl From<HttpError> for AuthError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<crate::error::Error> for AuthError {
    fn from(error: crate::error::Error) -> Self {
        Self::Http(error.into())
    }
}

impl From<AuthError> for HttpError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Http(error) => error,
            AuthError::Expired => Self::unauthorized("access has expired: sign in again"),
        }
    }
}

/// The access of a request's sender, and the check that is repeated while its stream runs.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) access: Access,
    /// The view through which a ticket's holder sees the trace.
    view: Option<View>,
    pub(crate) recheck: Option<AccessCheck>,
}

#[derive(Clone)]
pub(crate) enum AccessCheck {
    Check(Check, Arc<Parts>),
    CheckAsync(CheckAsync, Arc<Parts>),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Authorization {
    fn new(access: Access) -> Self {
        Self {
            access,
            view: None,
            recheck: None,
        }
    }

    /// Returns the traces that the sender may read, or `None` for all.
    pub(crate) fn traces(&self) -> Option<&Arc<HashSet<TraceId>>> {
        match &self.access.scope {
            AccessScope::Traces(traces) => Some(traces),
            AccessScope::Everything => None,
            // `require_some_access` has already refused these requests.
            AccessScope::Nothing | AccessScope::Expired => Some(&NO_TRACES),
        }
    }

    /// Returns an error for a reader who may not read the whole log.
    pub(crate) fn require_full_access(&self) -> Result<(), HttpError> {
        match self.traces() {
            None => Ok(()),
            Some(_) => Err(HttpError::new(
                StatusCode::FORBIDDEN,
                "this route covers the whole log, and this reader may read only some traces",
            )),
        }
    }

    /// Returns an error for a reader who may not read this trace. The message is the same whether
    /// or not the trace exists.
    pub(crate) fn require_trace(&self, trace: TraceId) -> Result<(), HttpError> {
        match self.traces() {
            Some(traces) if !traces.contains(&trace) => Err(HttpError::new(
                StatusCode::FORBIDDEN,
                format!("this reader may not read the trace {trace}"),
            )),
            _ => Ok(()),
        }
    }

    /// Returns when the reader gets earlier events that belong to every stream. A reader of some
    /// traces is shown a process only with that process's first visible event. So the `process`
    /// events from before the reader's cursor are replayed.
    pub(crate) fn open_global_events(&self) -> OpenGlobalEvents {
        if self.traces().is_some() {
            OpenGlobalEvents::Always
        } else {
            OpenGlobalEvents::AtHead
        }
    }

    /// Returns whether the reader sees a trace through a view.
    pub(crate) fn is_viewed(&self) -> bool {
        self.view.is_some()
    }

    /// Returns the projection through which the reader sees events, or `None` if events are sent unchanged.
    pub(crate) fn projection(&self) -> Option<Box<dyn Projection>> {
        let viewed = self.view.as_ref().and_then(View::projection);
        viewed.or_else(|| Some(Box::new(TraceScope::of(self.traces()?))))
    }
}

static NO_TRACES: std::sync::LazyLock<Arc<HashSet<TraceId>>> =
    std::sync::LazyLock::new(Arc::default);

impl LiveSpans {
    /// Signs a ticket for one trace. Until `ttl` has passed, and for at most
    /// [`Auth::TICKET_AGE_MAX`](crate::Auth::TICKET_AGE_MAX), everyone who has the ticket may read
    /// `/traces/{trace}/sse?ticket=…`, and the stream of a workflow instance with that trace, through the
    /// [`ticket_view`](crate::LiveSpansBuilder::ticket_view). Tickets are for product pages, whose `EventSource` cannot
    /// send headers. The page may be on [another origin](crate::LiveSpansBuilder::allowed_origins). A stream that still
    /// runs when the ticket expires ends with `end` (`expired`).
    ///
    /// A ticket is part of a URL, and URLs are logged. Choose a short `ttl`, and issue a new ticket
    /// when the old one has expired.
    ///
    /// ```
    /// use std::time::Duration;
    /// use livespan::{LiveSpans, TraceId};
    ///
    /// let live = LiveSpans::builder().allowed_origins(["https://shop.example"]).build()?;
    /// let trace: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse()?;
    /// let ticket = live.ticket(trace, Duration::from_secs(600));
    /// let address = format!("https://api.shop.example/live/traces/{trace}/sse?ticket={ticket}");
    /// # drop(address);
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn ticket(&self, trace: TraceId, ttl: Duration) -> String {
        let now = SystemTime::now();
        let until = now.checked_add(ttl).unwrap_or(now + Auth::TICKET_AGE_MAX);
        self.shared
            .signer
            .issue_ticket(trace, until.min(now + Auth::TICKET_AGE_MAX))
    }
}

/// Returns the access of the request's sender, by the app's access settings.
pub(crate) async fn authorize(
    live: &LiveSpans,
    request: &Parts,
) -> Result<Authorization, AuthError> {
    let config = &live.shared.access;
    host_check::check_host(config, request)?;
    let authorization = match &config.auth {
        None | Some(Auth(AuthRule::Public)) => Authorization::new(Access::everything()),
        Some(Auth(AuthRule::Token(_) | AuthRule::TokenFrom(_))) => {
            Authorization::new(by_token(live, &request.headers)?)
        }
        Some(Auth(AuthRule::Check(check))) => {
            let recheck = AccessCheck::Check(Arc::clone(check), Arc::new(request.clone()));
            run_check(recheck).await?
        }
        Some(Auth(AuthRule::CheckAsync(check))) => {
            let recheck = AccessCheck::CheckAsync(Arc::clone(check), Arc::new(request.clone()));
            run_check(recheck).await?
        }
    };
    require_some_access(authorization)
}

/// Authorizes a request for one trace. A valid ticket for that trace suffices: the `Host` is then not checked, because
/// no page can obtain a ticket by DNS rebinding.
pub(crate) async fn authorize_trace(
    live: &LiveSpans,
    request: &Parts,
    trace: Result<TraceId, HttpError>,
    ticket: Option<&str>,
) -> Result<(Authorization, TraceId), AuthError> {
    let Some(ticket) = ticket else {
        let authorization = authorize(live, request).await?;
        let trace = trace?;
        authorization.require_trace(trace)?;
        return Ok((authorization, trace));
    };
    let trace = trace?;
    let until = match live
        .shared
        .signer
        .verify_ticket(trace, ticket, SystemTime::now())
    {
        Verification::ValidUntil(until) => until,
        Verification::Expired => return Err(AuthError::Expired),
        Verification::Invalid => {
            count_invalid_credentials(live);
            let message = format!("the ticket is not valid for the trace {trace}");
            return Err(HttpError::new(StatusCode::FORBIDDEN, message).into());
        }
    };
    let mut authorization = Authorization::new(Access::traces([trace]).until(until));
    authorization.view = Some(live.shared.access.ticket_view.clone());
    Ok((authorization, trace))
}

fn require_some_access(authorization: Authorization) -> Result<Authorization, AuthError> {
    let access = authorization.access.clone().at(SystemTime::now());
    match access.scope {
        AccessScope::Nothing => Err(HttpError::new(
            StatusCode::FORBIDDEN,
            "this reader may not read anything of this log",
        )
        .into()),
        AccessScope::Expired => Err(AuthError::Expired),
        AccessScope::Everything | AccessScope::Traces(_) => Ok(authorization),
    }
}

async fn run_check(recheck: AccessCheck) -> Result<Authorization, AuthError> {
    let access = timeout(Auth::CHECK_TIMEOUT, recheck.run())
        .await
        .map_err(|_elapsed| {
            let message = "the app's access check did not answer in time";
            HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
    Ok(Authorization {
        access,
        view: None,
        recheck: Some(recheck),
    })
}

impl AccessCheck {
    /// Calls the app's check. If the call or its future panics, the result is no access.
    pub(crate) fn run(&self) -> impl Future<Output = Access> + Send + 'static {
        let asked = catch_panic(|| match self {
            Self::Check(check, parts) => Ok(check(parts)),
            Self::CheckAsync(check, parts) => Err(check(Parts::clone(parts))),
        });
        async move {
            match asked {
                Some(Ok(access)) => access,
                Some(Err(mut waiting)) => {
                    future::poll_fn(|cx| {
                        let polled = catch_panic(|| waiting.as_mut().poll(cx));
                        polled.unwrap_or_else(|| Poll::Ready(Access::nothing()))
                    })
                    .await
                }
                None => Access::nothing(),
            }
        }
    }
}

/// Counts a wrong token, cookie or ticket. There is no delay afterwards: the token's length decides how hard it is to
/// guess.
pub(crate) fn count_invalid_credentials(live: &LiveSpans) {
    live.shared
        .invalid_credentials
        .fetch_add(1, Ordering::Relaxed);
    live.log().report_diagnostic(Diagnostic::WrongCredentials);
}

/// Authorizes by `Authorization: Bearer` (RFC 6750, section 2.1), or by the cookie of a browser that has signed in.
fn by_token(live: &LiveSpans, headers: &HeaderMap) -> Result<Access, AuthError> {
    let signer = &live.shared.signer;
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(authorization) = given.next() {
        let token = bearer(authorization).filter(|_| given.next().is_none());
        return if token.is_some_and(|token| signer.is_token(token)) {
            Ok(Access::everything())
        } else {
            count_invalid_credentials(live);
            Err(HttpError::unauthorized("the token is wrong").into())
        };
    }
    let now = SystemTime::now();
    let verified = cookies(signer, headers).map(|value| signer.verify_cookie(value, now));
    let mut is_expired = false;
    let mut is_wrong = false;
    for cookie in verified {
        match cookie {
            Verification::ValidUntil(until) => return Ok(Access::everything().until(until)),
            Verification::Expired => is_expired = true,
            Verification::Invalid => is_wrong = true,
        }
    }
    if is_wrong {
        count_invalid_credentials(live);
    }
    if is_expired {
        return Err(AuthError::Expired);
    }
    let message =
        "readers need the token: send it as \"Authorization: Bearer …\", or sign in on the page";
    Err(HttpError::unauthorized(message).into())
}

pub(crate) fn bearer(authorization: &HeaderValue) -> Option<&[u8]> {
    let bytes = authorization.as_bytes();
    let (scheme, rest) = bytes.split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii_start())
}

/// Returns the values of the log's cookie. A browser may send several, set under nested paths.
fn cookies<'a>(signer: &TokenSigner, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    let name = signer.cookie_name().unwrap_or_default();
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.filter_map(move |pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_panics_gives_no_access() {
        let parts = Arc::new(http::Request::new(()).into_parts().0);
        let panics: [AccessCheck; 3] = [
            AccessCheck::Check(
                Arc::new(|_parts| panic!("the check panics")),
                Arc::clone(&parts),
            ),
            AccessCheck::CheckAsync(
                Arc::new(|_parts| panic!("the call panics")),
                Arc::clone(&parts),
            ),
            AccessCheck::CheckAsync(
                Arc::new(|_parts| {
                    Box::pin(async {
                        tokio::task::yield_now().await;
                        panic!("the future panics")
                    })
                }),
                parts,
            ),
        ];
        for check in panics {
            let access = check.run().await;
            assert_eq!(format!("{access:?}"), format!("{:?}", Access::nothing()));
        }
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        let read = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            bearer(&value).map(<[u8]>::to_vec)
        };
        assert_eq!(read("Bearer a b"), Some(b"a b".to_vec()));
        assert_eq!(read("bEARER   x"), Some(b"x".to_vec()));
        for other in ["Basic eDp5", "Bearer", "Bearertoken", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
