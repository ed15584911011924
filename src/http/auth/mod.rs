//! Decides whether a request is answered and what its sender may read: authorization, host check,
//! cross-origin rules, sign-in.

pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod host_check;
pub(crate) mod host_port;
pub(crate) mod login;
