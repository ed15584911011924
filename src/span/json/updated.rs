//! Writes `updated` events: what changed in an open span since it was last told. Only what changed is written. Pure; the
//! worker thread calls it.

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
};

/// What changed in an open span, besides the attributes and links of its [`SpanFields`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeFields<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) status: Option<EndStatus<'a>>,
    pub(crate) state: Option<SpanState>,
    pub(crate) events: Vec<TimedEvent<'a>>,
    /// The name of what the span waits for, and since when.
    pub(crate) awaiting: Awaiting<(Cow<'a, str>, Timestamp)>,
    pub(crate) panic: Option<PanicFields<'a>>,
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
    /// Writes a text as a value, and names it in `cut` if it is too long.
    fn clipped(&mut self, path: &str, text: &str) {
        let (text, cut) = clip_head(text);
        string(self.out, text);
        if cut {
            self.cut(&[path]);
        }
    }
}
