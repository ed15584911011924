//! The computation of the long job: a signature per product, with which similar descriptions are found.
//!
//! Pure except for its spans. It runs on tokio's blocking threads.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde::Deserialize;
use tracing::{Span, error, field, instrument};

use crate::telemetry::count;

/// More functions make a finer signature and take longer.
const HASH_FUNCTIONS: u32 = 500;

#[derive(Debug, Deserialize)]
pub(crate) struct Supplier {
    weight_grams: u32,
    origin: String,
}

/// The data of a product before it is signed.
#[derive(Debug)]
pub(crate) struct Text {
    product: u32,
    description: String,
    supplier: Supplier,
}

/// Reads the suppliers' feeds of `(product, description, feed)`. Leaves out products with a broken feed.
#[instrument(name = "read feeds", skip_all, fields(products = count(pages.len()), broken = field::Empty))]
pub(crate) fn read_feeds(pages: Vec<(u32, String, String)>) -> Vec<Text> {
    let products = pages.len();
    let read =
        |(product, description, feed): (u32, String, String)| match serde_json::from_str(&feed) {
            Ok(supplier) => Some(Text {
                product,
                description,
                supplier,
            }),
            Err(error) => {
                // Marks this span as failed, and the dashboard shows it in red. The job continues.
                error!(product = i64::from(product), %error);
                None
            }
        };
    let texts: Vec<Text> = pages.into_iter().filter_map(read).collect();
    Span::current().record("broken", count(products - texts.len()));
    texts
}

/// Signs every product.
#[instrument(name = "compute signatures", skip_all, fields(products = count(texts.len())))]
pub(crate) fn sign_all(texts: &[Text]) -> Vec<(u32, i64)> {
    texts
        .iter()
        .map(|text| (text.product, sign(text)))
        .collect()
}

fn sign(text: &Text) -> i64 {
    let words: Vec<&str> = text.description.split_whitespace().collect();
    let mut signature = 0_u64;
    for function in 0..HASH_FUNCTIONS {
        let smallest = words
            .windows(2)
            .map(|pair| hash(&(function, pair)))
            .min()
            .unwrap_or_default();
        signature = hash(&(signature, smallest));
    }
    // SQLite's integers are signed, so the bits are reinterpreted.
    (signature ^ hash(&(text.supplier.weight_grams, &text.supplier.origin))).cast_signed()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
