//! A durable workflow of duroxide: it charges, cools down, waits for an approval and ships. Kill it with `kill -9`
//! while it waits, start it again, and press Enter. The dashboard then shows one trace, in which each span started once
//! and ended once.
//!
//! ```text
//! redis-server --port 6390
//! cargo run -- orders.db redis://127.0.0.1:6390
//! ```
//!
//! Without a Redis URL the log is in memory. The engine still continues the workflow after a crash, but the dashboard
//! shows only the events after the restart.

use std::{error::Error, fs::File, path::Path, sync::Arc, time::Duration};

use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
    providers::sqlite::SqliteProvider,
    runtime::{Runtime, registry::ActivityRegistry},
};
use livespan::{
    LiveSpans, RedisEventStore,
    workflow::{Step, Workflows},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const INSTANCE: &str = "order-1";
const COOL_DOWN: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let database = words
        .next()
        .ok_or("usage: livespan-duroxide-example DATABASE [REDIS-URL]")?;
    let live = match words.next() {
        Some(redis) => LiveSpans::builder().store(RedisEventStore::new(redis)?),
        None => LiveSpans::builder(),
    };
    let live = live.build()?;
    let server = live.serve("127.0.0.1:0").await?;
    println!("{}", server.url());

    if !Path::new(&database).exists() {
        File::create(&database)?;
    }
    let store = Arc::new(SqliteProvider::new(&format!("sqlite:{database}"), None).await?);
    let flows = Workflows::new(&live).namespace("orders");
    let orchestrations = OrchestrationRegistry::builder()
        .register("Order", move |ctx, item| order(flows.clone(), ctx, item))
        .build();
    let runtime = Runtime::start_with_store(store.clone(), activities(), orchestrations).await;
    let client = Client::new(store);
    if client.get_orchestration_status(INSTANCE).await? == OrchestrationStatus::NotFound {
        client.start_orchestration(INSTANCE, "Order", "pen").await?;
    }

    eprintln!("press Enter to approve the order");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        client.enqueue_event(INSTANCE, "approval", "Ada").await?;
    }
    runtime.shutdown(None).await;
    live.shutdown()?;
    Ok(())
}

/// The workflow. The engine drops its future at the end of each turn and runs the function again from the beginning.
/// `flows` gives each span the same ids in every run and emits only new events.
async fn order(
    flows: Workflows,
    ctx: OrchestrationContext,
    item: String,
) -> Result<String, String> {
    let engine = ctx.clone();
    let wf = flows
        .instance(ctx.instance_id())
        .replaying(move || engine.is_replaying());
    wf.run("Order", async {
        // An activity continues in a worker after this future is dropped, so it is shown as running, not as waiting.
        let charge = Step::new("charge").elsewhere();
        let receipt = wf
            .step(charge, ctx.schedule_activity("Charge", item))
            .await?;
        let cool_down = Step::new("cool down").lasting(COOL_DOWN);
        wf.sleep(cool_down, ctx.schedule_timer(COOL_DOWN)).await;
        // The event comes from a queue, so an approval that arrives before the engine has persisted the wait is not
        // lost.
        let by = wf.wait("approval", ctx.dequeue_event("approval")).await;
        let ship = Step::new("ship").elsewhere();
        let shipped = format!("{receipt}, approved by {by}");
        wf.step(ship, ctx.schedule_activity("Ship", shipped)).await
    })
    .await
}

fn activities() -> ActivityRegistry {
    ActivityRegistry::builder()
        .register("Charge", |_: ActivityContext, item: String| async move {
            Ok(format!("{item} is paid"))
        })
        .register("Ship", |_: ActivityContext, order: String| async move {
            Ok(format!("{order}, is on its way"))
        })
        .build()
}
