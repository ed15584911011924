//! The span that the benches make: start and end, with 4 attributes.

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer},
};

pub(crate) fn make_spans<T: Tracer>(tracer: &T, count: u32) {
    for number in 0..i64::from(count) {
        let mut span = tracer
            .span_builder("checkout")
            .with_attributes([
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("http.route", "/checkout/{id}"),
                KeyValue::new("cart.items", number),
                KeyValue::new("customer", format!("customer-{number:015}")),
            ])
            .start(tracer);
        span.end();
    }
}
