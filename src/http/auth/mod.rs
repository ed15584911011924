//! Who is answered and what they may read: authorization, host check, other origins, sign-in.

pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod host_check;
pub(crate) mod host_port;
pub(crate) mod login;
