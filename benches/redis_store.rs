//! What `RedisEventStore` costs: `append` beside Redis itself, and `outage`, what spans cost their thread while Redis is away.
//!
//! `cargo bench -p livespan-benches --bench redis_store`; names after `--` choose. It starts its own `redis-server`.
//! Cases are interleaved in rounds, and medians are printed: compare the ratios, not the rates.

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
