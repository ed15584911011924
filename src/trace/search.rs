//! The search grammar of the list of traces: parses `?q=` and decides whether a trace matches.
//! Pure; it runs on the task of the request.
//!
//! Grammar: terms separated by blanks, all of which must hold. `text` and `"quoted text"` are
//! searched in name and services, at the beginning of the trace id, then in all events of the
//! trace. The search ignores case, the composition of a character (`é` as one code point or two)
//! and the kind of blank.
//! `key:value` tests one property, or an attribute of any span; `duration>10ms`, `spans>=5`,
//! `errors<1` and `cart.items>=3` compare; a leading `-` negates a term. A quote inside a term
//! keeps its blanks (`name:"a b"`); between quotes, `\"` is a quote and `\\` a backslash. A term
//! that begins with a quote is always text, as are paths (`shop::cart`) and addresses. The server
//! refuses a search with a syntax error; the response names the position of the error.
//!
//! The dashboard parses the same grammar to search the spans of one trace and the rows that it
//! already has. Both implementations are tested against `tests/search.json`.

pub(crate) mod event_search;
pub(crate) mod folded_text;
pub(crate) mod page;

use std::cmp::Ordering;

use crate::{
    error::Error,
    span::event::{SpanKind, TraceId},
    trace::{
        operations::operation::Operation,
        search::folded_text::FoldedText,
        state::{Trace, TraceState},
    },
    util::time::Timestamp,
};

/// Maximum length of a search text, in bytes.
pub(crate) const QUERY_BYTES_MAX: usize = 1024;

/// A parsed search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search(Vec<Term>);

#[derive(Clone, Debug)]
pub(super) struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// Text in the name, the services or the events, or at the beginning of the trace id.
    Text(FoldedText),
    /// Text in the scope of a span.
    Scope(FoldedText),
    /// The beginning of a span id.
    Span(FoldedText),
    Attribute(AttributeTest),
    Name(FoldedText),
    Service(FoldedText),
    Trace(FoldedText),
    State(TraceState),
    /// The trace is open, and some of its spans failed.
    Failing,
    /// The trace's root ended without an error, and there are errors below it.
    Below,
    Error(bool),
    Kind(SpanKind),
    Number(Property, Vec<Ordering>, u64),
}

/// A condition on an attribute.
#[derive(Clone, Debug)]
struct AttributeTest {
    key: String,
    value: FoldedText,
    /// The value as a number, or NaN if it is not one.
    number: f64,
    /// The accepted results of comparing the attribute with the number. If empty, the attribute
    /// must contain the value instead.
    orderings: Vec<Ordering>,
}

/// A search's verdict on a trace whose events were not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SummaryVerdict {
    Accepted,
    Rejected,
    /// The events decide the terms at these indexes.
    Open(Vec<usize>),
}

#[derive(Clone, Copy, Debug)]
enum Property {
    DurationNanos,
    Spans,
    Errors,
}

impl Search {
    /// Parses a search.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a search has at most {QUERY_BYTES_MAX} bytes"
            )));
        }
        words(text)?
            .into_iter()
            .map(|word| term(&word))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns whether the search compares durations: the duration of an open trace grows without
    /// events.
    pub(super) fn depends_on_time(&self) -> bool {
        let is_duration =
            |term: &Term| matches!(term.test, Test::Number(Property::DurationNanos, ..));
        self.0.iter().any(is_duration)
    }

    /// Returns whether the search accepts a trace by its summary alone.
    pub(super) fn accepts(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        self.0
            .iter()
            .all(|term| term.test.holds(id, trace, now) != term.negated)
    }

    /// Returns whether the search accepts every trace.
    #[cfg(feature = "mcp")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the search needs the events of some traces.
    pub(crate) fn reads_events(&self) -> bool {
        self.0.iter().any(|term| term.test.reads_events())
    }

    /// Checks that summaries alone can answer the search: no term tests an attribute, a scope or a
    /// span.
    pub(crate) fn require_summary_terms(&self) -> Result<(), Error> {
        let is_possible = |term: &Term| {
            !matches!(
                term.test,
                Test::Attribute(_) | Test::Scope(_) | Test::Span(_)
            )
        };
        if self.0.iter().all(is_possible) {
            return Ok(());
        }
        Err(Error::invalid(
            "only `GET /traces` is searched by attributes, scopes and spans",
        ))
    }

    /// Returns the verdict on a trace from its summary alone.
    pub(super) fn verdict(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> SummaryVerdict {
        let mut open = Vec::new();
        for (place, term) in self.0.iter().enumerate() {
            let holds = term.test.holds(id, trace, now);
            if !holds && term.test.reads_events() {
                open.push(place);
            } else if holds == term.negated {
                return SummaryVerdict::Rejected;
            }
        }
        if open.is_empty() {
            SummaryVerdict::Accepted
        } else {
            SummaryVerdict::Open(open)
        }
    }
}

impl Search {
    /// Checks that every term can be applied to an operation.
    pub(crate) fn require_operation_terms(&self) -> Result<(), Error> {
        let is_possible = |term: &Term| {
            let Term { test, .. } = term;
            matches!(
                test,
                Test::Text(_) | Test::Name(_) | Test::Service(_) | Test::Kind(_)
            )
        };
        if self.0.iter().all(is_possible) {
            return Ok(());
        }
        let message = "operations are searched by text, name, service and kind only";
        Err(Error::invalid(message))
    }

    /// Returns whether an operation matches. A term that cannot be applied to an operation never
    /// matches.
    pub(super) fn accepts_operation(&self, operation: &Operation) -> bool {
        let Operation { name, service, .. } = operation;
        self.0.iter().all(|term| {
            let holds = match &term.test {
                Test::Text(text) => text.is_in(name) || text.is_in(service),
                Test::Name(text) => text.is_in(name),
                Test::Service(text) => text.is_in(service),
                Test::Kind(kind) => operation.kind == *kind,
                _ => return false,
            };
            holds != term.negated
        })
    }
}

impl Test {
    fn reads_events(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Scope(_) | Self::Span(_) | Self::Attribute(_)
        )
    }

    fn holds(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        let id = || {
            TraceId::from_bytes(*id)
                .map(|id| id.to_string())
                .unwrap_or_default()
        };
        match self {
            Self::Text(text) => {
                text.is_in(trace.name())
                    || trace.services().any(|service| text.is_in(&service.name))
                    || id().starts_with(text.as_str())
            }
            // Only events can decide these.
            Self::Scope(_) | Self::Span(_) | Self::Attribute(_) => false,
            Self::Name(text) => text.is_in(trace.name()),
            Self::Service(text) => trace.services().any(|service| text.is_in(&service.name)),
            Self::Trace(text) => id().starts_with(text.as_str()),
            Self::State(state) => trace.state() == *state,
            Self::Failing => trace.errors() > 0 && trace.is_open(),
            Self::Below => trace.errors() > 0 && trace.state() == TraceState::Ok,
            Self::Error(error) => is_error(trace) == *error,
            Self::Kind(kind) => trace.kind() == *kind,
            Self::Number(property, orderings, value) => {
                let actual = match property {
                    Property::DurationNanos => trace.duration_nanos(now),
                    Property::Spans => trace.total,
                    Property::Errors => trace.errors(),
                };
                orderings.contains(&actual.cmp(value))
            }
        }
    }
}

/// Returns whether a trace counts as failed, that is, its status would be ERROR.
pub(super) fn is_error(trace: &Trace) -> bool {
    matches!(
        trace.state(),
        TraceState::Error | TraceState::Panicked | TraceState::Lost
    )
}

/// One term as written.
struct Word {
    /// The position of its first character in the search, counted from 1.
    at: usize,
    text: String,
    negated: bool,
    /// Whether the term begins with a quote.
    quoted: bool,
}

fn words(text: &str) -> Result<Vec<Word>, Error> {
    let mut words: Vec<Word> = Vec::new();
    let mut current: Option<Word> = None;
    let mut quote: Option<usize> = None;
    let mut characters = text.chars().zip(1..).peekable();
    while let Some((character, at)) = characters.next() {
        if character.is_whitespace() && quote.is_none() {
            words.extend(current.take());
            continue;
        }
        let word = current.get_or_insert_with(|| Word {
            at,
            text: String::new(),
            negated: false,
            quoted: false,
        });
        // A backslash escapes only a quote or a backslash. Otherwise it is an ordinary character, as in `C:\temp`.
        let mut escaped = || characters.next_if(|(next, _)| matches!(next, '"' | '\\'));
        if quote.is_some()
            && character == '\\'
            && let Some((escaped, _)) = escaped()
        {
            word.text.push(escaped);
            continue;
        }
        if character != '"' {
            word.text.push(character);
            continue;
        }
        quote = if quote.is_some() { None } else { Some(at) };
        if word.text == "-" && word.at + 1 == at {
            word.negated = true;
            word.text.clear();
        }
        word.quoted |= word.text.is_empty() && quote.is_some();
    }
    if let Some(at) = quote {
        return Err(Error::invalid(format!(
            "a quote is not closed, at character {at}"
        )));
    }
    words.extend(current);
    for word in &mut words {
        if !word.quoted && word.text.len() > 1 && word.text.starts_with('-') {
            word.negated = true;
            word.text.remove(0);
        }
    }
    Ok(words)
}

fn term(word: &Word) -> Result<Term, Error> {
    let test = if word.quoted {
        Test::Text(FoldedText::of(&word.text))
    } else {
        test(&word.text)
            .map_err(|error| Error::invalid(format!("{error}, at character {}", word.at)))?
    };
    Ok(Term {
        negated: word.negated,
        test,
    })
}

fn test(text: &str) -> Result<Test, Error> {
    let only_text = || Ok(Test::Text(FoldedText::of(text)));
    let is_key = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let bare = text.strip_prefix('@').unwrap_or(text);
    let key = bare.split(|character| !is_key(character)).next();
    let key = key.unwrap_or_default();
    if !key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return only_text();
    }
    let rest = bare.get(key.len()..).unwrap_or_default();
    let is_attribute = bare.len() < text.len();
    match (rest.chars().next(), key) {
        (Some(':'), _) if rest.starts_with("::") || rest.starts_with("://") => only_text(),
        (Some(':'), _) if !is_attribute => property(key, rest.get(1..).unwrap_or_default()),
        (Some(':'), _) => Ok(attribute(key, rest.get(1..).unwrap_or_default())),
        (Some('<' | '>' | '='), "duration" | "spans" | "errors") if !is_attribute => {
            comparison(key, rest)
        }
        (Some('<' | '>' | '='), _) if is_number(rest.trim_start_matches(['<', '>', '='])) => {
            attribute_comparison(key, rest)
        }
        _ => only_text(),
    }
}

fn property(key: &str, value: &str) -> Result<Test, Error> {
    let folded = FoldedText::of(value);
    match key {
        "name" => Ok(Test::Name(folded)),
        "service" => Ok(Test::Service(folded)),
        "scope" => Ok(Test::Scope(folded)),
        "span" => Ok(Test::Span(folded)),
        "trace" | "id" => Ok(Test::Trace(folded)),
        "state" => shown_state(&value.to_lowercase()),
        "status" => status(value).map(Test::Error),
        "kind" => kind(value).map(Test::Kind),
        "duration" | "spans" | "errors" => comparison(key, value),
        _ => Ok(attribute(key, value)),
    }
}

fn attribute(key: &str, value: &str) -> Test {
    Test::Attribute(AttributeTest {
        key: key.to_owned(),
        value: FoldedText::of(value),
        number: number(value),
        orderings: Vec::new(),
    })
}

fn attribute_comparison(key: &str, text: &str) -> Result<Test, Error> {
    let (orderings, value) = operator(text)?;
    Ok(Test::Attribute(AttributeTest {
        key: key.to_owned(),
        value: FoldedText::of(value),
        number: number(value),
        orderings,
    }))
}

/// Reads the operator at the beginning of a text. Also returns the rest of the text.
fn operator(text: &str) -> Result<(Vec<Ordering>, &str), Error> {
    let number = text.trim_start_matches(['<', '>', '=']);
    let operator = text.get(..text.len() - number.len()).unwrap_or_default();
    let orderings = match operator {
        "<" => vec![Ordering::Less],
        "<=" => vec![Ordering::Less, Ordering::Equal],
        ">" => vec![Ordering::Greater],
        ">=" => vec![Ordering::Greater, Ordering::Equal],
        "" | "=" => vec![Ordering::Equal],
        other => {
            return Err(Error::invalid(format!(
                "\"{other}\" is not one of <, <=, >, >=, ="
            )));
        }
    };
    Ok((orderings, number))
}

fn comparison(key: &str, text: &str) -> Result<Test, Error> {
    let (orderings, number) = operator(text)?;
    let (property, value) = match key {
        "duration" => (Property::DurationNanos, duration_nanos(number)?),
        "spans" => (Property::Spans, count(number)?),
        _ => (Property::Errors, count(number)?),
    };
    Ok(Test::Number(property, orderings, value))
}

fn count(text: &str) -> Result<u64, Error> {
    let wrong = || Error::invalid(format!("\"{text}\" is not a whole number"));
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().map_err(|_error| wrong())
}

fn is_number(text: &str) -> bool {
    !number(text).is_nan()
}

/// Parses a decimal number: digits, a point, and perhaps a minus before them. Returns NaN for any other text.
fn number(text: &str) -> f64 {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = text.parse().ok().filter(|_| is_plain);
    number.unwrap_or(f64::NAN)
}

/// Parses `10ms`, `1.5s`, `2m`, `1h`, `300us` or `5ns`. A number without a unit is milliseconds.
pub(crate) fn duration_nanos(text: &str) -> Result<u64, Error> {
    let digits = text.trim_end_matches(|character: char| character.is_alphabetic());
    let plain = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = match digits.parse::<f64>() {
        Ok(value) if plain && value.is_finite() => value,
        _ => {
            return Err(Error::invalid(format!(
                "\"{text}\" is not a duration, such as 10ms"
            )));
        }
    };
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "" | "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        other => {
            return Err(Error::invalid(format!(
                "\"{other}\" is not one of ns, us, ms, s, m, h"
            )));
        }
    };
    nanos(value * unit)
}

/// Converts a value that is not negative to whole nanoseconds.
pub(crate) fn nanos(value: f64) -> Result<u64, Error> {
    if !(0.0..1.8e19).contains(&value) {
        return Err(Error::invalid("the duration is out of range"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked above"
    )]
    Ok(value.round() as u64)
}

/// Parses a trace state in the words that users see: the trace's own state, or one that depends on
/// its spans.
fn shown_state(text: &str) -> Result<Test, Error> {
    match text {
        "failing" => Ok(Test::Failing),
        "below" => Ok(Test::Below),
        other => state(other).map(Test::State).map_err(|_refused| {
            Error::invalid(format!(
                "the state \"{other}\" is not one of running, waiting, ok, error, panicked, cancelled, lost, failing, below"
            ))
        }),
    }
}

/// Parses the state of a trace.
pub(crate) fn state(text: &str) -> Result<TraceState, Error> {
    match text {
        "running" => Ok(TraceState::Running),
        "waiting" => Ok(TraceState::Waiting),
        "ok" => Ok(TraceState::Ok),
        "error" => Ok(TraceState::Error),
        "panicked" => Ok(TraceState::Panicked),
        "cancelled" => Ok(TraceState::Cancelled),
        "lost" => Ok(TraceState::Lost),
        other => Err(Error::invalid(format!(
            "the state \"{other}\" is not one of running, waiting, ok, error, panicked, cancelled, lost"
        ))),
    }
}

/// Parses a status. Returns whether it is ERROR.
pub(crate) fn status(text: &str) -> Result<bool, Error> {
    match text.to_ascii_uppercase().as_str() {
        "ERROR" => Ok(true),
        "OK" => Ok(false),
        _ => Err(Error::invalid(format!(
            "the status \"{text}\" is not one of OK, ERROR"
        ))),
    }
}

/// Parses a span kind.
pub(crate) fn kind(text: &str) -> Result<SpanKind, Error> {
    match text.to_ascii_uppercase().as_str() {
        "INTERNAL" => Ok(SpanKind::Internal),
        "SERVER" => Ok(SpanKind::Server),
        "CLIENT" => Ok(SpanKind::Client),
        "PRODUCER" => Ok(SpanKind::Producer),
        "CONSUMER" => Ok(SpanKind::Consumer),
        _ => Err(Error::invalid(format!(
            "the kind \"{text}\" is not one of INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER"
        ))),
    }
}

#[cfg(test)]
mod tests;
