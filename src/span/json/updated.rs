//! Writes `updated` events, with the fields of an open span that changed since the span's last event and no others.
//! Pure. The worker thread calls it, or the app's own thread for events that the app dispatches itself or imports from
//! a file.

use std::borrow::Cow;

use crate::{
    span::{
        event::SpanState,
        json::{
            fields::{EndStatus, PanicFields, SpanFields, TimedEvent},
            primitives::string,
            size_limits::clip_head,
            writer::JsonWriter,
        },
        updates::Awaiting,
    },
    util::time::Timestamp,
    wire::frame::number,
};

/// The changes of an open span, besides the attributes and links in its [`SpanFields`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeFields<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) status: Option<EndStatus<'a>>,
    pub(crate) state: Option<SpanState>,
    pub(crate) events: Vec<TimedEvent<'a>>,
    /// The name of the operation that the span waits for, and the time when the wait began.
    pub(crate) awaiting: Awaiting<(Cow<'a, str>, Timestamp)>,
    pub(crate) panic: Option<PanicFields<'a>>,
    pub(crate) task: Option<TaskFields<'a>>,
}

/// Figures on the polls of a span's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskFields<'a> {
    pub(crate) polls: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) idle_nanos: u64,
    pub(crate) longest_poll_nanos: u64,
    /// The time when the current poll began, and its thread.
    pub(crate) polling: Option<(Timestamp, Cow<'a, str>)>,
}

pub(crate) fn updated(
    out: &mut Vec<u8>,
    span: &SpanFields<'_>,
    changes: &ChangeFields<'_>,
    time: Timestamp,
) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"updated\"");
    writer.ids(span.trace_id, span.span_id);
    writer.text("process", opening!("process"), span.process);
    if let Some(name) = changes.name {
        writer.text("name", opening!("name"), name);
    }
    if let Some(status) = &changes.status {
        writer.status(status);
    }
    if let Some(state) = changes.state {
        let state = match state {
            SpanState::Waiting => "waiting",
            SpanState::Running => "running",
        };
        writer.text("state", opening!("state"), state);
    }
    if !span.attributes.is_empty() {
        writer.attributes("attributes", &span.attributes);
    }
    if let Some(task) = &changes.task {
        writer.task(task);
    }
    match &changes.awaiting {
        Awaiting::Unchanged => {}
        Awaiting::Nothing => writer.raw(b",\"awaiting\":null"),
        Awaiting::On((name, since)) => {
            writer.raw(b",\"awaiting\":{\"name\":");
            writer.clipped("awaiting.name", name);
            writer.time(opening!("since"), *since);
            writer.out.push(b'}');
        }
    }
    if let Some(panic) = &changes.panic {
        writer.panic_details(panic);
    }
    writer.time(opening!("timestamp"), time);
    writer.events(&changes.events);
    writer.links(&span.links);
    writer.finish(span.truncated);
}

impl JsonWriter<'_> {
    fn task(&mut self, task: &TaskFields<'_>) {
        self.raw(b",\"task\":{\"polls\":");
        number(self.out, task.polls);
        for (key, nanos) in [
            (&b",\"busyNanos\":"[..], task.busy_nanos),
            (b",\"idleNanos\":", task.idle_nanos),
            (b",\"longestPollNanos\":", task.longest_poll_nanos),
        ] {
            self.raw(key);
            number(self.out, nanos);
        }
        match &task.polling {
            None => self.raw(b",\"polling\":null}"),
            Some((since, thread)) => {
                self.raw(b",\"polling\":{\"since\":\"");
                since.write(self.out);
                self.raw(b"\",\"thread\":");
                self.clipped("task.polling.thread", thread);
                self.raw(b"}}");
            }
        }
    }

    /// Writes a text as a value, and names it in `cut` if it is too long.
    fn clipped(&mut self, path: &str, text: &str) {
        let (text, cut) = clip_head(text);
        string(self.out, text);
        if cut {
            self.cut(&[path]);
        }
    }
}
