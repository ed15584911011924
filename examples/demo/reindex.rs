//! The long job: `rebuild-search-index` reads the whole catalogue, page by page, and takes several
//! minutes.
//!
//! It is slow on purpose, with one step per tick, to leave the machine to the visitors. An exporter
//! would show a run only after its end. Livespan shows its open phases and steps, its log, its
//! progress, and what it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use livespan::LiveFutureExt as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use rusqlite::{Connection, params};
use tokio::task::{self, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{Instrument as _, Span, error, field, info, info_span, instrument, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::catalogue::{PRODUCTS, WORDS, in_transaction};
use crate::shop::ShopError;
use crate::signature;
use crate::store::{Statement, Store, rows};
use crate::telemetry::count;

const PAGE: u32 = 20;
const PAGES: u32 = PRODUCTS / PAGE;
const SHARDS: u32 = 3;
/// The analysis is the expensive part, so its pages are half as long as those of the catalogue.
const ANALYSIS_PAGE: u32 = PAGE / 2;
/// The steps of a run: one for each page of the analysis, the index and the relations, and one for each word to verify.
const STEPS: u32 = PRODUCTS / ANALYSIS_PAGE + 2 * PAGES + 48;
const STEP_EVERY: Duration = Duration::from_millis(500);
/// The interval between two steps of one shard of the analysis.
const SHARD_STEP_EVERY: Duration = Duration::from_millis(1_100);
const REST_BETWEEN_RUNS: Duration = Duration::from_secs(15);

const READ_PAGE: Statement = Statement {
    name: "SELECT product page",
    sql: "SELECT id, description, supplier_json FROM products WHERE id >= ?1 AND id < ?2",
};

const WRITE_SIGNATURES: Statement = Statement {
    name: "UPSERT signatures",
    sql: "INSERT OR REPLACE INTO signatures VALUES (?1, ?2)",
};

const CREATE_NEXT: Statement = Statement {
    name: "CREATE search_next",
    sql: "DROP TABLE IF EXISTS search_next; CREATE VIRTUAL TABLE search_next USING fts5 (name, description)",
};

const INDEX_PAGE: Statement = Statement {
    name: "INSERT search_next",
    sql: "INSERT INTO search_next (rowid, name, description)
          SELECT id, name, description FROM products WHERE id >= ?1 AND id < ?2",
};

/// Products that were bought more than once together with those of a page: the most expensive query of the job.
const COMPANIONS: Statement = Statement {
    name: "SELECT companions",
    sql: "SELECT mine.product_id, theirs.product_id,
                 COUNT(*) * 1000 / (SELECT COUNT(*) FROM order_items i WHERE i.product_id = theirs.product_id)
          FROM order_items mine JOIN order_items theirs ON theirs.order_id = mine.order_id
          WHERE mine.product_id >= ?1 AND mine.product_id < ?2 AND theirs.product_id <> mine.product_id
          GROUP BY 1, 2 HAVING COUNT(*) > 1",
};

const WRITE_COMPANIONS: Statement = Statement {
    name: "UPSERT related",
    sql: "INSERT OR REPLACE INTO related VALUES (?1, ?2, ?3)",
};

const COUNT_MATCHES: Statement = Statement {
    name: "SELECT matches",
    sql: "SELECT COUNT(*) FROM search_next WHERE search_next MATCH ?1",
};

const COUNT_BY_READING: Statement = Statement {
    name: "SELECT by reading",
    sql: "SELECT COUNT(*) FROM products
          WHERE ' ' || name || ' ' || description || ' ' LIKE '% ' || ?1 || ' %'",
};

const OPTIMISE: Statement = Statement {
    name: "OPTIMISE search_next",
    sql: "INSERT INTO search_next (search_next) VALUES ('optimize')",
};

const CHECK: Statement = Statement {
    name: "CHECK search_next",
    sql: "INSERT INTO search_next (search_next) VALUES ('integrity-check')",
};

const SWAP: Statement = Statement {
    name: "SWAP search",
    sql: "DROP TABLE search; ALTER TABLE search_next RENAME TO search",
};

/// Rebuilds the index again and again, with a pause in between. Each run links to the one before.
pub(crate) async fn run_nightly(store: Store) {
    let mut previous: Option<SpanContext> = None;
    let mut rest = interval(REST_BETWEEN_RUNS);
    for run in 1_u32.. {
        let span = info_span!(
            parent: None,
            "rebuild-search-index",
            run = i64::from(run),
            products = i64::from(PRODUCTS),
            progress.current = 0,
            progress.total = i64::from(STEPS),
            progress.units = "steps",
            progress.message = field::Empty,
        );
        if let Some(previous) = previous {
            span.add_link(previous);
        }
        previous = Some(span.context().span().span_context().clone());
        let progress = Progress::of(&span);
        if let Err(error) = rebuild(&store, &progress).instrument(span.clone()).await {
            span.in_scope(|| error!(%error));
        }
        drop((span, progress));
        rest.reset();
        rest.tick().await;
    }
}

async fn rebuild(store: &Store, progress: &Progress) -> Result<(), ShopError> {
    progress.set_message("reading the catalogue");
    analyse(store, progress).await?;
    progress.set_message("writing the index");
    write_index(store, progress).await?;
    progress.set_message("relating products");
    relate(store, progress).await?;
    progress.set_message("checking words");
    verify(store, progress).await?;
    progress.set_message("publishing");
    publish(store).await
}

/// Reports the progress of a run on its span. The dashboard draws a bar for attributes named
/// `progress.*`.
#[derive(Debug, Clone)]
struct Progress {
    run: Span,
    done: Arc<AtomicU32>,
}

impl Progress {
    fn of(run: &Span) -> Self {
        Self {
            run: run.clone(),
            done: Arc::default(),
        }
    }

    fn set_message(&self, message: &str) {
        self.run.record("progress.message", message);
        info!("{message}");
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.run.record("progress.current", i64::from(done));
    }
}

/// Phase 1: reads every description, in concurrent shards.
#[instrument(name = "analyse", skip_all, err, fields(shards = i64::from(SHARDS), quarantined = field::Empty))]
async fn analyse(store: &Store, progress: &Progress) -> Result<(), ShopError> {
    let mut shards = JoinSet::new();
    for shard in 0..SHARDS {
        let span = info_span!("analyse shard", shard = i64::from(shard));
        shards.spawn(analyse_shard(store.clone(), shard, progress.clone()).instrument(span));
    }
    let mut quarantined = 0;
    while let Some(shard) = shards.join_next().await {
        quarantined += shard.map_err(ShopError::Worker)??;
    }
    Span::current().record("quarantined", count(quarantined));
    Ok(())
}

async fn analyse_shard(store: Store, shard: u32, progress: Progress) -> Result<usize, ShopError> {
    let mut pace = pace(SHARD_STEP_EVERY);
    let mut quarantined = 0;
    for page in (shard..PRODUCTS / ANALYSIS_PAGE).step_by(usize::try_from(SHARDS).unwrap_or(1)) {
        pace.tick().awaiting("next step").await;
        quarantined += analyse_page(&store, page).await?;
        progress.step();
    }
    Ok(quarantined)
}

#[instrument(name = "analyse page", skip_all, err, fields(page = i64::from(page)))]
async fn analyse_page(store: &Store, page: u32) -> Result<usize, ShopError> {
    let (first, end) = bounds(page, ANALYSIS_PAGE);
    let read = store.run(READ_PAGE, move |connection, sql| {
        rows(connection, sql, [first, end], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    });
    let pages: Vec<(u32, String, String)> = read.await?;
    let read = pages.len();
    let span = Span::current();
    let signing = task::spawn_blocking(move || {
        span.in_scope(|| signature::sign_all(&signature::read_feeds(pages)))
    });
    let signed = signing.await.map_err(ShopError::Worker)?;
    let quarantined = read - signed.len();
    if quarantined > 0 {
        warn!(
            quarantined = count(quarantined),
            "products left out of the ranking"
        );
    }
    let write = move |connection: &mut Connection, sql: &'static str| {
        in_transaction(connection, |transaction| {
            let mut insert = transaction.prepare_cached(sql)?;
            signed
                .iter()
                .try_for_each(|(id, signature)| insert.execute(params![id, signature]).map(drop))
        })
    };
    store.run(WRITE_SIGNATURES, write).await?;
    info!(products = count(read), "page read");
    Ok(quarantined)
}

/// Phase 2: fills a new full-text index beside the one in use.
#[instrument(name = "write index", skip_all, err, fields(steps = i64::from(PAGES)))]
async fn write_index(store: &Store, progress: &Progress) -> Result<(), ShopError> {
    store
        .run(CREATE_NEXT, |connection, sql| connection.execute_batch(sql))
        .await?;
    let mut pace = pace(STEP_EVERY);
    for page in 0..PAGES {
        pace.tick().awaiting("next step").await;
        index_page(store, page).await?;
        progress.step();
    }
    Ok(())
}

/// Writes a page, then has the whole index checked against the texts. The check takes longer as the index grows.
#[instrument(name = "index page", skip_all, err, fields(page = i64::from(page), rows.written = field::Empty))]
async fn index_page(store: &Store, page: u32) -> Result<(), ShopError> {
    let (first, end) = bounds(page, PAGE);
    let write = move |connection: &mut Connection, sql: &'static str| {
        in_transaction(connection, |transaction| {
            transaction.execute(sql, [first, end])
        })
    };
    let written = store.run(INDEX_PAGE, write).await?;
    Span::current().record("rows.written", count(written));
    info!(rows = count(written), "page written");
    store
        .run(CHECK, |connection, sql| connection.execute(sql, ()))
        .await?;
    Ok(())
}

/// Phase 3: finds products that are often bought together.
#[instrument(name = "relate products", skip_all, err, fields(steps = i64::from(PAGES)))]
async fn relate(store: &Store, progress: &Progress) -> Result<(), ShopError> {
    let mut pace = pace(STEP_EVERY);
    for page in 0..PAGES {
        pace.tick().awaiting("next step").await;
        relate_page(store, page).await?;
        progress.step();
    }
    Ok(())
}

#[instrument(name = "relate page", skip_all, err, fields(page = i64::from(page), rows.written = field::Empty))]
async fn relate_page(store: &Store, page: u32) -> Result<(), ShopError> {
    let (first, end) = bounds(page, PAGE);
    let read = store.run(COMPANIONS, move |connection, sql| {
        rows(connection, sql, [first, end], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    });
    let companions: Vec<(u32, u32, i64)> = read.await?;
    Span::current().record("rows.written", count(companions.len()));
    info!(pairs = count(companions.len()), "companions found");
    let write = move |connection: &mut Connection, sql: &'static str| {
        in_transaction(connection, |transaction| {
            let mut insert = transaction.prepare_cached(sql)?;
            companions
                .iter()
                .try_for_each(|row| insert.execute(*row).map(drop))
        })
    };
    store.run(WRITE_COMPANIONS, write).await?;
    Ok(())
}

/// Phase 4: looks every word up, and reads all texts to check the index.
#[instrument(name = "verify", skip_all, err, fields(steps = count(WORDS.len())))]
async fn verify(store: &Store, progress: &Progress) -> Result<(), ShopError> {
    let mut pace = pace(STEP_EVERY);
    for word in WORDS {
        pace.tick().awaiting("next step").await;
        verify_word(store, word).await?;
        progress.step();
    }
    Ok(())
}

#[instrument(name = "verify word", skip(store), err, fields(matches = field::Empty))]
async fn verify_word(store: &Store, word: &'static str) -> Result<(), ShopError> {
    let counted = |statement| {
        store.run(statement, move |c, sql| {
            c.query_row(sql, [word], |row| row.get::<_, i64>(0))
        })
    };
    let (found, read) = tokio::try_join!(counted(COUNT_MATCHES), counted(COUNT_BY_READING))?;
    Span::current().record("matches", found);
    info!(found, "word checked");
    if found != read {
        warn!(found, read, "the index and the texts differ");
    }
    Ok(())
}

/// Phase 5: replaces the old index by the new one.
#[instrument(name = "publish", skip_all, err)]
async fn publish(store: &Store) -> Result<(), ShopError> {
    store
        .run(OPTIMISE, |connection, sql| connection.execute(sql, ()))
        .await?;
    store
        .run(SWAP, |connection, sql| {
            in_transaction(connection, |transaction| transaction.execute_batch(sql))
        })
        .await?;
    info!("the new index is in use");
    Ok(())
}

/// Returns the number of a page's first product, and that of the next page's first product.
fn bounds(page: u32, size: u32) -> (u32, u32) {
    (1 + page * size, 1 + (page + 1) * size)
}

fn pace(step_every: Duration) -> Interval {
    let mut pace = interval(step_every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
