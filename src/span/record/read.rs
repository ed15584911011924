//! Reads records back, on the worker thread. Texts are borrowed from the record. A truncated or damaged record is read
//! as `None`; it never causes a panic or an allocation of its claimed size.

use opentelemetry::{
    Array, KeyValue, Value as OtelValue,
    trace::{Link as OtelLink, SpanContext, SpanId, TraceFlags, TraceId, TraceState},
};

#[cfg(feature = "otlp")]
use crate::span::record::layout::RECEIVED;
use crate::{
    span::{
        dropped_ends::DroppedEnd,
        event::{AttributeValue, SpanState},
        json::{
            ChangeFields, EndCause, EndFields, EndStatus, Link, Pairs, PanicFields, SpanFields,
            TaskFields, TimedEvent, Value, start_template::ScalarValue,
        },
        record::{
            layout::{
                ARRAY_CUT, CHANGED_AWAITING, CHANGED_NAME, CHANGED_PANIC, CHANGED_STATUS,
                CHANGED_TASK, CHANGED_TO_NO_AWAITING, CHANGES, DEDUPLICATED, DROPPED_BEFORE_READY,
                DROPPED_END, DROPPED_ENDS_FENCE, DURABLE, END, END_IF_SHOWN, FENCE, HAS_SCOPE,
                HAS_STATE, HAS_VERSION, HIDE, LOG, PANIC_LOCATION, PANIC_MESSAGE, PANIC_THREAD,
                PANICKED, PARENT_REMOTE, PROCESS_GONE, PartCounts, SHUTDOWN, SOURCE_GUESSED, START,
                TRUNCATED, UNSAMPLED, UPDATE, slot_of, span_kind,
            },
            types::{Record, ScopeFields, SpanChanges, SpanRecord, StepActivity},
        },
        updates::Awaiting,
    },
    util::time::Timestamp,
};

/// Reads any record except a delta end. Returns `None` if the bytes are not such a record. Our own writers never
/// produce other bytes.
pub(crate) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let mut reader = RecordReader { rest: bytes };
    match reader.u8()? {
        START => Some(Record::Start(reader.span()?)),
        END => {
            let (record, end) = reader.ended()?;
            Some(Record::End(record, end))
        }
        END_IF_SHOWN => {
            let (record, end) = reader.ended()?;
            Some(Record::EndIfShown(record, end))
        }
        UPDATE => {
            let record = reader.span()?;
            let state = match reader.u8()? {
                1 => Some(SpanState::Running),
                2 => Some(SpanState::Waiting),
                _ => None,
            };
            let time = Timestamp::from_nanos(reader.u64()?);
            Some(Record::Update(record, state, time))
        }
        LOG => reader.log(),
        CHANGES => reader.changes().map(Record::Changes),
        DROPPED_END => Some(Record::DroppedEnd(DroppedEnd {
            trace_id: reader.array()?,
            span_id: reader.array()?,
            end: Timestamp::from_nanos(reader.u64()?),
        })),
        DROPPED_ENDS_FENCE => Some(Record::DroppedEndsFence),
        #[cfg(feature = "otlp")]
        RECEIVED => Some(Record::Received),
        FENCE => Some(Record::Fence { ack: reader.u64()? }),
        HIDE => Some(Record::Hide {
            trace_id: reader.array()?,
            span_id: reader.array()?,
        }),
        PROCESS_GONE => Some(Record::ProcessGone {
            time: Timestamp::from_nanos(reader.u64()?),
            process: reader.text()?,
        }),
        SHUTDOWN => Some(Record::Shutdown {
            source: reader.u32()?,
            time: Timestamp::from_nanos(reader.u64()?),
        }),
        _ => None,
    }
}

/// Reads the name, attributes and links that [`write_start_input`](crate::span::record::write_start_input) wrote.
pub(crate) fn read_start_input(
    input: &[u8],
    counts: PartCounts,
) -> Option<(String, Vec<KeyValue>, Vec<OtelLink>)> {
    let mut reader = RecordReader { rest: input };
    let name = reader.text()?.to_owned();
    let attributes = owned_pairs(&reader.attributes(counts.attributes())?);
    let links = reader.links(counts.links())?;
    let links = links.iter().map(|link| {
        let context = SpanContext::new(
            TraceId::from_bytes(link.trace_id),
            SpanId::from_bytes(link.span_id),
            TraceFlags::default(),
            true,
            TraceState::NONE,
        );
        OtelLink::new(context, owned_pairs(&link.attributes), 0)
    });
    Some((name, attributes, links.collect()))
}

fn owned_pairs(pairs: &Pairs<'_>) -> Vec<KeyValue> {
    let pair = |(key, value): &(&str, Value<'_>)| {
        KeyValue::new((*key).to_owned(), otel_value(value.owned()))
    };
    pairs.iter().map(pair).collect()
}

fn otel_value(value: AttributeValue) -> OtelValue {
    match value {
        AttributeValue::Bool(value) => OtelValue::Bool(value),
        AttributeValue::Int(value) => OtelValue::I64(value),
        AttributeValue::Double(value) => OtelValue::F64(value),
        AttributeValue::String(value) => OtelValue::from(value),
        AttributeValue::Bools(values) => OtelValue::Array(Array::Bool(values)),
        AttributeValue::Ints(values) => OtelValue::Array(Array::I64(values)),
        AttributeValue::Doubles(values) => OtelValue::Array(Array::F64(values)),
        AttributeValue::Strings(values) => {
            OtelValue::Array(Array::String(values.into_iter().map(Into::into).collect()))
        }
    }
}

/// Returns whether all records before this one must be stored before it is encoded.
pub(crate) fn needs_stored(record: &[u8]) -> bool {
    matches!(
        record.first(),
        Some(&(SHUTDOWN | PROCESS_GONE | DROPPED_ENDS_FENCE | END_IF_SHOWN | UPDATE | FENCE))
    )
}

pub(in crate::span) struct RecordReader<'a> {
    pub(in crate::span) rest: &'a [u8],
}

impl<'a> RecordReader<'a> {
    #[inline]
    pub(in crate::span) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    #[inline]
    pub(in crate::span) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(in crate::span) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(in crate::span) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(in crate::span) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        self.text_of(length)
    }

    #[inline]
    pub(in crate::span) fn text_of(&mut self, length: u32) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    #[inline]
    pub(in crate::span) fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Reads a pair with a scalar value, like [`pair`](Self::pair), but does not check that its texts are UTF-8.
    #[inline]
    pub(in crate::span) fn plain_pair(&mut self) -> Option<(&'a [u8], ScalarValue<'a>)> {
        let [kind, k0, k1, k2, t0, t1, t2, t3] = self.array()?;
        let key = u32::from_le_bytes([k0, k1, k2, 0]);
        match kind {
            b's' => {
                let key = self.bytes(key)?;
                let text = self.bytes(u32::from_le_bytes([t0, t1, t2, t3]))?;
                Some((key, ScalarValue::Text(text)))
            }
            b'i' => {
                let value = ScalarValue::Int(i64::from_le_bytes(self.array()?));
                Some((self.bytes(key)?, value))
            }
            b'd' => {
                let value = ScalarValue::Double(f64::from_le_bytes(self.array()?));
                Some((self.bytes(key)?, value))
            }
            _ => None,
        }
    }

    pub(in crate::span) fn span(&mut self) -> Option<SpanRecord<'a>> {
        let [flags, has, kind] = self.array()?;
        let source = self.u32()?;
        let counts = self.counts()?;
        let trace_id = self.array()?;
        let span_id = self.array()?;
        let parent = self.array()?;
        let start = Timestamp::from_nanos(self.u64()?);
        let dropped_attributes = self.u32()?;
        let ScopeFields { scope, version } = self.scope(has)?;
        let trace_state = if has & HAS_STATE == 0 {
            ""
        } else {
            self.text()?
        };
        let name = self.text()?;
        let attributes = self.attributes(counts.attributes())?;
        let links = self.links(counts.links())?;
        let span = SpanFields {
            trace_id,
            span_id,
            parent: (parent != [0; 8]).then_some(parent),
            parent_remote: flags & PARENT_REMOTE != 0,
            received: None,
            unsampled: flags & UNSAMPLED != 0,
            durable: flags & DURABLE != 0,
            name,
            kind: span_kind(kind)?,
            process: "",
            service: "",
            scope,
            scope_version: version,
            trace_state,
            attributes,
            dropped_attributes,
            links,
            truncated: flags & TRUNCATED != 0,
        };
        Some(SpanRecord {
            source,
            is_deduplicated: flags & DEDUPLICATED != 0,
            activity: StepActivity::from_flags(flags),
            slot: slot_of(flags, has, span.trace_id, span.span_id),
            start,
            span,
        })
    }

    #[inline]
    pub(in crate::span) fn counts(&mut self) -> Option<PartCounts> {
        Some(PartCounts(self.u64()?))
    }

    #[inline]
    pub(in crate::span) fn scope(&mut self, has: u8) -> Option<ScopeFields<'a>> {
        let scope = if has & HAS_SCOPE == 0 {
            None
        } else {
            Some(self.text()?)
        };
        let version = if has & HAS_VERSION == 0 {
            None
        } else {
            Some(self.text()?)
        };
        Some(ScopeFields { scope, version })
    }

    pub(in crate::span) fn ended(&mut self) -> Option<(SpanRecord<'a>, EndFields<'a>)> {
        let record = self.span()?;
        let end = self.end()?;
        let reason = match record.activity {
            StepActivity::Cancelled => EndCause::Cancelled,
            StepActivity::Working | StepActivity::Waiting => end.reason,
        };
        Some((record, EndFields { reason, ..end }))
    }

    #[inline]
    pub(in crate::span) fn end(&mut self) -> Option<EndFields<'a>> {
        let how = self.u8()?;
        let end = Timestamp::from_nanos(self.u64()?);
        let dropped_events = self.u32()?;
        let dropped_links = self.u32()?;
        let count = self.u32()?;
        let status = match how & !(PANICKED | DROPPED_BEFORE_READY) {
            0 => EndStatus::Unset,
            1 => EndStatus::Ok,
            _ => EndStatus::Error(self.text()?.into()),
        };
        let (status, reason) = if how & PANICKED == 0 {
            let cause = if how & DROPPED_BEFORE_READY == 0 {
                EndCause::Done
            } else {
                EndCause::Cancelled
            };
            (status, cause)
        } else {
            let panic = self.panic()?;
            let message = panic.message.clone();
            let message = message.unwrap_or(PanicFields::UNKNOWN_MESSAGE.into());
            (EndStatus::Error(message), EndCause::Panicked(panic))
        };
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(TimedEvent {
                name: self.text()?.into(),
                time: Timestamp::from_nanos(self.u64()?),
                attributes: self.counted_attributes()?,
            });
        }
        Some(EndFields {
            status,
            start: Timestamp::default(),
            end,
            events,
            dropped_events,
            dropped_links,
            reason,
        })
    }

    /// Reads the panic that ended a span.
    fn panic(&mut self) -> Option<PanicFields<'a>> {
        let known = self.u8()?;
        let mut text = |flag: u8| {
            if known & flag == 0 {
                Some(None)
            } else {
                self.text().map(|text| Some(text.into()))
            }
        };
        Some(PanicFields {
            message: text(PANIC_MESSAGE)?,
            location: text(PANIC_LOCATION)?,
            thread: text(PANIC_THREAD)?,
        })
    }

    fn task(&mut self) -> Option<TaskFields<'a>> {
        Some(TaskFields {
            polls: self.u64()?,
            busy_nanos: self.u64()?,
            idle_nanos: self.u64()?,
            longest_poll_nanos: self.u64()?,
            polling: if self.u8()? == 0 {
                None
            } else {
                Some((Timestamp::from_nanos(self.u64()?), self.text()?.into()))
            },
        })
    }

    /// Reads the changes of an open span.
    fn changes(&mut self) -> Option<SpanChanges<'a>> {
        let [parts, truncated, code] = self.array()?;
        let source = self.u32()?;
        let trace_id = self.array()?;
        let span_id = self.array()?;
        let time = Timestamp::from_nanos(self.u64()?);
        let counts = PartCounts(self.u64()?);
        let count = self.u32()?;
        let has = |part: u8| parts & part != 0;
        let mut changes = ChangeFields::default();
        if has(CHANGED_NAME) {
            changes.name = Some(self.text()?);
        }
        if has(CHANGED_STATUS) {
            changes.status = Some(match code {
                0 => EndStatus::Unset,
                1 => EndStatus::Ok,
                _ => EndStatus::Error(self.text()?.into()),
            });
        }
        if has(CHANGED_AWAITING) {
            let name = self.text()?;
            changes.awaiting = Awaiting::On((name.into(), Timestamp::from_nanos(self.u64()?)));
        } else if has(CHANGED_TO_NO_AWAITING) {
            changes.awaiting = Awaiting::Nothing;
        }
        if has(CHANGED_PANIC) {
            let mut text = || {
                let is_known = self.u8()? != 0;
                let text = self.text()?;
                Some(is_known.then(|| text.into()))
            };
            changes.panic = Some(PanicFields {
                message: text()?,
                location: text()?,
                thread: text()?,
            });
        }
        if has(CHANGED_TASK) {
            changes.task = Some(self.task()?);
        }
        let attributes = self.attributes(counts.attributes())?;
        let links = self.links(counts.links())?;
        for _ in 0..count {
            changes.events.push(TimedEvent {
                name: self.text()?.into(),
                time: Timestamp::from_nanos(self.u64()?),
                attributes: self.counted_attributes()?,
            });
        }
        let span = SpanFields {
            attributes,
            links,
            truncated: truncated & TRUNCATED != 0,
            ..SpanFields::bare(trace_id, span_id)
        };
        Some(SpanChanges {
            source,
            is_source_guessed: has(SOURCE_GUESSED),
            span,
            changes,
            time,
        })
    }

    #[inline]
    pub(in crate::span) fn attributes(&mut self, count: u32) -> Option<Pairs<'a>> {
        // A damaged count must not cause a huge allocation.
        let mut pairs = Vec::with_capacity((count as usize).min(self.rest.len() / 8));
        for _ in 0..count {
            pairs.push(self.pair()?);
        }
        Some(pairs)
    }

    pub(in crate::span) fn pair(&mut self) -> Option<(&'a str, Value<'a>)> {
        let [kind, k0, k1, k2, t0, t1, t2, t3] = self.array()?;
        let key = u32::from_le_bytes([k0, k1, k2, 0]);
        Some(match kind {
            b's' => {
                // Key and value are adjacent: one UTF-8 check of both is quicker than two.
                let text = u32::from_le_bytes([t0, t1, t2, t3]);
                let both = self.text_of(key.checked_add(text)?)?;
                let (key, text) = both.split_at_checked(key as usize)?;
                (key, Value::Text(text))
            }
            b'i' => {
                let value = Value::Int(i64::from_le_bytes(self.array()?));
                (self.text_of(key)?, value)
            }
            b'd' => {
                let value = Value::Double(f64::from_le_bytes(self.array()?));
                (self.text_of(key)?, value)
            }
            b'v' => (self.text_of(key)?, self.value()?),
            _ => return None,
        })
    }

    pub(in crate::span) fn counted_attributes(&mut self) -> Option<Pairs<'a>> {
        let count = self.u32()?;
        self.attributes(count)
    }

    #[inline]
    pub(in crate::span) fn links(&mut self, count: u32) -> Option<Vec<Link<'a>>> {
        let mut links = Vec::new();
        for _ in 0..count {
            links.push(Link {
                trace_id: self.array()?,
                span_id: self.array()?,
                attributes: self.counted_attributes()?,
            });
        }
        Some(links)
    }

    pub(in crate::span) fn value(&mut self) -> Option<Value<'a>> {
        match self.u8()? {
            b'b' => Some(Value::Bool(self.u8()? != 0)),
            b'i' => Some(Value::Int(i64::from_le_bytes(self.array()?))),
            b'd' => Some(Value::Double(f64::from_le_bytes(self.array()?))),
            b's' => self.text().map(Value::Text),
            b'a' => {
                let count = self.u32()?;
                let values: Option<Vec<Value<'a>>> =
                    (0..count & !ARRAY_CUT).map(|_| self.value()).collect();
                values.map(|values| Value::Array(values, count & ARRAY_CUT != 0))
            }
            b'x' => {
                let length = self.u32()?;
                self.bytes(length).map(Value::Bytes)
            }
            b'm' => {
                let count = self.u32()?;
                let pairs = (0..count & !ARRAY_CUT).map(|_| Some((self.text()?, self.value()?)));
                let mut pairs: Vec<(&str, Value<'a>)> = pairs.collect::<Option<_>>()?;
                // Sorted, because the SDK's maps have no order.
                pairs.sort_unstable_by_key(|(key, _)| *key);
                Some(Value::Map(pairs, count & ARRAY_CUT != 0))
            }
            _ => None,
        }
    }
}
