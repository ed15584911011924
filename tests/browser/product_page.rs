//! A product's own page that follows one job with the browser's `EventSource`, through the
//! product's own route.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, Uri},
    response::Html,
    routing::get,
};
use livespan::{LiveSpans, TraceId, View};
use opentelemetry::{
    Context,
    trace::{Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::driver::Browser;

const PAGE: &str = "<!doctype html><title>job</title><script>
const source = new EventSource('/progress/' + location.hash.slice(1));
window.seen = [];
for (const type of ['started', 'ended'])
  source.addEventListener(type, event => window.seen.push(type + ' ' + JSON.parse(event.data).name));
source.addEventListener('end', event => window.ended = JSON.parse(event.data).reason);
source.addEventListener('error', () => window.gaveUp = source.readyState === EventSource.CLOSED);
</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_follows_one_job_to_its_end_and_does_not_reconnect() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let tracer = provider.tracer("job");
    let progress = {
        let live = live.clone();
        move |Path(trace): Path<String>, headers: HeaderMap, uri: Uri| async move {
            live.respond(
                trace.parse::<TraceId>().unwrap(),
                &View::everything(),
                &headers,
                &uri,
            )
            .map(axum::body::Body::new)
        }
    };
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/progress/{trace}", get(progress));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let job = Context::new().with_span(tracer.start_with_context("job", &Context::new()));
    let browser = Browser::open().await;
    let trace = job.span().span_context().trace_id();
    browser.goto(&format!("http://{address}/#{trace}")).await;
    browser
        .until(
            "the job started",
            "return window.seen.includes('started job')",
        )
        .await;
    tracer.start_with_context("step", &job).end();
    job.span().end();
    browser
        .until("the stream ended", "return window.ended")
        .await;
    browser
        .until("the browser does not reconnect", "return window.gaveUp")
        .await;
    assert_eq!(
        browser.ask("return window.seen").await,
        serde_json::json!(["started job", "started step", "ended step", "ended job"])
    );
    browser.close().await;
    live.shutdown().unwrap();
    server.abort();
}
