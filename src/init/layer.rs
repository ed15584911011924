//! Adds livespan with one line to a program that already has a `tracing-subscriber` registry. The program's console
//! output and filters stay.

use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::{
    error::Error,
    init::{environment, guard::InitGuard, setup::Setup},
};

/// Returns a layer that shows every `tracing` span and event of this program live, and the guard that keeps the page
/// up.
///
/// The layer fits into any registry, at any place, and does not affect the other layers. Spans are made with
/// `tracing-opentelemetry` and a [`LiveTracerProvider`](crate::LiveTracerProvider), so changes of running spans are
/// shown, too. Each event becomes a `log` event at once, inside and outside of spans, with level, target and fields.
/// The event is not added to its span as well. As with `tracing-opentelemetry` alone, an event of level ERROR sets the
/// status of its span to ERROR. An event with `parent:` belongs to that span. If that span was never entered, it starts
/// with the event.
///
/// - `RUST_LOG` selects what the layer shows, by target and level as in `shop=debug,warn`; the default is `info` and
///   above. This filter applies to this layer only. A filter of the whole registry, such as an `EnvFilter` that is a
///   layer, also applies to this layer; [`with_filter`](Layer::with_filter) narrows it further.
/// - Internal events of HTTP libraries ([`DEFAULT_HIDDEN_TARGETS`](crate::LiveSpansBuilder::DEFAULT_HIDDEN_TARGETS))
///   are shown from WARN on.
/// - Values are formatted on the thread of the event. `dropped.other` counts events that the full buffer refuses, and
///   events with a value that panics while it is formatted.
/// - It also sets the global tracer provider, with W3C trace-context propagation, and the [panic
///   hook](crate::panic_hook), as [`init()`](crate::init()) does. The environment decides the rest, as for `init()`.
///
/// A registry can have only one OpenTelemetry layer: leave out a `tracing_opentelemetry::layer()` of your own, because
/// a second one panics at the first span. To export as well, use a provider of your own with
/// [`LiveSpans::tracer_provider`](crate::LiveSpans::tracer_provider), and `LiveSpans::log_processor` for events.
///
/// # Errors
/// After an error, nothing is installed: no provider, no server.
///
/// - `LIVESPAN_ADDR` is not a loopback address and there is no `LIVESPAN_TOKEN` ([invalid](Error::is_invalid)).
/// - `LIVESPAN_TOKEN` has characters that a header cannot carry ([invalid](Error::is_invalid)).
/// - `LIVESPAN_LINGER` is neither `forever` nor a duration ([invalid](Error::is_invalid)).
/// - `LIVESPAN_JOIN` is not a loopback address ([invalid](Error::is_invalid)).
/// - The address cannot be bound ([I/O](Error::is_io)).
///
/// ```no_run
/// use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};
///
/// fn main() -> Result<(), livespan::Error> {
///     let (layer, _guard) = livespan::layer()?;
///     tracing_subscriber::registry().with(fmt::layer()).with(layer).init();
///     tracing::info!("shown on the console and on the page");
///     Ok(())
/// }
/// ```
pub fn layer<S>() -> Result<(impl Layer<S> + Send + Sync, InitGuard), Error>
where
    S: Subscriber + for<'l> LookupSpan<'l> + Send + Sync,
{
    let mut setup = Setup::new()?;
    let layer = setup.layer().with_filter(environment::levels());
    Ok((layer, setup.finish()))
}
