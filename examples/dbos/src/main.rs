//! A durable workflow of DBOS: it charges, cools down, waits for an approval and ships. Kill it with `kill -9` while it
//! waits, start it again, and press Enter. The dashboard then shows one trace, in which each span started once and
//! ended once.
//!
//! ```text
//! DBOS_DATABASE_URL=postgres://localhost/orders cargo run -- orders.db
//! ```
//!
//! PostgreSQL stores the workflow's state; `orders.db` is livespan's log.

use std::{error::Error, time::Duration};

use dbos::{Config, DBOS, SendOptions, StartOptions};
use livespan::{
    LiveSpans, SqliteEventStore,
    workflow::{Step, Workflows},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const INSTANCE: &str = "order-1";
const COOL_DOWN: Duration = Duration::from_millis(500);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = std::env::args()
        .nth(1)
        .ok_or("usage: livespan-dbos-example LOG")?;
    let live = LiveSpans::builder()
        .store(SqliteEventStore::new(log))
        .build()?;
    let server = live.serve("127.0.0.1:0").await?;
    println!("{}", server.url());

    let flows = Workflows::new(&live).namespace("orders");
    // An executor of the same version continues the workflows that another one left unfinished.
    let dbos = DBOS::new(Config {
        app_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..Config::from_env("livespan-dbos-example")
    });
    let workflow = dbos.register_workflow("Order", move |item| order(flows.clone(), item))?;
    dbos.launch().await?;
    let options = StartOptions {
        workflow_id: Some(INSTANCE),
        ..StartOptions::default()
    };
    // If such an instance exists, this call joins it.
    let handle = workflow.start_with("pen".to_owned(), options).await?;

    eprintln!("press Enter to approve the order");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        let approval = SendOptions {
            topic: Some("approval"),
            ..SendOptions::default()
        };
        dbos.send_with(INSTANCE, &"Ada", approval).await?;
        println!("{}", handle.status().await?.as_str());
    }
    dbos.shutdown().await;
    live.shutdown()?;
    Ok(())
}

/// The workflow. After a crash the engine runs it again from the beginning and returns stored results for finished
/// steps. `flows` gives each span the same ids in every run. The engine does not report when it replays. That is not
/// needed, because the log leaves out repeated events.
async fn order(flows: Workflows, item: String) -> dbos::Result<String> {
    let wf = flows.instance(dbos::workflow_id().unwrap_or_default());
    wf.run("Order", async {
        let charge = dbos::step("charge", || async { Ok(format!("{item} is paid")) });
        let receipt = wf.step("charge", charge).await?;
        let cool_down = Step::new("cool down").lasting(COOL_DOWN);
        wf.sleep(cool_down, dbos::sleep(COOL_DOWN)).await?;
        let approval = Step::new("approval").timeout(DAY);
        let by: Option<String> = wf.wait(approval, dbos::recv(Some("approval"), DAY)).await?;
        let by = by.unwrap_or_else(|| "nobody".to_owned());
        let ship = dbos::step("ship", || async {
            Ok(format!("{receipt}, approved by {by}"))
        });
        wf.step("ship", ship).await
    })
    .await
}
