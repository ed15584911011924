//! Reads a start or an end of a span in one pass, if it has the usual form: the fields in the order in which
//! `span/json/` writes them, texts without escapes, and no lists. [`PlainSpan::read`] allocates nothing. It returns
//! `None` for every other payload, which the functions of [`parse`](crate::trace::parse) then read as JSON. Pure; the
//! worker thread calls it for events that an app encoded.

use std::sync::Arc;

use crate::{
    span::{
        event::{SpanId, SpanKind, TraceId},
        indexed_attributes::IndexedAttributes,
        json,
        redact::Redaction,
    },
    trace::span_change::{ChangeKind, SpanChange, SpanOutcome, SpanStart},
    util::{hex, time::Timestamp},
};

/// The fields of a start or an end that the trace index needs.
#[derive(Debug)]
pub(crate) struct PlainSpan<'a> {
    ids: PlainIds,
    parent_remote: bool,
    name: &'a str,
    kind: SpanKind,
    service: &'a str,
    /// The attributes as a JSON object.
    attributes: &'a str,
    has_progress: bool,
    /// The fields that only an end has.
    end: Option<PlainEnd<'a>>,
    time: Timestamp,
}

/// The ids of a span, its trace and its parent.
#[derive(Debug)]
struct PlainIds {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
}

#[derive(Debug)]
struct PlainEnd<'a> {
    outcome: SpanOutcome,
    message: &'a str,
    start: Timestamp,
}

impl<'a> PlainSpan<'a> {
    /// Reads an event. Returns `None` if it has another form, or if the redaction may change a value in it.
    pub(crate) fn read(payload: &'a [u8], redaction: &Redaction) -> Option<Self> {
        if redaction.has_function() {
            return None;
        }
        let text = std::str::from_utf8(payload).ok()?;
        let mut fields = UnreadFields {
            text,
            rest: payload,
        };
        let is_end = !fields.skip(b"{\"type\":\"started\"");
        if is_end {
            fields.expect(b"{\"type\":\"ended\"")?;
        }
        let ids = fields.ids()?;
        fields.expect(b",\"name\":\"")?;
        let name = fields.text()?;
        if redaction.name(name).is_some() {
            return None;
        }
        fields.expect(b",\"kind\":\"")?;
        let kind = json::kind_of_name(fields.text()?)?;
        fields.expect(b",\"process\":\"")?;
        fields.text()?;
        fields.expect(b",\"service\":\"")?;
        let service = fields.text()?;
        if fields.skip(b",\"scope\":\"") {
            fields.text()?;
        }
        let status = if is_end {
            Some(fields.status(redaction)?)
        } else {
            None
        };
        fields.expect(b",\"attributes\":{")?;
        let (attributes, has_progress) = fields.attributes(redaction)?;
        let end = match status {
            Some((outcome, message)) => {
                fields.expect(b",\"startTimestamp\":\"")?;
                let start = fields.time()?;
                Some(PlainEnd {
                    outcome,
                    message,
                    start,
                })
            }
            None => None,
        };
        fields.expect(b",\"timestamp\":\"")?;
        let time = fields.time()?;
        let parent_remote = fields.traits()?;
        Some(Self {
            ids,
            parent_remote,
            name,
            kind,
            service,
            attributes,
            has_progress,
            end,
            time,
        })
    }

    /// Returns the change that the index applies. `intern` returns shared copies of names.
    pub(crate) fn change(self, mut intern: impl FnMut(&str) -> Arc<str>) -> Option<SpanChange> {
        let PlainIds {
            trace_id,
            span_id,
            parent,
        } = self.ids;
        let may_be_root = parent.is_none() || self.parent_remote;
        let is_read = self.has_progress || (may_be_root && self.attributes != "{}");
        let attributes: IndexedAttributes = if is_read {
            serde_json::from_str(self.attributes).ok()?
        } else {
            IndexedAttributes::default()
        };
        let start = SpanStart {
            parent,
            parent_remote: self.parent_remote,
            name: intern(SpanStart::text(self.name)),
            service: intern(SpanStart::text(self.service)),
            kind: self.kind,
            start_time: self.end.as_ref().map_or(self.time, |end| end.start),
            links: Box::default(),
            progress: attributes.progress,
            of_root: attributes.of_root.filter(|_| may_be_root),
        };
        let kind = match self.end {
            None => ChangeKind::Started(start),
            Some(PlainEnd {
                outcome, message, ..
            }) => ChangeKind::Ended {
                start,
                outcome,
                message: (outcome == SpanOutcome::Error)
                    .then(|| SpanStart::message(message))
                    .flatten(),
            },
        };
        Some(SpanChange {
            trace_id,
            span_id,
            time: self.time,
            kind,
        })
    }
}

/// The part of an event that is not read yet.
struct UnreadFields<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> UnreadFields<'a> {
    /// Skips these bytes if they come next. Returns whether they did.
    #[inline]
    fn skip<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        match self.rest.split_first_chunk::<N>() {
            Some((next, rest)) if next == bytes => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn expect<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        self.skip(bytes).then_some(())
    }

    /// Reads the ids. Returns `None` for ids of zeros, which the slower reader refuses.
    fn ids(&mut self) -> Option<PlainIds> {
        self.expect(b",\"traceId\":\"")?;
        let trace_id = self.id()?;
        self.expect(b",\"spanId\":\"")?;
        let span_id = self.id()?;
        self.expect(b",\"parentSpanId\":")?;
        let parent = if self.skip(b"null") {
            None
        } else {
            self.expect(b"\"")?;
            Some(self.id()?)
        };
        let is_valid = TraceId::from_bytes(trace_id).is_some()
            && SpanId::from_bytes(span_id).is_some()
            && parent != Some([0; 8]);
        is_valid.then_some(PlainIds {
            trace_id,
            span_id,
            parent,
        })
    }

    /// Reads the digits of an id and the quote behind them.
    #[inline]
    fn id<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (digits, rest) = self.rest.split_at_checked(2 * N)?;
        self.rest = rest;
        self.expect(b"\"")?;
        hex::decode_bytes(digits)
    }

    /// Reads a text without escapes, up to its closing quote.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let start = self.text.len() - self.rest.len();
        let length = json::plain_length(self.rest);
        self.rest = self.rest.get(length..)?;
        self.expect(b"\"")?;
        self.text.get(start..start + length)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::parse(self.text()?)
    }

    /// Reads the status of an end, and whether the span was cancelled. Returns the outcome and the message.
    fn status(&mut self, redaction: &Redaction) -> Option<(SpanOutcome, &'a str)> {
        self.expect(b",\"status\":{\"code\":\"")?;
        let (mut outcome, mut message) = (SpanOutcome::Ok, "");
        if self.skip(b"OK\"") {
            self.skip(b",\"explicit\":true");
        } else {
            self.expect(b"ERROR\"")?;
            outcome = SpanOutcome::Error;
            if self.skip(b",\"message\":\"") {
                message = self.text()?;
                if !redaction.keeps_value("status.message", Some(message)) {
                    return None;
                }
            }
        }
        self.expect(b"}")?;
        if self.skip(b",\"cancelled\":true") {
            outcome = SpanOutcome::Cancelled;
        }
        Some((outcome, message))
    }

    /// Reads attributes after their opening brace. Returns them with their braces, and whether one of them may report
    /// progress.
    fn attributes(&mut self, redaction: &Redaction) -> Option<(&'a str, bool)> {
        let start = self.text.len() - self.rest.len() - 1;
        let mut has_progress = false;
        if !self.skip(b"}") {
            loop {
                self.expect(b"\"")?;
                let key = self.text()?;
                self.expect(b":")?;
                let text = match self.value()? {
                    PlainValue::Text(text) => Some(text),
                    PlainValue::Other => None,
                };
                if !redaction.keeps_value(key, text) {
                    return None;
                }
                has_progress |= IndexedAttributes::is_progress(key);
                if self.skip(b"}") {
                    break;
                }
                self.expect(b",")?;
            }
        }
        let end = self.text.len() - self.rest.len();
        Some((self.text.get(start..end)?, has_progress))
    }

    /// Reads a text, a short number or a boolean.
    #[inline]
    fn value(&mut self) -> Option<PlainValue<'a>> {
        if self.skip(b"\"") {
            return Some(PlainValue::Text(self.text()?));
        }
        if !self.skip(b"true") && !self.skip(b"false") {
            self.number()?;
        }
        Some(PlainValue::Other)
    }

    /// Reads a number without an exponent. It is short, so it is in the range of a double.
    fn number(&mut self) -> Option<()> {
        let before = self.rest.len();
        self.skip(b"-");
        if !self.skip(b"0") {
            self.digits()?;
        }
        if self.skip(b".") {
            self.digits()?;
        }
        (before - self.rest.len() <= NUMBER_BYTES_MAX).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        self.rest = self.rest.get(count..)?;
        (count > 0).then_some(())
    }

    /// Reads the fields after the time, to the end of the event. Returns whether the parent is in another process.
    fn traits(&mut self) -> Option<bool> {
        let parent_remote = self.skip(b",\"parentRemote\":true");
        self.skip(b",\"sampled\":false");
        if self.skip(b",\"traceState\":\"") {
            self.text()?;
        }
        if self.skip(b",\"scopeVersion\":\"") {
            self.text()?;
        }
        if self.skip(b",\"receivedTimestamp\":\"") {
            self.text()?;
        }
        self.skip(b",\"durable\":true");
        self.expect(b"}")?;
        self.rest.is_empty().then_some(parent_remote)
    }
}

/// The value of an attribute.
enum PlainValue<'a> {
    Text(&'a str),
    /// A number or a boolean.
    Other,
}

/// Longer numbers are left to the slower reader.
const NUMBER_BYTES_MAX: usize = 24;

#[cfg(test)]
mod tests;
