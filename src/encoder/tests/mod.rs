//! Properties of the path from the SDK's data to the wire, for arbitrary spans. Each payload is JSON, has exactly the
//! content of its span, and keeps within its bounds, even if the span is hostile.

mod bounds;
mod delta_ends;
mod lost;
mod model;
mod payloads;
mod strategies;
mod templates;
mod wire;

use proptest::test_runner::Config;

/// The number of cases of each property; `PROPTEST_CASES` overrides it. Failures are not saved in the source tree.
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
