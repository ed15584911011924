//! Compares the reader with `prost`. Both must accept the same bodies, and read the same values
//! from them.

use prost::encoding::{WireType, encode_key, encode_varint};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    trace::v1::{ScopeSpans, Span, span::Event},
};

use super::*;
use crate::{
    otlp::{
        decode::{
            span_view::{LinkView, StatusView},
            types::DecodeLimits,
        },
        fixtures::{Damage, Numbers, request_of_spans},
        mapping::attributes,
    },
    span::json::TimedEvent,
    util::time::Timestamp,
};

const LIMITS: DecodeLimits = DecodeLimits {
    items_max: usize::MAX,
    memory_bytes_max: usize::MAX,
};

/// Returns the expected view of a span.
fn view<'a>(span: &'a Span, scope: Option<&'a InstrumentationScope>) -> SpanView<'a> {
    let status = span.status.as_ref();
    SpanView {
        bytes: &[],
        scope: scope.map_or("", |scope| &scope.name),
        scope_version: scope.map_or("", |scope| &scope.version),
        trace_id: &span.trace_id,
        span_id: &span.span_id,
        trace_state: &span.trace_state,
        parent_span_id: &span.parent_span_id,
        flags: span.flags,
        name: &span.name,
        kind: span.kind,
        start_nanos: span.start_time_unix_nano,
        end_nanos: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        dropped_attributes: span.dropped_attributes_count,
        events: span.events.iter().map(event_view).collect(),
        dropped_events: span.dropped_events_count,
        links: span
            .links
            .iter()
            .map(|link| LinkView {
                trace_id: &link.trace_id,
                span_id: &link.span_id,
                attributes: attributes(&link.attributes),
            })
            .collect(),
        dropped_links: span.dropped_links_count,
        status: status.map_or_else(StatusView::default, |status| StatusView {
            code: status.code,
            message: &status.message,
        }),
    }
}

fn event_view(event: &Event) -> TimedEvent<'_> {
    TimedEvent {
        name: event.name.as_str().into(),
        time: Timestamp::from_nanos(event.time_unix_nano),
        attributes: attributes(&event.attributes),
    }
}

/// Asserts that the reader and `prost` agree on a body. Returns whether they accept it. The values
/// are compared as text, because NaN differs from itself.
fn agree_on(body: &[u8]) -> bool {
    let expected = ExportTraceServiceRequest::decode(body);
    let read = read(body.to_vec(), &RequestUsage::new(LIMITS), |span| {
        let mut span = span.clone();
        span.bytes = &[];
        format!("{span:?}")
    });
    let (expected, read) = match (expected, read) {
        (Ok(expected), Ok(read)) => (expected, read),
        (Err(_), Err(DecodeError::Malformed(_))) => return false,
        (expected, read) => panic!("{expected:?} {read:?} {body:?}"),
    };
    let mut resources = read.resources.iter();
    for from in expected.resource_spans {
        let Some(count) = from
            .scope_spans
            .iter()
            .map(|scope| scope.spans.len())
            .reduce(|one, other| one + other)
            .filter(|count| *count > 0)
        else {
            continue;
        };
        let found = resources.next().unwrap();
        assert_eq!(
            format!("{:?}", found.resource),
            format!("{:?}", from.resource)
        );
        assert_eq!(found.spans.len(), count);
        let mut spans = found.spans.iter();
        for ScopeSpans {
            scope, spans: all, ..
        } in &from.scope_spans
        {
            for span in all {
                let (range, first) = spans.next().unwrap();
                let expected = view(span, None);
                assert_eq!(*first, format!("{expected:?}"), "{body:?}");
                let mut again = read.spans.view(*range, SpanParts::All).unwrap();
                assert!(Span::decode(again.bytes).is_ok());
                again.bytes = &[];
                let expected = view(span, scope.as_ref());
                assert_eq!(format!("{again:?}"), format!("{expected:?}"), "{body:?}");
                let mut head = read.spans.view(*range, SpanParts::Head).unwrap();
                head.bytes = &[];
                let expected = SpanView {
                    attributes: Vec::new(),
                    events: Vec::new(),
                    links: Vec::new(),
                    status: StatusView::default(),
                    ..expected
                };
                assert_eq!(format!("{head:?}"), format!("{expected:?}"), "{body:?}");
            }
        }
    }
    assert_eq!(resources.len(), 0);
    true
}

/// The type of a field.
#[derive(Clone, Copy)]
enum Type {
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    Message(&'static Fields),
}

struct Fields(&'static [(u32, Type)]);

use Type::{Bytes, Fixed32, Fixed64, Message as In, Text, Varint};

static REQUEST: Fields = Fields(&[(1, In(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Fields = Fields(&[
    (1, In(&RESOURCE)),
    (2, In(&SCOPE_SPANS)),
    (2, In(&SCOPE_SPANS)),
    (3, Text),
]);
static RESOURCE: Fields = Fields(&[(1, In(&PAIR)), (2, Varint), (3, In(&ENTITY))]);
static ENTITY: Fields = Fields(&[(1, Text), (2, Text), (3, Text), (4, Text)]);
static SCOPE_SPANS: Fields = Fields(&[(1, In(&SCOPE)), (2, In(&SPAN)), (2, In(&SPAN)), (3, Text)]);
static SCOPE: Fields = Fields(&[(1, Text), (2, Text), (3, In(&PAIR)), (4, Varint)]);
static SPAN: Fields = Fields(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, Bytes),
    (5, Text),
    (6, Varint),
    (7, Fixed64),
    (8, Fixed64),
    (9, In(&PAIR)),
    (10, Varint),
    (11, In(&EVENT)),
    (12, Varint),
    (13, In(&LINK)),
    (14, Varint),
    (15, In(&STATUS)),
    (16, Fixed32),
]);
static EVENT: Fields = Fields(&[(1, Fixed64), (2, Text), (3, In(&PAIR)), (4, Varint)]);
static LINK: Fields = Fields(&[
    (1, Bytes),
    (2, Bytes),
    (3, Text),
    (4, In(&PAIR)),
    (5, Varint),
    (6, Fixed32),
]);
static STATUS: Fields = Fields(&[(2, Text), (3, Varint)]);
static PAIR: Fields = Fields(&[(1, Text), (2, In(&VALUE)), (3, Varint)]);
static VALUE: Fields = Fields(&[
    (1, Text),
    (2, Varint),
    (3, Varint),
    (4, Fixed64),
    (5, In(&LIST)),
    (6, In(&MAP)),
    (7, Bytes),
    (8, Varint),
]);
static LIST: Fields = Fields(&[(1, In(&VALUE))]);
static MAP: Fields = Fields(&[(1, In(&PAIR))]);

/// Makes messages with any fields in any order. A few fields are unknown, have a wrong type or are
/// damaged.
struct Messages(Numbers);

impl Messages {
    fn is_one_of(&mut self, count: usize) -> bool {
        self.0.next(count) == 0
    }

    fn message(&mut self, fields: &Fields, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let count = if depth > 12 { 1 } else { 5 };
        for _ in 0..self.0.next(count + 1) {
            let (mut number, mut kind) = fields.0[self.0.next(fields.0.len())];
            if self.is_one_of(20) {
                number = u32::try_from(17 + self.0.next(500)).unwrap();
                kind = [Varint, Fixed64, Fixed32, Bytes][self.0.next(4)];
                if self.is_one_of(3) {
                    self.group(number, &mut out, depth);
                    continue;
                }
            }
            if self.is_one_of(400) {
                kind = [Varint, Fixed64, Fixed32, Bytes][self.0.next(4)];
            }
            self.field(number, kind, &mut out, depth);
        }
        out
    }

    fn group(&mut self, number: u32, out: &mut Vec<u8>, depth: usize) {
        encode_key(number, WireType::StartGroup, out);
        out.extend(self.message(&SPAN, depth + 1));
        let end = number + u32::from(self.is_one_of(50));
        encode_key(end, WireType::EndGroup, out);
    }

    fn field(&mut self, number: u32, kind: Type, out: &mut Vec<u8>, depth: usize) {
        let bits = self.0.next(usize::MAX) as u64;
        let bits = bits.rotate_left(32) >> self.0.next(64);
        match kind {
            Varint => {
                encode_key(number, WireType::Varint, out);
                encode_varint(bits, out);
                if self.is_one_of(30) {
                    // A varint that is longer than needed, or longer than allowed.
                    *out.last_mut().unwrap() |= 0x80;
                    out.extend([0x80, 0x80, 0x00].iter().skip(self.0.next(3)));
                }
            }
            Fixed64 => {
                encode_key(number, WireType::SixtyFourBit, out);
                out.extend(bits.to_le_bytes());
            }
            Fixed32 => {
                encode_key(number, WireType::ThirtyTwoBit, out);
                out.extend(bits.to_le_bytes().first_chunk::<4>().unwrap());
            }
            Text => {
                let text = ["", "k", "service.name", "a", "\u{e9}t\u{e9}"][self.0.next(5)];
                let mut bytes = text.as_bytes().to_vec();
                if self.is_one_of(400) {
                    bytes.push(0xff);
                }
                self.length_delimited(number, &bytes, out);
            }
            Bytes => {
                let length = [0, 3, 8, 16][self.0.next(4)];
                self.length_delimited(number, &vec![7; length], out);
            }
            In(fields) => {
                let message = self.message(fields, depth + 1);
                self.length_delimited(number, &message, out);
            }
        }
    }

    fn length_delimited(&mut self, number: u32, bytes: &[u8], out: &mut Vec<u8>) {
        encode_key(number, WireType::LengthDelimited, out);
        let wrong = usize::from(self.is_one_of(1_000));
        encode_varint((bytes.len() + wrong) as u64, out);
        out.extend(bytes);
    }
}

#[test]
fn any_fields_in_any_order_are_read_as_prost_reads_them() {
    let mut messages = Messages(Numbers::new());
    let mut accepted = 0;
    for _ in 0..4_000 {
        let body = messages.message(&REQUEST, 0);
        accepted += usize::from(agree_on(&body));
    }
    assert!((1_000..4_000).contains(&accepted), "{accepted}");
}

#[test]
fn a_damaged_or_cut_body_is_refused_exactly_if_prost_refuses_it() {
    let mut messages = Messages(Numbers::new());
    let mut damage = Damage::new();
    let mut accepted = 0;
    for _ in 0..200 {
        let body = messages.message(&REQUEST, 0);
        for cut in 0..body.len().min(500) {
            agree_on(&body[..cut]);
        }
        for _ in 0..if body.is_empty() { 0 } else { 40 } {
            accepted += usize::from(agree_on(&damage.apply_to(&body)));
        }
    }
    assert!(accepted > 100, "{accepted}");
}

/// Returns an attribute with this number of nested lists.
fn nested(levels: usize) -> KeyValue {
    let mut deep = AnyValue {
        value: Some(Value::BoolValue(true)),
    };
    for _ in 0..levels {
        let values = vec![deep];
        deep = AnyValue {
            value: Some(Value::ArrayValue(ArrayValue { values })),
        };
    }
    KeyValue {
        key: "deep".to_owned(),
        value: Some(deep),
        ..KeyValue::default()
    }
}

#[test]
fn nesting_is_refused_at_the_same_depth_as_by_prost() {
    let mut accepted = [0; 4];
    for levels in 40..60 {
        let of_span = Span {
            attributes: vec![nested(levels)],
            ..Span::default()
        };
        let of_event = Span {
            events: vec![Event {
                attributes: vec![nested(levels)],
                ..Event::default()
            }],
            ..Span::default()
        };
        let mut of_resource = vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![nested(levels)],
                ..Resource::default()
            }),
            ..ResourceSpans::default()
        }];
        let of_resource_body = encoded(of_resource.clone());
        of_resource[0].resource = None;
        of_resource[0].scope_spans = vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                attributes: vec![nested(levels)],
                ..InstrumentationScope::default()
            }),
            spans: vec![Span::default()],
            ..ScopeSpans::default()
        }];
        let bodies = [
            request_of_spans(vec![of_span]),
            request_of_spans(vec![of_event]),
            of_resource_body,
            encoded(of_resource),
        ];
        for (count, body) in accepted.iter_mut().zip(bodies) {
            *count += usize::from(agree_on(&body));
        }
    }
    assert!(
        accepted.iter().all(|count| (1..20).contains(count)),
        "{accepted:?}"
    );
}

#[test]
fn groups_are_skipped_to_the_same_depth_as_by_prost() {
    let mut accepted = 0;
    for levels in 80..110 {
        let mut body = Vec::new();
        for _ in 0..levels {
            encode_key(99, WireType::StartGroup, &mut body);
        }
        for _ in 0..levels {
            encode_key(99, WireType::EndGroup, &mut body);
        }
        accepted += usize::from(agree_on(&body));
        let mut request = Vec::new();
        append(&mut request, &body);
        accepted += usize::from(agree_on(&request));
    }
    assert!((1..60).contains(&accepted), "{accepted}");
}
