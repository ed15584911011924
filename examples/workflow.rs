//! Orders as workflows: each is charged (the first attempt fails), cools down, waits for an approval and ships. Watch
//! an order in the dashboard while it waits, and approve it with curl.
//!
//! Start it with `cargo run --example workflow`. Then, in another terminal:
//!
//! ```sh
//! curl -i -X POST http://127.0.0.1:4381/ -H 'content-type: application/json' -d '{"item":"book"}'
//! curl -N http://127.0.0.1:4381/ID/sse       # ID: from the Location header above
//! curl -X POST http://127.0.0.1:4381/ID/event
//! ```
//!
//! If that port is taken, pass another address: `cargo run --example workflow -- 127.0.0.1:4391`.

use std::{error::Error, io, time::Duration};

use livespan::{
    LiveSpans,
    local_workflow::{Engine, Instance, StepError, StepOptions, WaitOptions},
};
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Order {
    item: String,
}

/// A request without a body orders a book.
async fn order(wf: Instance, order: Option<Order>) -> Result<String, StepError> {
    let item = order.map_or_else(|| "book".to_owned(), |order| order.item);
    let charge = StepOptions::new("charge")
        .retries(3)
        .delay(Duration::from_millis(400))
        .attribute("order.item", item.clone());
    let mut attempts = 0;
    wf.step(charge, || {
        attempts += 1;
        let answer = if attempts == 1 {
            Err(io::Error::other("the bank does not answer"))
        } else {
            Ok(())
        };
        async move { answer }
    })
    .await?;
    wf.sleep("cool down", Duration::from_secs(2)).await;
    let approval = WaitOptions::new("approval").timeout(Duration::from_secs(3600));
    let by: Option<String> = wf.wait_for_event(approval).await?;
    wf.step("ship", || async { Ok::<_, io::Error>(()) }).await?;
    let by = by.as_deref().unwrap_or("somebody");
    Ok(format!("{item}, approved by {by}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:4381");
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("failed to listen on {address}, give another: {error}"))?;
    let live = LiveSpans::builder().build()?;
    // Listens on a free port if another program's dashboard already uses port 4380.
    let server = live.serve_in_background("127.0.0.1:4380")?;
    let orders = Engine::builder(&live)
        .namespace("orders")
        .build("Order", order);
    println!("dashboard: {}", server.url());
    println!("orders:    http://{}", listener.local_addr()?);
    axum::serve(listener, orders.router()).await?;
    Ok(())
}
