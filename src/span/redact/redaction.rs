//! [`Redaction`] decides which values of a span are kept. The worker thread masks secrets before it encodes an event,
//! so stored and sent events never contain them. Pure, except for the app's own function.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    span::{
        event::AttributeValue,
        json::{
            ChangeFields, EndCause, EndFields, EndStatus, Link, LogFields, Pairs, PanicFields,
            SpanFields, TimedEvent, Value,
        },
        redact::{name::is_command, patterns::Patterns},
        updates::Awaiting,
    },
    util::sync::catch_panic,
};

/// Decides which values of spans, their events and links, of log records, resources and status messages are kept.
///
/// The default, [`Redaction::default`], masks before anything is stored:
///
/// - **By key**: attributes of spans, events, links, log records and resources whose keys end in one of
///   [`Redaction::DEFAULT_KEYS`]. The value becomes [`Redaction::PLACEHOLDER`], so a reader sees that there was a
///   value.
/// - **In all URLs of a text**: user and password, and the parameters of query and fragment whose names end in one of
///   these keys. Names may be percent-encoded, and parameters may be nested in a parameter. These parts become
///   `REDACTED`.
/// - **In texts with pairs of name and value**: the values of such names in JSON (also JSON text within JSON), `Debug`
///   output, maps and records of other languages, lists of headers, forms, connection strings, `name=value`,
///   `-H "name: value"`, flags of a command line (keys that end in `command`, `args` and the like), and several lines
///   of `name: value`.
///
/// Texts are the values of attributes, status messages, the details of panics, the bodies of log records, and the names
/// of spans, events and awaited operations.
///
/// It does **not** mask keys, names of services and scopes, `tracestate` and ids. It cannot find secrets without a
/// name:
///
/// - a password in a sentence, in a path, or in SQL with blanks around the `=`;
/// - a password after an abbreviation such as `-p`;
/// - a bare `user:password@host` without a scheme;
/// - text in an encoding other than percent-encoding.
///
/// Two kinds of password may be masked only in part: a password with a raw `@` in the path of an `http` URL, and an
/// unquoted password that contains text in the form of the next pair. Mask such values with a pattern for their keys,
/// or with a function.
///
/// The guide: [what is in spans](crate::_guide::production).
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
    text_secrets: TextSecrets,
}

type RedactFn = Arc<dyn Fn(&str, &str, &AttributeValue) -> RedactAction + Send + Sync>;

/// The decision of the function of [`Redaction::with`] about a value.
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

/// Whether secrets within texts are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextSecrets {
    Masked,
    Kept,
}

impl Redaction {
    /// Keys whose values [`Redaction::default`] masks, as patterns of [`deny`](Self::deny).
    pub const DEFAULT_KEYS: &'static [&'static str] = &[
        "*authorization",
        "*cookie",
        "*cookies",
        "*password",
        "*passwords",
        "*passwordhash",
        "*passwordconfirmation",
        "*passwd",
        "*pwd",
        "*passphrase",
        "*secret",
        "*secrets",
        "*token",
        "*apikey",
        "*accesskey",
        "*secretkey",
        "*privatekey",
        "*signingkey",
        "*encryptionkey",
        "api_key",
        "access_key",
        "secret_key",
        "private_key",
        "signing_key",
        "encryption_key",
        "*credential",
        "*credentials",
        "*jwt",
        "*sessionid",
        "*phpsessid",
    ];

    /// Text that replaces a masked value.
    pub const PLACEHOLDER: &'static str = "[redacted]";

    /// Masks nothing, and searches no text.
    pub fn none() -> Self {
        Self {
            deny: Patterns::default(),
            allow: Patterns::default(),
            only: None,
            function: None,
            text_secrets: TextSecrets::Kept,
        }
    }

    /// Also masks the values of these keys.
    ///
    /// A pattern matches keys that *end* in it, in any case. A number at the end of a key is ignored.
    ///
    /// - It is compared word by word: `.`, `-`, `_`, other punctuation and a capital letter within a name begin a word.
    ///   `*` stands for any words.
    /// - A `*` followed by letters only, such as `*token`, matches keys whose last part (after the last `.`) ends in
    ///   these letters, even if `_`, `-` or a capital letter separates them.
    ///
    /// | pattern | matches | does not match |
    /// | --- | --- | --- |
    /// | `token` | `token`, `user.access_token`, `X-Auth-Token`, `authToken`, `token.0` | `token_count`, `usage.input_tokens`, `csrftoken` |
    /// | `*token` | all of these, and `csrftoken` | `token_count`, `usage.input_tokens`, `tokenizer` |
    /// | `*sessionid` | `session_id`, `PHPSESSIONID` | `session.id` |
    /// | `api_key` | `api_key`, `http.request.header.x-api-key`, `apiKey` | `apikey`, `api_key_id` |
    /// | `internal.*` | `internal.note`, `shop.internal.a.b` | `internals` |
    pub fn deny<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.deny.add(patterns);
        self
    }

    /// Keeps the values of keys that these patterns match, even if a pattern of [`deny`](Self::deny) matches, too.
    /// Secrets within them are still masked, the [function](Self::with) is still called, and [`only`](Self::only) still
    /// applies.
    pub fn allow<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.allow.add(patterns);
        self
    }

    /// Masks every value, except those of keys that these patterns match and that no pattern of [`deny`](Self::deny)
    /// matches.
    pub fn only<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.only.get_or_insert_default().add(patterns);
        self
    }

    /// Calls `function` for every value that is not masked by its key, with the name of the span (`""` for a resource
    /// or a log record), the key and the value. The message of a failed span has the key `status.message`, and the text
    /// of a log record has the key `body`. The place and the thread of a panic have the keys `panic.location` and
    /// `panic.thread`. Patterns apply to these keys, too. The decision about a value at the start of a span may be
    /// reused at the end of the span. `function` runs on the log's thread, so it must be quick. If it panics, the value
    /// is masked.
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
            && self.text_secrets == TextSecrets::Kept
    }

    /// Returns whether redaction must examine each value of this key. Start templates cannot hold such values. For
    /// values of other keys, a template calls [`keeps`](Self::keeps).
    pub(crate) fn depends_on_value(&self, key: &str) -> bool {
        self.function.is_some() || is_command(key)
    }

    /// Returns whether the app has set a function.
    pub(crate) fn has_function(&self) -> bool {
        self.function.is_some()
    }

    /// Returns whether redaction leaves a text unchanged. `text` is UTF-8, and its key is not masked. It is called only
    /// for texts with one of [`SECRET_HINT_BYTES`](crate::span::json::start_template::SECRET_HINT_BYTES).
    pub(crate) fn keeps(&self, text: &[u8]) -> bool {
        self.text_secrets == TextSecrets::Kept
            || std::str::from_utf8(text).is_ok_and(|text| self.without_secrets("", text).is_none())
    }

    /// Returns whether redaction leaves an attribute, or a status message, certainly unchanged. `text` is `None` for a
    /// number or a boolean.
    #[inline]
    pub(crate) fn keeps_value(&self, key: &str, text: Option<&str>) -> bool {
        let is_kept = |text| {
            self.text_secrets == TextSecrets::Kept || self.without_secrets(key, text).is_none()
        };
        !self.depends_on_value(key) && !self.masks_key(key) && text.is_none_or(is_kept)
    }

    /// Returns whether a pattern of `deny` matches this name and no pattern of `allow` matches it.
    pub(super) fn denies(&self, name: &str) -> bool {
        self.deny.hold_for(name) && !self.allow.hold_for(name)
    }

    pub(super) fn masks_key(&self, key: &str) -> bool {
        self.denies(key) || self.only.as_ref().is_some_and(|only| !only.hold_for(key))
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
        if self.text_secrets == TextSecrets::Kept {
            return None;
        }
        match value {
            Value::Text(text) if is_command(key) => {
                let without_flags = self.without_flags(text);
                let text = without_flags.as_deref().unwrap_or(text);
                self.without_secrets(key, text).or(without_flags)
            }
            Value::Text(text) => self.without_secrets(key, text),
            // An array is masked as a whole.
            Value::Array(values, _) => self
                .is_any_secret(key, values)
                .then(|| Self::PLACEHOLDER.to_owned()),
            _ => None,
        }
    }

    fn is_any_secret(&self, key: &str, values: &[Value<'_>]) -> bool {
        let is_secret = |value: &Value<'_>| matches!(value, Value::Text(text) if self.without_secrets(key, text).is_some());
        let is_flag =
            |value: &Value<'_>| matches!(value, Value::Text(text) if self.is_secret_flag(text));
        let (_, flags) = values.split_last().unwrap_or((&Value::Bool(false), &[]));
        values.iter().any(is_secret) || flags.iter().any(is_flag)
    }

    /// Returns the name of a span or an event with its secrets masked, or `None` if there are none.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        (self.text_secrets == TextSecrets::Masked)
            .then(|| self.without_secrets("", name))
            .flatten()
    }

    /// Returns a text, masked if a rule or the function requires it.
    pub(super) fn text<'a>(&self, span: &str, key: &str, text: &'a str) -> Cow<'a, str> {
        self.mask(span, key, &Value::Text(text))
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    pub(super) fn pairs(&self, span: &str, pairs: &mut Pairs<'_>) {
        for (key, value) in pairs {
            self.value(span, key, value);
        }
    }

    /// Masks a value. In a map or an array of mixed kinds, each value is masked separately.
    fn value(&self, span: &str, key: &str, value: &mut Value<'_>) {
        let is_whole = !value.is_nested() || self.masks_key(key);
        match value {
            _ if is_whole => {
                if let Some(mask) = self.mask(span, key, value) {
                    *value = Value::Owned(mask.into());
                }
            }
            Value::Map(pairs, _) => self.pairs(span, pairs),
            Value::Array(values, _) => {
                for value in values {
                    self.value(span, key, value);
                }
            }
            _ => {}
        }
    }

    /// Masks the attributes and the body of a log record.
    pub(crate) fn log(&self, log: &mut LogFields<'_>) {
        if self.masks_nothing() {
            return;
        }
        self.pairs("", &mut log.attributes);
        if let Some(body) = &mut log.body {
            self.value("", "body", body);
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
        self.events(name, &mut end.events);
        if let EndStatus::Error(message) = &mut end.status {
            self.message(name, message);
        }
        if let EndCause::Panicked(panic) = &mut end.reason {
            self.panic(name, panic);
        }
    }

    /// Masks the changes of an open span with this name.
    pub(crate) fn changes(&self, name: &str, changes: &mut ChangeFields<'_>) {
        if self.masks_nothing() {
            return;
        }
        self.events(name, &mut changes.events);
        if let Some(EndStatus::Error(message)) = &mut changes.status {
            self.message(name, message);
        }
        if let Some(panic) = &mut changes.panic {
            self.panic(name, panic);
        }
        if let Awaiting::On((awaited, _)) = &mut changes.awaiting
            && let Some(masked) = self.name(awaited)
        {
            *awaited = Cow::Owned(masked);
        }
    }

    fn events(&self, name: &str, events: &mut [TimedEvent<'_>]) {
        for event in events {
            if let Some(masked) = self.name(&event.name) {
                event.name = Cow::Owned(masked);
            }
            self.pairs(name, &mut event.attributes);
        }
    }

    /// Masks the message of a status.
    fn message(&self, name: &str, message: &mut Cow<'_, str>) {
        if let Cow::Owned(masked) = self.text(name, "status.message", message) {
            *message = Cow::Owned(masked);
        }
    }

    /// Masks the details of a panic.
    fn panic(&self, name: &str, panic: &mut PanicFields<'_>) {
        for (key, text) in [
            ("status.message", &mut panic.message),
            ("panic.location", &mut panic.location),
            ("panic.thread", &mut panic.thread),
        ] {
            let masked = text.as_deref().map(|text| self.text(name, key, text));
            if let Some(Cow::Owned(masked)) = masked {
                *text = Some(Cow::Owned(masked));
            }
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
    /// Returns a redaction that masks [`Redaction::DEFAULT_KEYS`], and secrets within texts.
    fn default() -> Self {
        Self {
            text_secrets: TextSecrets::Masked,
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
            .field("text_secrets", &self.text_secrets)
            .finish()
    }
}
