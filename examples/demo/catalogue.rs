//! The shop's products, and its orders from before the demo began: the schema and the seed data.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tracing::{info, instrument};

use crate::random::Random;
use crate::store::{Statement, Store, StoreError};
use crate::telemetry::count;

pub(crate) const PRODUCTS: u32 = 2_000;
pub(crate) const CATEGORIES: [&str; 6] =
    ["garden", "kitchen", "outdoor", "office", "music", "toys"];
/// The words in product descriptions. Visitors also search for them.
pub(crate) const WORDS: [&str; 48] = [
    "amber", "anchor", "basket", "beech", "bold", "brass", "bright", "canvas", "cedar", "clever",
    "cobalt", "compact", "copper", "cotton", "crisp", "daily", "deep", "double", "dusk", "ember",
    "fern", "fine", "folding", "forest", "gentle", "glass", "granite", "harbour", "hazel", "iron",
    "ivory", "lantern", "light", "linen", "maple", "meadow", "mellow", "mint", "north", "oak",
    "olive", "pine", "quiet", "river", "slate", "steady", "walnut", "winter",
];

const PAST_ORDERS: u32 = 6_000;
const ITEMS_PER_ORDER_MAX: u32 = 6;
const WORDS_PER_DESCRIPTION: u32 = 120;
/// The supplier's feed of every 97th product breaks off in the middle of a JSON document.
pub(crate) const BROKEN_EVERY: u32 = 97;

const SCHEMA: Statement = Statement {
    name: "CREATE schema",
    sql: "
        CREATE TABLE products (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, description TEXT NOT NULL,
            price_cents INTEGER NOT NULL, stock INTEGER NOT NULL, supplier_json TEXT NOT NULL);
        CREATE INDEX products_category ON products (category, price_cents);
        CREATE TABLE orders (
            id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total_cents INTEGER NOT NULL, status TEXT NOT NULL);
        CREATE INDEX orders_customer ON orders (customer);
        CREATE TABLE order_items (
            order_id INTEGER NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL);
        CREATE INDEX order_items_order ON order_items (order_id);
        CREATE TABLE signatures (product_id INTEGER PRIMARY KEY, signature INTEGER NOT NULL);
        CREATE TABLE related (product_id INTEGER NOT NULL, other_id INTEGER NOT NULL, affinity INTEGER NOT NULL,
            PRIMARY KEY (product_id, other_id)) WITHOUT ROWID;
        CREATE VIRTUAL TABLE search USING fts5 (name, description);
    ",
};

const SEED_PRODUCTS: Statement = Statement {
    name: "INSERT products",
    sql: "INSERT INTO products VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
};

const SEED_ORDERS: Statement = Statement {
    name: "INSERT past orders",
    sql: "INSERT INTO orders VALUES (?1, ?2, ?3, 'shipped')",
};

const SEED_SEARCH: Statement = Statement {
    name: "INSERT search",
    sql: "INSERT INTO search (rowid, name, description) SELECT id, name, description FROM products",
};

/// Fills an empty database.
#[instrument(name = "open the shop", skip_all, err, fields(
    products = i64::from(PRODUCTS),
    orders = i64::from(PAST_ORDERS),
))]
pub(crate) async fn seed(store: &Store) -> Result<(), StoreError> {
    store
        .run(SCHEMA, |connection, sql| connection.execute_batch(sql))
        .await?;
    store.run(SEED_PRODUCTS, insert_products).await?;
    store.run(SEED_ORDERS, insert_orders).await?;
    let indexed = store
        .run(SEED_SEARCH, |connection, sql| connection.execute(sql, ()))
        .await?;
    info!(indexed = count(indexed), "the shop is open");
    Ok(())
}

fn insert_products(connection: &mut Connection, sql: &str) -> rusqlite::Result<()> {
    let mut random = Random::new(0x5EED);
    in_transaction(connection, |transaction| {
        let mut insert = transaction.prepare(sql)?;
        for id in 1..=PRODUCTS {
            let name = words(&mut random, 2);
            let category = random.pick(&CATEGORIES).copied().unwrap_or_default();
            let description = words(&mut random, WORDS_PER_DESCRIPTION);
            let price_cents = 299 + random.below(9_700);
            let stock = 20 + random.below(200);
            insert.execute(params![
                id,
                name,
                category,
                description,
                price_cents,
                stock,
                supplier_json(id)
            ])?;
        }
        Ok(())
    })
}

fn insert_orders(connection: &mut Connection, sql: &str) -> rusqlite::Result<()> {
    let mut random = Random::new(0x0DE5);
    in_transaction(connection, |transaction| {
        let mut insert = transaction.prepare(sql)?;
        let mut insert_item = transaction.prepare("INSERT INTO order_items VALUES (?1, ?2, ?3)")?;
        for order in 1..=PAST_ORDERS {
            insert.execute(params![
                order,
                customer(&mut random),
                500 + random.below(40_000)
            ])?;
            for _ in 0..=random.below(ITEMS_PER_ORDER_MAX) {
                let product = 1 + random.favourite_below(PRODUCTS);
                insert_item.execute(params![order, product, 1 + random.below(3)])?;
            }
        }
        Ok(())
    })
}

/// Runs `work` in a transaction that takes the write lock at once, so that it waits for the lock instead of failing.
pub(crate) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let outcome = work(&transaction)?;
    transaction.commit()?;
    Ok(outcome)
}

/// Returns one of the shop's regular customers.
pub(crate) fn customer(random: &mut Random) -> String {
    format!("customer-{:03}", random.favourite_below(400))
}

fn words(random: &mut Random, count: u32) -> String {
    let picked: Vec<&str> = (0..count)
        .filter_map(|_| random.pick(&WORDS).copied())
        .collect();
    picked.join(" ")
}

fn supplier_json(product: u32) -> String {
    let weight = 100 + product % 900;
    let whole = format!(
        r#"{{"sku":"LS-{product:05}","weight_grams":{weight},"origin":"warehouse-{}"}}"#,
        product % 7
    );
    if product.is_multiple_of(BROKEN_EVERY) {
        whole.chars().take(30).collect()
    } else {
        whole
    }
}
