//! Reads log records back, on the worker thread.

use crate::{
    span::{
        json::LogFields,
        record::{
            layout::TRUNCATED,
            log::layout::{
                HAS_BODY, HAS_EVENT_NAME, HAS_SCOPE, HAS_SEVERITY_TEXT, HAS_TARGET, MESSAGE,
                MESSAGE_IS_BODY,
            },
            read::RecordReader,
            types::Record,
        },
    },
    util::time::Timestamp,
};

impl<'a> RecordReader<'a> {
    pub(in crate::span) fn log(&mut self) -> Option<Record<'a>> {
        let [flags, has, severity] = self.array()?;
        let source = self.u32()?;
        let trace_id: [u8; 16] = self.array()?;
        let span_id: [u8; 8] = self.array()?;
        let time = Timestamp::from_nanos(self.u64()?);
        let observed = self.u64()?;
        let count = self.u32()?;
        let mut text = |flag| {
            if has & flag == 0 {
                Some("")
            } else {
                self.text()
            }
        };
        let target = text(HAS_TARGET)?;
        let scope = text(HAS_SCOPE)?;
        let event_name = text(HAS_EVENT_NAME)?;
        let severity_text = text(HAS_SEVERITY_TEXT)?;
        let mut body = None;
        if has & HAS_BODY != 0 {
            body = Some(self.value()?);
        }
        let mut attributes = self.attributes(count)?;
        if has & MESSAGE_IS_BODY != 0
            && let Some(at) = attributes.iter().position(|(key, _)| *key == MESSAGE)
        {
            let (_, message) = attributes.remove(at);
            body = Some(message);
        }
        let log = LogFields {
            trace_id: (trace_id != [0; 16]).then_some(trace_id),
            span_id: (span_id != [0; 8]).then_some(span_id),
            process: "",
            service: "",
            severity,
            severity_text,
            body,
            attributes,
            target,
            scope,
            event_name,
            observed: (observed != 0).then(|| Timestamp::from_nanos(observed)),
            time,
            truncated: flags & TRUNCATED != 0,
        };
        Some(Record::Log { source, log })
    }
}
