//! Writes the record of an open span's changes, with only the changed parts. It runs on the host's thread at the end of
//! the span, and on the worker while the span is open. It never waits and never panics.

use opentelemetry::trace::Status as OtelStatus;

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        record::{
            layout::{
                CHANGED_AWAITING, CHANGED_NAME, CHANGED_PANIC, CHANGED_STATUS, CHANGED_TASK,
                CHANGED_TO_NO_AWAITING, CHANGES, SOURCE_GUESSED, put, put_halves,
            },
            writer::RecordWriter,
        },
        updates::{Awaiting, Changes, UpdateSlot},
    },
    util::time::Timestamp,
};

/// Tag, parts, truncation (1), status (1), source (4), ids (24), time (8), counts (8), count of events (4).
const HEAD: usize = 52;

/// Writes the changes. Returns `None` if they do not fit.
pub(crate) fn write_changes(
    buf: &mut WriteBuf<'_>,
    slot: &UpdateSlot,
    changes: &Changes,
    time: Timestamp,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array::<HEAD>()?;
    let mut parts = if slot.waits_first { SOURCE_GUESSED } else { 0 };
    if let Some(name) = &changes.name {
        parts |= CHANGED_NAME;
        writer.text(name)?;
    }
    let mut code = 0;
    if let Some(status) = &changes.status {
        parts |= CHANGED_STATUS;
        code = match status {
            OtelStatus::Unset => 0,
            OtelStatus::Ok => 1,
            OtelStatus::Error { description } => {
                writer.text(description)?;
                2
            }
        };
    }
    match &changes.awaiting {
        Awaiting::Unchanged => {}
        Awaiting::Nothing => parts |= CHANGED_TO_NO_AWAITING,
        Awaiting::On(awaits) => {
            parts |= CHANGED_AWAITING;
            writer.text(&awaits.name)?;
            writer.buf.put_slice(&awaits.since.nanos().to_le_bytes())?;
        }
    }
    if let Some(panic) = &changes.panic {
        parts |= CHANGED_PANIC;
        for text in [&panic.message, &panic.location, &panic.thread] {
            writer.buf.put_slice(&[u8::from(text.is_some())])?;
            writer.text(text.as_deref().unwrap_or_default())?;
        }
    }
    if let Some(task) = &changes.task {
        parts |= CHANGED_TASK;
        for number in [
            task.polls,
            task.busy_nanos,
            task.idle_nanos,
            task.longest_poll_nanos,
        ] {
            writer.buf.put_slice(&number.to_le_bytes())?;
        }
        writer.buf.put_slice(&[u8::from(task.polling.is_some())])?;
        if let Some((since, thread)) = &task.polling {
            writer.buf.put_slice(&since.nanos().to_le_bytes())?;
            writer.text(thread)?;
        }
    }
    let counts = writer.body(&changes.attributes, &changes.links)?;
    let events = writer.events(&changes.events)?;
    let mut rest = WriteBuf::new(head);
    put(&mut rest, [CHANGES, parts, writer.truncated, code]);
    put(&mut rest, slot.source.to_le_bytes());
    put_halves(&mut rest, slot.trace_id);
    put(&mut rest, slot.span_id);
    put(&mut rest, time.nanos().to_le_bytes());
    put(&mut rest, counts.0.to_le_bytes());
    put(&mut rest, events.to_le_bytes());
    *buf = writer.buf;
    Some(())
}
