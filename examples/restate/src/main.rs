//! A durable workflow of Restate: it charges, cools down, waits for an approval and ships. Kill it with `kill -9` while
//! it waits, start it again, and approve. The dashboard then shows one trace, in which each span started once and ended
//! once.
//!
//! ```text
//! npx @restatedev/restate-server --bind-ip 127.0.0.1
//! cargo run -- orders.db
//! curl localhost:9070/deployments --json '{"uri":"http://127.0.0.1:9080"}'
//! curl localhost:8080/Order/order-1/run/send --json '"pen"'
//! curl localhost:8080/Order/order-1/approve --json '"Ada"'
//! ```
//!
//! The Restate server stores the workflow's state; `orders.db` is livespan's log.

use std::{error::Error, time::Duration};

use livespan::{
    LiveSpans, SqliteEventStore,
    workflow::{Step, Workflows},
};
use restate_sdk::prelude::*;
use tokio::net::TcpListener;

const COOL_DOWN: Duration = Duration::from_secs(2);

struct Order {
    flows: Workflows,
}

/// Restate drops the future of `run` after a short inactivity and later calls `run` again. `flows` gives each span the
/// same ids in every run. The SDK does not report when it replays. That is not needed, because the log leaves out
/// repeated events.
#[restate_sdk::workflow(inactivity_timeout = "500ms")]
impl Order {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, item: String) -> Result<String, HandlerError> {
        let wf = self.flows.instance(ctx.key());
        let order = wf.run("Order", async {
            let charge = ctx.run(|| async { Ok(format!("{item} is paid")) });
            let receipt = wf.step("charge", charge.name("charge")).await?;
            let cool_down = Step::new("cool down").lasting(COOL_DOWN);
            wf.sleep(cool_down, ctx.sleep(COOL_DOWN)).await?;
            let by: String = wf.wait("approval", ctx.promise("approval")).await?;
            let ship = ctx.run(|| async { Ok(format!("{receipt}, approved by {by}")) });
            wf.step("ship", ship.name("ship")).await
        });
        Ok(order.await?)
    }

    #[handler]
    async fn approve(
        &self,
        ctx: SharedWorkflowContext<'_>,
        by: String,
    ) -> Result<(), HandlerError> {
        ctx.resolve_promise("approval", by);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let log = words
        .next()
        .ok_or("usage: livespan-restate-example LOG [ADDRESS]")?;
    let address = words.next().unwrap_or_else(|| "127.0.0.1:9080".to_owned());
    let live = LiveSpans::builder()
        .store(SqliteEventStore::new(log))
        .build()?;
    let server = live.serve("127.0.0.1:0").await?;
    let listener = TcpListener::bind(address).await?;
    println!("{}", server.url());
    println!("{}", listener.local_addr()?);

    let flows = Workflows::new(&live).namespace("orders");
    let endpoint = Endpoint::builder().bind(Order { flows }).build();
    HttpServer::new(endpoint).serve(listener).await;
    live.shutdown()?;
    Ok(())
}
