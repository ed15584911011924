//! One line for a first look: provider, `tracing` subscriber and server at once.

use tracing::{level_filters::LevelFilter, subscriber::set_global_default};
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::{fmt, layer::SubscriberExt as _};

use crate::{
    error::Error,
    init::{console::ConsoleFields, environment, guard::InitGuard, setup::Setup},
};

/// Shows the `tracing` spans and events of this program live, at an address that it prints on standard error.
///
/// It installs a tracer provider (global, with W3C trace-context propagation), a `tracing` subscriber and the [panic
/// hook](crate::panic_hook), and serves the dashboard from its own thread. Like `tracing_subscriber::fmt::init()`, the
/// subscriber prints events and records of the crate `log` to standard output. It makes spans with
/// `tracing-opentelemetry`, and shows each event as a log record, as [`layer()`](crate::layer()) does.
///
/// These environment variables configure it:
///
/// - `LIVESPAN_ADDR`: the address to serve. The default is
///   [`LiveServer::DEFAULT_ADDRESS`](crate::LiveServer::DEFAULT_ADDRESS), or any free port if that port is taken.
/// - `LIVESPAN_QUIET=1`: do not print the address.
/// - `LIVESPAN_TOKEN`: the token that readers need, see [`Auth::token`](crate::Auth::token). The printed address then
///   signs one browser in.
/// - `RUST_LOG`: the spans and events to show, by target and level as in `shop=debug,warn`. It is `info` if not set or
///   malformed.
/// - `OTEL_SERVICE_NAME`: the name of the service.
/// - `LIVESPAN_LINGER`: how long the page stays after the end of the program, see [`InitGuard`].
/// - `LIVESPAN_TASKS=1`: show how spans are polled, and which span blocks a worker, see
///   [`TaskLayer`](crate::otel::TaskLayer).
///
/// A program that is started under `livespan run` *joins* that livespan: the program announces itself at the address in
/// `LIVESPAN_JOIN`, and that livespan shows the program's events on its page. The program opens and prints no page of
/// its own, and `LIVESPAN_ADDR` and `LIVESPAN_LINGER` have no effect. If that livespan does not accept the program, the
/// program starts as without the variable. Each step of joining has a time limit of one second.
///
/// The log is kept in memory. For a store that outlives the process, and for all other settings, use
/// [`LiveSpans::builder`](crate::LiveSpans::builder).
///
/// # Errors
/// After an error, nothing is installed: no subscriber, no provider, no server.
///
/// - A subscriber is installed already ([invalid](Error::is_invalid)): leave it out, or add
///   [`layer()`](crate::layer()) to its registry.
/// - `LIVESPAN_ADDR` is not a loopback address and there is no `LIVESPAN_TOKEN` ([invalid](Error::is_invalid)).
/// - `LIVESPAN_TOKEN` has characters that a header cannot carry ([invalid](Error::is_invalid)).
/// - `LIVESPAN_LINGER` is neither `forever` nor a duration ([invalid](Error::is_invalid)).
/// - `LIVESPAN_JOIN` is not a loopback address ([invalid](Error::is_invalid)).
/// - The address cannot be bound ([I/O](Error::is_io)).
///
/// ```no_run
/// fn main() -> Result<(), livespan::Error> {
///     let _guard = livespan::init()?;
///     let _span = tracing::info_span!("work").entered();
///     Ok(())
/// }
/// ```
pub fn init() -> Result<InitGuard, Error> {
    let mut setup = Setup::new()?;
    let subscriber = tracing_subscriber::registry()
        .with(environment::levels())
        .with(fmt::layer().fmt_fields(ConsoleFields::default()))
        .with(setup.layer());
    if let Err(error) = set_global_default(subscriber) {
        setup.abandon();
        return Err(Error::invalid(SUBSCRIBER_TAKEN).caused_by(error));
    }
    // Records of the crate `log` are printed and shown, unless the program has set another logger.
    drop(
        LogTracer::builder()
            .with_max_level(LevelFilter::current().as_log())
            .init(),
    );
    Ok(setup.finish())
}

/// The advice if the program already has a subscriber.
const SUBSCRIBER_TAKEN: &str = "install the tracing subscriber, because there is one already: leave out \
    `tracing_subscriber::fmt::init()`, as `livespan::init()` prints to the console as well, or keep your subscriber and add \
    `livespan::layer()` to its registry";
