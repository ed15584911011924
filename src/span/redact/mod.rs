//! What of a span's values is kept: secrets are masked before an event is encoded, on the log's own thread, so nothing
//! that is stored or sent ever had them. Pure, but for the app's own function.

use std::{borrow::Cow, fmt, sync::Arc};

use memchr::{memchr2, memmem};

use crate::{
    span::{
        event::AttributeValue,
        json::{
            self, EndFields, EndStatus, Link, Pairs, SpanFields, Value, template::URL_SECRET_BYTES,
        },
    },
    util::sync::catch_panic,
};

/// What stands where a part of an address was masked: the mark of the OpenTelemetry semantic conventions for `url.full`.
const REDACTED_PART: &str = "REDACTED";
/// Parameters of addresses that are masked beside those whose names are: what the semantic conventions name, as signed
/// links of cloud stores have them.
const SIGNATURE_PARAMETERS: &[&str] = &[
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
];

/// Decides what of attributes, of spans, their events and links, of log records, resources and status messages is kept.
///
/// The default masks values whose keys end in one of [`Redaction::DEFAULT_KEYS`], and in addresses the user, the password and
/// such parameters. Masked values are the text [`Redaction::PLACEHOLDER`], so a reader sees that there was one. Keys, and the names of
/// spans, events and services, are kept as they are, and so are free texts such as error messages and SQL: mask those with
/// a pattern for their keys, or with a function.
///
/// ```
/// use livespan::{LiveSpans, Redaction, access::Redact};
///
/// let redaction = Redaction::default()
///     .deny(["user.email", "db.query.text", "internal.*"])
///     .allow(["continuation_token"])
///     .with(|_span, key, value| match value.as_str() {
///         Some(text) if key == "exception.message" && text.contains("card") => Redact::Mask,
///         _ => Redact::Keep,
///     });
/// let live = LiveSpans::builder().redact(redaction).build()?;
/// # drop(live);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Redaction {
    deny: Patterns,
    allow: Patterns,
    only: Option<Patterns>,
    function: Option<RedactFn>,
    url_secrets: UrlSecrets,
}

type RedactFn = Arc<dyn Fn(&str, &str, &AttributeValue) -> Redact + Send + Sync>;

/// What becomes of a value: the answer of the function of [`Redaction::with`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redact {
    /// It is kept.
    Keep,
    /// [`Redaction::PLACEHOLDER`] stands in its place.
    Mask,
    /// This text stands in its place.
    With(String),
}

/// Whether secrets within addresses are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlSecrets {
    Masked,
    Kept,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("deny", &self.deny)
            .field("allow", &self.allow)
            .field("only", &self.only)
            .field("function", &self.function.is_some())
            .field("url_secrets", &self.url_secrets)
            .finish()
    }
}

impl Default for Redaction {
    /// Masks [`Redaction::DEFAULT_KEYS`], and secrets within addresses.
    fn default() -> Self {
        Self {
            url_secrets: UrlSecrets::Masked,
            ..Self::none().deny(Self::DEFAULT_KEYS.iter().copied())
        }
    }
}

impl Redaction {
    /// Keys whose values [`Redaction::default`] masks, as patterns of [`deny`](Self::deny).
    pub const DEFAULT_KEYS: &'static [&'static str] = &[
        "authorization",
        "cookie",
        "cookies",
        "set-cookie",
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "password hash",
        "secret",
        "secrets",
        "token",
        "api_key",
        "apikey",
        "access_key",
        "secret_key",
        "private_key",
        "signing_key",
        "encryption_key",
        "credential",
        "credentials",
        "jwt",
        "sessionid",
        "jsessionid",
        "phpsessid",
    ];
    /// Text that stands in the place of a masked value.
    pub const PLACEHOLDER: &'static str = "[redacted]";

    /// Masks nothing.
    pub fn none() -> Self {
        Self {
            deny: Patterns::default(),
            allow: Patterns::default(),
            only: None,
            function: None,
            url_secrets: UrlSecrets::Kept,
        }
    }

    /// Masks values of these keys, too.
    ///
    /// A pattern is compared word by word, whatever the case; `.`, `-`, `_`, other punctuation and a capital letter within
    /// a name begin a word. It holds for keys that *end* in its words, and `*` stands for any words:
    ///
    /// | pattern | holds for | not for |
    /// | --- | --- | --- |
    /// | `token` | `token`, `user.access_token`, `X-Auth-Token`, `authToken` | `token_count`, `usage.input_tokens`, `tokenizer` |
    /// | `api_key` | `api_key`, `http.request.header.x-api-key`, `apiKey` | `apikey`, `api_key_id` |
    /// | `internal.*` | `internal.note`, `shop.internal.a.b` | `internals` |
    pub fn deny<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.deny.add(patterns);
        self
    }

    /// Keeps values of keys for which these patterns hold, though a pattern of [`deny`](Self::deny) does, too. Addresses in
    /// them are still looked through, and the [function](Self::with) is still asked.
    pub fn allow<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.allow.add(patterns);
        self
    }

    /// Masks every value but those of keys for which these patterns hold, and which no pattern of [`deny`](Self::deny)
    /// masks.
    pub fn only<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.only.get_or_insert_default().add(patterns);
        self
    }

    /// Asks `function` about every value that is not masked by its key: it gets the name of the span (`""` for a resource),
    /// the key and the value. The message of a failed span has the key `status.message`, the text of a log record `body`;
    /// patterns hold for these, too. What it said of a value at the start of a span may hold for that value at its end,
    /// without being asked again. It runs on the log's thread, so it must be quick; where it panics the value is masked.
    pub fn with(
        mut self,
        function: impl Fn(&str, &str, &AttributeValue) -> Redact + Send + Sync + 'static,
    ) -> Self {
        self.function = Some(Arc::new(function));
        self
    }

    /// Whether nothing is ever masked.
    fn masks_nothing(&self) -> bool {
        self.deny.all.is_empty()
            && self.only.is_none()
            && self.function.is_none()
            && self.url_secrets == UrlSecrets::Kept
    }

    /// Whether what becomes of a value hangs on more than its key and on bytes that are no
    /// [`ADDRESS_MARKS`](json::mould::ADDRESS_MARKS).
    pub(crate) fn depends_on_value(&self, key: &str) -> bool {
        self.function.is_some() || is_query(key)
    }

    fn masks_key(&self, key: &str) -> bool {
        let is_denied = self.deny.hold_for(key) && !self.allow.hold_for(key);
        is_denied || self.only.as_ref().is_some_and(|only| !only.hold_for(key))
    }

    /// What stands in the place of a value, if anything does.
    fn mask(&self, span: &str, key: &str, value: &Value<'_>) -> Option<String> {
        if self.masks_key(key) {
            return Some(Self::PLACEHOLDER.to_owned());
        }
        if let Some(function) = &self.function {
            let value = value.owned();
            match catch_panic(|| function(span, key, &value)) {
                Some(Redact::Keep) => {}
                Some(Redact::With(text)) => return Some(text),
                Some(Redact::Mask) | None => return Some(Self::PLACEHOLDER.to_owned()),
            }
        }
        if self.url_secrets == UrlSecrets::Kept {
            return None;
        }
        match value {
            Value::Text(text) => self.without_secrets(key, text),
            // An array is masked whole: a reader does not take it apart.
            Value::Array(values, _) => values
                .iter()
                .any(
                    |value| matches!(value, Value::Text(text) if self.without_secrets(key, text).is_some()),
                )
                .then(|| Self::PLACEHOLDER.to_owned()),
            _ => None,
        }
    }

    /// A text for which a rule holds by its key, or as the function says.
    fn text<'a>(&self, span: &str, key: &str, text: &'a str) -> Cow<'a, str> {
        self.mask(span, key, &Value::Text(text))
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    fn pairs(&self, span: &str, pairs: &mut Pairs<'_>) {
        for (key, value) in pairs {
            if let Some(mask) = self.mask(span, key, value) {
                *value = Value::Owned(mask.into());
            }
        }
    }

    /// Masks what a span says.
    pub(crate) fn span(&self, span: &mut SpanFields<'_>) {
        self.attributes_and_links(span.name, &mut span.attributes, &mut span.links);
    }

    /// Masks these attributes and links of the span with this name.
    pub(crate) fn attributes_and_links(
        &self,
        name: &str,
        attributes: &mut Pairs<'_>,
        links: &mut [Link<'_>],
    ) {
        if self.masks_nothing() {
            return;
        }
        self.pairs(name, attributes);
        for link in links {
            self.pairs(name, &mut link.attributes);
        }
    }

    /// Masks what the end of a span adds.
    pub(crate) fn end(&self, name: &str, end: &mut EndFields<'_>) {
        if self.masks_nothing() {
            return;
        }
        for event in &mut end.events {
            self.pairs(name, &mut event.attributes);
        }
        if let EndStatus::Error(message) = &mut end.status
            && let Cow::Owned(masked) = self.text(name, "status.message", message)
        {
            *message = Cow::Owned(masked);
        }
    }

    /// Masks what a resource says.
    pub(crate) fn resource(&self, resource: &mut Pairs<'_>) {
        if !self.masks_nothing() {
            self.pairs("", resource);
        }
    }

    /// An event that came encoded, with what is masked; `None` when nothing is.
    pub(crate) fn encoded(&self, payload: &[u8]) -> Option<Vec<u8>> {
        if self.masks_nothing() {
            return None;
        }
        let name = json::fields(payload).find(|(key, _)| *key == b"name");
        let name: Option<String> = name.and_then(|(_, value)| serde_json::from_slice(value).ok());
        let mut rewritten = json::PayloadRewriter::of(payload);
        self.object(name.as_deref().unwrap_or_default(), payload, &mut rewritten);
        rewritten.finish()
    }

    /// Rewrites the fields of an event, or of an event or a link within it.
    fn object(&self, span: &str, object: &[u8], rewritten: &mut json::PayloadRewriter<'_>) {
        let mut masked: Vec<Vec<u8>> = Vec::new();
        for (key, value) in json::fields(object) {
            match key {
                b"attributes" | b"resource" => {
                    for (key, value) in json::fields(value) {
                        if let Some(mask) = self.mask_encoded(span, key, value) {
                            rewritten.replace(value, &json::quoted(&mask));
                            masked.push(key.to_vec());
                        }
                    }
                }
                // A masked value is text, and says no other type.
                b"attributeTypes" => {
                    for (key, value) in json::fields(value) {
                        if masked.iter().any(|masked| masked == key) {
                            rewritten.replace(value, b"\"string\"");
                        }
                    }
                }
                b"status" => {
                    for (key, value) in json::fields(value) {
                        if key == b"message"
                            && let Some(mask) = self.mask_encoded(span, b"status.message", value)
                        {
                            rewritten.replace(value, &json::quoted(&mask));
                        }
                    }
                }
                b"body" => {
                    if let Some(mask) = self.mask_encoded(span, key, value) {
                        rewritten.replace(value, &json::quoted(&mask));
                    }
                }
                b"events" | b"links" => {
                    for element in json::elements(value) {
                        self.object(span, element, rewritten);
                    }
                }
                _ => {}
            }
        }
    }

    /// What stands in the place of a raw value.
    fn mask_encoded(&self, span: &str, key: &[u8], value: &[u8]) -> Option<String> {
        let key: String = serde_json::from_slice(&[b"\"", key, b"\""].concat()).ok()?;
        let value: serde_json::Value = serde_json::from_slice(value).ok()?;
        let value = attribute_value(&value);
        let pairs = vec![(key, value)];
        let mut shown = json::pairs(&pairs);
        let (key, value) = shown.first_mut()?;
        self.mask(span, key, value)
    }

    /// An address without its user and password, and without parameters that are secrets; `None` when it has none. What
    /// the conventions of OpenTelemetry ask for `url.full` and `url.query`.
    fn without_secrets(&self, key: &str, text: &str) -> Option<String> {
        let [query, user] = URL_SECRET_BYTES;
        memchr2(query, user, text.as_bytes()).or_else(|| is_query(key).then_some(0))?;
        let without_user = without_user(text);
        let shown = without_user.as_deref().unwrap_or(text);
        let without_secret_parameters = self.without_secret_parameters(key, shown);
        without_secret_parameters.or(without_user)
    }

    fn without_secret_parameters(&self, key: &str, text: &str) -> Option<String> {
        let (before, query) = match text.split_once('?') {
            Some((before, query)) => (Some(before), query),
            None if is_query(key) => (None, text),
            None => return None,
        };
        let (query, fragment) = query
            .split_once('#')
            .map_or((query, None), |(query, fragment)| (query, Some(fragment)));
        let is_secret = |name: &str| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]%".contains(&byte);
            let lower = name.to_ascii_lowercase();
            !name.is_empty()
                && name.bytes().all(is_name)
                && (SIGNATURE_PARAMETERS.contains(&&*lower) || self.masks_key(name))
        };
        let mut found = false;
        let pairs: Vec<Cow<'_, str>> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) if !value.is_empty() && is_secret(name) => {
                    found = true;
                    Cow::Owned(format!("{name}={REDACTED_PART}"))
                }
                _ => Cow::Borrowed(pair),
            })
            .collect();
        found.then(|| {
            let mut shown = before.map_or_else(String::new, |before| format!("{before}?"));
            shown.push_str(&pairs.join("&"));
            if let Some(fragment) = fragment {
                shown.push('#');
                shown.push_str(fragment);
            }
            shown
        })
    }
}

/// The value of an attribute as it was before it was written.
fn attribute_value(value: &serde_json::Value) -> AttributeValue {
    use serde_json::Value as Json;
    match value {
        Json::Bool(value) => AttributeValue::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => AttributeValue::Int(value),
            None => AttributeValue::Double(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => AttributeValue::String(text.clone()),
        Json::Array(values) => {
            let text = |value: &Json| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            AttributeValue::Strings(values.iter().map(text).collect())
        }
        other => AttributeValue::String(other.to_string()),
    }
}

/// Whether the value is the query of an address, without what stands before it.
fn is_query(key: &str) -> bool {
    key == "query" || key == "url.query"
}

/// The address without user and password (RFC 3986, section 3.2.1); `None` when it has none.
fn without_user(text: &str) -> Option<String> {
    let at = memmem::find(text.as_bytes(), b"://")? + "://".len();
    let (scheme, rest) = text.split_at_checked(at)?;
    let end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let (user, host) = authority.rsplit_once('@')?;
    let mask = if user.contains(':') {
        format!("{REDACTED_PART}:{REDACTED_PART}")
    } else {
        REDACTED_PART.to_owned()
    };
    Some(format!("{scheme}{mask}@{host}{rest}"))
}

/// Patterns of keys.
#[derive(Clone, Debug, Default)]
struct Patterns {
    all: Vec<Pattern>,
    /// The last letters of their last words: most keys are told apart by them.
    ends: Vec<[u8; END]>,
    /// A mark for each of these, so that most keys are told apart at one look.
    marks: [u64; 16],
    /// Whether a pattern has no such letters.
    has_short: bool,
}

const END: usize = 3;

/// Words, of which a `*` stands for any number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<String>);

impl Patterns {
    fn add<P: AsRef<str>>(&mut self, patterns: impl IntoIterator<Item = P>) {
        for pattern in patterns {
            let mut words = Vec::new();
            for (at, part) in pattern.as_ref().split('*').enumerate() {
                words.extend((at > 0).then(|| "*".to_owned()));
                words.extend(KeyWords(part).map(str::to_ascii_lowercase));
            }
            let Some(last) = words.last() else { continue };
            match last.as_bytes().last_chunk::<END>() {
                Some(end) => {
                    self.ends.push(*end);
                    let (word, bit) = mark_of(*end);
                    if let Some(word) = self.marks.get_mut(word) {
                        *word |= bit;
                    }
                }
                None => self.has_short = true,
            }
            self.all.push(Pattern(words));
        }
    }

    fn hold_for(&self, key: &str) -> bool {
        if !self.may_hold_for(key) {
            return false;
        }
        let words: Vec<&str> = KeyWords(key).collect();
        self.all.iter().any(|pattern| pattern.holds_for(&words))
    }

    fn may_hold_for(&self, key: &str) -> bool {
        match key.as_bytes().last_chunk::<END>() {
            Some(end) if !self.has_short && !end.iter().any(|byte| is_separator(*byte)) => {
                let end = end.map(|byte| byte.to_ascii_lowercase());
                let (word, bit) = mark_of(end);
                self.marks.get(word).is_some_and(|word| word & bit != 0) && self.ends.contains(&end)
            }
            _ => !self.all.is_empty(),
        }
    }
}

impl Pattern {
    /// Whether the key ends in the pattern.
    fn holds_for(&self, words: &[&str]) -> bool {
        fn ends(pattern: &[String], words: &[&str]) -> bool {
            match pattern.split_last() {
                None => true,
                Some((star, rest)) if star == "*" => {
                    (0..=words.len()).any(|end| ends(rest, words.get(..end).unwrap_or_default()))
                }
                Some((word, rest)) => words.split_last().is_some_and(|(last, before)| {
                    last.eq_ignore_ascii_case(word) && ends(rest, before)
                }),
            }
        }
        ends(&self.0, words)
    }
}

/// Which of 1024 bits these letters have.
fn mark_of([first, second, third]: [u8; END]) -> (usize, u64) {
    let mixed = usize::from(first) * 37 + usize::from(second) * 11 + usize::from(third);
    (mixed / 64 % 16, 1 << (mixed % 64))
}

/// The words of a key.
struct KeyWords<'a>(&'a str);

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_punctuation() || byte.is_ascii_whitespace()
}

impl<'a> Iterator for KeyWords<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches(|character: char| {
            character.is_ascii() && is_separator(character as u8)
        });
        let bytes = text.as_bytes();
        bytes.first()?;
        let begins_word = |at: usize| {
            let [before, here] =
                [bytes.get(at - 1), bytes.get(at)].map(|byte| byte.copied().unwrap_or(0));
            let next = bytes.get(at + 1).copied().unwrap_or(0);
            // `apiKey`, and `APIKey`.
            is_separator(here)
                || (here.is_ascii_uppercase()
                    && (before.is_ascii_lowercase()
                        || before.is_ascii_digit()
                        || (before.is_ascii_uppercase() && next.is_ascii_lowercase())))
        };
        let end = (1..bytes.len()).find(|at| begins_word(*at));
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(key: &str) -> Vec<&str> {
        KeyWords(key).collect()
    }

    #[test]
    fn a_key_is_words() {
        for (key, expected) in [
            (
                "http.request.header.x-api-key",
                vec!["http", "request", "header", "x", "api", "key"],
            ),
            ("userAccessToken", vec!["user", "Access", "Token"]),
            ("APIKey", vec!["API", "Key"]),
            ("oauth2Token", vec!["oauth2", "Token"]),
            ("a..b__", vec!["a", "b"]),
            ("größe.Token", vec!["größe", "Token"]),
            ("", vec![]),
            ("--", vec![]),
        ] {
            assert_eq!(words(key), expected, "{key}");
        }
    }

    #[test]
    fn by_default_secrets_are_masked_and_nothing_that_only_sounds_like_them() {
        let redaction = Redaction::default();
        for key in [
            "authorization",
            "http.request.header.authorization",
            "http.request.header.proxy-authorization",
            "http.request.header.cookie",
            "http.response.header.set-cookie",
            "db.password",
            "PASSWORD",
            "userPassword",
            "user.access_token",
            "X-Auth-Token",
            "refreshToken",
            "client_secret",
            "aws.secret_access_key",
            "X-Api-Key",
            "apiKey",
            "apikey",
            "ssh.private_key",
            "credentials",
            "JSESSIONID",
            "password.",
        ] {
            assert!(redaction.masks_key(key), "{key}");
        }
        for key in [
            "gen_ai.usage.input_tokens",
            "llm.token_count",
            "tokenizer",
            "token_type",
            "secretary",
            "authorization.granted",
            "author",
            "cookie_consent",
            "http.route",
            "session.id",
            "key",
            "messaging.kafka.message.key",
            "passenger",
            "operation",
            "",
        ] {
            assert!(!redaction.masks_key(key), "{key}");
        }
    }

    #[test]
    fn patterns_hold_as_their_table_says() {
        let holds = |pattern: &str, key: &str| Redaction::none().deny([pattern]).masks_key(key);
        for (pattern, yes, no) in [
            (
                "api_key",
                vec!["api_key", "http.request.header.x-api-key", "apiKey"],
                vec!["apikey", "api_key_id"],
            ),
            (
                "internal.*",
                vec!["internal.note", "shop.internal.a.b", "internal"],
                vec!["internals"],
            ),
            (
                "user.*.name",
                vec!["user.name", "user.a.b.name"],
                vec!["name", "user.names"],
            ),
            ("ip", vec!["client.ip", "IP"], vec!["zip"]),
            ("*", vec!["anything", "a.b"], vec![]),
            ("", vec![], vec!["anything", ""]),
        ] {
            for key in yes {
                assert!(holds(pattern, key), "{pattern} {key}");
            }
            for key in no {
                assert!(!holds(pattern, key), "{pattern} {key}");
            }
        }
    }

    #[test]
    fn an_allowed_key_is_kept_and_only_lists_mask_the_rest() {
        let allowed = Redaction::default().allow(["continuation_token"]);
        assert!(!allowed.masks_key("page.continuation_token"));
        assert!(allowed.masks_key("page.token"));
        let only = Redaction::default().only(["http.*", "order.id"]);
        for (key, is_hidden) in [
            ("http.route", false),
            ("order.id", false),
            ("user.email", true),
            ("http.request.header.cookie", true),
        ] {
            assert_eq!(only.masks_key(key), is_hidden, "{key}");
        }
    }

    fn masked(redaction: &Redaction, key: &str, text: &str) -> String {
        redaction.text("a span", key, text).into_owned()
    }

    #[test]
    fn addresses_lose_users_and_secret_parameters() {
        let redaction = Redaction::default();
        for (key, text, expected) in [
            (
                "url.full",
                "https://eve:pw@shop.example/a?b=c",
                "https://REDACTED:REDACTED@shop.example/a?b=c",
            ),
            (
                "db.url",
                "postgres://eve@db/orders",
                "postgres://REDACTED@db/orders",
            ),
            (
                "url.full",
                "https://s3.example/f?X-Amz-Signature=ab&sig=cd&size=3#top",
                "https://s3.example/f?X-Amz-Signature=REDACTED&sig=REDACTED&size=3#top",
            ),
            (
                "http.target",
                "/cb?code=7&access_token=abc",
                "/cb?code=7&access_token=REDACTED",
            ),
            ("url.query", "password=x&page=2", "password=REDACTED&page=2"),
            (
                "url.full",
                "https://eve:pw@shop.example/?token=x",
                "https://REDACTED:REDACTED@shop.example/?token=REDACTED",
            ),
        ] {
            assert_eq!(masked(&redaction, key, text), expected);
            assert_eq!(masked(&Redaction::none(), key, text), text);
        }
        for text in [
            "eve@example.com",
            "https://shop.example/@eve",
            "SELECT * FROM t WHERE a = ? AND token = 'x'",
            "is it true? token=",
            "https://shop.example/?token=",
            "?",
            "@",
            "://@",
        ] {
            let expected = if text == "://@" { "://REDACTED@" } else { text };
            assert_eq!(masked(&redaction, "note", text), expected);
        }
    }

    #[test]
    fn the_apps_function_is_asked_about_what_its_keys_left() {
        let redaction = Redaction::default().with(|span, key, value| {
            assert_eq!(span, "a span");
            match (key, value.as_str()) {
                ("panics", _) => panic!("the app's own mistake"),
                ("card", Some(text)) => Redact::With(format!("…{}", &text[text.len() - 4..])),
                ("note", _) => Redact::Mask,
                ("password", _) => unreachable!("it is masked before"),
                _ => Redact::Keep,
            }
        });
        assert_eq!(masked(&redaction, "card", "4242424242424242"), "…4242");
        assert_eq!(masked(&redaction, "note", "x"), Redaction::PLACEHOLDER);
        assert_eq!(masked(&redaction, "panics", "x"), Redaction::PLACEHOLDER);
        assert_eq!(masked(&redaction, "password", "x"), Redaction::PLACEHOLDER);
        assert_eq!(masked(&redaction, "other", "x"), "x");
    }

    #[test]
    fn an_event_that_came_encoded_keeps_all_but_what_is_masked() {
        let event = concat!(
            r#"{"type":"ended","name":"pay","status":{"code":"ERROR","message":"no \"money\""},"attributes":{"n":1.50,"#,
            r#""pass\u0077ord":9007199254740993,"tags":["a"],"url":"http://u:p@h/"},"attributeTypes":{"n":"x","pass\u0077ord":"int"},"#,
            r#""events":[{"name":"e","attributes":{"token":[1,2],"k":null}}],"links":[{"attributes":{"secret":true}}],"z":" "}"#
        );
        let shown = |redaction: &Redaction| {
            let shown = redaction.encoded(event.as_bytes());
            shown.map(|shown| String::from_utf8(shown).unwrap())
        };
        assert_eq!(shown(&Redaction::none()), None);
        assert_eq!(shown(&Redaction::none().deny(["nothing"])), None);
        let expected = event
            .replace("9007199254740993", "\"[redacted]\"")
            .replace("\"int\"", "\"string\"")
            .replace("[1,2]", "\"[redacted]\"")
            .replace("http://u:p@h/", "http://REDACTED:REDACTED@h/")
            .replace("\"secret\":true", "\"secret\":\"[redacted]\"");
        assert_eq!(shown(&Redaction::default()).unwrap(), expected);
        let messages = Redaction::none().deny(["status.message"]);
        let expected = event.replace(r#""no \"money\"""#, "\"[redacted]\"");
        assert_eq!(shown(&messages).unwrap(), expected);
        assert_eq!(Redaction::default().encoded(b"nonsense"), None);
    }
}
