//! The JSON of span events, compared with `serde_json` of derived structs with the same fields.
//! Both write into a reused buffer.
//!
//! Run it with `cargo bench -p livespan-benches --bench json`. Both sides write ids as hex and
//! times as RFC 3339 in every event. Valgrind's callgrind counts instructions, because other load
//! of the machine does not change them.
//!
//! The first rows are for events that an application makes and dispatches. The last rows are for
//! spans: the worker writes each event from a record. For spans, a child process runs the whole log,
//! and callgrind counts the instructions of the writing functions.

#[path = "measure/callgrind.rs"]
mod callgrind;
mod measure;

use std::{hint::black_box, time::SystemTime};

use livespan::{
    LiveSpans, SpanEvent, SpanId, SseEvent as _, TraceId,
    span::{SpanKind, SpanStatus},
};
use measure::{median, thread_cpu};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, SpanKind as OtelKind, TraceContextExt as _, TraceFlags, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Serialize, Serializer};

const ROUNDS: usize = 15;
const EVENTS: u32 = 50_000;
const COUNTED: u32 = 1_000;
const TARGET: f64 = 2.5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    r#type: &'a str,
    #[serde(serialize_with = "hex16")]
    trace_id: [u8; 16],
    #[serde(serialize_with = "hex8")]
    span_id: [u8; 8],
    #[serde(serialize_with = "maybe_hex8")]
    parent_span_id: Option<[u8; 8]>,
    name: &'a str,
    kind: &'a str,
    process: &'a str,
    service: &'a str,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_time")]
    start_timestamp: Option<SystemTime>,
    #[serde(serialize_with = "time")]
    timestamp: SystemTime,
}

#[derive(Serialize)]
struct Status<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "http.route")]
    route: &'a str,
    #[serde(rename = "cart.items")]
    items: i64,
    customer: &'a str,
}

fn hex<const N: usize, S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; N];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    serializer.serialize_str(std::str::from_utf8(&text).expect("digits"))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn hex8<S: Serializer>(id: &[u8; 8], serializer: S) -> Result<S::Ok, S::Error> {
    hex::<16, S>(id, serializer)
}

fn hex16<S: Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    hex::<32, S>(id, serializer)
}

#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn maybe_hex8<S: Serializer>(id: &Option<[u8; 8]>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => hex8(id, serializer),
        None => serializer.serialize_none(),
    }
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_nanos(*time))
}

#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn maybe_time<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn ours(is_end: bool, now: SystemTime) -> SpanEvent {
    let trace = TraceId::from_bytes([0x4b; 16]).expect("the id is zero");
    let span = SpanId::from_bytes([0x17; 8]).expect("the id is zero");
    let event = if is_end {
        SpanEvent::ended(trace, span, "checkout", SpanStatus::Unset).started_at(now)
    } else {
        SpanEvent::started(trace, span, "checkout")
    };
    event
        .at(now)
        .parent(SpanId::from_bytes([0x26; 8]).expect("the id is zero"))
        .kind(SpanKind::Server)
        .service("shop")
        .scope("shop::cart")
        .attribute("http.request.method", "GET")
        .attribute("http.route", "/checkout/{id}")
        .attribute("cart.items", 3_i64)
        .attribute("customer", "customer-000000000000017")
}

fn derived(is_end: bool, now: SystemTime) -> Event<'static> {
    Event {
        r#type: if is_end { "ended" } else { "started" },
        trace_id: [0x4b; 16],
        span_id: [0x17; 8],
        parent_span_id: Some([0x26; 8]),
        name: "checkout",
        kind: "SERVER",
        process: "",
        service: "shop",
        scope: "shop::cart",
        status: is_end.then_some(Status { code: "OK" }),
        attributes: Attributes {
            method: "GET",
            route: "/checkout/{id}",
            items: 3,
            customer: "customer-000000000000017",
        },
        start_timestamp: is_end.then_some(now),
        timestamp: now,
    }
}

/// An event as both sides encode it, and the buffer that they write to.
struct Encoding {
    ours: SpanEvent,
    derived: Event<'static>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Side {
    Serde,
    Ours,
}

impl Encoding {
    fn new(is_end: bool) -> Self {
        let now = SystemTime::now();
        Self {
            ours: ours(is_end, now),
            derived: derived(is_end, now),
            buffer: Vec::with_capacity(1024),
        }
    }

    fn assert_same(&mut self) {
        self.write(Side::Ours);
        let written: serde_json::Value =
            serde_json::from_slice(&self.buffer).expect("not valid JSON");
        let same = serde_json::to_value(&self.derived).expect("not valid JSON");
        assert_eq!(written, same, "the two sides write different JSON");
    }

    fn write(&mut self, side: Side) {
        self.buffer.clear();
        match side {
            Side::Ours => black_box(&self.ours).encode(&mut self.buffer),
            Side::Serde => serde_json::to_writer(&mut self.buffer, black_box(&self.derived))
                .expect("not valid JSON"),
        }
        black_box(&self.buffer);
    }

    /// Returns the mean CPU time of an encoding, in nanoseconds.
    fn nanos(&mut self, side: Side) -> f64 {
        let before = thread_cpu();
        for _ in 0..EVENTS {
            self.write(side);
        }
        thread_cpu().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(EVENTS)
    }
}

/// The function in which callgrind counts for the rows of events.
#[inline(never)]
fn counted(encoding: &mut Encoding, side: Side) {
    for _ in 0..COUNTED {
        encoding.write(side);
    }
}

/// The functions that write a payload on the worker. One writes a start that fits the template of
/// an earlier start. The other writes the end of a span whose start is cached. In
/// [`make_spans`], they write all spans except the first two.
const WRITING: [(&str, &str); 2] = [
    (
        "started",
        "livespan::span::json::start_template::PayloadTemplate::started*",
    ),
    (
        "ended",
        "livespan::span::json::end_from_start::ended_from_start*",
    ),
];

/// Makes spans like that of [`ours`] through the SDK.
fn make_spans() {
    let live = LiveSpans::builder().build().expect("a log in memory opens");
    let resource = Resource::builder_empty().with_service_name("shop").build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("shop::cart");
    let parent = SpanContext::new(
        u128::from_be_bytes([0x4b; 16]).into(),
        u64::from_be_bytes([0x26; 8]).into(),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let parent = Context::new().with_remote_span_context(parent);
    for _ in 0..COUNTED {
        tracer
            .span_builder("checkout")
            .with_kind(OtelKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("http.route", "/checkout/{id}"),
                KeyValue::new("cart.items", 3_i64),
                KeyValue::new("customer", "customer-000000000000017"),
            ])
            .start_with_context(&tracer, &parent)
            .end();
    }
    provider.force_flush().expect("the log is open");
    let status = live.status();
    assert_eq!(
        (status.dropped.starts, status.dropped.ends),
        (0, 0),
        "spans were dropped"
    );
}

/// Returns the mean number of instructions of an encoding.
#[expect(clippy::cast_precision_loss, reason = "the counts are some thousands")]
fn instructions(name: &str, side: &str) -> f64 {
    let arguments = ["run", name, side].map(str::to_owned);
    let counted = callgrind::count_function("json::counted*", &arguments);
    counted.all as f64 / f64::from(COUNTED)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name, side] = arguments.as_slice()
        && run == "run"
    {
        let side = if side == "ours" {
            Side::Ours
        } else {
            Side::Serde
        };
        return counted(&mut Encoding::new(name == "ended"), side);
    }
    if arguments == ["make"] {
        return make_spans();
    }
    println!(
        "{:<15} {:>9} {:>8} {:>6} {:>19} {:>18} {:>6} {:>7}",
        "event",
        "serde ns",
        "ours ns",
        "times",
        "serde instructions",
        "ours instructions",
        "times",
        "target"
    );
    for name in ["started", "ended"] {
        let mut encoding = Encoding::new(name == "ended");
        encoding.assert_same();
        let (mut serde, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            serde.push(encoding.nanos(Side::Serde));
            ours.push(encoding.nanos(Side::Ours));
        }
        let (serde, ours) = (median(serde), median(ours));
        let counts = (instructions(name, "serde"), instructions(name, "ours"));
        println!(
            "{name:<15} {serde:>9.0} {ours:>8.0} {:>6.2} {:>19.0} {:>18.0} {:>6.2} {TARGET:>7.2}",
            serde / ours,
            counts.0,
            counts.1,
            counts.0 / counts.1
        );
    }
    for (name, function) in WRITING {
        let ours = worker_instructions(function);
        let serde = instructions(name, "serde");
        println!(
            "{:<15} {:>9} {:>8} {:>6} {serde:>19.0} {ours:>18.0} {:>6.2} {TARGET:>7.2}",
            format!("{name}, worker"),
            "",
            "",
            "",
            serde / ours
        );
    }
}

/// Returns the mean number of instructions per event on the worker.
#[expect(
    clippy::cast_precision_loss,
    reason = "the counts are some millions at most"
)]
fn worker_instructions(function: &str) -> f64 {
    let counted = callgrind::count_function(function, &["make".to_owned()]);
    assert!(
        counted.all > 0,
        "callgrind found no function {function}, which may have been inlined"
    );
    counted.all as f64 / f64::from(COUNTED)
}
