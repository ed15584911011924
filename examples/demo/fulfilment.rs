//! The fulfilment of an order after the checkout: a queue, and workers that invoice, label and ship.
//!
//! Each fulfilment is a trace of its own, *linked* to its checkout, because it may start much later.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use rusqlite::params;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task;
use tracing::{Instrument as _, Span, field, info, info_span, instrument, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::calls::{CallError, Peer};
use crate::checkout::{Item, digest_repeatedly};
use crate::label_printer::{Label, LabelRequest};
use crate::shop::ShopError;
use crate::store::{Statement, Store, rows};
use crate::telemetry::count;

const QUEUE_CAPACITY: usize = 64;
const LABEL_TIMEOUT: Duration = Duration::from_millis(1_200);
const LABEL_ATTEMPTS: u32 = 3;
const SEAL_ROUNDS: u32 = 300_000;
/// An invoice with at least this many items is typeset on a thread that serves requests. This fault
/// is deliberate: the dashboard shows it.
const LONG_INVOICE: usize = 5;
const TYPESETTING: Duration = Duration::from_millis(1_800);

const ORDER_LINES: Statement = Statement {
    name: "SELECT order lines",
    sql: "SELECT p.name, i.quantity, p.price_cents FROM order_items i JOIN products p ON p.id = i.product_id
          WHERE i.order_id = ?1",
};

const SET_STATUS: Statement = Statement {
    name: "UPDATE order status",
    sql: "UPDATE orders SET status = ?2 WHERE id = ?1",
};

const RESTOCK: Statement = Statement {
    name: "UPDATE restock",
    sql: "UPDATE products SET stock = stock + 150 WHERE id = ?1 AND stock < 10",
};

/// The sending half of the queue, for the shop.
#[derive(Debug, Clone)]
pub(crate) struct OrderQueue {
    sender: mpsc::Sender<Order>,
}

/// The receiving half of the queue, for the workers.
pub(crate) type Orders = Arc<Mutex<mpsc::Receiver<Order>>>;

/// A reserved place in the queue, for an order that is being paid.
#[derive(Debug)]
pub(crate) struct Place(OwnedPermit<Order>);

#[derive(Debug)]
pub(crate) struct Order {
    id: i64,
    items: Vec<Item>,
    requested_by: SpanContext,
}

/// The services that a worker uses.
#[derive(Debug, Clone)]
pub(crate) struct Warehouse {
    pub(crate) store: Store,
    pub(crate) printer: Peer,
}

pub(crate) fn queue() -> (OrderQueue, Orders) {
    let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
    (OrderQueue { sender }, Arc::new(Mutex::new(receiver)))
}

impl OrderQueue {
    /// Reserves a place in the queue for an order. Fails if the queue is full.
    pub(crate) fn place(&self) -> Result<Place, ShopError> {
        self.sender
            .clone()
            .try_reserve_owned()
            .map(Place)
            .map_err(|_full| ShopError::Busy)
    }
}

impl Place {
    pub(crate) fn enqueue(self, id: i64, items: Vec<Item>) {
        let span = info_span!(
            "enqueue order",
            otel.kind = "producer",
            messaging.system = "in-process",
            messaging.destination.name = "orders",
            order.id = id,
        );
        let _entered = span.enter();
        let requested_by = span.context().span().span_context().clone();
        self.0.send(Order {
            id,
            items,
            requested_by,
        });
    }
}

/// Processes orders, one after the other, until the queue is closed.
pub(crate) async fn work(worker: u32, warehouse: Warehouse, orders: Orders) {
    loop {
        // A worker holds the lock while it waits for an order. The other workers wait for the lock.
        let next = orders.lock().await.recv().await;
        let Some(order) = next else { return };
        let span = info_span!(
            parent: None,
            "fulfil order",
            otel.kind = "consumer",
            messaging.system = "in-process",
            messaging.destination.name = "orders",
            order.id = order.id,
            worker = i64::from(worker),
            order.status = field::Empty,
        );
        span.add_link(order.requested_by.clone());
        fulfil(&warehouse, &order).instrument(span).await;
    }
}

async fn fulfil(warehouse: &Warehouse, order: &Order) {
    let status = match ship(warehouse, order).await {
        Ok(()) => "shipped",
        Err(error) => {
            tracing::error!(%error);
            "on hold"
        }
    };
    Span::current().record("order.status", status);
    let id = order.id;
    let set =
        move |c: &mut rusqlite::Connection, sql: &'static str| c.execute(sql, params![id, status]);
    if let Err(error) = warehouse.store.run(SET_STATUS, set).await {
        tracing::error!(%error);
    }
}

async fn ship(warehouse: &Warehouse, order: &Order) -> Result<(), ShopError> {
    let (invoice, label) =
        tokio::join!(write_invoice(warehouse, order.id), label(warehouse, order));
    let (invoice, label) = (invoice?, label?);
    restock(warehouse, &order.items).await?;
    info!(
        label = label.number.cast_signed(),
        invoice_bytes = count(invoice.len()),
        "handed to the carrier"
    );
    Ok(())
}

#[instrument(name = "write invoice", skip(warehouse), err, fields(invoice.seal = field::Empty))]
async fn write_invoice(warehouse: &Warehouse, order: i64) -> Result<String, ShopError> {
    let lines = warehouse.store.run(ORDER_LINES, move |connection, sql| {
        rows(connection, sql, [order], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
    });
    let mut invoice = format!("Invoice for order {order}\n");
    for (name, quantity, price_cents) in lines.await? {
        writeln!(invoice, "{quantity} × {name}: {}", quantity * price_cents).ok();
    }
    if invoice.lines().count() > LONG_INVOICE {
        typeset(&invoice);
    }
    let span = info_span!("seal invoice", bytes = count(invoice.len()));
    let sealing = task::spawn_blocking(move || {
        let seal = span.in_scope(|| digest_repeatedly(&invoice, SEAL_ROUNDS));
        (invoice, seal)
    });
    let (invoice, seal) = sealing.await.map_err(ShopError::Worker)?;
    Span::current().record("invoice.seal", format!("{seal:016x}"));
    Ok(invoice)
}

/// Typesets a long invoice. It computes on a thread that serves requests, and so blocks the thread.
#[instrument(name = "typeset invoice", skip_all)]
fn typeset(invoice: &str) {
    let begun = Instant::now();
    while begun.elapsed() < TYPESETTING {
        digest_repeatedly(&invoice, SEAL_ROUNDS / 100);
    }
    info!(lines = count(invoice.lines().count()), "typeset");
}

/// Has a label printed. Makes up to [`LABEL_ATTEMPTS`] attempts: after a time-out, it tries again.
#[instrument(name = "label parcel", skip_all, err, fields(attempts = field::Empty))]
async fn label(warehouse: &Warehouse, order: &Order) -> Result<Label, ShopError> {
    let items = order.items.iter().map(|item| item.quantity).sum();
    let request = LabelRequest {
        order: order.id,
        items,
    };
    let mut attempt = 1;
    loop {
        match warehouse
            .printer
            .post("/labels", &request, LABEL_TIMEOUT)
            .await
        {
            Err(error @ CallError::TimedOut { .. }) if attempt < LABEL_ATTEMPTS => {
                warn!(%error, attempt = i64::from(attempt), "trying again");
                attempt += 1;
            }
            outcome => {
                Span::current().record("attempts", i64::from(attempt));
                return Ok(outcome?);
            }
        }
    }
}

#[instrument(name = "restock", skip_all, err)]
async fn restock(warehouse: &Warehouse, items: &[Item]) -> Result<(), ShopError> {
    for item in items {
        let product = item.product;
        let delivered = warehouse
            .store
            .run(RESTOCK, move |connection, sql| {
                connection.execute(sql, [product])
            })
            .await?;
        if delivered > 0 {
            info!(product = i64::from(product), "restocked");
        }
    }
    Ok(())
}
