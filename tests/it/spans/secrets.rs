//! A secret never reaches a stored or a sent byte. This holds in every place and form that the
//! documentation of [`Redaction`](livespan::Redaction) names.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use livespan::{LiveSpans, SpanEvent, SqliteEventStore, TraceId, span::SpanStatus, sse::Subscribe};
use opentelemetry::{
    Array, KeyValue, StringValue, Value,
    trace::{
        Link, Span as _, SpanContext, Status, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest},
    sample::select,
};

use crate::{
    http::app::{ask, text},
    spans::live_provider::{payloads, read},
    support::PATIENCE,
};

/// Every secret begins with this text, and nothing else contains it.
const MARK: &str = "hush";

/// The place of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    SpanName,
    StartAttribute,
    EndAttribute,
    Array,
    LinkAttribute,
    EventName,
    EventAttribute,
    Exception,
    Status,
    Resource,
    DispatchedName,
    DispatchedAttribute,
    LogBody,
    UpdateAttribute,
}

const PLACES: &[Place] = &[
    Place::SpanName,
    Place::StartAttribute,
    Place::EndAttribute,
    Place::Array,
    Place::LinkAttribute,
    Place::EventName,
    Place::EventAttribute,
    Place::Exception,
    Place::Status,
    Place::Resource,
    Place::DispatchedName,
    Place::DispatchedAttribute,
    Place::LogBody,
    Place::UpdateAttribute,
];

/// Keys whose values are always masked.
const KEYS: &[&str] = &[
    "authorization",
    "http.request.header.cookie",
    "dbpassword",
    "PGPASSWORD",
    "password.0",
    "user.session_id",
    "X-Api-Key",
    "aws.secretAccessKey",
];

/// Texts in which `§` stands for the secret.
const TEXTS: &[&str] = &[
    "https://eve:§@shop.example/",
    "amqp://u:§@a:5672,amqp://u:§@b:5672",
    "postgres://u:§/§@h/db",
    "see https://h/ and https://h/?a=1&token=§&b=2",
    "https://h/?user%5Bpassword%5D=§",
    "https://h/a#access_token=§",
    "/cb?next=%2Fa%3Ftoken%3D§",
    "a=1&client_secret=§",
    "{\"authorization\": \"Bearer §\"}",
    "{\"a\":{\"passwords\":[\"§\",\"§\"]}}",
    "{\"body\":\"{\\\"token\\\":\\\"§\\\"}\"}",
    "Headers { cookie: \"a=§; b=§\", host: \"h\" }",
    "Login { user: \"u\", password: Some(\"§\") }",
    "Login {\n    password: Secret(\n        \"§\",\n    ),\n}",
    "[(\"authorization\", \"Bearer §\"), (\"host\", \"h\")]",
    "{'cookie': '§', 'host': 'h'}",
    "{authorization=Bearer §, host=h}",
    "Server=h;Password=§ §;Database=d",
    "host=h password='§' user=u",
    "at line 3\n  Authorization: Basic §\n  Host: h",
    "curl -H 'Cookie: a=§; b=§' http://h/",
    "failed with token=§ after 3 tries",
];

type Secret = (Place, usize, String);

fn secret() -> impl Strategy<Value = Secret> {
    let word = "[a-zA-Z0-9._~-]{0,12}".prop_map(|rest| format!("{MARK}{rest}"));
    (select(PLACES), any::<usize>(), word)
}

/// Returns a text that contains the secret.
fn filled((_, form, secret): &Secret) -> String {
    TEXTS[form % TEXTS.len()].replace('§', secret)
}

/// Returns a key and a value. Either the key makes the value secret, or the value contains a
/// secret.
fn pair(number: usize, secret: &Secret) -> KeyValue {
    let forms = KEYS.len() + TEXTS.len();
    match KEYS.get(secret.1 % forms) {
        Some(key) => KeyValue::new(*key, secret.2.clone()),
        None => KeyValue::new(format!("note.text{}", "x".repeat(number)), filled(secret)),
    }
}

fn of_place(secrets: &[Secret], place: Place) -> impl Iterator<Item = (usize, &Secret)> {
    let all = secrets.iter().enumerate();
    all.filter(move |(_, secret)| secret.0 == place)
}

fn pairs_of(secrets: &[Secret], place: Place) -> Vec<KeyValue> {
    of_place(secrets, place)
        .map(|(number, secret)| pair(number, secret))
        .collect()
}

fn name_of(secrets: &[Secret], place: Place) -> String {
    let secret = of_place(secrets, place).next();
    secret.map_or_else(|| "work".to_owned(), |(_, secret)| filled(secret))
}

fn array_of(secrets: &[Secret]) -> Vec<KeyValue> {
    let arrays = of_place(secrets, Place::Array).map(|(number, secret)| {
        let texts: Vec<StringValue> = vec!["plain".into(), filled(secret).into()];
        let array = Value::Array(Array::String(texts));
        KeyValue::new(format!("list{}", "x".repeat(number)), array)
    });
    arrays.collect()
}

/// Makes a span, three times, so that the later starts may be encoded with a template.
fn make_spans(provider: &SdkTracerProvider, secrets: &[Secret]) {
    let tracer = provider.tracer("shop");
    let other = SpanContext::new(
        7.into(),
        7.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    for _ in 0..3 {
        let link = Link::new(other.clone(), pairs_of(secrets, Place::LinkAttribute), 0);
        let mut start = pairs_of(secrets, Place::StartAttribute);
        start.extend(array_of(secrets));
        let mut span = tracer
            .span_builder(name_of(secrets, Place::SpanName))
            .with_attributes(start)
            .with_links(vec![link])
            .start(&tracer);
        for pair in pairs_of(secrets, Place::EndAttribute) {
            span.set_attribute(pair);
        }
        for (number, secret) in of_place(secrets, Place::Exception) {
            let trace = format!("Error: no answer\n    at {}\n    at main", filled(secret));
            let key = format!("exception.stacktrace{}", "x".repeat(number));
            span.add_event("exception", vec![KeyValue::new(key, trace)]);
        }
        let event = pairs_of(secrets, Place::EventAttribute);
        span.add_event(name_of(secrets, Place::EventName), event);
        span.set_status(Status::error(name_of(secrets, Place::Status)));
        span.end();
    }
}

fn dispatch_events(live: &LiveSpans, secrets: &[Secret]) {
    let trace = TraceId::from_bytes([1; 16]).unwrap();
    let span = "00f067aa0ba902b7".parse().unwrap();
    let name = name_of(secrets, Place::DispatchedName);
    let with_pairs = |event: SpanEvent, place| {
        pairs_of(secrets, place)
            .into_iter()
            .fold(event, |event, pair| {
                event.attribute(pair.key.to_string(), pair.value.to_string())
            })
    };
    let failed = SpanStatus::Error(name_of(secrets, Place::Status));
    let body = name_of(secrets, Place::LogBody);
    for event in [
        with_pairs(
            SpanEvent::started(trace, span, &*name),
            Place::DispatchedAttribute,
        ),
        with_pairs(
            SpanEvent::updated(trace, span, None),
            Place::UpdateAttribute,
        ),
        SpanEvent::log(trace, span, "INFO", body),
        with_pairs(
            SpanEvent::ended(trace, span, &*name, failed),
            Place::DispatchedAttribute,
        ),
    ] {
        live.target().try_dispatch(&event).unwrap();
    }
}

fn count(bytes: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, MARK.as_bytes()).count()
}

/// Reads everything that is available to a reader. Returns how often the mark occurs, and the size
/// in bytes.
fn exported(live: &LiveSpans) -> (usize, usize) {
    let all = payloads(&read(&mut live.target().subscribe(Subscribe::all())));
    let mut traces: Vec<&str> = all
        .iter()
        .filter_map(|event| event["traceId"].as_str())
        .collect();
    traces.sort_unstable();
    traces.dedup();
    let mut paths = vec!["/traces".to_owned()];
    for trace in traces {
        for format in ["", "?format=jsonl", "?format=otlp"] {
            paths.push(format!("/traces/{trace}{format}"));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut answers: Vec<String> = paths
        .iter()
        .map(|path| runtime.block_on(async { text(ask(live.router(), path).await).await }))
        .collect();
    answers.extend(all.iter().map(serde_json::Value::to_string));
    let marks = answers.iter().map(|answer| count(answer.as_bytes())).sum();
    (marks, answers.iter().map(String::len).sum())
}

/// Returns how often the mark occurs in the files of a folder, and the files' size in bytes.
fn stored(folder: &Path) -> (usize, usize) {
    let files = std::fs::read_dir(folder).unwrap();
    files.fold((0, 0), |(marks, bytes), file| {
        let file = std::fs::read(file.unwrap().path()).unwrap();
        (marks + count(&file), bytes + file.len())
    })
}

fn new_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("livespan-secrets-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn provider_of(live: &LiveSpans, has_sampler: bool, secrets: &[Secret]) -> SdkTracerProvider {
    let mut resource = pairs_of(secrets, Place::Resource);
    resource.push(KeyValue::new("service.name", "shop"));
    let builder = SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().with_attributes(resource).build())
        .with_span_processor(live.span_processor());
    if has_sampler {
        builder
            .with_sampler(live.sampler(Sampler::AlwaysOn))
            .build()
    } else {
        builder.build()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_reaches_a_stored_or_a_sent_byte(secrets in vec(secret(), 1..8), has_sampler in any::<bool>()) {
        let folder = new_folder();
        let store = SqliteEventStore::new(folder.join("spans.db"));
        let live = LiveSpans::builder().store(store).build().unwrap();
        let provider = provider_of(&live, has_sampler, &secrets);
        make_spans(&provider, &secrets);
        dispatch_events(&live, &secrets);
        live.target().flush(PATIENCE).unwrap();
        let (sent, sent_bytes) = exported(&live);
        provider.shutdown().unwrap();
        live.shutdown().unwrap();
        let (kept, kept_bytes) = stored(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        prop_assert_eq!((sent, kept), (0, 0));
        prop_assert_eq!((sent_bytes > 1000, kept_bytes > 1000), (true, true), "too few bytes are sent or stored");
    }
}

/// Without redaction, the test finds every secret. This shows that it looks in the right places.
#[test]
fn a_log_that_masks_nothing_has_every_secret() {
    for (form, place) in (0..KEYS.len() + TEXTS.len()).zip(PLACES.iter().cycle()) {
        let secrets = [(*place, form, format!("{MARK}x"))];
        let live = LiveSpans::builder()
            .redact(livespan::Redaction::none())
            .build()
            .unwrap();
        let provider = provider_of(&live, false, &secrets);
        make_spans(&provider, &secrets);
        dispatch_events(&live, &secrets);
        live.target().flush(PATIENCE).unwrap();
        assert!(exported(&live).0 > 0, "{secrets:?}");
    }
}

/// Two processes share one Redis. The test also searches everything that the other process reads.
#[cfg(all(unix, feature = "redis"))]
#[test]
fn no_secret_reaches_redis() {
    let server =
        crate::stores::redis::server::Server::start_with(&["--save", "", "--appendonly", "yes"]);
    let store = livespan::RedisEventStore::new(server.url()).unwrap();
    let live = LiveSpans::builder().store(store).build().unwrap();
    let all: Vec<Secret> = PLACES
        .iter()
        .flat_map(|place| {
            (0..KEYS.len() + TEXTS.len()).map(move |form| (*place, form, format!("{MARK}-{form}")))
        })
        .collect();
    for secrets in all.chunks(3) {
        let provider = provider_of(&live, false, secrets);
        make_spans(&provider, secrets);
        dispatch_events(&live, secrets);
        live.target().flush(PATIENCE).unwrap();
    }
    live.shutdown().unwrap();
    assert_eq!(stored_below(server.folder()).0, 0);
    assert!(
        stored_below(server.folder()).1 > 100_000,
        "too few bytes are sent or stored"
    );
}

/// Does the same as [`stored`] for a folder and its subfolders.
#[cfg(all(unix, feature = "redis"))]
fn stored_below(folder: &Path) -> (usize, usize) {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.fold((0, 0), |(marks, bytes), entry| {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let (more_marks, more_bytes) = if kind.is_dir() {
            stored_below(&entry.path())
        } else if kind.is_file() {
            let file = std::fs::read(entry.path()).unwrap();
            (count(&file), file.len())
        } else {
            (0, 0)
        };
        (marks + more_marks, bytes + more_bytes)
    })
}
