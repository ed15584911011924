//! The guide. Each page is about one question.
//!
//! | page | question |
//! | --- | --- |
//! | [`app`] | How do I add livespan to an app? axum, other OpenTelemetry versions, forks |
//! | [`exporters_and_sampling`] | What does my exporter get? |
//! | [`inside_a_span`] | What happens inside a span, and how does it end? |
//! | [`dashboard`] | What do I see, and how do I search? |
//! | [`running`] | What hangs, and what does it wait for? |
//! | [`agents`] | How does a coding agent see what my program does? |
//! | [`customer_page`] | How do I show a customer the progress of their own job? |
//! | [`workflows`] | How do I watch a durable workflow? |
//! | [`stores`] | Memory, SQLite, Redis or a store of my own? |
//! | [`production`] | Who may read, what is in spans, shutdown, alerts, clocks |
//! | [`wire_format`] | What is on the wire? |
//! | [`routes`] | Which routes are there? |
//! | [`limits`] | What is bounded, and at what? |
//! | [`costs`] | What does it cost? |
//! | [`import_export`] | How do I take a trace elsewhere, or bring one here? |
//! | [`tests`] | What did my test do when it failed? |
//! | [`binary`] | How do I use the program `livespan`? |
//! | [`other_languages`] | How do I watch a program in another language? |
//! | [`how_it_works`] | What happens to a span? |

/// Makes a module from a page. The link definitions that come first override those at the end of the page, which are
/// for readers of the repository.
macro_rules! page {
    ($name:ident, $text:literal) => {
        #[doc = include_str!("../docs/guide/links.rustdoc")]
        #[cfg_attr(
            feature = "sqlite",
            doc = "[SqliteEventStore]: crate::store::SqliteEventStore"
        )]
        #[cfg_attr(
            feature = "redis",
            doc = "[RedisEventStore]: crate::store::RedisEventStore"
        )]
        #[cfg_attr(
            feature = "otlp",
            doc = "[LiveSpansBuilder::otlp]: crate::live_spans::LiveSpansBuilder::otlp"
        )]
        #[cfg_attr(feature = "otlp", doc = "[OtlpReceiver]: crate::otlp::OtlpReceiver")]
        #[cfg_attr(
            feature = "otlp",
            doc = "[OtlpReceiver::allowed_origins]: crate::otlp::OtlpReceiver::allowed_origins"
        )]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/guide/", $text))]
        pub mod $name {}
    };
}

page!(app, "app.md");
page!(exporters_and_sampling, "exporters_and_sampling.md");
page!(inside_a_span, "inside_a_span.md");
page!(dashboard, "dashboard.md");
page!(running, "running.md");
page!(agents, "agents.md");
page!(customer_page, "customer_page.md");
page!(workflows, "workflows.md");
page!(stores, "stores.md");
page!(production, "production.md");
page!(wire_format, "wire_format.md");
page!(routes, "routes.md");
page!(limits, "limits.md");
page!(costs, "costs.md");
page!(import_export, "import_export.md");
page!(tests, "tests.md");
page!(binary, "binary.md");
page!(other_languages, "other_languages.md");
page!(how_it_works, "how_it_works.md");
