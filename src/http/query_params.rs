//! Parses the query of a request into filters, limits and positions, within bounds. Pure.

use std::borrow::Cow;

use http::{StatusCode, Uri};

use crate::{
    http::error::HttpError,
    live_spans::LiveSpans,
    span::{
        event::{SpanKind, TraceId},
        json,
        severity::severity_number,
    },
    trace::{
        filter::TraceFilter,
        logs::filter::LogFilter,
        operations::page::OperationFilter,
        parse::EventFilter,
        search::{self, Search, folded_text::FoldedText},
    },
    util::query::{self, NotUtf8, QueryValue},
};

/// Upper bound on the values of one parameter.
const VALUES_MAX: usize = 32;
/// Upper bound on the entries of one page.
const LIMIT_MAX: usize = 500;
/// Stored event types that a filter may name.
const TYPES: &[&str] = &["started", "ended", "updated", "log", "process", "gap"];

pub(crate) struct QueryParams<'a> {
    pairs: Vec<(Cow<'a, str>, QueryValue<'a>)>,
}

impl<'a> QueryParams<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Result<Self, HttpError> {
        let query = uri.query().unwrap_or_default();
        if query.len() > LiveSpans::QUERY_LENGTH_MAX {
            let message = format!(
                "the query is longer than {} bytes",
                LiveSpans::QUERY_LENGTH_MAX
            );
            return Err(HttpError::new(StatusCode::URI_TOO_LONG, message));
        }
        Ok(Self {
            pairs: query::pairs(query).collect(),
        })
    }

    /// Returns the values of a parameter. An empty value counts as a missing one.
    fn all(&self, name: &str) -> Result<Vec<&str>, HttpError> {
        let named = self.pairs.iter().filter(|(key, _)| key == name);
        let values = named.map(|(_, value)| value.as_deref().map_err(|error| *error));
        let values: Result<Vec<&str>, NotUtf8> = values
            .filter(|value| value.is_err() || value.is_ok_and(|value| !value.is_empty()))
            .collect();
        let values = values.map_err(|NotUtf8| {
            let message = format!("the parameter {name} is not percent-encoded UTF-8");
            HttpError::new(StatusCode::BAD_REQUEST, message)
        })?;
        if values.len() > VALUES_MAX {
            let message = format!("the parameter {name} appears more than {VALUES_MAX} times");
            return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
        }
        Ok(values)
    }

    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, HttpError> {
        Ok(self.all(name)?.into_iter().next())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, HttpError> {
        let parse = |text: &str| {
            let message = format!("the parameter {name} is not a number: {text:?}");
            text.parse()
                .map_err(|_error| HttpError::new(StatusCode::BAD_REQUEST, message))
        };
        self.one(name)?.map(parse).transpose()
    }

    pub(crate) fn limit(&self, default: usize) -> Result<usize, HttpError> {
        let limit = self.number("limit")?.unwrap_or(default);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let message = format!("the parameter limit is not between 1 and {LIMIT_MAX}");
            return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
        }
        Ok(limit)
    }

    /// Returns the sequence before which a page of traces or log records begins, from the parameter `after`. Without
    /// that parameter, the page begins with the newest.
    pub(crate) fn before(&self) -> Result<u64, HttpError> {
        Ok(self.number("after")?.unwrap_or(u64::MAX))
    }

    pub(crate) fn trace_ids(&self) -> Result<Vec<TraceId>, HttpError> {
        let ids = self.all("traceId")?;
        Ok(ids.into_iter().map(str::parse).collect::<Result<_, _>>()?)
    }

    fn kinds(&self) -> Result<Vec<SpanKind>, HttpError> {
        Ok(self
            .all("kind")?
            .into_iter()
            .map(search::kind)
            .collect::<Result<_, _>>()?)
    }

    fn errors(&self) -> Result<Vec<bool>, HttpError> {
        Ok(self
            .all("status")?
            .into_iter()
            .map(search::status)
            .collect::<Result<_, _>>()?)
    }

    fn types(&self) -> Result<Vec<String>, HttpError> {
        let types = self.all("type")?;
        if let Some(unknown) = types.iter().find(|one| !TYPES.contains(one)) {
            let message = format!("the type {unknown:?} is not one of {}", TYPES.join(", "));
            return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
        }
        Ok(types.into_iter().map(str::to_owned).collect())
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, HttpError> {
        Ok(self.all(name)?.into_iter().map(str::to_owned).collect())
    }

    /// Returns the filter of a stream of events, without its traces.
    pub(crate) fn event_filter(&self) -> Result<EventFilter, HttpError> {
        let quoted = |name| -> Result<Vec<Vec<u8>>, HttpError> {
            Ok(self.all(name)?.into_iter().map(json::quoted).collect())
        };
        let kinds = self.kinds()?;
        Ok(EventFilter {
            services: quoted("service")?,
            names: quoted("name")?,
            kinds: kinds
                .into_iter()
                .map(|kind| json::quoted(json::kind_name(kind)))
                .collect(),
            errors: self.errors()?,
            types: self.types()?,
        })
    }

    /// Returns the filter of a list of log records.
    pub(crate) fn log_filter(&self) -> Result<LogFilter, HttpError> {
        let text = self.one("q")?.map(str::trim);
        let text = text.filter(|text| !text.is_empty());
        Ok(LogFilter {
            within: None,
            trace_ids: self.trace_ids()?,
            services: self.texts("service")?,
            severity_min: self.severity()?,
            text: text.map(FoldedText::of),
        })
    }

    /// Returns a severity that is given as a number or a name, or 0 if none is given.
    fn severity(&self) -> Result<u8, HttpError> {
        let Some(text) = self.one("severity")? else {
            return Ok(0);
        };
        let number = text.parse().ok();
        let number = number.filter(|number| (1..=24).contains(number));
        number.or_else(|| severity_number(text)).ok_or_else(|| {
            let message = format!(
                "the severity {text:?} is neither a number from 1 to 24 nor a name such as WARN"
            );
            HttpError::new(StatusCode::BAD_REQUEST, message)
        })
    }

    /// Returns the filter of a list of operations.
    pub(crate) fn operation_filter(&self) -> Result<OperationFilter, HttpError> {
        let search = Search::parse(self.one("q")?.unwrap_or_default())?;
        search.require_operation_terms()?;
        Ok(OperationFilter {
            services: self.texts("service")?,
            names: self.texts("name")?,
            kinds: self.kinds()?,
            search,
        })
    }

    /// Returns the filter of a list of traces that compares summaries only.
    pub(crate) fn summary_filter(&self) -> Result<TraceFilter, HttpError> {
        let filter = self.trace_filter()?;
        filter.search.require_summary_terms()?;
        Ok(filter)
    }

    /// Returns the filter of a list of traces.
    pub(crate) fn trace_filter(&self) -> Result<TraceFilter, HttpError> {
        let states = self
            .all("state")?
            .into_iter()
            .map(search::state)
            .collect::<Result<_, _>>()?;
        let milliseconds: Option<f64> = self.number("minDuration")?;
        let linked_to = self.one("linkedTo")?.map(str::parse).transpose()?;
        Ok(TraceFilter {
            within: None,
            trace_ids: self.trace_ids()?,
            services: self.texts("service")?,
            names: self.texts("name")?,
            kinds: self.kinds()?,
            error: self.errors()?,
            types: self.types()?,
            states,
            duration_nanos_min: milliseconds
                .map(|value| search::nanos(value * 1e6))
                .transpose()?,
            linked_to,
            search: Search::parse(self.one("q")?.unwrap_or_default())?,
        })
    }
}
