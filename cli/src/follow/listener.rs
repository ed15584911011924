//! Receives the announcements of programs that join: `POST /` with a token and the address of the
//! program's own stream. It listens on a loopback address. Only this user's programs know the
//! token, so no other program can make this process read from an address.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    failure::Failure,
    follow::{Followers, Source},
    http::{Address, Client},
};

/// Upper bound on an announcement, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Upper bound on the concurrent connections.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an accept that failed or exceeded `CONNECTIONS_MAX`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a token before hex encoding.
const TOKEN_BYTES: usize = 16;

/// The address and the token that a program needs to join.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Invitation {
    /// The address to which a program sends its announcement.
    pub(crate) url: String,
    pub(crate) token: String,
}

/// The announcement of a program.
#[derive(Debug, Deserialize)]
struct Announcement {
    url: String,
    token: String,
}

/// Starts to listen for programs that join. It tries the saved address of an earlier run first,
/// because running programs may still use it.
pub(crate) async fn listen(followers: Followers) -> Result<Invitation, Failure> {
    let failed = |error: &std::io::Error| Failure::of("listen for programs that join", error);
    let (listener, invitation) = if let Some(again) = listen_again(&followers).await {
        again
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let invitation = Invitation {
            url: format!("http://{address}/"),
            token: random_token()?,
        };
        (listener, invitation)
    };
    followers.save_invitation(&invitation);
    tokio::spawn(accept(listener, followers, invitation.token.clone().into()));
    Ok(invitation)
}

async fn listen_again(followers: &Followers) -> Option<(TcpListener, Invitation)> {
    let invitation = followers.invitation()?;
    let address = Address::parse(&invitation.url).ok()?;
    let listener = TcpListener::bind(("127.0.0.1", address.port()))
        .await
        .ok()?;
    Some((listener, invitation))
}

fn random_token() -> Result<String, Failure> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(format!("failed to make a token: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Accepts connections for as long as the program runs.
#[expect(clippy::infinite_loop, reason = "it ends with the runtime")]
async fn accept(listener: TcpListener, followers: Followers, token: Arc<str>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (Ok((stream, _)), Ok(permit)) = (
            listener.accept().await,
            Arc::clone(&room).try_acquire_owned(),
        ) else {
            sleep_until(Instant::now() + ACCEPT_PAUSE).await;
            continue;
        };
        let (followers, token) = (followers.clone(), Arc::clone(&token));
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (followers, token) = (followers.clone(), Arc::clone(&token));
                async move { Ok::<_, Infallible>(answer(request, &followers, &token).await) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Failures and time-outs are ignored, because the program will announce itself again.
            drop(timeout(CONNECTION_TIMEOUT, connection).await);
            drop(permit);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    followers: &Followers,
    token: &str,
) -> Response<Full<Bytes>> {
    let given = request.headers().get(header::AUTHORIZATION);
    let expected = format!("Bearer {token}");
    let is_allowed = given.is_some_and(|given| is_equal(given.as_bytes(), expected.as_bytes()));
    let status = if !is_allowed {
        StatusCode::FORBIDDEN
    } else if request.method() == Method::POST {
        announce(request.into_body(), followers).await
    } else {
        StatusCode::NO_CONTENT
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Follows the announced program, if its address is a loopback address and there is room.
async fn announce(body: Incoming, followers: &Followers) -> StatusCode {
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let announcement: Option<Announcement> = serde_json::from_slice(&body.to_bytes()).ok();
    let client = announcement.and_then(|announcement| {
        let address = Address::parse(&announcement.url).ok()?;
        let is_loopback = address
            .host()
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback());
        is_loopback.then(|| Client::new(address, Some(announcement.token)))
    });
    match client {
        None => StatusCode::BAD_REQUEST,
        Some(client) => {
            if followers.follow(client, Source::Joined) {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// Compares without stopping at the first difference, so that the time does not reveal the position
/// of the difference.
fn is_equal(given: &[u8], expected: &[u8]) -> bool {
    let differences = given
        .iter()
        .zip(expected)
        .fold(0, |all, (one, other)| all | (one ^ other));
    given.len() == expected.len() && differences == 0
}

/// Returns whether this invitation's listener responds with success.
pub(crate) async fn is_listening(invitation: &Invitation) -> bool {
    let Ok(address) = Address::parse(&invitation.url) else {
        return false;
    };
    let client = Client::new(address, Some(invitation.token.clone()));
    client.get("/").await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(is_equal(b"abc", b"abc"));
        for other in [&b""[..], b"ab", b"abcd", b"abd", b"bbc"] {
            assert!(!is_equal(other, b"abc"), "{other:?}");
        }
    }
}
