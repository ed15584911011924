//! The cost of `RedisEventStore`: `append` compares it with Redis itself; `outage` measures the
//! cost of a span for its thread while Redis is unavailable.
//!
//! Run it with `cargo bench -p livespan-benches --bench redis_store`. Names after `--` choose the
//! cases. It starts its own `redis-server`. The sides of a comparison take turns in rounds, and
//! medians are printed: compare the ratios, not the rates.

#[path = "redis_store/append.rs"]
mod append;
mod measure;
#[path = "redis_store/outage.rs"]
mod outage;
#[path = "redis_store/server.rs"]
mod server;
#[path = "measure/spans.rs"]
mod spans;

fn main() {
    if measure::is_wanted("append") {
        append::run();
    }
    if measure::is_wanted("outage") {
        outage::run();
    }
}
