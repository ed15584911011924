//! The span of the command itself. Programs that read `TRACEPARENT` put their spans under it.

use std::{env, ffi::OsString};

use livespan::{
    LiveSpans, SpanEvent, SpanId, TraceId,
    span::{AttributeValue, SpanStatus},
};

use crate::{failure::Failure, run::child::Ended};

/// The service of these spans.
const SERVICE: &str = "livespan run";

/// The span of a running command.
#[derive(Debug)]
pub(super) struct RootSpan {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    name: String,
    arguments: Vec<String>,
    started: std::time::SystemTime,
}

impl RootSpan {
    /// Emits the start of a command's span. The span belongs to the trace in `TRACEPARENT`, or else
    /// to a new trace.
    pub(super) fn begin(live: &LiveSpans, command: &[OsString]) -> Result<Self, Failure> {
        let mut random = [0_u8; 24];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(format!("failed to make an id: {error}")))?;
        // An id must not be zero, so one bit of each is set.
        random[0] |= 1;
        random[16] |= 1;
        let (own_trace, span) = random.split_at(16);
        let own_trace = <[u8; 16]>::try_from(own_trace)
            .ok()
            .and_then(TraceId::from_bytes);
        let span = <[u8; 8]>::try_from(span).ok().and_then(SpanId::from_bytes);
        let (Some(own_trace), Some(span)) = (own_trace, span) else {
            return Err(Failure::new("failed to make an id"));
        };
        let outer = env::var("TRACEPARENT").ok();
        let outer = outer.as_deref().and_then(parse);
        let arguments: Vec<String> = command
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let root = Self {
            trace: outer.map_or(own_trace, |(trace, _)| trace),
            span,
            parent: outer.map(|(_, parent)| parent),
            name: name_of(&arguments),
            arguments,
            started: std::time::SystemTime::now(),
        };
        root.show(
            live,
            SpanEvent::started(root.trace, root.span, root.name.clone()),
        );
        Ok(root)
    }

    /// Returns the span as a W3C `traceparent`.
    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    /// Emits the end of the command's span. `ended` is `None` if the command could not be started.
    pub(super) fn end(&self, live: &LiveSpans, ended: Option<&Ended>) {
        let status = match ended {
            Some(ended) if ended.is_success() => SpanStatus::Unset,
            Some(ended) => SpanStatus::Error(ended.to_string()),
            None => SpanStatus::Error("the command could not be run".to_owned()),
        };
        let event = SpanEvent::ended(self.trace, self.span, self.name.clone(), status);
        let mut event = event.started_at(self.started);
        if let Some(Ended::Exit(code)) = ended {
            event = event.attribute("process.exit.code", i64::from(*code));
        }
        self.show(live, event);
    }

    fn show(&self, live: &LiveSpans, event: SpanEvent) {
        let arguments = AttributeValue::Strings(self.arguments.clone());
        let mut event = event
            .service(SERVICE)
            .attribute("process.command_args", arguments);
        if let Some(parent) = self.parent {
            event = event.parent(parent);
        }
        // If the log has no room for the event, it counts the loss.
        drop(live.target().try_dispatch(&event));
    }
}

/// Returns the program's file name, and the next word unless it is an option: `cargo test`, `node
/// server.js`.
fn name_of(arguments: &[String]) -> String {
    let file = |text: &String| text.rsplit(['/', '\\']).next().unwrap_or(text).to_owned();
    let mut words = arguments.iter();
    let mut name = words.next().map(file).unwrap_or_default();
    if let Some(second) = words.next().filter(|word| !word.starts_with('-')) {
        name.push(' ');
        name.push_str(&file(second));
    }
    name
}

/// Parses the ids in a W3C `traceparent`.
fn parse(text: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = text.split('-');
    let (_version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    Some((trace.parse().ok()?, span.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_by_its_file_and_first_word() {
        for (command, expected) in [
            (vec!["cargo", "test", "--lib"], "cargo test"),
            (vec!["/usr/bin/python3", "./src/app.py"], "python3 app.py"),
            (vec!["bash", "-c", "true"], "bash"),
            (vec!["ls"], "ls"),
        ] {
            let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
            assert_eq!(name_of(&command), expected);
        }
    }

    #[test]
    fn a_traceparent_is_parsed_and_an_invalid_one_is_refused() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (trace, span) = parse(text).unwrap();
        assert_eq!(format!("00-{trace}-{span}-01"), text);
        assert_eq!(parse("00-0-0-01"), None);
    }
}
