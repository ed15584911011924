//! Checks the token that a client presents. Signs and verifies cookies and tickets, and issues and redeems the codes of
//! one-time links. Secrets are compared by their MACs (HMAC-SHA-256, RFC 2104), so the duration does not reveal where
//! they differ. Callers pass the time. It runs on the connection's task, and on app threads that issue tickets and
//! links.

use std::{
    collections::VecDeque,
    fmt,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    access::Auth,
    error::Error,
    span::event::TraceId,
    util::{hex, sync::lock},
};

/// Upper bound on the one-time links that are valid at once. A further link invalidates the oldest.
const LOGIN_LINKS_MAX: usize = 64;

type Key = [u8; 32];

/// Holds the keys of one log, and its unused one-time codes.
pub(crate) struct TokenSigner {
    /// Signs cookies; set if readers need a token.
    cookie_key: Option<Key>,
    ticket_key: Key,
    /// A random key that only this process has.
    process_key: Key,
    /// The MAC of the token under `process_key`.
    token: Option<Key>,
    codes: Mutex<VecDeque<LoginCode>>,
}

struct LoginCode {
    code_mac: Key,
    until: SystemTime,
}

/// The result of the verification of a signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    ValidUntil(SystemTime),
    Expired,
    /// The text is malformed, or was not signed with our key.
    Invalid,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner")
    }
}

impl TokenSigner {
    /// Creates a signer. Without a ticket key, it derives that key from the token; without a token, the key is random.
    pub(crate) fn new(token: Option<&str>, ticket_key: Option<&[u8]>) -> Result<Self, Error> {
        let process_key = random_key()?;
        let ticket = match (ticket_key, token) {
            (Some(key), _) => mac(key, &[b"livespan ticket 1"]),
            (None, Some(token)) => mac(token.as_bytes(), &[b"livespan ticket 1"]),
            (None, None) => random_key()?,
        };
        Ok(Self {
            cookie_key: token.map(|token| mac(token.as_bytes(), &[b"livespan cookie 1"])),
            ticket_key: ticket,
            process_key,
            token: token.map(|token| mac(&process_key, &[token.as_bytes()])),
            codes: Mutex::default(),
        })
    }

    pub(crate) fn is_token(&self, presented: &[u8]) -> bool {
        // Compares MACs under a key that only this process has, so the duration reveals neither length nor content.
        self.token
            .is_some_and(|token| is_mac_of(&self.process_key, &[presented], &token))
    }

    /// Returns the name of the log's cookie. Cookies ignore ports, so two logs on one host need different names.
    pub(crate) fn cookie_name(&self) -> Option<String> {
        let name = mac(&self.cookie_key?, &[b"name"]);
        let mut text = "livespan-".to_owned();
        text.push_str(&hex::encode(name.get(..4).unwrap_or_default()));
        Some(text)
    }

    /// Returns the value of a cookie that is valid for [`Auth::LOGIN_AGE`].
    pub(crate) fn issue_cookie(&self, now: SystemTime) -> Option<String> {
        Some(sign(&self.cookie_key?, b"", now + Auth::LOGIN_AGE))
    }

    pub(crate) fn verify_cookie(&self, value: &str, now: SystemTime) -> Verification {
        match &self.cookie_key {
            Some(key) => verify(key, b"", value, now),
            None => Verification::Invalid,
        }
    }

    pub(crate) fn issue_ticket(&self, trace: TraceId, until: SystemTime) -> String {
        sign(&self.ticket_key, &trace.to_bytes(), until)
    }

    pub(crate) fn verify_ticket(
        &self,
        trace: TraceId,
        ticket: &str,
        now: SystemTime,
    ) -> Verification {
        verify(&self.ticket_key, &trace.to_bytes(), ticket, now)
    }

    /// Returns a code that signs in one browser, once. Only this process accepts the code.
    pub(crate) fn issue_login_code(&self, now: SystemTime) -> Result<String, Error> {
        let code = random_key()?;
        let text = hex::encode(code.get(..16).unwrap_or_default());
        let mut codes = lock(&self.codes);
        codes.push_back(LoginCode {
            code_mac: mac(&self.process_key, &[b"code", text.as_bytes()]),
            until: now + Auth::LOGIN_LINK_AGE,
        });
        if codes.len() > LOGIN_LINKS_MAX {
            codes.pop_front();
        }
        Ok(text)
    }

    /// Returns whether the code is valid, and invalidates it. A code expires after [`Auth::LOGIN_LINK_AGE`].
    pub(crate) fn redeem_login_code(&self, presented: &str, now: SystemTime) -> bool {
        let code_mac = mac(&self.process_key, &[b"code", presented.as_bytes()]);
        let mut codes = lock(&self.codes);
        codes.retain(|code| code.until > now);
        let before = codes.len();
        codes.retain(|code| code.code_mac != code_mac);
        codes.len() < before
    }
}

fn random_key() -> Result<Key, Error> {
    let mut bytes = Key::default();
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::io("draw a random key", std::io::Error::from(error)))?;
    Ok(bytes)
}

fn hmac_of(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut hmac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(hmac) => hmac,
        // HMAC takes keys of any length (RFC 2104, section 2).
        Err(_never) => Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()),
    };
    for part in parts {
        // The length precedes each part, so that no two lists of parts have the same bytes.
        hmac.update(&(part.len() as u64).to_be_bytes());
        hmac.update(part);
    }
    hmac
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    hmac_of(key, parts).finalize().into_bytes().into()
}

fn is_mac_of(key: &[u8], parts: &[&[u8]], expected: &[u8]) -> bool {
    hmac_of(key, parts).verify_slice(expected).is_ok()
}

/// Returns `SECONDS.MAC`: the expiry in whole seconds, rounded up, and the MAC of subject and expiry.
fn sign(key: &Key, subject: &[u8], until: SystemTime) -> String {
    let since = until.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    let mut text = String::with_capacity(80);
    text.push_str(&seconds.to_string());
    text.push('.');
    text.push_str(&hex::encode(&mac(key, &[subject, &seconds.to_be_bytes()])));
    text
}

fn verify(key: &Key, subject: &[u8], text: &str, now: SystemTime) -> Verification {
    let verified = text.split_once('.').and_then(|(digits, mac)| {
        let seconds: u64 = digits.parse().ok()?;
        // Only one spelling of a number is valid, so that no second text carries the same signature.
        if digits != seconds.to_string() {
            return None;
        }
        let mac = hex::decode::<32>(mac)?;
        is_mac_of(key, &[subject, &seconds.to_be_bytes()], &mac).then_some(seconds)
    });
    let Some(until) =
        verified.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
    else {
        return Verification::Invalid;
    };
    if until <= now {
        Verification::Expired
    } else {
        Verification::ValidUntil(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn trace(number: u128) -> TraceId {
        TraceId::from_bytes(number.to_be_bytes()).unwrap()
    }

    fn signer(token: &str) -> TokenSigner {
        TokenSigner::new(Some(token), None).unwrap()
    }

    #[test]
    fn a_cookie_outlives_the_process_and_ends_with_the_token() {
        let cookie = signer("one").issue_cookie(at(1000)).unwrap();
        let age = Auth::LOGIN_AGE.as_secs();
        assert_eq!(
            signer("one").verify_cookie(&cookie, at(1000)),
            Verification::ValidUntil(at(1000 + age))
        );
        assert_eq!(
            signer("one").verify_cookie(&cookie, at(1000 + age)),
            Verification::Expired
        );
        assert_eq!(
            signer("two").verify_cookie(&cookie, at(1000)),
            Verification::Invalid
        );
        assert_eq!(signer("one").cookie_name(), signer("one").cookie_name());
        assert_ne!(signer("one").cookie_name(), signer("two").cookie_name());
        let open = TokenSigner::new(None, None).unwrap();
        assert_eq!((open.issue_cookie(at(0)), open.cookie_name()), (None, None));
        assert_eq!(open.verify_cookie(&cookie, at(0)), Verification::Invalid);
        assert!(!open.is_token(b""));
    }

    #[test]
    fn a_changed_signature_is_invalid() {
        let signer = signer("one");
        let ticket = signer.issue_ticket(trace(1), at(1000));
        assert_eq!(
            signer.verify_ticket(trace(1), &ticket, at(0)),
            Verification::ValidUntil(at(1000))
        );
        assert_eq!(
            signer.verify_ticket(trace(1), &ticket, at(1000)),
            Verification::Expired
        );
        assert_eq!(
            signer.verify_ticket(trace(2), &ticket, at(0)),
            Verification::Invalid
        );
        let (seconds, mac) = ticket.split_once('.').unwrap();
        for wrong in [
            String::new(),
            ".".to_owned(),
            seconds.to_owned(),
            format!("{seconds}."),
            format!("9{seconds}.{mac}"),
            format!("0{seconds}.{}", &mac[1..]),
            format!("{seconds}.{mac}0"),
            format!("+{ticket}"),
            format!("0{ticket}"),
            ticket.to_uppercase(),
            format!("{seconds}.{}", mac.replacen(&mac[..1], "g", 1)),
            format!("{seconds}.{}", "é".repeat(32)),
            format!("18446744073709551615.{mac}"),
        ] {
            assert_eq!(
                signer.verify_ticket(trace(1), &wrong, at(0)),
                Verification::Invalid,
                "{wrong}"
            );
        }
        // A cookie is not accepted as a ticket, nor a ticket as a cookie.
        assert_eq!(signer.verify_cookie(&ticket, at(0)), Verification::Invalid);
    }

    #[test]
    fn tickets_of_processes_with_one_key_are_good_on_all() {
        let key: &[u8] = b"sixteen bytes at";
        let one = TokenSigner::new(None, Some(key)).unwrap();
        let other = TokenSigner::new(Some("token"), Some(key)).unwrap();
        let alone = TokenSigner::new(None, None).unwrap();
        let ticket = one.issue_ticket(trace(1), at(10));
        assert_eq!(
            other.verify_ticket(trace(1), &ticket, at(0)),
            Verification::ValidUntil(at(10))
        );
        assert_eq!(
            alone.verify_ticket(trace(1), &ticket, at(0)),
            Verification::Invalid
        );
    }

    #[test]
    fn a_code_signs_in_once_and_expires() {
        let signer = signer("one");
        let age = Auth::LOGIN_LINK_AGE.as_secs();
        let code = signer.issue_login_code(at(0)).unwrap();
        assert!(!signer.redeem_login_code("", at(0)));
        assert!(!signer.redeem_login_code(&code[1..], at(0)));
        assert!(signer.redeem_login_code(&code, at(age - 1)));
        assert!(!signer.redeem_login_code(&code, at(age - 1)));
        let late = signer.issue_login_code(at(0)).unwrap();
        assert!(!signer.redeem_login_code(&late, at(age)));
        let codes: Vec<String> = (0..=LOGIN_LINKS_MAX)
            .map(|_| signer.issue_login_code(at(0)).unwrap())
            .collect();
        assert!(
            !signer.redeem_login_code(&codes[0], at(0)),
            "the oldest code is still valid"
        );
        assert!(signer.redeem_login_code(&codes[1], at(0)));
    }

    #[test]
    fn only_the_exact_token_is_accepted() {
        let signer = signer("one");
        assert!(signer.is_token(b"one"));
        for wrong in ["", "on", "onee", "One", "two"] {
            assert!(!signer.is_token(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
