//! The only mapping from OTLP to our events: values, spans, log records, resources. Pure: no clock,
//! no state. The worker runs it for requests; imports run it on the caller's thread.

mod log;
mod process;
mod span;
mod values;

pub(crate) use self::{
    log::{log_fields, partial_spans},
    process::{ProcessKey, SenderInfo, describe, sender_info, service_name},
    span::{
        awaiting, bare_start, end_fields, fields_of, id, implausible, is_empty, is_open, parent_of,
        real_ids, shown_attributes, span_links, status_of,
    },
    values::{attributes, number_of, span_text, text_of, value},
};
