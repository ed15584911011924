//! Explains to a client that the address of its first request is not percent-encoded. hyper would
//! answer such a request with only a status. This code only peeks at the bytes, so hyper can still
//! read them. It runs on the connection's task.

use std::{
    future::poll_fn,
    io,
    task::{Poll, ready},
};

use http::Uri;
use serde::Serialize;
use tokio::{io::ReadBuf, net::TcpStream};

/// Upper bound on the peeked bytes. A request line written by hand is usually shorter.
const PEEKED_BYTES: usize = 2048;

/// Waits for the first bytes. If they hold a request line whose address is not percent-encoded, returns the whole
/// response. hyper answers other invalid requests itself.
pub(crate) async fn refusal(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let message = poll_fn(|cx| {
        // The buffer is on the stack of one poll. As a variable of the async function it would be
        // part of the connection's task, and each open connection would hold these 2 KiB.
        let mut head = [0; PEEKED_BYTES];
        let mut head = ReadBuf::new(&mut head);
        ready!(stream.poll_peek(cx, &mut head))?;
        Poll::Ready(io::Result::Ok(unencoded_address(head.filled())))
    })
    .await?;
    Ok(message.map(|message| answer(&message)))
}

fn answer(message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct RefusalBody<'a> {
        error: &'a str,
    }
    let body = serde_json::to_vec(&RefusalBody { error: message }).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Returns the error in the address of a complete request line.
fn unencoded_address(head: &[u8]) -> Option<String> {
    let line = head.get(..memchr::memchr(b'\n', head)?)?;
    let line = std::str::from_utf8(line.trim_ascii_end()).ok()?;
    let (_, rest) = line.split_once(' ')?;
    let (target, version) = rest.rsplit_once(' ')?;
    if !version.starts_with("HTTP/1.") || Uri::try_from(target).is_ok() {
        return None;
    }
    let is_wrong = |char: &char| Uri::try_from(format!("/?{char}")).is_err();
    // hyper accepts a `#`, which ends the address.
    let wrong = target.chars().find(|char| *char != '#' && is_wrong(char))?;
    // All characters that the parser rejects are ASCII.
    let encoded = u32::from(wrong);
    Some(format!(
        "the address is not percent-encoded: write %{encoded:02X} for {wrong:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_encoded_is_explained() {
        let message = |line: &str| unencoded_address(line.as_bytes());
        for (target, wrong) in [
            ("/traces?q=duration>10ms", "%3E for '>'"),
            ("/traces?q=spans<5", "%3C for '<'"),
            ("/traces?q=a b", "%20 for ' '"),
            ("/traces?q=\"a\"", "%22 for '\"'"),
        ] {
            assert_eq!(
                message(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")),
                Some(format!("the address is not percent-encoded: write {wrong}")),
                "{target}"
            );
        }
        for line in [
            "",
            "GET / HTTP/1.1",
            "GET /traces?q=a%3Eb HTTP/1.1\r\n",
            "GET /k\u{e4}se?q=k\u{e4}se HTTP/1.1\r\n",
            "GET http://localhost/ HTTP/1.1\r\n",
            "GET /a>b SMTP\r\n",
            "nonsense\r\n",
            "\r\n",
        ] {
            assert_eq!(message(line), None, "{line}");
        }
    }
}
