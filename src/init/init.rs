//! One line for a first look: provider, `tracing` subscriber and server at once.

use tracing::{level_filters::LevelFilter, subscriber::set_global_default};
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::{fmt, layer::SubscriberExt as _};

use crate::{
    error::Error,
    init::{console::ConsoleFields, environment, guard::InitGuard, setup::Setup},
};

/// Shows every `tracing` span and event of this program live, at an address that it prints on standard error.
///
/// It installs a tracer provider (global, with W3C trace-context propagation), a `tracing` subscriber and the
/// [panic hook](crate::panic_hook), and serves the dashboard from a thread of its own. The subscriber prints events to
/// standard output, records of the crate `log` too, as `tracing_subscriber::fmt::init()` does. It makes spans with
/// `tracing-opentelemetry`, and shows each event as a log record, as [`layer()`](crate::layer()) does.
///
/// The environment decides: `LIVESPAN_ADDR` (default
/// [`LiveServer::DEFAULT_ADDRESS`](crate::LiveServer::DEFAULT_ADDRESS); when that port is taken, any free one),
/// `LIVESPAN_QUIET=1` (the address is not printed), `LIVESPAN_TOKEN` (readers need it, see
/// [`Auth::token`](crate::Auth::token); the printed address then signs one browser in), `RUST_LOG` (which spans and
/// events, by target and level as in `shop=debug,warn`; `info` when it is not set or malformed), `OTEL_SERVICE_NAME`,
/// `LIVESPAN_LINGER` (the page stays after the end of the program, see [`InitGuard`]), `LIVESPAN_TASKS=1` (how spans are
/// polled, and which one blocks a worker, see [`TaskLayer`](crate::otel::TaskLayer)).
///
/// A program that `livespan run` started *joins*: `LIVESPAN_JOIN` says where the other livespan listens, which then shows
/// the program on its page, with every start, change and end. The program opens and prints no page of its own, and
/// `LIVESPAN_ADDR` and `LIVESPAN_LINGER` have no effect. If nobody answers there within a second, the program starts as it
/// would without the variable.
/// The log is kept in memory. For a store that outlives the process, and for every other setting, use
/// [`LiveSpans::builder`](crate::LiveSpans::builder).
///
/// # Errors
/// An error leaves nothing behind: no subscriber, no provider, no server.
///
/// - A subscriber is installed already ([invalid](Error::is_invalid)): leave it out, or add
///   [`layer()`](crate::layer()) to its registry.
/// - `LIVESPAN_ADDR` is not a loopback address and there is no `LIVESPAN_TOKEN` ([invalid](Error::is_invalid)).
/// - `LIVESPAN_LINGER` is neither `forever` nor a duration ([invalid](Error::is_invalid)).
/// - `LIVESPAN_JOIN` is no address on loopback ([invalid](Error::is_invalid)).
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
    // Records of the crate `log` are printed and shown, unless the program has another logger for them.
    drop(
        LogTracer::builder()
            .with_max_level(LevelFilter::current().as_log())
            .init(),
    );
    Ok(setup.finish())
}

/// What to do when the program has a subscriber already.
const SUBSCRIBER_TAKEN: &str = "install the tracing subscriber, because there is one already: leave out \
    `tracing_subscriber::fmt::init()`, as `livespan::init()` prints to the console as well, or keep your subscriber and add \
    `livespan::layer()` to its registry";
