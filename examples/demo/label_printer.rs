//! The warehouse's label printer: one device that prints one label at a time, line by line.
//!
//! If several orders need a label, the later ones wait, and some give up. `fulfilment.rs` then tries again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use livespan::LiveFutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::interval;
use tracing::{Instrument as _, info, info_span};

use crate::shop::Shop;

/// The time that the device takes for one line of a label.
const LINE: Duration = Duration::from_millis(90);
/// The lines for address and bar code. Each item adds a line.
const LINES_MIN: u32 = 5;

/// The device. The holder of the lock may print.
#[derive(Debug, Clone, Default)]
pub(crate) struct LabelPrinter {
    device: Arc<Mutex<u64>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LabelRequest {
    pub(crate) order: i64,
    pub(crate) items: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) number: u64,
}

/// `POST /labels`: responds when the label is printed.
pub(crate) async fn print_label(
    State(shop): State<Shop>,
    Json(request): Json<LabelRequest>,
) -> Json<Label> {
    let mut printed = shop.printer.device.lock().awaiting("label printer").await;
    let lines = LINES_MIN + request.items;
    print_lines(lines)
        .instrument(info_span!(
            "print label",
            order.id = request.order,
            lines = i64::from(lines)
        ))
        .await;
    *printed += 1;
    Json(Label { number: *printed })
}

async fn print_lines(lines: u32) {
    let mut device = interval(LINE);
    // The first tick fires at once, when the device starts the first line.
    for _ in 0..=lines {
        device.tick().await;
    }
    info!("label is out");
}
