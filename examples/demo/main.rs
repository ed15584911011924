//! A small web shop, instrumented like any service, and shown live by livespan.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! It prints the dashboard's address. The shop itself listens on another port of this machine, and `traffic.rs` makes
//! its visitors. The delays come from SQLite statements, hashing, a label printer that prints one label at a time, a
//! bank that answers in batches, and a long job that paces itself.

mod args;
mod calls;
mod catalogue;
mod checkout;
mod fulfilment;
mod label_printer;
mod payments;
mod random;
mod reindex;
mod shop;
mod signature;
mod store;
mod telemetry;
mod traffic;

use std::error::Error;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use livespan::otel::LiveTracerProvider;
use livespan::{LiveSpans, MemoryEventStore, NullEventStore};
use opentelemetry::trace::TracerProvider as _;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::args::{Command, Options, StoreChoice};
use crate::calls::Peer;
use crate::fulfilment::{Orders, Warehouse};
use crate::label_printer::LabelPrinter;
use crate::shop::Shop;
use crate::store::Store;

type BoxError = Box<dyn Error + Send + Sync>;

const FULFILMENT_WORKERS: u32 = 3;
/// Time limit at shutdown for work that cannot be interrupted.
const LAST_WORK_TIMEOUT: Duration = Duration::from_millis(400);
/// Time limit for the last spans to reach the store.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for the dashboards to receive the end of their streams.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let options = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print_line(args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BoxError::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(options));
            runtime.shutdown_timeout(LAST_WORK_TIMEOUT);
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), BoxError> {
    let mut end = End::listen()?;
    let builder = LiveSpans::builder();
    let live = match &options.store {
        StoreChoice::Memory => builder.store(MemoryEventStore::new()).build()?,
        StoreChoice::Null => builder.store(NullEventStore::new()).build()?,
        #[cfg(feature = "sqlite")]
        StoreChoice::Sqlite(path) => builder
            .store(livespan::SqliteEventStore::new(path))
            .build()?,
        #[cfg(feature = "redis")]
        StoreChoice::Redis(url) => builder
            .store(livespan::RedisEventStore::new(url)?)
            .build()?,
    };
    // The dashboard starts first: if its port is taken, nothing else has to be undone.
    let address = options.address.to_string();
    let server = live
        .serve(&address)
        .await
        .map_err(|error| format!("cannot serve the dashboard: {}", chain(&error)))?;
    let providers = [
        telemetry::provider(&live, "shop"),
        telemetry::provider(&live, "payments"),
    ];
    let logs = telemetry::logger_provider(&live, "shop");
    telemetry::subscribe(&providers[0], &logs)?;
    livespan::panic_hook();
    let mut tasks = JoinSet::new();
    print_line(&format!("livespan dashboard: {}", server.url()));
    let trade = async {
        open(&mut tasks, &options, &providers[1]).await?;
        std::future::pending::<Result<(), BoxError>>().await
    };
    let outcome = tokio::select! {
        failed = trade => failed,
        () = end.wanted() => Ok(()),
    };
    // The providers are shut down first, so that interrupted work is shown as lost, not as ended.
    for provider in &providers {
        if let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            eprintln!("demo: {error}");
        }
    }
    if let Err(error) = logs.shutdown_with_timeout(FLUSH_TIMEOUT) {
        eprintln!("demo: {error}");
    }
    tasks.shutdown().await;
    if let Err(error) = live.shutdown() {
        eprintln!("demo: {}", chain(&error));
    }
    // Lets open streams send their `end`.
    timeout(DRAIN_TIMEOUT, server.wait()).await.ok();
    outcome
}

/// Opens the shop and its payment service. Starts the workers, the long job and the visitors.
async fn open(
    tasks: &mut JoinSet<()>,
    options: &Options,
    payments_provider: &LiveTracerProvider,
) -> Result<(), BoxError> {
    let store = Store::create()?;
    catalogue::seed(&store).await?;
    // Requests to loopback must not use a proxy, even if the environment names one.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (shop_listener, shop_base) = listen().await?;
    let (payments_listener, payments_base) = listen().await?;
    let inventory = Peer::new(client.clone(), shop_base.clone());
    let payments = Peer::new(client.clone(), payments_base.clone());
    let (orders, waiting_orders) = fulfilment::queue();
    let printer = LabelPrinter::default();
    let shop = Shop {
        store: store.clone(),
        inventory: inventory.clone(),
        payments,
        orders,
        printer,
    };

    tasks.spawn(serve(shop_listener, shop::router(shop)));
    tasks.spawn(serve(
        payments_listener,
        payments::router(payments_provider.tracer("payments")),
    ));
    for worker in 1..=FULFILMENT_WORKERS {
        let warehouse = Warehouse {
            store: store.clone(),
            printer: inventory.clone(),
        };
        tasks.spawn(fulfilment::work(
            worker,
            warehouse,
            Orders::clone(&waiting_orders),
        ));
    }
    tasks.spawn(reindex::run_nightly(store));
    eprintln!("shop: {shop_base}/products?category=garden  payments: {payments_base}");
    tasks.spawn(traffic::visit(
        client,
        shop_base,
        options.requests_per_second,
        options.requests_max,
    ));
    Ok(())
}

async fn listen() -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let base = format!("http://{}", listener.local_addr()?);
    Ok((listener, base))
}

async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("demo: {error}");
    }
}

/// Ctrl-C, or the signal of a service manager. `listen` begins to receive signals, so `wanted` does not miss one that
/// arrived before its call.
#[cfg(unix)]
struct End {
    interrupted: Signal,
    terminated: Signal,
}

#[cfg(unix)]
impl End {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
        })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

#[cfg(windows)]
struct End {
    interrupted: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl End {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupted: tokio::signal::windows::ctrl_c()?,
        })
    }

    async fn wanted(&mut self) {
        self.interrupted.recv().await;
    }
}

/// Prints a line to stdout. A closed pipe does not stop the demo.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .ok();
}

/// Returns an error and its causes, on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Some errors repeat their cause in their own message.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}
