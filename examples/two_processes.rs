//! Two processes, one Redis, one log: a shop that takes orders and a warehouse that picks them. Each order is one trace
//! across both. Both serve a dashboard that shows the whole log.
//!
//! ```text
//! redis-server --port 6390 --appendonly yes --dir /tmp
//! cargo run --features redis --example two_processes -- warehouse redis://127.0.0.1:6390
//! cargo run --features redis --example two_processes -- shop      redis://127.0.0.1:6390
//! ```
//!
//! Open either address, then kill one of the two processes (`kill -9`). Within half a minute, both dashboards show its
//! open spans as lost. After a restart, its new spans appear beside the old ones.

use std::{error::Error, io::Write as _, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use livespan::{LiveServer, LiveSpans, RedisEventStore};
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::{net::TcpListener, time};
use tracing::{Instrument as _, Span, info_span, instrument};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

type BoxError = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: two_processes shop|warehouse REDIS-URL";
const SHOP_DASHBOARD: &str = "127.0.0.1:4381";
const WAREHOUSE_DASHBOARD: &str = "127.0.0.1:4382";
/// The address at which the warehouse takes picking orders.
const WAREHOUSE: &str = "127.0.0.1:4390";
/// The interval between two orders, and between two shelves of the picking robot.
const ORDER_INTERVAL: Duration = Duration::from_secs(2);
const SHELF_INTERVAL: Duration = Duration::from_millis(700);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [role, redis] = words.as_slice() else {
        return Err(USAGE.into());
    };
    match role.as_str() {
        "shop" => {
            let _watched = watch("shop", redis, SHOP_DASHBOARD).await?;
            take_orders().await
        }
        "warehouse" => {
            let _watched = watch("warehouse", redis, WAREHOUSE_DASHBOARD).await?;
            pick_orders().await
        }
        _ => Err(USAGE.into()),
    }
}

/// Sets up livespan for a process. The dashboard runs until the returned value is dropped.
async fn watch(
    service: &'static str,
    redis: &str,
    dashboard: &str,
) -> Result<(LiveSpans, LiveServer), BoxError> {
    let store = RedisEventStore::new(redis)?;
    let live = LiveSpans::builder().store(store).build()?;
    let provider = live.tracer_provider(
        SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(service).build()),
    );
    let server = live.serve(dashboard).await?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer(service)))
        .init();
    print_line(&format!("{service}: dashboard at {}", server.url()));
    Ok((live, server))
}

/// The shop: takes one order at a time and sends it to the warehouse with its trace context.
async fn take_orders() -> Result<(), BoxError> {
    let client = reqwest::Client::new();
    let mut customers = time::interval(ORDER_INTERVAL);
    for number in 1_u64.. {
        customers.tick().await;
        if let Err(error) = order(&client, number).await {
            print_line(&format!("order {number}: {error}"));
        }
    }
    Ok(())
}

#[instrument(skip(client), err, fields(otel.kind = "client"))]
async fn order(client: &reqwest::Client, number: u64) -> Result<(), BoxError> {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
    });
    let request = client.post(format!("http://{WAREHOUSE}/pick/{number}"));
    let answer = request.headers(headers).send().await?;
    answer.error_for_status()?;
    Ok(())
}

/// The warehouse: a robot that walks from shelf to shelf.
async fn pick_orders() -> Result<(), BoxError> {
    let app = Router::new().route("/pick/{number}", post(pick));
    let listener = TcpListener::bind(WAREHOUSE).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn pick(Path(number): Path<u64>, headers: HeaderMap) -> StatusCode {
    let span = info_span!("pick", number, otel.kind = "server");
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(&headers))
    });
    if let Err(error) = span.set_parent(caller) {
        print_line(&format!("cannot continue the caller's trace: {error}"));
    }
    let shelves = async {
        let mut robot = time::interval(SHELF_INTERVAL);
        robot.tick().await;
        for shelf in 1..=2 + number % 3 {
            async { robot.tick().await }
                .instrument(info_span!("shelf", shelf))
                .await;
        }
    };
    shelves.instrument(span).await;
    StatusCode::NO_CONTENT
}

/// Prints a line for the user. A closed pipe does not matter.
fn print_line(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}
