//! Who may read the log over HTTP, and what of it: data and functions that the app gives.
//! It answers no request: `http::auth` asks it about each one, on the task of the connection.
//!
//! [`Auth`] says who a reader is and, by [`Access`], which traces that reader may see. A [`View`] says what of a trace a
//! customer sees. [`Redaction`] masks what nobody sees, before it is stored.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "read over HTTP only")
)]

pub(crate) mod config;
pub(crate) mod projection;
#[cfg(feature = "http")]
pub(crate) mod signing;
#[cfg(feature = "http")]
pub(crate) mod stream_limits;
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

/// [`LiveSpansBuilder::DEFAULT_SUBSCRIBERS_MAX`](crate::LiveSpansBuilder::DEFAULT_SUBSCRIBERS_MAX).
pub(crate) const DEFAULT_SUBSCRIBERS_MAX: usize = 16_384;
/// [`LiveSpansBuilder::DEFAULT_SUBSCRIBERS_PER_ADDRESS`](crate::LiveSpansBuilder::DEFAULT_SUBSCRIBERS_PER_ADDRESS).
pub(crate) const DEFAULT_SUBSCRIBERS_PER_ADDRESS: usize = 1024;

/// Who may read the log over HTTP. Without any, only requests with a loopback `Host` are answered, and none that are known
/// to come from another machine.
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
    /// A token that stands in this variable of the environment.
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
    /// Time that one answer of [`check_async`](Self::check_async) may take: 10 seconds.
    pub const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
    /// Time after which a running stream's permission is asked for again: 30 seconds.
    pub const RECHECK_INTERVAL: Duration = Duration::from_secs(30);
    /// Time that a browser stays signed in: 7 days.
    pub const LOGIN_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// Time within which a one-time login link can be used: 10 minutes.
    pub const LOGIN_LINK_AGE: Duration = Duration::from_secs(10 * 60);
    /// Upper bound on the time that a [ticket](crate::LiveSpans::ticket) is good for: 365 days.
    pub const TICKET_AGE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Anyone who can reach the address may read everything. Say this only behind your own access control.
    pub fn public() -> Self {
        Self(AuthRule::Public)
    }

    /// Who knows the token may read everything: in `Authorization: Bearer` (RFC 6750), or in a browser that has signed in
    /// with it, or with the one-time link of [`LiveServer::login_url`](crate::LiveServer::login_url). The browser's cookie
    /// is made from the token, so it outlives a restart, and a new token ends it. The token is compared in constant time.
    ///
    /// Use at least 16 random bytes: who has seen a cookie can try out short tokens without asking the server.
    /// [`build`](crate::LiveSpansBuilder::build) refuses an empty one, and one with characters that a header cannot carry.
    pub fn token(token: impl Into<String>) -> Self {
        Self(AuthRule::Token(token.into()))
    }

    /// As [`token`](Self::token), with the token in a variable of the environment.
    /// [`build`](crate::LiveSpansBuilder::build) refuses one that is not set.
    pub fn token_from_env(variable: impl Into<String>) -> Self {
        Self(AuthRule::TokenFrom(variable.into()))
    }

    /// Asks `check` what the sender of a request may read. It runs on the connection's task, so it must be quick and must
    /// not block. While a stream runs it is asked again every [`RECHECK_INTERVAL`](Self::RECHECK_INTERVAL) with the head
    /// of the same request; what it takes back ends the stream with `end` (`expired`).
    ///
    /// State-changing requests never reach the log, so it needs no protection against forged ones; a session cookie is
    /// enough. Of what a page of another origin makes a browser ask it sees no cookies, whether or not the origin is one of
    /// the [`allowed_origins`](crate::LiveSpansBuilder::allowed_origins).
    pub fn check(check: impl Fn(&Parts) -> Access + Send + Sync + 'static) -> Self {
        Self(AuthRule::Check(Arc::new(check)))
    }

    /// As [`check`](Self::check), for a rule that must wait, such as for a database. Without an answer within
    /// [`CHECK_TIMEOUT`](Self::CHECK_TIMEOUT) the request is refused, and a running stream ends.
    pub fn check_async<F>(check: impl Fn(Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Access> + Send + 'static,
    {
        Self(AuthRule::CheckAsync(Arc::new(move |parts| {
            Box::pin(check(parts))
        })))
    }
}

/// What one reader may read: the answer of [`Auth::check`].
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

    /// Nothing: the request is answered with `403`.
    pub fn nothing() -> Self {
        Self::new(AccessScope::Nothing)
    }

    /// What there was has run out: a stream opens and ends with `end` (`expired`), which an `EventSource` survives; other
    /// requests are answered with `401`.
    pub fn expired() -> Self {
        Self::new(AccessScope::Expired)
    }

    /// The whole log.
    pub fn everything() -> Self {
        Self::new(AccessScope::Everything)
    }

    /// These traces only. Other traces are neither shown nor named: not in lists and searches, not by links, not by the
    /// processes that worked on them; a request for another trace is answered with `403` whether or not there is one.
    /// `/status` and `/stats/durations`, which tell of the whole log, are refused.
    ///
    /// What the numbers still tell: ids are places in the whole log, and `hello`, `ping` and `gap` give its head, its
    /// oldest event and its counts of dropped events, so such a reader can see how busy the log is.
    ///
    /// Meant for some traces, not thousands: a stream looks up each event among them.
    pub fn traces(traces: impl IntoIterator<Item = TraceId>) -> Self {
        Self::new(AccessScope::Traces(Arc::new(traces.into_iter().collect())))
    }

    /// Until this moment: then a running stream ends with `end` (`expired`).
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.until = Some(moment);
        self
    }

    /// What is left of it at this moment.
    #[cfg(feature = "http")]
    pub(crate) fn at(self, now: SystemTime) -> Self {
        match self.until {
            Some(until) if until <= now && self.scope != AccessScope::Nothing => Self::expired(),
            _ => self,
        }
    }

    /// Whether it covers everything that `other` does.
    #[cfg(feature = "http")]
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (AccessScope::Everything, _) => true,
            (AccessScope::Traces(mine), AccessScope::Traces(others)) => others.is_subset(mine),
            _ => false,
        }
    }
}
