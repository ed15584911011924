//! Refuses requests by their `Host` and by the client's address. Without access control, only requests for loopback
//! hosts and for `allowed_hosts` are answered. Otherwise a page of another site could read a developer's traces by
//! resolving its own name to 127.0.0.1 (DNS rebinding). Pure; it runs on the connection's task.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{StatusCode, header, request::Parts};

use crate::{
    access::config::AccessConfig,
    http::{auth::host_port::HostPort, error::HttpError},
};

/// The address of a client that our own listener accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Refuses a request whose `Host` is not allowed. A malformed `Host` is always refused. With access
/// control, hosts are compared only if `allowed_hosts` was set. Without access control, a client on
/// another machine is refused too, because it can name any host.
pub(crate) fn check_host(config: &AccessConfig, request: &Parts) -> Result<(), HttpError> {
    let hosts = hosts_of(request)?;
    if config.auth.is_none() {
        check_peer(request)?;
    }
    if config.auth.is_some() && config.allowed_hosts.is_empty() {
        return Ok(());
    }
    let refused = hosts
        .iter()
        .find(|host| !is_loopback(host) && !config.allowed_hosts.contains(host));
    let host = match refused {
        Some(host) => host,
        None if hosts.is_empty() => {
            return Err(HttpError::new(
                StatusCode::FORBIDDEN,
                "the request names no host: send a Host header",
            ));
        }
        None => return Ok(()),
    };
    let or_auth = if config.auth.is_some() {
        ""
    } else {
        ", or say who may read with .auth(..),"
    };
    Err(HttpError::new(
        StatusCode::FORBIDDEN,
        format!(
            "the host {host:?} is not a loopback host: allow it with .allowed_hosts([{host:?}]){or_auth} on \
             LiveSpans::builder()"
        ),
    ))
}

/// Refuses a client on another machine. An app that mounts our router must be configured to provide
/// the client's address (`ConnectInfo`). If it is not, this check is skipped. Behind a proxy, only
/// the proxy's address is known.
fn check_peer(request: &Parts) -> Result<(), HttpError> {
    let extensions = &request.extensions;
    let connect_info = extensions.get::<ConnectInfo<SocketAddr>>();
    let address = match (connect_info, extensions.get::<Peer>()) {
        (Some(ConnectInfo(address)), _) => address.ip(),
        (None, Some(Peer(address))) => *address,
        (None, None) => return Ok(()),
    };
    // A dual-stack socket reports 127.0.0.1 as ::ffff:127.0.0.1.
    if address.to_canonical().is_loopback() {
        return Ok(());
    }
    Err(HttpError::new(
        StatusCode::FORBIDDEN,
        format!(
            "the client {address} is not on this machine: say who may read with .auth(..) on LiveSpans::builder(), such \
             as Auth::token(..) or Auth::public()"
        ),
    ))
}

/// Returns every host that the client named, in headers and in the request line; each of them must be allowed. A value
/// that is not a host is an error (RFC 9112, section 3.2).
fn hosts_of(request: &Parts) -> Result<Vec<String>, HttpError> {
    let headers = request.headers.get_all(header::HOST).iter();
    // A header that is not ASCII is not a valid host either.
    let named = headers.map(|host| host.to_str().unwrap_or("\u{fffd}"));
    let line = request.uri.authority().map(http::uri::Authority::as_str);
    let hosts = named.chain(line).filter(|named| !named.is_empty());
    let read = hosts.map(|named| {
        let host = HostPort::parse(named).ok_or_else(|| {
            // The response repeats the value, so it is cut to 255 characters, the upper bound of a host name.
            let shown: String = named.chars().take(255).collect();
            let message =
                format!("the host {shown:?} is not a host name or address, with or without a port");
            HttpError::new(StatusCode::BAD_REQUEST, message)
        })?;
        Ok(host.host)
    });
    read.collect()
}

pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Parts {
        let request = http::Request::builder().uri("/").header(header::HOST, host);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_loopback_and_allowed_hosts_pass() {
        let config = AccessConfig {
            allowed_hosts: vec!["dev.example".into()],
            ..AccessConfig::default()
        };
        for host in [
            "localhost",
            "LOCALHOST:4380",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:4380",
            "127.8.9.1",
            "[::1]:4380",
            "[::1]",
            "dev.example:443",
        ] {
            assert!(check_host(&config, &request(host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "0.0.0.0:4380",
            "192.168.0.1",
            "[::2]:1",
            "",
            "localhost:80@evil.com",
            "localhost:evil.com",
            "evil.com:80@localhost",
        ] {
            assert!(check_host(&config, &request(host)).is_err(), "{host}");
        }
        let none = http::Request::new(()).into_parts().0;
        let refused = check_host(&config, &none).unwrap_err();
        assert_eq!(
            format!("{refused:?}"),
            r#"HttpError { status: 403, message: "the request names no host: send a Host header" }"#
        );
    }
}
