//! The environment variables of a command. They let an OpenTelemetry SDK in the command send to
//! this livespan every 200 ms, and let a program with `livespan::init()` join. Of the variables that
//! the user set, only `TRACEPARENT`, `LIVESPAN_URL`, `LIVESPAN_JOIN` and `LIVESPAN_JOIN_TOKEN` are
//! replaced.

use std::env;

use crate::{args::RunOptions, follow::listener::Invitation, units::percent_encoded};

/// The page that shows the spans of a command.
#[derive(Debug)]
pub(super) struct Page {
    /// The page's address, which also accepts OTLP.
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) invitation: Invitation,
    /// The span of the command, as W3C's `traceparent`.
    pub(super) span: Option<String>,
}

/// Variables that decide where a command sends its spans.
const DESTINATIONS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
];

/// Returns those of [`DESTINATIONS`] that the user set.
pub(super) fn kept() -> Vec<&'static str> {
    DESTINATIONS
        .into_iter()
        .filter(|name| is_set(name))
        .collect()
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Returns the variables to add.
pub(super) fn variables(page: &Page, options: &RunOptions) -> Vec<(String, String)> {
    let mut all = suggested(page, options.name.as_deref());
    all.retain(|(name, _)| !is_set(name));
    // These values belong to this run, even if it was started inside another run.
    all.push(("LIVESPAN_JOIN".to_owned(), page.invitation.url.clone()));
    all.push((
        "LIVESPAN_JOIN_TOKEN".to_owned(),
        page.invitation.token.clone(),
    ));
    all.push(("LIVESPAN_URL".to_owned(), page.url.clone()));
    all.extend(
        page.span
            .clone()
            .map(|span| ("TRACEPARENT".to_owned(), span)),
    );
    all
}

fn suggested(page: &Page, name: Option<&str>) -> Vec<(String, String)> {
    let endpoint = page.url.trim_end_matches('/');
    let headers = page.token.as_deref().map(|token| {
        // Header values in this variable are percent-encoded, as in W3C Baggage.
        let encoded = percent_encoded(&format!("Bearer {token}"));
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization={encoded}"),
        )
    });
    let all = [
        // This port accepts OTLP over HTTP and gRPC. Most SDKs need no further library for HTTP.
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        // The batch processors send every 200 ms. Their defaults are 5 s for spans and 1 s for log records.
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "200".to_owned()),
        ("OTEL_TRACES_SAMPLER", "always_on".to_owned()),
        // The page does not show metrics.
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
    ];
    let name = name.map(|name| ("OTEL_SERVICE_NAME", name.to_owned()));
    let pairs = all.into_iter().chain(headers).chain(name);
    pairs
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_sends_to_this_page_with_its_token() {
        let page = Page {
            url: "http://127.0.0.1:4380/".to_owned(),
            token: Some("a b+c".to_owned()),
            invitation: Invitation {
                url: "http://127.0.0.1:9/".to_owned(),
                token: "t".to_owned(),
            },
            span: None,
        };
        let pairs = suggested(&page, Some("shop"));
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            pairs,
            [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4380"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_BSP_SCHEDULE_DELAY", "200"),
                ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
                ("OTEL_TRACES_SAMPLER", "always_on"),
                ("OTEL_METRICS_EXPORTER", "none"),
                (
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "authorization=Bearer%20a%20b%2Bc"
                ),
                ("OTEL_SERVICE_NAME", "shop"),
            ]
        );
    }
}
