//! What to ask of the list of traces: the search grammar of the dashboard, and the filters of the routes. Pure.
//!
//! Grammar: terms separated by blanks, all of which must hold. `text` and `"quoted text"` are looked for in name,
//! services and trace id, of either case; `key:value` asks one property; `duration>10ms`, `spans>=5` and `errors<1`
//! compare; a leading `-` turns a term round.

use std::cmp::Ordering;

use crate::{
    error::Error,
    spans::{
        event::{SpanKind, TraceId},
        summary::{Trace, TraceState},
    },
    time::Timestamp,
};

/// The longest search text, in bytes.
pub(crate) const QUERY_BYTES_MAX: usize = 1024;

/// What a list of traces is narrowed to. Values of one list are alternatives; lists must all hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceFilter {
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) services: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) kinds: Vec<SpanKind>,
    /// Whether traces with status ERROR are wanted, and those with OK.
    pub(crate) error: Vec<bool>,
    pub(crate) types: Vec<String>,
    pub(crate) states: Vec<TraceState>,
    pub(crate) duration_nanos_min: Option<u64>,
    pub(crate) linked_to: Option<TraceId>,
    pub(crate) search: Search,
}

impl TraceFilter {
    pub(crate) fn accepts(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        fn any<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(holds)
        }
        any(&self.trace_ids, |one| one.to_bytes() == *id)
            && any(&self.services, |name| {
                trace.services.iter().any(|service| service.name == *name)
            })
            && any(&self.names, |name| trace.name() == name)
            && any(&self.kinds, |kind| trace.kind() == *kind)
            && any(&self.error, |error| is_error(trace) == *error)
            && any(&self.types, |one| match one.as_str() {
                "started" => trace.total > 0,
                "ended" => trace.ended > 0,
                _ => false,
            })
            && any(&self.states, |state| trace.state() == *state)
            && self
                .duration_nanos_min
                .is_none_or(|min| trace.duration_nanos(now) >= min)
            && self
                .linked_to
                .is_none_or(|linked| trace.links.contains(&linked.to_bytes()))
            && self.search.accepts(id, trace, now)
    }
}

fn is_error(trace: &Trace) -> bool {
    matches!(trace.state(), TraceState::Error | TraceState::Lost)
}

/// A parsed search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Text(String),
    Name(String),
    Service(String),
    Trace(String),
    State(TraceState),
    Error(bool),
    Kind(SpanKind),
    Number(Property, Vec<Ordering>, u64),
}

#[derive(Clone, Copy, Debug)]
enum Property {
    DurationNanos,
    Spans,
    Errors,
}

impl Search {
    /// Reads a search.
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

    fn accepts(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        self.0
            .iter()
            .all(|term| term.test.holds(id, trace, now) != term.negated)
    }
}

impl Test {
    fn holds(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(part);
        let id = || {
            TraceId::from_bytes(*id)
                .map(|id| id.to_string())
                .unwrap_or_default()
        };
        match self {
            Self::Text(text) => {
                contains(trace.name(), text)
                    || trace
                        .services
                        .iter()
                        .any(|service| contains(&service.name, text))
                    || id().starts_with(text.as_str())
            }
            Self::Name(text) => contains(trace.name(), text),
            Self::Service(text) => trace
                .services
                .iter()
                .any(|service| contains(&service.name, text)),
            Self::Trace(text) => id().starts_with(text.as_str()),
            Self::State(state) => trace.state() == *state,
            Self::Error(error) => is_error(trace) == *error,
            Self::Kind(kind) => trace.kind() == *kind,
            Self::Number(property, orderings, value) => {
                let actual = match property {
                    Property::DurationNanos => trace.duration_nanos(now),
                    Property::Spans => trace.total,
                    Property::Errors => trace.errors,
                };
                orderings.contains(&actual.cmp(value))
            }
        }
    }
}

/// A word, and whether any of it was quoted.
struct Word {
    text: String,
    quoted: bool,
}

fn words(text: &str) -> Result<Vec<Word>, Error> {
    let mut words: Vec<Word> = Vec::new();
    let mut current: Option<Word> = None;
    let mut inside = false;
    for character in text.chars() {
        match character {
            '"' => {
                inside = !inside;
                current
                    .get_or_insert(Word {
                        text: String::new(),
                        quoted: true,
                    })
                    .quoted = true;
            }
            blank if blank.is_whitespace() && !inside => words.extend(current.take()),
            other => current
                .get_or_insert(Word {
                    text: String::new(),
                    quoted: false,
                })
                .text
                .push(other),
        }
    }
    if inside {
        return Err(Error::invalid("the search has a quote that is not closed"));
    }
    words.extend(current);
    Ok(words)
}

fn term(word: &Word) -> Result<Term, Error> {
    let (negated, text) = match word.text.strip_prefix('-') {
        Some(rest) if !rest.is_empty() => (true, rest),
        _ => (false, word.text.as_str()),
    };
    let key = text
        .split(|character: char| !character.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    let rest = text.get(key.len()..).unwrap_or_default();
    let asked = match (rest.chars().next(), key) {
        (Some(':'), _) => property(key, rest.get(1..).unwrap_or_default())?,
        (Some('<' | '>' | '='), "duration" | "spans" | "errors") => comparison(key, rest)?,
        // A word such as `a>b` or `"quoted:text"` is only text.
        _ => Test::Text(text.to_lowercase()),
    };
    let plain = word.quoted && text.starts_with(|character: char| !character.is_ascii_alphabetic());
    Ok(Term {
        negated,
        test: if plain {
            Test::Text(text.to_lowercase())
        } else {
            asked
        },
    })
}

fn property(key: &str, value: &str) -> Result<Test, Error> {
    let lower = value.to_lowercase();
    match key {
        "name" => Ok(Test::Name(lower)),
        "service" => Ok(Test::Service(lower)),
        "trace" | "id" => Ok(Test::Trace(lower)),
        "state" => state(&lower).map(Test::State),
        "status" => status(value).map(Test::Error),
        "kind" => kind(value).map(Test::Kind),
        "duration" | "spans" | "errors" => comparison(key, value),
        _ => Err(Error::invalid(format!(
            "the search key {key:?} is not one of name, service, trace, state, status, kind, duration, spans, errors"
        ))),
    }
}

fn comparison(key: &str, text: &str) -> Result<Test, Error> {
    let number = text.trim_start_matches(['<', '>', '=']);
    let operator = text.get(..text.len() - number.len()).unwrap_or_default();
    let orderings = match operator {
        "<" => vec![Ordering::Less],
        "<=" => vec![Ordering::Less, Ordering::Equal],
        ">" => vec![Ordering::Greater],
        ">=" => vec![Ordering::Greater, Ordering::Equal],
        "" | "=" => vec![Ordering::Equal],
        other => return Err(Error::invalid(format!("{other:?} is not a comparison"))),
    };
    let (property, value) = match key {
        "duration" => (Property::DurationNanos, duration_nanos(number)?),
        "spans" => (Property::Spans, count(number)?),
        _ => (Property::Errors, count(number)?),
    };
    Ok(Test::Number(property, orderings, value))
}

fn count(text: &str) -> Result<u64, Error> {
    text.parse()
        .map_err(|_error| Error::invalid(format!("{text:?} is not a number")))
}

/// Reads `10ms`, `1.5s`, `2m`, `1h`, `300us`, `5ns`; a bare number is milliseconds.
fn duration_nanos(text: &str) -> Result<u64, Error> {
    let digits = text.trim_end_matches(|character: char| character.is_alphabetic());
    let value = match digits.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => value,
        _ => return Err(Error::invalid(format!("{text:?} is not a duration"))),
    };
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "" | "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        other => return Err(Error::invalid(format!("{other:?} is not a unit of time"))),
    };
    nanos(value * unit)
}

/// Whole nanoseconds of a value that is not negative.
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

/// Reads the state of a trace.
pub(crate) fn state(text: &str) -> Result<TraceState, Error> {
    match text {
        "running" => Ok(TraceState::Running),
        "waiting" => Ok(TraceState::Waiting),
        "ok" => Ok(TraceState::Ok),
        "error" => Ok(TraceState::Error),
        "lost" => Ok(TraceState::Lost),
        other => Err(Error::invalid(format!(
            "the state {other:?} is not one of running, waiting, ok, error, lost"
        ))),
    }
}

/// Reads a status; whether it is ERROR.
pub(crate) fn status(text: &str) -> Result<bool, Error> {
    match text.to_ascii_uppercase().as_str() {
        "ERROR" => Ok(true),
        "OK" => Ok(false),
        _ => Err(Error::invalid(format!(
            "the status {text:?} is not one of OK, ERROR"
        ))),
    }
}

/// Reads a span kind.
pub(crate) fn kind(text: &str) -> Result<SpanKind, Error> {
    match text.to_ascii_uppercase().as_str() {
        "INTERNAL" => Ok(SpanKind::Internal),
        "SERVER" => Ok(SpanKind::Server),
        "CLIENT" => Ok(SpanKind::Client),
        "PRODUCER" => Ok(SpanKind::Producer),
        "CONSUMER" => Ok(SpanKind::Consumer),
        _ => Err(Error::invalid(format!(
            "the kind {text:?} is not one of INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::summary::{Begun, Change, Fact, Outcome};

    /// A trace `checkout` of service `shop` that took 20 ms and failed.
    fn trace() -> Trace {
        let mut trace = Trace::new(1);
        let begun = Box::new(Begun {
            parent: None,
            parent_remote: false,
            name: "Checkout cart".into(),
            service: "shop".into(),
            kind: SpanKind::Server,
            start: Timestamp::from_nanos(1_000_000_000),
            links: Vec::new(),
        });
        let fact = Fact {
            trace_id: [1; 16],
            span_id: [2; 8],
            time: Timestamp::from_nanos(1_020_000_000),
            change: Change::Ended {
                begun,
                outcome: Outcome::Error,
            },
        };
        trace.apply(&fact, 1);
        trace
    }

    #[test]
    fn the_grammar_finds_what_it_says() {
        let holds = [
            "",
            "checkout",
            "\"checkout cart\"",
            "name:cart service:shop",
            "-payments",
            "duration>10ms",
            "duration<=20ms",
            "duration>=0.02s",
            "status:error",
            "state:error",
            "-state:running",
            "kind:server",
            "spans:1 errors>=1",
            "0101",
            "trace:010101",
        ];
        let fails = [
            "payments",
            "-checkout",
            "duration>20ms",
            "status:ok",
            "state:running",
            "spans>1",
        ];
        for (text, expected) in holds
            .map(|text| (text, true))
            .into_iter()
            .chain(fails.map(|text| (text, false)))
        {
            let search = Search::parse(text).unwrap();
            assert_eq!(
                search.accepts(&[1; 16], &trace(), Timestamp::from_nanos(2_000_000_000)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (text, reason) in [
            ("\"open", "the search has a quote that is not closed"),
            (
                "state:gone",
                "the state \"gone\" is not one of running, waiting, ok, error, lost",
            ),
            ("duration>fast", "\"fast\" is not a duration"),
            (
                "duration>10lightyears",
                "\"lightyears\" is not a unit of time",
            ),
            ("spans>many", "\"many\" is not a number"),
        ] {
            assert_eq!(Search::parse(text).unwrap_err().to_string(), reason);
        }
    }
}
