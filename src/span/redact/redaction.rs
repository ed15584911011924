//! [`Redaction`]: which values of a span are kept. The worker thread masks secrets before it encodes an event, so
//! nothing that is stored or sent ever contains them. Pure, except for the app's own function.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    span::{
        event::AttributeValue,
        json::{EndFields, EndStatus, Link, Pairs, SpanFields, Value},
        redact::patterns::Patterns,
    },
    util::sync::catch_panic,
};

/// Decides which values of spans, their events and links, of log records, resources and status messages are kept.
///
/// The default masks values whose keys end in one of [`Redaction::DEFAULT_KEYS`]. Within URLs it masks the user, the
/// password and parameters with such names. A masked value becomes the text [`Redaction::PLACEHOLDER`], so a reader
/// sees that there was one. Keys, the names of spans, events and services, and free texts such as error messages and
/// SQL are kept: mask those texts with a pattern for their keys, or with a function.
///
/// ```
/// use livespan::{LiveSpans, Redaction, access::RedactAction};
///
/// let redaction = Redaction::default()
///     .deny(["user.email", "db.query.text", "internal.*"])
///     .allow(["continuation_token"])
///     .with(|_span, key, value| match value.as_str() {
///         Some(text) if key == "exception.message" && text.contains("card") => RedactAction::Mask,
///         _ => RedactAction::Keep,
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

type RedactFn = Arc<dyn Fn(&str, &str, &AttributeValue) -> RedactAction + Send + Sync>;

/// The answer of the function of [`Redaction::with`] about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedactAction {
    /// Keeps the value.
    Keep,
    /// Replaces the value with [`Redaction::PLACEHOLDER`].
    Mask,
    /// Replaces the value with this text.
    With(String),
}

/// Whether secrets within URLs are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlSecrets {
    Masked,
    Kept,
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

    /// Text that replaces a masked value.
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
    /// A pattern is compared word by word, whatever the case; `.`, `-`, `_`, other punctuation and a capital letter
    /// within a name begin a word. It holds for keys that *end* in its words, and `*` stands for any words:
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

    /// Keeps values of keys for which these patterns hold, even if a pattern of [`deny`](Self::deny) holds, too. URLs
    /// in them are still masked, and the [function](Self::with) is still called.
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

    /// Calls `function` for every value that is not masked by its key, with the name of the span (`""` for a resource),
    /// the key and the value. The message of a failed span has the key `status.message`, the text of a log record
    /// `body`; patterns apply to these, too. Its answer about a value at the start of a span may be reused for that
    /// value at the end. It runs on the log's thread, so it must be quick. If it panics, the value is masked.
    pub fn with(
        mut self,
        function: impl Fn(&str, &str, &AttributeValue) -> RedactAction + Send + Sync + 'static,
    ) -> Self {
        self.function = Some(Arc::new(function));
        self
    }

    /// Returns whether nothing is ever masked.
    pub(super) fn masks_nothing(&self) -> bool {
        self.deny.all.is_empty()
            && self.only.is_none()
            && self.function.is_none()
            && self.url_secrets == UrlSecrets::Kept
    }

    /// Returns whether redaction must examine the values of this key, beyond the search for
    /// [`URL_SECRET_BYTES`](crate::span::json::start_template::URL_SECRET_BYTES). A start template cannot hold such
    /// values.
    pub(crate) fn depends_on_value(&self, key: &str) -> bool {
        self.function.is_some() || is_query(key)
    }

    pub(super) fn masks_key(&self, key: &str) -> bool {
        let is_denied = self.deny.hold_for(key) && !self.allow.hold_for(key);
        is_denied || self.only.as_ref().is_some_and(|only| !only.hold_for(key))
    }

    /// Returns the text that replaces a value, if it is masked.
    pub(super) fn mask(&self, span: &str, key: &str, value: &Value<'_>) -> Option<String> {
        if self.masks_key(key) {
            return Some(Self::PLACEHOLDER.to_owned());
        }
        if let Some(function) = &self.function {
            let value = value.owned();
            match catch_panic(|| function(span, key, &value)) {
                Some(RedactAction::Keep) => {}
                Some(RedactAction::With(text)) => return Some(text),
                Some(RedactAction::Mask) | None => return Some(Self::PLACEHOLDER.to_owned()),
            }
        }
        if self.url_secrets == UrlSecrets::Kept {
            return None;
        }
        match value {
            Value::Text(text) => self.without_secrets(key, text),
            // An array is masked as a whole.
            Value::Array(values, _) => values
                .iter()
                .any(
                    |value| matches!(value, Value::Text(text) if self.without_secrets(key, text).is_some()),
                )
                .then(|| Self::PLACEHOLDER.to_owned()),
            _ => None,
        }
    }

    /// Returns a text, masked if a rule or the function says so.
    pub(super) fn text<'a>(&self, span: &str, key: &str, text: &'a str) -> Cow<'a, str> {
        self.mask(span, key, &Value::Text(text))
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    pub(super) fn pairs(&self, span: &str, pairs: &mut Pairs<'_>) {
        for (key, value) in pairs {
            if let Some(mask) = self.mask(span, key, value) {
                *value = Value::Owned(mask.into());
            }
        }
    }

    /// Masks the attributes and links of a span.
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

    /// Masks the fields that the end of a span adds.
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

    /// Masks the attributes of a resource.
    pub(crate) fn resource(&self, resource: &mut Pairs<'_>) {
        if !self.masks_nothing() {
            self.pairs("", resource);
        }
    }
}

impl Default for Redaction {
    /// Masks [`Redaction::DEFAULT_KEYS`], and secrets within URLs.
    fn default() -> Self {
        Self {
            url_secrets: UrlSecrets::Masked,
            ..Self::none().deny(Self::DEFAULT_KEYS.iter().copied())
        }
    }
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

/// Returns whether the value is the query of a URL only, without the parts before it.
pub(super) fn is_query(key: &str) -> bool {
    key == "query" || key == "url.query"
}
