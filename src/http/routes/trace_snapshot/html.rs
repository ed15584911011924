//! Writes traces as one HTML file: the page, and the events as gzip in base64. It writes each trace in one pass. For a
//! reader who may see only some traces, earlier passes read the trace's overview. It holds one page of events, the
//! compressor's state, and at most 16 MiB of starts ([`ShortenedEnds`]). It runs on the task that writes the response.
//!
//! The data is a series of JSON lines. The first line describes the file. Each trace follows: a
//! line with its id, its events, and a line about missing events, if there are any. The page reads the data in
//! `dashboard/assets/model/embedded-events.mjs`.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::{
    dashboard::file_page,
    http::{
        routes::trace_snapshot::{
            lines::loss,
            overview::{Overview, Snapshot},
            read::Loss,
            shortened_ends::ShortenedEnds,
        },
        task_body::{BodyFailed, BodyWriter},
    },
    trace::summary::EvictedParts,
    util::time::Timestamp,
    wire::control::SERVER,
};

/// The version of the lines. A file's own page always has the same version, so only other readers
/// need it.
const VERSION: u8 = 1;

/// The first line.
#[derive(Serialize)]
#[serde(tag = "type", rename = "file")]
struct FileLine {
    version: u8,
    made: String,
    by: &'static str,
    traces: usize,
}

/// The line before the events of a trace.
#[derive(Serialize)]
#[serde(tag = "type", rename = "trace", rename_all = "camelCase")]
struct TraceLine {
    trace_id: String,
}

/// The line after the events of a trace, if some are missing.
#[derive(Serialize)]
#[serde(tag = "type", rename = "missing", rename_all = "camelCase")]
struct MissingLine {
    trace_id: String,
    evicted: Option<EvictedParts>,
    incomplete: Option<Loss>,
}

/// Writes the file. If a trace cannot be read to its end, the response is cut off.
pub(super) async fn write(
    snapshots: Vec<Snapshot>,
    mut body: BodyWriter,
) -> Result<(), BodyFailed> {
    let page = file_page();
    body.out.extend_from_slice(page.before_data.as_bytes());
    let mut data = FileData::default();
    data.object(&FileLine {
        version: VERSION,
        made: Timestamp::now().text(),
        by: SERVER,
        traces: snapshots.len(),
    });
    for snapshot in snapshots {
        write_trace(&snapshot, &mut data, &mut body).await?;
    }
    data.finish(&mut body.out);
    body.out.extend_from_slice(page.after_data.as_bytes());
    body.finish().await
}

async fn write_trace(
    snapshot: &Snapshot,
    data: &mut FileData,
    body: &mut BodyWriter,
) -> Result<(), BodyFailed> {
    // A reader of all traces gets every `process` event, so the overview is not needed.
    let overview = match snapshot.within {
        Some(_) => Some(Overview::read(snapshot, body).await?),
        None => None,
    };
    let trace_id = snapshot.trace.to_string();
    data.object(&TraceLine {
        trace_id: trace_id.clone(),
    });
    let mut ends = ShortenedEnds::default();
    let mut pages = snapshot.events.pages();
    while let Some(page) = pages.next().await {
        pages.read(&page, |event| {
            let is_shown = event.name != "process"
                || overview
                    .as_ref()
                    .is_none_or(|overview| overview.shows_process(snapshot, event.payload));
            if is_shown {
                let narrowed = snapshot.narrowed(event.payload);
                data.line(&ends.shorten(event.name, &narrowed));
            }
        });
        drop(page);
        data.take(&mut body.out);
        body.send_if_large().await?;
    }
    let incomplete = loss(&pages, overview.as_ref());
    if incomplete == Some(Loss::Unreadable) {
        return Err(BodyFailed);
    }
    let evicted = snapshot.evicted;
    if evicted.is_some() || incomplete.is_some() {
        data.object(&MissingLine {
            trace_id,
            evicted,
            incomplete,
        });
    }
    Ok(())
}

/// Lines on their way into the file: they are compressed, then encoded as base64.
struct FileData {
    gzip: GzEncoder<Vec<u8>>,
    /// The last one or two compressed bytes, which do not make a base64 group of three yet.
    rest: Vec<u8>,
}

impl Default for FileData {
    fn default() -> Self {
        Self {
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            rest: Vec::new(),
        }
    }
}

impl FileData {
    fn object(&mut self, object: &impl Serialize) {
        self.line(&serde_json::to_vec(object).unwrap_or_default());
    }

    fn line(&mut self, line: &[u8]) {
        let written = self.gzip.write_all(line);
        // A write to memory never fails.
        written
            .and_then(|()| self.gzip.write_all(b"\n"))
            .unwrap_or_default();
    }

    /// Appends the bytes that are compressed so far.
    fn take(&mut self, out: &mut Vec<u8>) {
        self.rest.append(self.gzip.get_mut());
        let whole = self.rest.len() / 3 * 3;
        let groups: Vec<u8> = self.rest.drain(..whole).collect();
        out.extend_from_slice(STANDARD.encode(groups).as_bytes());
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        self.gzip.try_finish().unwrap_or_default();
        self.rest.append(self.gzip.get_mut());
        out.extend_from_slice(STANDARD.encode(&self.rest).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Read as _};

    use axum::body::{Body, to_bytes};
    use flate2::read::GzDecoder;
    use http::Request;
    use opentelemetry::{
        Context, KeyValue,
        trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _},
    };
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use serde_json::{Value, json};
    use tower_service::Service as _;

    use super::*;
    use crate::{LiveSpans, http::router::LiveService};

    const HOSTILE: &str = "</script><!--<script>\u{2028}\0\"'";

    /// Returns a log with two traces. The first has one ended and one running span.
    fn log() -> (LiveSpans, [String; 2], Context) {
        let live = LiveSpans::builder().build().unwrap();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(live.span_processor())
            .build();
        let tracer = provider.tracer("test");
        let root = Context::new().with_span(
            tracer
                .span_builder(HOSTILE)
                .with_attributes([KeyValue::new("password", "hunter2"), KeyValue::new("n", 1)])
                .start_with_context(&tracer, &Context::new()),
        );
        let mut child = tracer
            .span_builder("child")
            .with_attributes([KeyValue::new("n", 1), KeyValue::new("text", HOSTILE)])
            .start_with_context(&tracer, &root);
        child.set_attribute(KeyValue::new("n", 2));
        child.end();
        let mut other = tracer.start_with_context("other", &Context::new());
        other.end();
        let ids = [
            root.span().span_context().trace_id().to_string(),
            other.span_context().trace_id().to_string(),
        ];
        provider.force_flush().unwrap();
        (live, ids, root)
    }

    async fn get(live: &LiveSpans, path: &str) -> (u16, String) {
        let request = Request::get(path).header("host", "localhost");
        let mut service = LiveService {
            live: live.clone(),
            mounted: false,
        };
        let answer = service.call(request.body(Body::empty()).unwrap()).await;
        let (head, body) = answer.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (
            head.status.as_u16(),
            String::from_utf8(bytes.into()).unwrap(),
        )
    }

    fn lines(text: &str) -> Vec<Value> {
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// Returns the data of a file, line by line.
    fn data(file: &str) -> Vec<Value> {
        let page = file_page();
        let data = file.strip_prefix(&page.before_data).unwrap();
        let data = data.strip_suffix(&page.after_data).unwrap();
        let mut text = String::new();
        GzDecoder::new(&*STANDARD.decode(data).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        lines(&text)
    }

    /// Completes shortened ends, as the page does.
    fn completed(lines: Vec<Value>) -> Vec<Value> {
        let mut starts: HashMap<String, Value> = HashMap::new();
        lines
            .into_iter()
            .map(|line| {
                let span = line["spanId"].as_str().unwrap_or_default().to_owned();
                if line["type"] == "started" {
                    starts.insert(span, line.clone());
                } else if line["type"] == "ended" && line.get("startTimestamp").is_none() {
                    let start = &starts[&span];
                    let mut whole = start.clone();
                    whole["startTimestamp"] = start["timestamp"].clone();
                    for (key, value) in line.as_object().unwrap() {
                        if key == "attributes" {
                            for (key, value) in value.as_object().unwrap() {
                                whole["attributes"][key] = value.clone();
                            }
                        } else {
                            whole[key] = value.clone();
                        }
                    }
                    return whole;
                }
                line
            })
            .collect()
    }

    #[tokio::test]
    async fn a_file_has_every_event_of_its_traces_and_nothing_that_is_masked() {
        let (live, [first, second], _running) = log();
        let (status, file) = get(&live, &format!("/traces/{first}?format=html")).await;
        assert_eq!(status, 200);
        let mut of_first = lines(&get(&live, &format!("/traces/{first}?format=jsonl")).await.1);
        let found = data(&file);
        let (made, trace) = (
            found[0]["made"].clone(),
            json!({"type": "trace", "traceId": first}),
        );
        let about = |traces| json!({"type": "file", "version": 1, "made": made, "by": SERVER, "traces": traces});
        assert_eq!(found[..2], [about(1), trace.clone()]);
        assert_eq!(completed(found[2..].to_vec()), of_first);
        assert_eq!(of_first.len(), 4);

        let both = format!("/traces?format=html&traceId={first}&traceId={second}&traceId={first}");
        let found = data(&get(&live, &both).await.1);
        let of_second = lines(
            &get(&live, &format!("/traces/{second}?format=jsonl"))
                .await
                .1,
        );
        let mut expected = vec![trace];
        expected.append(&mut of_first);
        expected.push(json!({"type": "trace", "traceId": second}));
        expected.extend(of_second);
        let rest = completed(found[1..].to_vec());
        assert_eq!(found[0]["traces"], 2);
        assert_eq!(rest, expected);
    }

    #[tokio::test]
    async fn a_file_without_a_trace_or_with_an_unknown_one_is_refused() {
        let (live, [first, _], _running) = log();
        let unknown = "0af7651916cd43dd8448eb211c80319c";
        for (path, status, error) in [
            (
                "/traces?format=html".to_owned(),
                400,
                "a file needs at least one parameter traceId",
            ),
            (
                format!("/traces?format=html&traceId={first}&traceId={unknown}"),
                404,
                "the trace 0af7651916cd43dd8448eb211c80319c is not in the log",
            ),
            (
                format!("/traces/{first}?format=xml"),
                400,
                "the format \"xml\" is not one of json, jsonl, otlp, html",
            ),
        ] {
            let expected = json!({ "error": error }).to_string();
            assert_eq!(get(&live, &path).await, (status, expected), "{path}");
        }
    }
}
