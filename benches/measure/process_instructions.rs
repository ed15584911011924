//! Counts the whole process's instructions per span, for livespan and for an exporter that encodes OTLP.

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{callgrind, case_of, otlp::exporting, spans::Api};

/// The name of the exporter that encodes OTLP. Every other name is that of a `Case`.
const OTLP: &str = "Otlp";

pub(crate) fn provider_of(name: &str) -> SdkTracerProvider {
    if name == OTLP {
        exporting()
    } else {
        case_of(name).provider()
    }
}

/// Prints the instructions of the whole process per span, from the span's creation until its last
/// byte is encoded, minus those with a no-op processor.
pub(crate) fn report() {
    println!(
        "{:<26} {:>12} {:>10} {:>6} {:>14} {:>6}",
        "instructions a span", "OTLP encoded", "livespan", "ratio", "with sampler", "ratio"
    );
    for (api, children) in [(Api::Tracer, 24), (Api::Macros, 24), (Api::Tracer, 0)] {
        let count = |case: &str| process_instructions(case, api, children);
        let noop = count("Noop");
        let [otlp, plain, sampler] = [OTLP, "Plain", "Sampler"].map(|case| count(case) - noop);
        println!(
            "{:<26} {otlp:>12.0} {plain:>10.0} {:>6.2} {sampler:>14.0} {:>6.2}",
            format!("{}, traces of {}", api.name(), children + 1),
            plain / otlp,
            sampler / otlp
        );
    }
}

/// Returns the average instructions per span. It subtracts a shorter run from a longer one, so the
/// process's own start and end do not count.
#[expect(
    clippy::cast_precision_loss,
    reason = "the counts are some billions at most"
)]
fn process_instructions(case: &str, api: Api, children: u32) -> f64 {
    const SHORT: u32 = 10_000;
    const LONG: u32 = 30_000;
    let total = |spans: u32| {
        let arguments = [
            "run-process".to_owned(),
            case.to_owned(),
            format!("{api:?}"),
            children.to_string(),
            spans.to_string(),
        ];
        callgrind::count_process(&arguments).all as f64
    };
    (total(LONG) - total(SHORT)) / f64::from(LONG - SHORT)
}
