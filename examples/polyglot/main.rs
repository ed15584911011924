//! One trace through four languages: a page in the browser, a Node service, this Rust service, a
//! Python service. This program also receives the spans of all four and serves the dashboard.
//!
//! Run it with `cargo run --features otlp --example polyglot`, and open the two addresses that it
//! prints.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use livespan::{LiveServer, LiveSpans, otlp::OtlpReceiver};
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::Child,
};
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The files of the services in other languages, and of their dependencies.
const FILES: [&str; 10] = [
    "clients/start_sender.mjs",
    "clients/start_sender.py",
    "examples/polyglot/package.json",
    "examples/polyglot/package-lock.json",
    "examples/polyglot/page.html",
    "examples/polyglot/page.mjs",
    "examples/polyglot/printer.py",
    "examples/polyglot/requirements.txt",
    "examples/polyglot/shop.mjs",
    "examples/polyglot/telemetry.mjs",
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = install()?;
    let (live, server) = watch()?;
    let url = server.url();
    let livespan = url.trim_end_matches('/');

    let mut printer = Command::new(folder.join("python/bin/python"));
    printer.arg(folder.join("printer.py"));
    let (_printer, port) = start(printer, livespan, "").await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let warehouse = format!("http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/reserve", post(reserve))
        .with_state(format!("http://127.0.0.1:{port}/"));
    tokio::spawn(axum::serve(listener, app).into_future());

    let mut shop = Command::new("node");
    shop.arg(folder.join("shop.mjs"));
    let (_shop, port) = start(shop, livespan, &warehouse).await?;

    print_line(&format!("shop:      http://127.0.0.1:{port}/"));
    print_line(&format!("dashboard: {livespan}/"));
    tokio::signal::ctrl_c().await?;
    live.shutdown()?;
    Ok(())
}

/// Copies the services to a folder beside this program, installs their dependencies once, and
/// returns the folder.
fn install() -> Result<PathBuf, BoxError> {
    let folder = std::env::current_exe()?.with_file_name("polyglot-services");
    std::fs::create_dir_all(&folder)?;
    for file in FILES {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let name = source.file_name().ok_or("the file has no name")?;
        std::fs::copy(&source, folder.join(name))?;
    }
    let is_installed = folder.join("is-installed");
    if !is_installed.exists() {
        print_line("installing packages of npm and PyPI, which takes a minute …");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--silent"]);
        run(npm.current_dir(&folder))?;
        let mut python = Command::new("python3");
        run(python.args(["-m", "venv", "python"]).current_dir(&folder))?;
        let mut pip = Command::new(folder.join("python/bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--requirement",
            "requirements.txt",
        ]);
        run(pip.current_dir(&folder))?;
        std::fs::write(is_installed, "")?;
    }
    Ok(folder)
}

/// Turns on this process's spans, the OTLP receiver for the other services, and the dashboard.
fn watch() -> Result<(LiveSpans, LiveServer), BoxError> {
    let pages = OtlpReceiver::default().allowed_origins(["http://127.0.0.1:*"]);
    let live = LiveSpans::builder().otlp(pages).build()?;
    let provider = live.tracer_provider(
        SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name("warehouse").build()),
    );
    global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("warehouse")))
        .init();
    let server = live
        .serve_in_background("127.0.0.1:4380")
        .or_else(|_| live.serve_in_background("127.0.0.1:0"))?;
    Ok((live, server))
}

/// Starts a service, and returns the port that it prints. A service ends when its input closes. So
/// it never outlives this program, even if this program is killed.
async fn start(
    mut service: Command,
    livespan: &str,
    warehouse: &str,
) -> Result<(Child, u16), BoxError> {
    service
        .env("LIVESPAN", livespan)
        .env("WAREHOUSE", warehouse);
    service.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(service)
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("the service has no output")?;
    let mut lines = BufReader::new(output).lines();
    let port = lines.next_line().await?.ok_or("the service has ended")?;
    Ok((child, port.parse()?))
}

/// The Rust service: locks the goods, and has the Python service print their label.
async fn reserve(State(printer): State<String>, headers: HeaderMap) -> Result<String, StatusCode> {
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(&headers))
    });
    let span = info_span!("reserve goods", otel.kind = "server");
    span.set_parent(caller).ok();
    let answer = async {
        work(Duration::from_millis(800))
            .instrument(info_span!("lock stock"))
            .await;
        let call = info_span!("label", otel.kind = "client");
        print_label(&printer).instrument(call).await
    };
    let answer = answer.instrument(span).await;
    answer.map_err(|_error| StatusCode::BAD_GATEWAY)
}

async fn print_label(printer: &str) -> reqwest::Result<String> {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
    });
    let request = reqwest::Client::new().post(printer).headers(headers);
    request.send().await?.error_for_status()?.text().await
}

async fn work(time: Duration) {
    drop(tokio::time::timeout(time, std::future::pending::<()>()).await);
}

fn run(command: &mut Command) -> Result<(), BoxError> {
    let status = command.status();
    match status.map_err(|error| format!("{command:?}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?}: {status}").into()),
    }
}

fn print_line(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}
