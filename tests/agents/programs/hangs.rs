//! A program that hangs in the way that its argument names. It prints the address of its page, and
//! ends when its standard input closes.

use std::{env, error::Error, io::Read as _, sync::Arc};

use livespan::{LiveFutureExt as _, LiveSpans, otel::LiveTracerProvider};
use opentelemetry::{
    Context,
    trace::{TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::sync::{Barrier, Mutex, Notify};

fn main() -> Result<(), Box<dyn Error>> {
    let live = LiveSpans::builder().build()?;
    live.dump_on_signal()?;
    livespan::panic_hook();
    let server = live.serve_in_background("127.0.0.1:0")?;
    let resource = Resource::builder_empty().with_service_name("bank");
    let provider =
        live.tracer_provider(SdkTracerProvider::builder().with_resource(resource.build()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("worker")
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let hang = env::args().nth(1).unwrap_or_default();
    match hang.as_str() {
        "deadlock" => deadlock(&provider),
        "lost-wake-up" => lost_wake_up(&provider),
        "blocked-worker" => blocked_worker(&provider),
        "panic" => panic_in_a_task(&provider),
        other => return Err(format!("there is no program {other:?}").into()),
    }
    println!("{}", server.url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(guard);
    runtime.shutdown_background();
    Ok(())
}

fn span(provider: &LiveTracerProvider, name: &'static str) -> Context {
    Context::new().with_span(provider.tracer("bank").start(name))
}

/// Two tasks lock two locks in different orders.
fn deadlock(provider: &LiveTracerProvider) {
    let (accounts, journal) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let both_have_one = Arc::new(Barrier::new(2));
    for (name, first, second, awaited) in [
        ("transfer", &accounts, &journal, "lock of the journal"),
        ("audit", &journal, &accounts, "lock of the accounts"),
    ] {
        let (first, second) = (Arc::clone(first), Arc::clone(second));
        let both_have_one = Arc::clone(&both_have_one);
        let work = async move {
            let _first = first.lock().await;
            both_have_one.wait().await;
            let _second = second.lock().awaiting(awaited).await;
        };
        tokio::spawn(work.live(span(provider, name)));
    }
}

/// A task waits for a notification that was sent before it began to wait.
fn lost_wake_up(provider: &LiveTracerProvider) {
    let is_written = Arc::new(Notify::new());
    is_written.notify_waiters();
    let work = async move { is_written.notified().awaiting("end of the writer").await };
    tokio::spawn(work.live(span(provider, "read back")));
}

/// A task sleeps and blocks its thread.
fn blocked_worker(provider: &LiveTracerProvider) {
    let work = async {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the mistake that the program makes"
        )]
        std::thread::sleep(std::time::Duration::from_secs(3600));
    };
    tokio::spawn(work.live(span(provider, "hash password")));
}

/// A task panics, and no other task waits for it.
fn panic_in_a_task(provider: &LiveTracerProvider) {
    let work = async {
        let stock: Vec<u32> = Vec::new();
        *stock.first().expect("no stock of item 7")
    };
    tokio::spawn(work.live(span(provider, "reserve")));
    let parent = span(provider, "order");
    let answer = std::future::pending::<()>().awaiting("answer of reserve");
    tokio::spawn(answer.live(parent));
}
