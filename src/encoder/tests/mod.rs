//! Properties of the way from the SDK's data to the wire, for arbitrary spans: what is written is JSON, says exactly what the
//! span says, and keeps within its bounds however hostile the span is.

mod bounds;
mod delta_ends;
mod lost;
mod model;
mod payloads;
mod strategies;
mod templates;
mod wire;

use proptest::test_runner::Config;

/// Cases of each property; `PROPTEST_CASES` sets another number. Nothing is kept in the source tree.
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(256);
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
