//! Which requests are answered at all: without access control, only those that name a loopback host, so that a page
//! on another site cannot read a developer's traces by pointing its own name at 127.0.0.1 (DNS rebinding).

use std::net::IpAddr;

use http::{StatusCode, header, request::Parts};

use crate::{http::reply::Refusal, spans::live::Access};

impl Access {
    /// Refuses a request that names a host nobody allowed.
    pub(crate) fn check(&self, request: &Parts) -> Result<(), Refusal> {
        if self.auth.is_some() {
            return Ok(());
        }
        let hosts = hosts_of(request);
        let refused = hosts
            .iter()
            .find(|host| !is_loopback(host) && !self.allowed_hosts.contains(host));
        let host = match (refused, hosts.is_empty()) {
            (None, false) => return Ok(()),
            (refused, _) => refused.cloned().unwrap_or_default(),
        };
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "the host {host:?} is not a loopback host: allow it with .allowed_hosts([{host:?}]), or say who \
                 may read with .auth(..), on LiveSpans::builder()"
            ),
        ))
    }
}

/// Every host that the client named, in headers and in the request line: a request that names several is only as good
/// as the worst of them.
fn hosts_of(request: &Parts) -> Vec<String> {
    let headers = request.headers.get_all(header::HOST).iter();
    let named = headers.map(|host| host.to_str().unwrap_or_default());
    let line = request.uri.authority().map(http::uri::Authority::as_str);
    named.chain(line).map(host_of).collect()
}

/// The host, lowercase, without port, brackets and trailing dot.
fn host_of(named: &str) -> String {
    let named = named.trim();
    let host = match named.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => named.rsplit_once(':').map_or(named, |(host, _)| host),
    };
    let shown = host.trim_end_matches('.').to_ascii_lowercase();
    // It is repeated in an answer: at most what a host name can be.
    shown.chars().take(255).collect()
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
        let access = Access {
            auth: None,
            allowed_hosts: vec!["dev.example".into()],
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
            assert!(access.check(&request(host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "0.0.0.0:4380",
            "192.168.0.1",
            "[::2]:1",
            "",
        ] {
            assert!(access.check(&request(host)).is_err(), "{host}");
        }
        assert!(
            access
                .check(&http::Request::new(()).into_parts().0)
                .is_err()
        );
    }
}
