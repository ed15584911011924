//! The first look: one line in `main`, and a browser shows every `tracing` span of the program live.
//!
//! Run it with `cargo run --example quickstart`, open the printed address, and stop it with Ctrl-C.

use std::time::Duration;

use tracing::{Instrument as _, info, info_span, instrument};

#[tokio::main]
async fn main() -> Result<(), livespan::Error> {
    let _guard = livespan::init()?;
    let mut orders = tokio::time::interval(Duration::from_secs(2));
    for number in 1_u32.. {
        tokio::select! {
            _ = orders.tick() => drop(tokio::spawn(order(number))),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(())
}

#[instrument]
async fn order(number: u32) {
    reserve(number).await;
    let payment = info_span!("charge card", amount = number * 10);
    work(300 + u64::from(number % 7) * 400)
        .instrument(payment)
        .await;
    info!("order is done");
}

#[instrument]
async fn reserve(number: u32) {
    tokio::join!(
        work(150).instrument(info_span!("lock stock")),
        work(250).instrument(info_span!("find courier"))
    );
}

/// Stands in for a call to another service.
async fn work(milliseconds: u64) {
    let never = std::future::pending::<()>();
    drop(tokio::time::timeout(Duration::from_millis(milliseconds), never).await);
}
