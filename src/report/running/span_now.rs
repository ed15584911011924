//! The current state of an open span, computed from its events: its await point, its task's polls,
//! its progress, its last log record. Pure; serialized as a span of `GET /running`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{
    report::{
        event_fields::{EventPanic, EventTask, EventText, ReportFields},
        progress_rate::ProgressRate,
        trace_events::ReportEvent,
    },
    span::{json::clip, progress::SpanProgress, updates::Awaiting},
    trace::{
        index::open_now::OpenSpanEntry, operations::histogram::DurationHistogram, parse,
        summary::milliseconds,
    },
    util::{hex, time::Timestamp},
};

/// A wait for longer than this is marked as long.
pub(crate) const AWAITING_LONG_NANOS: u64 = 10_000_000_000;
/// A poll for longer than this is marked as blocking its thread.
pub(crate) const BLOCKED_NANOS: u64 = 1_000_000_000;
/// The service name that `livespan run` gives to the spans of its commands.
const COMMAND_SERVICE: &str = "livespan run";
/// Upper bound on the length of one text of a span in a report, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// One open span.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpanNow {
    /// The number of open spans above this span.
    pub(crate) depth: usize,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: Option<String>,
    /// Whether the span's parent is open; `None` for a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_state: Option<ParentState>,
    /// The name; `None` if the log no longer has the span's start.
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) process: Option<String>,
    pub(crate) start_timestamp: String,
    pub(crate) age_ms: f64,
    pub(crate) state: SpanNowState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<StatusNow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) panic: Option<PanicNow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) awaiting: Option<AwaitingNow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<TaskNow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<ProgressNow>,
    /// The usual duration of spans with this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usual: Option<UsualDuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LastLog>,
    /// Whether the span outlives its process.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) durable: bool,
    /// The time of the last event of the span, or of the last start or end of a child.
    pub(crate) last_timestamp: String,
    #[serde(skip)]
    pub(crate) age: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParentState {
    Open,
    /// The parent has ended, or it was never seen.
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SpanNowState {
    #[default]
    Running,
    /// The span is a workflow or one of its steps, and waits for a time or an event.
    Waiting,
    /// The span's status is already ERROR.
    Failing,
    /// A panic occurred inside the span. It may have been caught.
    Panicked,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatusNow {
    pub(crate) code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PanicNow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AwaitingNow {
    pub(crate) name: String,
    pub(crate) since: String,
    pub(crate) age_ms: f64,
    /// Whether the wait has taken longer than 10 seconds.
    pub(crate) is_long: bool,
    #[serde(skip)]
    pub(crate) age: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskNow {
    pub(crate) polls: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) idle_nanos: u64,
    pub(crate) longest_poll_nanos: u64,
    pub(crate) polling: Option<PollNow>,
}

/// A poll that has not returned yet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PollNow {
    pub(crate) since: String,
    pub(crate) thread: String,
    pub(crate) age_ms: f64,
    /// Whether the poll has taken longer than a second. No other task can run on this thread
    /// meanwhile.
    pub(crate) is_blocked: bool,
    #[serde(skip)]
    pub(crate) age: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProgressNow {
    #[serde(flatten)]
    pub(crate) reported: SpanProgress,
    /// The time at which the span reported its progress.
    pub(crate) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// The estimated time left at the rate of the last updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<f64>,
    #[serde(skip)]
    pub(crate) age: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsualDuration {
    pub(crate) count: u64,
    pub(crate) p95_ms: f64,
    pub(crate) is_slower: bool,
    #[serde(skip)]
    pub(crate) p95: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastLog {
    pub(crate) timestamp: String,
    pub(crate) severity_number: u8,
    pub(crate) severity_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    pub(crate) body: String,
    #[serde(skip)]
    pub(crate) age: u64,
}

/// Collects the state of one span from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanNowBuilder {
    span: SpanNow,
    progress: SpanProgress,
    progressed: Option<Timestamp>,
    rate: ProgressRate,
    awaiting: Option<(String, Timestamp)>,
    polling: Option<(String, Timestamp)>,
    /// The time of the last report about the task's polls.
    task_reported: Timestamp,
    logged: Option<Timestamp>,
    last: Timestamp,
}

impl SpanNowBuilder {
    /// Adds the start or the end of a child. It counts only as a sign that the span is active.
    pub(crate) fn add_child(&mut self, event: &ReportEvent<'_>) {
        let time = parse::timestamp(event.payload).unwrap_or_default();
        self.last = self.last.max(time);
    }

    /// Adds the next event of the span.
    pub(crate) fn add(&mut self, event: &ReportEvent<'_>) {
        let Some(fields) = ReportFields::of(event.payload) else {
            return;
        };
        let time = fields.time().unwrap_or_default();
        match event.name {
            "started" => {
                *self = Self::default();
                self.start(&fields);
                self.record_progress(&fields, time);
            }
            // An event after the span's end belongs to another span with this id. A lost end may be
            // wrong, so it changes nothing.
            "ended" if !parse::is_lost(event.payload) => *self = Self::default(),
            "updated" => self.update(&fields, time),
            "log" => self.log(&fields, event.payload, time),
            _ => {}
        }
        self.last = self.last.max(time);
    }

    fn start(&mut self, fields: &ReportFields<'_>) {
        self.span.name = text(fields.name.as_ref());
        self.span.kind = text(fields.kind.as_ref());
        self.span.service = text(fields.service.as_ref());
        self.span.process = text(fields.process.as_ref());
        self.span.durable = fields.durable;
    }

    fn update(&mut self, fields: &ReportFields<'_>, time: Timestamp) {
        if let Some(name) = text(fields.name.as_ref()) {
            self.span.name = Some(name);
        }
        if let Some(status) = &fields.status {
            self.span.status = Some(StatusNow {
                code: clipped(&status.code),
                message: text(status.message.as_ref()),
            });
        }
        match &fields.awaiting {
            Awaiting::Unchanged => {}
            Awaiting::Nothing => self.awaiting = None,
            Awaiting::On(point) => {
                let since = point.since.time().unwrap_or(time);
                self.awaiting = Some((clipped(&point.name), since));
            }
        }
        if let Some(task) = &fields.task {
            self.task(task, time);
        }
        if let Some(panic) = &fields.panic {
            self.span.panic = Some(PanicNow::of(panic));
        }
        self.record_progress(fields, time);
    }

    fn task(&mut self, task: &EventTask<'_>, time: Timestamp) {
        self.polling = task.polling.as_ref().map(|poll| {
            let since = poll.since.time().unwrap_or(time);
            (clipped(&poll.thread), since)
        });
        self.task_reported = time;
        self.span.task = Some(TaskNow {
            polls: task.polls,
            busy_nanos: task.busy_nanos,
            idle_nanos: task.idle_nanos,
            longest_poll_nanos: task.longest_poll_nanos,
            polling: None,
        });
    }

    fn record_progress(&mut self, fields: &ReportFields<'_>, time: Timestamp) {
        if let Some(reported) = &fields.attributes.progress {
            self.progress.update(reported);
            self.progressed = Some(time);
            self.rate.add(&self.progress, time);
        }
    }

    fn log(&mut self, fields: &ReportFields<'_>, payload: &[u8], time: Timestamp) {
        let body = match &fields.body {
            Json::String(text) => clip(text, TEXT_BYTES_MAX).0.to_owned(),
            Json::Null => text_of_fields(payload),
            other => clip(&other.to_string(), TEXT_BYTES_MAX).0.to_owned(),
        };
        self.logged = Some(time);
        self.span.log = Some(LastLog {
            timestamp: time.text(),
            severity_number: fields.severity_number,
            severity_text: text(fields.severity_text.as_ref()).unwrap_or_default(),
            target: text(fields.target.as_ref()),
            body,
            age: 0,
        });
    }

    /// Returns the span's state at this time.
    pub(crate) fn finish(self, open: &OpenSpanEntry, now: Timestamp) -> SpanNow {
        let mut span = self.span;
        let age = age_of(open.start, now);
        span.span_id = hex::encode(&open.id);
        span.parent_span_id = open.parent.map(|parent| hex::encode(&parent));
        span.start_timestamp = open.start.text();
        span.last_timestamp = self.last.max(open.start).text();
        span.age = age;
        span.age_ms = milliseconds(age);
        let fails = span.status.as_ref();
        let fails = fails.is_some_and(|status| status.code == "ERROR");
        span.state = if span.panic.is_some() {
            SpanNowState::Panicked
        } else if fails {
            SpanNowState::Failing
        } else if open.waits {
            SpanNowState::Waiting
        } else {
            SpanNowState::Running
        };
        span.awaiting = self.awaiting.map(|(name, since)| {
            let age = age_of(since, now);
            AwaitingNow {
                name,
                since: since.text(),
                age_ms: milliseconds(age),
                is_long: age >= AWAITING_LONG_NANOS,
                age,
            }
        });
        match (&mut span.task, self.polling) {
            (Some(task), Some((thread, since))) => {
                let age = age_of(since, now);
                task.polling = Some(PollNow {
                    since: since.text(),
                    thread,
                    age_ms: milliseconds(age),
                    is_blocked: age >= BLOCKED_NANOS,
                    age,
                });
            }
            // An idle task reports nothing, so the time since its last report counts as idle.
            (Some(task), None) => {
                let silence = age_of(self.task_reported, now);
                task.idle_nanos = task.idle_nanos.saturating_add(silence);
            }
            (None, _) => {}
        }
        if let (Some(log), Some(at)) = (&mut span.log, self.logged) {
            log.age = age_of(at, now);
        }
        let rate = self.rate.per_second(now);
        span.progress = self
            .progressed
            .filter(|_| self.progress.is_shown())
            .map(|at| ProgressNow {
                reported: self.progress,
                timestamp: at.text(),
                per_second: (rate > 0.0).then_some(rate),
                left_ms: self.rate.seconds_left(now).map(|left| left * 1e3),
                age: age_of(at, now),
            });
        span
    }
}

impl SpanNow {
    /// Returns whether the span is a command under `livespan run`. Such a span is open as long as its process runs.
    /// The process may be an idle server, so the span's age is no sign of a problem.
    pub(crate) fn is_command(&self) -> bool {
        self.service.as_deref() == Some(COMMAND_SERVICE)
    }

    /// Compares the span with `count` ended spans of its name, 95 % of which took at most `p95`.
    pub(crate) fn compare_with(&mut self, count: u64, p95: Option<u64>) {
        if self.is_command() || count < DurationHistogram::USUAL_SPANS_MIN {
            return;
        }
        self.usual = p95.map(|p95| UsualDuration::of(count, p95, self.age));
    }

    /// Returns whether the span is in a state that a reader must not miss.
    pub(crate) fn is_notable(&self) -> bool {
        let is_blocked = |task: &TaskNow| task.polling.as_ref().is_some_and(|poll| poll.is_blocked);
        matches!(self.state, SpanNowState::Failing | SpanNowState::Panicked)
            || self.awaiting.as_ref().is_some_and(|point| point.is_long)
            || self.task.as_ref().is_some_and(is_blocked)
    }
}

impl UsualDuration {
    /// Compares a duration with `count` ended spans, 95 % of which took at most `p95`.
    pub(crate) fn of(count: u64, p95: u64, took: u64) -> Self {
        Self {
            count,
            p95_ms: milliseconds(p95),
            is_slower: took > p95,
            p95,
        }
    }
}

impl PanicNow {
    pub(crate) fn of(panic: &EventPanic<'_>) -> Self {
        Self {
            message: text(panic.message.as_ref()),
            location: text(panic.location.as_ref()),
            thread: text(panic.thread.as_ref()),
        }
    }
}

pub(crate) fn age_of(since: Timestamp, now: Timestamp) -> u64 {
    now.nanos().saturating_sub(since.nanos())
}

fn clipped(value: &EventText<'_>) -> String {
    clip(&value.0, TEXT_BYTES_MAX).0.to_owned()
}

fn text(value: Option<&EventText<'_>>) -> Option<String> {
    value.map(clipped)
}

/// Returns the fields of a log record that has no body, such as `cmd=get key=a`.
fn text_of_fields(payload: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct RecordWithoutText {
        #[serde(default)]
        attributes: Map<String, Json>,
    }
    let record: RecordWithoutText = serde_json::from_slice(payload).unwrap_or_default();
    let mut text = String::new();
    for (key, value) in &record.attributes {
        if text.len() > TEXT_BYTES_MAX {
            break;
        }
        let space = if text.is_empty() { "" } else { " " };
        let _fits = match value {
            Json::String(value) => write!(text, "{space}{key}={value}"),
            value => write!(text, "{space}{key}={value}"),
        };
    }
    clip(&text, TEXT_BYTES_MAX).0.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_text_is_shown_by_its_fields() {
        let of = |json: &str| text_of_fields(json.as_bytes());
        assert_eq!(
            of(r#"{"attributes":{"cmd":"Get { key }","tries":3}}"#),
            "cmd=Get { key } tries=3"
        );
        assert_eq!(of(r#"{"body":null}"#), "");
        let long = format!(r#"{{"attributes":{{"a":"{}"}}}}"#, "x".repeat(100_000));
        assert_eq!(of(&long).len(), TEXT_BYTES_MAX);
    }
}
