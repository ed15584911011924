//! Access control: who may read the log over HTTP, and which part of it. `http::auth` applies these rules on the task
//! of the connection; no request is answered here.
//!
//! [`Auth`] identifies a reader and returns an [`Access`]: the traces that this reader may see. A [`View`] selects the
//! parts of a trace that a customer sees. [`Redaction`] masks values before they are stored.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing reads some parts")
)]

pub(crate) mod config;
pub(crate) mod projection;
#[cfg(feature = "http")]
pub(crate) mod stream_limits;
#[cfg(feature = "http")]
pub(crate) mod token_signer;
#[cfg(feature = "http")]
pub(crate) mod trace_scope;
pub(crate) mod view;

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::request::Parts;

use crate::span::event::TraceId;
pub use crate::{
    access::view::{View, ViewedSpan},
    span::redact::{RedactAction, Redaction},
};

/// The value of [`LiveSpansBuilder::DEFAULT_SUBSCRIBERS_MAX`](crate::LiveSpansBuilder::DEFAULT_SUBSCRIBERS_MAX).
pub(crate) const DEFAULT_SUBSCRIBERS_MAX: usize = 16_384;
/// The value of
/// [`LiveSpansBuilder::DEFAULT_SUBSCRIBERS_PER_ADDRESS`](crate::LiveSpansBuilder::DEFAULT_SUBSCRIBERS_PER_ADDRESS).
pub(crate) const DEFAULT_SUBSCRIBERS_PER_ADDRESS: usize = 1024;

/// Who may read the log over HTTP. Without an `Auth`, the routes answer only requests that name a loopback `Host` or
/// one of [`allowed_hosts`](crate::LiveSpansBuilder::allowed_hosts). They also refuse clients that are known to be on
/// another machine.
///
/// The guide: [who may read](crate::_guide::production).
///
/// ```
/// use livespan::{Access, Auth, LiveSpans};
///
/// // One secret for all who may read:
/// let live = LiveSpans::builder().auth(Auth::token("a long random text")).build()?;
/// # drop(live);
/// // … or your app's own rule:
/// let auth = Auth::check(|request| match request.headers.get("x-role") {
///     Some(role) if role == "admin" => Access::everything(),
///     _ => Access::nothing(),
/// });
/// let live = LiveSpans::builder().auth(auth).build()?;
/// # drop(live);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Auth(pub(crate) AuthRule);

pub(crate) type Check = Arc<dyn Fn(&Parts) -> Access + Send + Sync>;
pub(crate) type CheckAsync =
    Arc<dyn Fn(Parts) -> Pin<Box<dyn Future<Output = Access> + Send>> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum AuthRule {
    Public,
    Token(String),
    /// A token that is read from this environment variable.
    TokenFrom(String),
    Check(Check),
    CheckAsync(CheckAsync),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match &self.0 {
            AuthRule::Public => "public",
            AuthRule::Token(_) | AuthRule::TokenFrom(_) => "token",
            AuthRule::Check(_) | AuthRule::CheckAsync(_) => "check",
        };
        f.debug_tuple("Auth").field(&rule).finish()
    }
}

impl Auth {
    /// Time limit for one answer of [`check_async`](Self::check_async): 10 seconds.
    pub const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
    /// Interval at which the permission of a running stream is checked again: 30 seconds.
    pub const RECHECK_INTERVAL: Duration = Duration::from_secs(30);
    /// Time for which a browser stays signed in: 7 days.
    pub const LOGIN_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// Time within which a one-time login link can be used: 10 minutes.
    pub const LOGIN_LINK_AGE: Duration = Duration::from_secs(10 * 60);
    /// Upper bound on the lifetime of a [ticket](crate::LiveSpans::ticket): 365 days.
    pub const TICKET_AGE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Lets anyone who can reach the address read everything. Use this only behind access control of your own.
    pub fn public() -> Self {
        Self(AuthRule::Public)
    }

    /// Lets everyone who has the token read everything. A program sends it in `Authorization: Bearer` (RFC 6750). A
    /// browser signs in with the token, or with the one-time link of
    /// [`LiveServer::login_url`](crate::LiveServer::login_url), and gets a cookie. The cookie is derived from the
    /// token, so it stays valid after a restart, and a new token invalidates it. The token is compared in constant
    /// time.
    ///
    /// Use at least 16 random bytes: someone who has seen a cookie can guess short tokens offline.
    /// [`build`](crate::LiveSpansBuilder::build) rejects an empty token, and one with characters that a header cannot
    /// carry.
    pub fn token(token: impl Into<String>) -> Self {
        Self(AuthRule::Token(token.into()))
    }

    /// Like [`token`](Self::token), but reads the token from an environment variable.
    /// [`build`](crate::LiveSpansBuilder::build) returns an error if the variable is not set.
    pub fn token_from_env(variable: impl Into<String>) -> Self {
        Self(AuthRule::TokenFrom(variable.into()))
    }

    /// Calls `check`, which returns the [`Access`] of the sender of a request. `check` runs on the connection's task,
    /// so it must be quick and must not block. While a stream runs, `check` is called again every
    /// [`RECHECK_INTERVAL`](Self::RECHECK_INTERVAL) with the head of the same request. If it then grants less, the
    /// stream ends with `end` (`expired`).
    ///
    /// A page of another origin may change something, such as keep a trace, only if its origin is allowed. So `check`
    /// needs no protection against forged requests (CSRF), and a session cookie is enough. When a page of another
    /// origin makes a browser send a request, `check` sees no cookies, even if the origin is one of the
    /// [`allowed_origins`](crate::LiveSpansBuilder::allowed_origins).
    pub fn check(check: impl Fn(&Parts) -> Access + Send + Sync + 'static) -> Self {
        Self(AuthRule::Check(Arc::new(check)))
    }

    /// Like [`check`](Self::check), for a rule that must wait, for example for a database. If `check` does not answer
    /// within [`CHECK_TIMEOUT`](Self::CHECK_TIMEOUT), the request is refused, and a running stream ends.
    pub fn check_async<F>(check: impl Fn(Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Access> + Send + 'static,
    {
        Self(AuthRule::CheckAsync(Arc::new(move |parts| {
            Box::pin(check(parts))
        })))
    }
}

/// The part of the log that one reader may read: the answer of [`Auth::check`].
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use livespan::{Access, TraceId};
///
/// let trace: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse()?;
/// let access = Access::traces([trace]).until(SystemTime::now() + Duration::from_secs(600));
/// # drop(access);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Access {
    pub(crate) scope: AccessScope,
    pub(crate) until: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessScope {
    Nothing,
    Expired,
    Everything,
    Traces(Arc<HashSet<TraceId>>),
}

impl Access {
    fn new(scope: AccessScope) -> Self {
        Self { scope, until: None }
    }

    /// Grants nothing: the request is answered with `403`.
    pub fn nothing() -> Self {
        Self::new(AccessScope::Nothing)
    }

    /// Reports that the reader's access has expired. A stream opens and ends with `end` (`expired`), so that an
    /// `EventSource` reconnects. Other requests are answered with `401`.
    pub fn expired() -> Self {
        Self::new(AccessScope::Expired)
    }

    /// Grants the whole log.
    pub fn everything() -> Self {
        Self::new(AccessScope::Everything)
    }

    /// Grants these traces only. Lists, searches and links leave out other traces, and their processes are hidden. A
    /// request for another trace is answered with `403`, whether or not that trace exists. `/status`, `/operations` and
    /// `/stats/durations` cover the whole log, so they are refused.
    ///
    /// Sequence numbers still reveal how busy the log is, because ids are positions in the whole log. Also, `hello`,
    /// `ping` and `gap` contain its head, its oldest event and its counts of dropped events.
    ///
    /// Use this for a few traces, not for thousands.
    pub fn traces(traces: impl IntoIterator<Item = TraceId>) -> Self {
        Self::new(AccessScope::Traces(Arc::new(traces.into_iter().collect())))
    }

    /// Limits the access to the time until this moment. A stream that still runs then ends with `end` (`expired`).
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.until = Some(moment);
        self
    }

    /// Returns the access that remains at this moment.
    #[cfg(feature = "http")]
    pub(crate) fn at(self, now: SystemTime) -> Self {
        match self.until {
            Some(until) if until <= now && self.scope != AccessScope::Nothing => Self::expired(),
            _ => self,
        }
    }

    /// Returns whether this access grants all traces of `other`, which must grant some. Ignores `until`.
    #[cfg(feature = "http")]
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (AccessScope::Everything, _) => true,
            (AccessScope::Traces(mine), AccessScope::Traces(others)) => others.is_subset(mine),
            _ => false,
        }
    }
}
