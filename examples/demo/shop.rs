//! The shop: its routes for visitors, and their queries.
//!
//! The checkout is in `checkout.rs`. The handlers use `tracing` and do not call livespan.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{info, instrument};

use crate::calls::{CallError, Peer, Problem};
use crate::fulfilment::OrderQueue;
use crate::label_printer::{LabelPrinter, print_label};
use crate::store::{Statement, Store, StoreError, rows};
use crate::{checkout, telemetry};

/// Time limit for the recommendations. A page without them is better than a page that never
/// arrives.
const RECOMMENDATIONS_TIMEOUT: Duration = Duration::from_millis(300);

const LIST_PRODUCTS: Statement = Statement {
    name: "SELECT products",
    sql: "SELECT id, name, price_cents FROM products WHERE category = ?1 ORDER BY price_cents LIMIT 24",
};

const ONE_PRODUCT: Statement = Statement {
    name: "SELECT product",
    sql: "SELECT id, name, price_cents FROM products WHERE id = ?1",
};

const RELATED: Statement = Statement {
    name: "SELECT related",
    sql: "SELECT p.id, p.name, p.price_cents FROM related r JOIN products p ON p.id = r.other_id
          WHERE r.product_id = ?1 ORDER BY r.affinity DESC LIMIT 6",
};

/// The products bought together with a given one, the rarest first. No index on `order_items.product_id` speeds up the
/// counting. Best sellers have many companions, so their query takes longer than a page can wait.
const RECOMMENDATIONS: Statement = Statement {
    name: "SELECT recommendations",
    sql: "SELECT p.id, p.name, p.price_cents,
                 (SELECT COUNT(*) FROM order_items i WHERE i.product_id = p.id) AS sold
          FROM products p
          WHERE p.id IN (SELECT theirs.product_id
                         FROM order_items mine JOIN order_items theirs ON theirs.order_id = mine.order_id
                         WHERE mine.product_id = ?1 AND theirs.product_id <> ?1)
          ORDER BY sold LIMIT 6",
};

const SUPPLIER_FEED: Statement = Statement {
    name: "SELECT supplier feed",
    sql: "SELECT supplier_json FROM products WHERE id = ?1",
};

const SEARCH: Statement = Statement {
    name: "SELECT search",
    sql: "SELECT p.id, p.name, p.price_cents FROM search JOIN products p ON p.id = search.rowid
          WHERE search MATCH ?1 ORDER BY rank LIMIT 20",
};

/// The state of the handlers.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) store: Store,
    pub(crate) inventory: Peer,
    pub(crate) payments: Peer,
    pub(crate) orders: OrderQueue,
    pub(crate) printer: LabelPrinter,
}

#[derive(Debug, Serialize)]
struct Product {
    id: u32,
    name: String,
    price_cents: i64,
}

#[derive(Debug)]
pub(crate) enum ShopError {
    NotFound,
    BadCart(&'static str),
    OutOfStock,
    Call(CallError),
    Store(StoreError),
    TooSlow(Duration),
    Busy,
    Worker(tokio::task::JoinError),
}

/// Returns the shop's routes. Each request gets a span of its own.
pub(crate) fn router(shop: Shop) -> Router {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(product))
        .route("/products/{id}/recommendations", get(recommendations))
        .route("/products/{id}/shipping", get(shipping))
        .route("/search", get(search))
        .route("/checkout", post(checkout::checkout))
        .route("/inventory/reservations", post(checkout::reserve_stock))
        .route("/inventory/releases", post(checkout::release_stock))
        .route("/labels", post(print_label))
        .layer(from_fn(telemetry::answer))
        .with_state(shop)
}

#[derive(Debug, Deserialize)]
struct Listing {
    category: String,
}

async fn list(
    State(shop): State<Shop>,
    Query(listing): Query<Listing>,
) -> Result<Json<Vec<Product>>, ShopError> {
    let found = shop.store.run(LIST_PRODUCTS, |connection, sql| {
        rows(connection, sql, [listing.category], to_product)
    });
    Ok(Json(found.await?))
}

async fn product(State(shop): State<Shop>, Path(id): Path<u32>) -> Result<Json<Value>, ShopError> {
    let one = shop.store.run(ONE_PRODUCT, move |connection, sql| {
        rows(connection, sql, [id], to_product)
    });
    let related = shop.store.run(RELATED, move |connection, sql| {
        rows(connection, sql, [id], to_product)
    });
    let (mut one, related) = tokio::try_join!(one, related)?;
    let product = one.pop().ok_or(ShopError::NotFound)?;
    Ok(Json(json!({ "product": product, "related": related })))
}

async fn recommendations(
    State(shop): State<Shop>,
    Path(id): Path<u32>,
) -> Result<Json<Vec<Product>>, ShopError> {
    Ok(Json(recommend(&shop.store, id).await?))
}

#[instrument(name = "recommend", skip_all, err, fields(product = i64::from(product)))]
async fn recommend(store: &Store, product: u32) -> Result<Vec<Product>, ShopError> {
    let query = store.run(RECOMMENDATIONS, move |connection, sql| {
        rows(connection, sql, [product], to_product)
    });
    match timeout(RECOMMENDATIONS_TIMEOUT, query).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(ShopError::TooSlow(RECOMMENDATIONS_TIMEOUT)),
    }
}

async fn shipping(State(shop): State<Shop>, Path(id): Path<u32>) -> Result<Json<Value>, ShopError> {
    let feed = shop.store.run(SUPPLIER_FEED, move |connection, sql| {
        rows(connection, sql, [id], |row| row.get::<_, String>(0))
    });
    let feed = feed.await?.pop().ok_or(ShopError::NotFound)?;
    Ok(Json(json!({ "cents": quote_shipping(&feed) })))
}

/// Panics if the supplier's feed is not JSON. A few feeds are cut off, so this happens.
#[instrument(skip_all, fields(feed.bytes = telemetry::count(feed.len())))]
fn quote_shipping(feed: &str) -> u64 {
    let feed: Value = serde_json::from_str(feed).expect("the supplier's feed is JSON");
    let grams = feed["weight_grams"].as_u64().unwrap_or(1_000);
    290 + grams / 10
}

#[derive(Debug, Deserialize)]
struct Search {
    q: String,
}

async fn search(
    State(shop): State<Shop>,
    Query(search): Query<Search>,
) -> Result<Json<Vec<Product>>, ShopError> {
    // Each word is quoted, so a visitor's input is text and never FTS5's query language.
    let quoted: Vec<String> = search
        .q
        .split_whitespace()
        .map(|w| format!("\"{}\"", w.replace('"', "\"\"")))
        .collect();
    let query = quoted.join(" ");
    let found = shop
        .store
        .run(SEARCH, |connection, sql| {
            rows(connection, sql, [query], to_product)
        })
        .await?;
    if found.is_empty() {
        info!(q = search.q, "nothing found");
    }
    Ok(Json(found))
}

fn to_product(row: &rusqlite::Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: row.get(0)?,
        name: row.get(1)?,
        price_cents: row.get(2)?,
    })
}

impl ShopError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadCart(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::OutOfStock => StatusCode::CONFLICT,
            Self::Call(CallError::Refused { status, .. }) if status.is_client_error() => *status,
            Self::Call(CallError::TimedOut { .. }) | Self::TooSlow(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Call(_) => StatusCode::BAD_GATEWAY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Worker(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ShopError {
    /// Called inside the request's span, so the span records a server error.
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self);
        }
        (
            status,
            Json(Problem {
                error: self.to_string(),
            }),
        )
            .into_response()
    }
}

impl std::fmt::Display for ShopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such product"),
            Self::BadCart(why) => write!(f, "cart: {why}"),
            Self::OutOfStock => f.write_str("not enough in stock"),
            Self::Call(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::TooSlow(limit) => write!(f, "gave up after {limit:?}"),
            Self::Busy => f.write_str("too many orders waiting"),
            Self::Worker(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ShopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Worker(error) => Some(error),
            Self::NotFound
            | Self::BadCart(_)
            | Self::OutOfStock
            | Self::TooSlow(_)
            | Self::Busy => None,
        }
    }
}

impl From<StoreError> for ShopError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CallError> for ShopError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
