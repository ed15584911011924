//! `livespan tail`: prints a line when a span starts, when it ends, and for each log record,
//! indented by depth. After five seconds, another line reports that a span is still open. With
//! `--json`, it prints each event itself as one line.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    process::ExitCode,
    time::Duration,
};

use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};

use crate::{
    args::TailOptions,
    ask::failure_of,
    console::{self, Colour},
    failure::Failure,
    http::{Frame, Frames, StreamEnd},
    units::percent_encoded,
};

/// The time after which a line reports that a span is still open.
const STILL_OPEN: Duration = Duration::from_secs(5);
/// Upper bound on the open spans that are stored. A further span is not reported as still open, and its end, its
/// children and its log records are printed without indentation.
const OPEN_MAX: usize = 10_000;
/// The time for which a lost connection is retried.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Upper bound on the indentation.
const DEPTH_MAX: usize = 20;
/// Upper bound on the printed characters of a text.
const TEXT_MAX: usize = 200;
/// The filters of `GET /sse` that a word such as `service:shop` selects.
const FILTERS: [(&str, &str); 6] = [
    ("service", "service"),
    ("name", "name"),
    ("kind", "kind"),
    ("status", "status"),
    ("type", "type"),
    ("trace", "traceId"),
];

/// Prints events until the livespan ends.
pub(crate) async fn tail(options: TailOptions) -> Result<ExitCode, Failure> {
    let client = options.ask.client()?;
    let selection = Selection::parse(&options.query)?;
    let colour = Colour::of_stdout();
    let mut open = OpenSpans::default();
    let mut cursor = None;
    let mut lost_at: Option<Instant> = None;
    loop {
        let path = format!("/sse?replay=none{}", selection.query);
        match client.stream(&path, cursor.as_deref()).await {
            Ok(mut frames) => {
                lost_at = None;
                let printer = Printer {
                    is_json: options.ask.json,
                    words: &selection.words,
                    colour,
                };
                match printer.print_all(&mut frames, &mut open, &mut cursor).await {
                    Ended::Unread => return Ok(ExitCode::SUCCESS),
                    Ended::Shutdown => {
                        console::print_message("the livespan has ended");
                        return Ok(ExitCode::SUCCESS);
                    }
                    Ended::Cut => {}
                }
            }
            // The connection worked before, so keep trying for a while.
            Err(_) if lost_at.is_some_and(|lost| lost.elapsed() < RECONNECT_TIMEOUT) => {}
            Err(error) => return Err(failure_of(&client, error)),
        }
        let lost = *lost_at.get_or_insert_with(Instant::now);
        tokio::time::sleep_until(lost.max(Instant::now()) + RECONNECT_PAUSE).await;
    }
}

/// The reason why printing stopped.
enum Ended {
    /// The reader of the output has gone away.
    Unread,
    /// The livespan was shut down.
    Shutdown,
    /// The connection was lost.
    Cut,
}

/// The selection of events to print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    /// The filters that the server applies.
    query: String,
    /// Texts in lower case. The JSON of an event must contain each of them.
    words: Vec<String>,
}

impl Selection {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut selection = Self::default();
        for word in words.iter().flat_map(|words| words.split_whitespace()) {
            let Some((name, value)) = word.split_once(':') else {
                selection.words.push(word.to_lowercase());
                continue;
            };
            let known = FILTERS.iter().find(|(known, _)| *known == name);
            let Some((_, parameter)) = known else {
                let known = FILTERS.map(|(name, _)| format!("{name}:")).join(", ");
                return Err(Failure::usage(format!(
                    "tail does not know {name}: (it knows {known} and plain words)"
                )));
            };
            // Writing to a `String` cannot fail.
            let _written =
                write!(selection.query, "&{parameter}={}", percent_encoded(value)).is_ok();
        }
        Ok(selection)
    }
}

/// An open span.
#[derive(Debug)]
struct OpenSpan {
    depth: usize,
    name: String,
}

/// The open spans, by trace and span id.
#[derive(Debug, Default)]
struct OpenSpans {
    spans: BTreeMap<(String, String), OpenSpan>,
    /// The time at which each span is reported as still open, in ascending order. Some of the spans
    /// may have ended.
    due: VecDeque<(Instant, (String, String))>,
}

impl OpenSpans {
    fn start(&mut self, key: (String, String), parent: &str, name: &str) -> usize {
        let parent = (key.0.clone(), parent.to_owned());
        let depth = self.spans.get(&parent).map_or(0, |parent| parent.depth + 1);
        if self.spans.len() < OPEN_MAX {
            self.due
                .push_back((Instant::now() + STILL_OPEN, key.clone()));
            let name = name.to_owned();
            self.spans.insert(key, OpenSpan { depth, name });
        }
        depth
    }

    fn depth(&self, key: &(String, String)) -> Option<usize> {
        self.spans.get(key).map(|span| span.depth)
    }

    /// Returns the next span that has been open for [`STILL_OPEN`]. Each span is returned at most once.
    fn overdue(&mut self) -> Option<&OpenSpan> {
        while let Some((due, _)) = self.due.front() {
            if *due > Instant::now() {
                return None;
            }
            let (_, key) = self.due.pop_front()?;
            if self.spans.contains_key(&key) {
                return self.spans.get(&key);
            }
        }
        None
    }

    /// Removes the times of spans that have ended. Returns the next time.
    fn next_due(&mut self) -> Option<Instant> {
        while let Some((due, key)) = self.due.front() {
            if self.spans.contains_key(key) {
                return Some(*due);
            }
            self.due.pop_front();
        }
        None
    }
}

/// Prints events.
struct Printer<'a> {
    is_json: bool,
    words: &'a [String],
    colour: Colour,
}

impl Printer<'_> {
    async fn print_all(
        &self,
        frames: &mut Frames,
        open: &mut OpenSpans,
        cursor: &mut Option<String>,
    ) -> Ended {
        loop {
            let frame = match open.next_due() {
                Some(due) => timeout_at(due, frames.next()).await.ok(),
                None => Some(frames.next().await),
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(StreamEnd::Closed | StreamEnd::Silent | StreamEnd::Malformed)) => {
                    return Ended::Cut;
                }
                None => {
                    if !self.print_overdue(open) {
                        return Ended::Unread;
                    }
                    continue;
                }
            };
            if frame.id.is_some() {
                cursor.clone_from(&frame.id);
            }
            if frame.event == "end" {
                let is_over = frame
                    .data
                    .as_deref()
                    .is_some_and(|data| data.contains("\"shutdown\""));
                return if is_over { Ended::Shutdown } else { Ended::Cut };
            }
            if !self.print(&frame, open) {
                return Ended::Unread;
            }
        }
    }

    /// Prints an event. Returns `false` if the reader of the output has gone away.
    fn print(&self, frame: &Frame, open: &mut OpenSpans) -> bool {
        let Some(data) = &frame.data else { return true };
        if matches!(&*frame.event, "hello" | "ping") {
            return true;
        }
        if self.is_json {
            return !self.wants(data) || console::print(data);
        }
        let event: Json = serde_json::from_str(data).unwrap_or_default();
        let line = line_of(&event, open, self.colour);
        match line {
            Some(line) if self.wants(data) => console::print(&line),
            _ => true,
        }
    }

    fn wants(&self, data: &str) -> bool {
        let text = data.to_lowercase();
        self.words.iter().all(|word| text.contains(word))
    }

    fn print_overdue(&self, open: &mut OpenSpans) -> bool {
        while let Some(span) = open.overdue() {
            let line = format!(
                "             {}… {}  still open after {} s",
                indent(span.depth),
                span.name,
                STILL_OPEN.as_secs()
            );
            let is_wanted = self
                .words
                .iter()
                .all(|word| span.name.to_lowercase().contains(word));
            if is_wanted && !self.is_json && !console::print(&self.colour.faint(&line)) {
                return false;
            }
        }
        true
    }
}

/// Returns the line of an event, or `None` if it has none.
fn line_of(event: &Json, open: &mut OpenSpans, colour: Colour) -> Option<String> {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let time = text("timestamp").get(11..23).unwrap_or("            ");
    let key = (text("traceId").to_owned(), text("spanId").to_owned());
    let name = plain(text("name"));
    Some(match text("type") {
        "started" => {
            let depth = open.start(key, text("parentSpanId"), &name);
            let service = if depth == 0 {
                plain(text("service"))
            } else {
                String::new()
            };
            let line = format!(
                "{time} {}▶ {name}  {}",
                indent(depth),
                colour.faint(&service)
            );
            line.trim_end().to_owned()
        }
        "ended" => {
            let depth = open.spans.remove(&key).map_or(0, |span| span.depth);
            let duration = duration(text("startTimestamp"), text("timestamp"));
            let state = state_of(event);
            let state = if state == "ok" {
                colour.good(&state)
            } else {
                colour.bad(&state)
            };
            format!("{time} {}■ {name}  {duration}  {state}", indent(depth))
        }
        "log" => {
            let depth = open.depth(&key).map_or(0, |depth| depth + 1);
            let severity = plain(text("severityText"));
            let body = match &event["body"] {
                Json::String(body) => plain(body),
                body => plain(&body.to_string()),
            };
            format!("{time} {}· {severity} {body}", indent(depth))
        }
        "gap" => colour.bad(&format!(
            "             events are missing: {}",
            plain(&event["lost"].to_string())
        )),
        "degraded" => colour.bad("             the store is failing"),
        _ => return None,
    })
}

/// Returns the state in which a span ended, with its status message.
fn state_of(event: &Json) -> String {
    let is = |key: &str| event[key] == true;
    let state = match () {
        () if !event["lost"].is_null() => "lost",
        () if is("cancelled") => "cancelled",
        () if is("panicked") => "panicked",
        () if event["status"]["code"] == "ERROR" => "error",
        () => return "ok".to_owned(),
    };
    let message = event["status"]["message"].as_str().unwrap_or_default();
    let whole = format!("{state} {}", plain(message));
    whole.trim_end().to_owned()
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth.min(DEPTH_MAX))
}

/// Formats the time between two timestamps of the same format.
fn duration(start: &str, end: &str) -> String {
    let (Some(start), Some(end)) = (nanos(start), nanos(end)) else {
        return String::new();
    };
    let nanos = end.saturating_sub(start).max(0);
    let seconds = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).as_secs_f64();
    match seconds {
        below if below < 0.001 => format!("{:.0} µs", below * 1e6),
        below if below < 1.0 => format!("{:.1} ms", below * 1e3),
        below if below < 60.0 => format!("{below:.1} s"),
        seconds => format!(
            "{:.0} min {:02.0} s",
            (seconds / 60.0).floor(),
            seconds % 60.0
        ),
    }
}

/// Parses a timestamp such as `2026-11-22T11:39:00.123456789Z`. Returns nanoseconds since a fixed
/// day.
fn nanos(text: &str) -> Option<i128> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i128>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // The days from a civil date, by Howard Hinnant's algorithm.
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day;
    let seconds = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000_000_000 + number(20, 29)?)
}

/// Returns a program's text cut to a maximum length, with spaces in place of control characters and of characters that
/// change the direction of text.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == TEXT_MAX {
            out.push('…');
            break;
        }
        let is_obeyed = character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        out.push(if is_obeyed { ' ' } else { character });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(events: &[Json]) -> Vec<String> {
        let mut open = OpenSpans::default();
        let lines = events
            .iter()
            .filter_map(|event| line_of(event, &mut open, Colour::Never));
        lines.collect()
    }

    #[test]
    fn spans_are_indented_below_their_parents_and_say_how_they_ended() {
        let time = |second: u32| format!("2026-11-30T11:39:{second:02}.123456789Z");
        let started = |span: &str, parent: Option<&str>, name: &str| {
            json!({"type": "started", "traceId": "t", "spanId": span, "parentSpanId": parent, "name": name,
                "service": "shop", "timestamp": time(0)})
        };
        let ended = |span: &str, name: &str, end: u32, status: Json| {
            json!({"type": "ended", "traceId": "t", "spanId": span, "name": name, "status": status,
                "startTimestamp": time(0), "timestamp": time(end)})
        };
        let events = [
            started("a", None, "checkout"),
            started("b", Some("a"), "charge\u{1b}[31m"),
            json!({"type": "log", "traceId": "t", "spanId": "b", "severityText": "WARN", "body": "slow\nbank",
                "timestamp": time(1)}),
            ended(
                "b",
                "charge",
                2,
                json!({"code": "ERROR", "message": "card declined"}),
            ),
            ended("a", "checkout", 59, json!({"code": "OK"})),
            json!({"type": "gap", "reason": "dropped", "lost": null}),
            json!({"type": "process", "process": "p"}),
        ];
        assert_eq!(
            lines(&events),
            [
                "11:39:00.123 ▶ checkout  shop",
                "11:39:00.123   ▶ charge [31m",
                "11:39:01.123     · WARN slow bank",
                "11:39:02.123   ■ charge  2.0 s  error card declined",
                "11:39:59.123 ■ checkout  59.0 s  ok",
                "             events are missing: null",
            ]
        );
    }

    #[test]
    fn durations_have_the_unit_that_reads_best() {
        let start = "2026-11-30T23:59:59.999999000Z";
        for (end, expected) in [
            ("2026-11-30T23:59:59.999999500Z", "0 µs"),
            ("2026-12-01T00:00:00.000099000Z", "100 µs"),
            ("2026-12-01T00:00:00.250999000Z", "251.0 ms"),
            ("2026-12-01T00:02:05.999999000Z", "2 min 06 s"),
            ("2025-12-01T00:02:05.999999000Z", "0 µs"),
            ("later", ""),
        ] {
            assert_eq!(duration(start, end), expected, "{end}");
        }
    }

    #[test]
    fn open_spans_are_bounded() {
        let mut open = OpenSpans::default();
        for number in 0..=OPEN_MAX {
            open.start(("t".to_owned(), number.to_string()), "", "one");
        }
        assert_eq!((open.spans.len(), open.due.len()), (OPEN_MAX, OPEN_MAX));
        open.spans.clear();
        assert_eq!(open.next_due(), None);
        assert_eq!(open.due.len(), 0);
    }

    #[test]
    fn words_with_a_name_are_filters_of_the_server() {
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Selection::parse(&words).map_err(|failure| failure.to_string())
        };
        let expected = Selection {
            query: "&service=a%2Fb&traceId=ab".to_owned(),
            words: vec!["charge".to_owned()],
        };
        assert_eq!(words(&["Charge service:a/b", "trace:ab"]), Ok(expected));
        assert_eq!(
            words(&["state:running"]),
            Err("tail does not know state: (it knows service:, name:, kind:, status:, type:, trace: and plain words)"
                .to_owned())
        );
    }
}
