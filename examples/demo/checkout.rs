//! The checkout: a request that needs several services.
//!
//! checkout → inventory (over HTTP, to this shop's own routes) → payments (over HTTP) → the order → the order queue.
//! The requests' headers carry the trace context, so that the whole checkout is one trace.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rusqlite::{Connection, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task;
use tracing::{Span, field, info, info_span, instrument, warn};

use crate::catalogue::in_transaction;
use crate::payments::{Charge, Receipt};
use crate::shop::{Shop, ShopError};
use crate::store::{Statement, Store, rows};
use crate::telemetry::count;

const ITEMS_MAX: usize = 20;
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(2);
/// Some banks take longer. The charge is then abandoned.
const PAYMENT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Rounds of hashing. One buyer hardly notices them; they slow down someone who tries many devices.
const FINGERPRINT_ROUNDS: u32 = 400_000;

const CART_PRICE: Statement = Statement {
    name: "SELECT price",
    sql: "SELECT price_cents FROM products WHERE id = ?1",
};

const CUSTOMER_HISTORY: Statement = Statement {
    name: "SELECT customer history",
    sql: "SELECT total_cents FROM orders WHERE customer = ?1 ORDER BY id DESC LIMIT 50",
};

const TAKE_STOCK: Statement = Statement {
    name: "UPDATE stock",
    sql: "UPDATE products SET stock = stock - ?2 WHERE id = ?1 AND stock >= ?2",
};

const RETURN_STOCK: Statement = Statement {
    name: "UPDATE stock",
    sql: "UPDATE products SET stock = stock + ?2 WHERE id = ?1",
};

const INSERT_ORDER: Statement = Statement {
    name: "INSERT order",
    sql: "INSERT INTO orders (customer, total_cents, status) VALUES (?1, ?2, 'paid') RETURNING id",
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cart {
    pub(crate) customer: String,
    pub(crate) card: String,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) product: u32,
    pub(crate) quantity: u32,
}

/// Sells a cart. If the risk check or the purchase fails, the reserved items return to stock.
#[instrument(name = "checkout", skip_all, err, fields(
    cart.items = count(cart.items.len()),
    customer.id = cart.customer,
    order.id = field::Empty,
    order.total_cents = field::Empty,
))]
pub(crate) async fn checkout(
    State(shop): State<Shop>,
    Json(cart): Json<Cart>,
) -> Result<(StatusCode, Json<Value>), ShopError> {
    let total_cents = price(&shop.store, &cart).await?;
    Span::current().record("order.total_cents", total_cents);
    // Reserved before the payment, so that a paid order always has its place in the queue.
    let place = shop.orders.place()?;
    let (reserved, risk) = tokio::join!(
        reserve(&shop, &cart),
        assess_risk(&shop.store, &cart.customer)
    );
    reserved?;
    let bought = match risk {
        Ok(risk) => buy(&shop, &cart, total_cents, risk).await,
        Err(error) => Err(error),
    };
    if bought.is_err() {
        release(&shop, &cart).await;
    }
    let order = bought?;
    Span::current().record("order.id", order);
    place.enqueue(order, cart.items);
    Ok((
        StatusCode::CREATED,
        Json(json!({ "order": order, "total_cents": total_cents })),
    ))
}

/// Looks up the price of each item, one after the other. A trace makes such a loop visible.
#[instrument(name = "price cart", skip_all, err)]
async fn price(store: &Store, cart: &Cart) -> Result<i64, ShopError> {
    if cart.items.is_empty() || cart.items.len() > ITEMS_MAX {
        return Err(ShopError::BadCart("between 1 and 20 items, please"));
    }
    let mut total_cents = 0;
    for item in &cart.items {
        let product = item.product;
        let found = store
            .run(CART_PRICE, move |c, sql| {
                rows(c, sql, [product], |row| row.get::<_, i64>(0))
            })
            .await?;
        let price_cents = found.first().ok_or(ShopError::NotFound)?;
        total_cents += price_cents * i64::from(item.quantity);
    }
    Ok(total_cents)
}

async fn reserve(shop: &Shop, cart: &Cart) -> Result<Value, ShopError> {
    Ok(shop
        .inventory
        .post("/inventory/reservations", &cart.items, INVENTORY_TIMEOUT)
        .await?)
}

async fn release(shop: &Shop, cart: &Cart) {
    let released =
        shop.inventory
            .post::<Value>("/inventory/releases", &cart.items, INVENTORY_TIMEOUT);
    if let Err(error) = released.await {
        warn!(%error, "stock stays reserved");
    }
}

/// Computes a risk score by hashing the customer and the length of their history.
#[instrument(name = "assess risk", skip_all, err, fields(risk.score = field::Empty))]
async fn assess_risk(store: &Store, customer: &str) -> Result<i64, ShopError> {
    let owner = customer.to_owned();
    let history = store
        .run(CUSTOMER_HISTORY, |c, sql| {
            rows(c, sql, [owner], |row| row.get::<_, i64>(0))
        })
        .await?;
    let span = info_span!("fingerprint device", rounds = i64::from(FINGERPRINT_ROUNDS));
    let seed = (customer.to_owned(), history.len());
    let digest = task::spawn_blocking(move || {
        span.in_scope(|| digest_repeatedly(&seed, FINGERPRINT_ROUNDS))
    });
    let percent = (digest.await.map_err(ShopError::Worker)? % 100).cast_signed();
    Span::current().record("risk.score", percent);
    Ok(percent)
}

/// Charges the card and stores the order. Returns the order's number.
#[instrument(name = "buy", skip_all, err)]
async fn buy(shop: &Shop, cart: &Cart, total_cents: i64, risk: i64) -> Result<i64, ShopError> {
    let charge = Charge {
        card: cart.card.clone(),
        amount_cents: total_cents,
    };
    let receipt: Receipt = shop
        .payments
        .post("/charges", &charge, PAYMENT_TIMEOUT)
        .await?;
    info!(charge = receipt.charge, risk, "paid");
    let customer = cart.customer.clone();
    let items = cart.items.clone();
    let insert = move |connection: &mut Connection, sql: &'static str| {
        in_transaction(connection, |transaction| {
            let order =
                transaction.query_row(sql, params![customer, total_cents], |row| row.get(0))?;
            let mut insert_item =
                transaction.prepare_cached("INSERT INTO order_items VALUES (?1, ?2, ?3)")?;
            for item in &items {
                insert_item.execute(params![order, item.product, item.quantity])?;
            }
            Ok(order)
        })
    };
    Ok(shop.store.run(INSERT_ORDER, insert).await?)
}

/// `POST /inventory/reservations`: takes all items from stock, or none.
pub(crate) async fn reserve_stock(
    State(shop): State<Shop>,
    Json(items): Json<Vec<Item>>,
) -> Result<Json<Value>, ShopError> {
    let reserved = items.len();
    let take = move |connection: &mut Connection, sql: &'static str| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for item in &items {
            if transaction.execute(sql, [item.product, item.quantity])? == 0 {
                // Dropping the transaction returns the earlier items to stock.
                return Ok(false);
            }
        }
        transaction.commit()?;
        Ok(true)
    };
    if shop.store.run(TAKE_STOCK, take).await? {
        Ok(Json(json!({ "reserved": reserved })))
    } else {
        info!("sold out");
        Err(ShopError::OutOfStock)
    }
}

/// `POST /inventory/releases`: returns reserved items to stock.
pub(crate) async fn release_stock(
    State(shop): State<Shop>,
    Json(items): Json<Vec<Item>>,
) -> Result<Json<Value>, ShopError> {
    let released = items.len();
    let put_back = move |connection: &mut Connection, sql: &'static str| {
        in_transaction(connection, |transaction| {
            for item in &items {
                transaction.execute(sql, [item.product, item.quantity])?;
            }
            Ok(())
        })
    };
    shop.store.run(RETURN_STOCK, put_back).await?;
    Ok(Json(json!({ "released": released })))
}

/// Hashes `seed` with the result of the round before, `rounds` times.
pub(crate) fn digest_repeatedly(seed: &impl Hash, rounds: u32) -> u64 {
    let mut digest = 0;
    for _ in 0..rounds {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        digest.hash(&mut hasher);
        digest = hasher.finish();
    }
    digest
}
