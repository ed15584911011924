//! The cost of a span for the whole process, on all threads: to make it, hand it over, encode it
//! and keep it. Measured with traces of 25 spans, and with one span per trace.

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{machine::process_cpu, measure::median, otlp::exporting, providers::Case, spans::Api};

const ROUNDS: usize = 9;
const SPANS: u32 = 50_000;
/// Spans of a trace, without the root.
const CHILDREN: u32 = 24;
const TARGET: f64 = 1.0;

pub(crate) fn report() {
    println!("\nCPU of the whole process a span, added over a no-op processor");
    println!(
        "{:<26} {:>12} {:>10} {:>6} {:>14} {:>6} {:>7}",
        "", "OTLP encoded", "livespan", "ratio", "with sampler", "ratio", "target"
    );
    for (api, children) in [
        (Api::Tracer, CHILDREN),
        (Api::Macros, CHILDREN),
        (Api::Tracer, 0),
    ] {
        let providers = [
            Case::Noop.provider(),
            exporting(),
            Case::Plain.provider(),
            Case::Sampler.provider(),
        ];
        let mut figures = <[Vec<f64>; 4]>::default();
        for _ in 0..ROUNDS {
            for (provider, figures) in providers.iter().zip(&mut figures) {
                figures.push(measure(api, children, provider));
            }
        }
        let [noop, otlp, plain, sampler] = figures.map(median);
        let [otlp, plain, sampler] = [otlp, plain, sampler].map(|case| case - noop);
        println!(
            "{:<26} {otlp:>12.0} {plain:>10.0} {:>6.2} {sampler:>14.0} {:>6.2} {TARGET:>7.2}",
            format!("{}, traces of {}", api.name(), children + 1),
            plain / otlp,
            sampler / otlp
        );
    }
}

fn measure(api: Api, children: u32, provider: &SdkTracerProvider) -> f64 {
    let before = process_cpu();
    api.make_traces(provider, children, SPANS);
    process_cpu().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(SPANS)
}
