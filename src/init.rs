//! One line for a first look: provider, `tracing` subscriber and server at once. The only place that writes to the
//! host's standard error, and it writes one line.

use std::{env, io::Write as _, time::Instant};

use opentelemetry::{Key, global, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{
    level_filters::LevelFilter,
    subscriber::{NoSubscriber, set_global_default, with_default},
};
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _};

use crate::{
    access::Auth,
    error::Error,
    http::server::LiveServer,
    live_spans::{LiveSpans, LiveSpansBuilder},
    otel::panic_hook::panic_hook,
};

/// The variable that holds the token of readers.
const TOKEN: &str = "LIVESPAN_TOKEN";

/// Keeps what [`init`] set up alive; dropping it shuts the provider and the server down.
#[must_use = "dropping the guard stops the server"]
pub struct InitGuard {
    live: LiveSpans,
    provider: SdkTracerProvider,
    server: LiveServer,
}

impl std::fmt::Debug for InitGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitGuard")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl InitGuard {
    /// Returns the log's handle.
    pub fn live(&self) -> &LiveSpans {
        &self.live
    }

    /// Returns the dashboard's address.
    pub fn url(&self) -> String {
        self.server.url()
    }
}

impl Drop for InitGuard {
    fn drop(&mut self) {
        // One limit for both. There is nobody left to tell about an error.
        let begun = Instant::now();
        let timeout = LiveSpans::SHUTDOWN_TIMEOUT;
        drop(self.provider.shutdown_with_timeout(timeout / 2));
        let left = timeout.saturating_sub(begun.elapsed());
        drop(self.live.shutdown_within(left));
    }
}

/// Shows every `tracing` span of this program live, at an address that it prints on standard error.
///
/// It installs a tracer provider (global, with W3C trace-context propagation), a `tracing` subscriber and the
/// [panic hook](crate::panic_hook), and serves the dashboard from a thread of its own. The subscriber prints events to standard output, records of the crate `log` too, as
/// `tracing_subscriber::fmt::init()` does, and makes spans with `tracing-opentelemetry`.
///
/// The environment decides: `LIVESPAN_ADDR`
/// (default [`LiveServer::DEFAULT_ADDRESS`]; when that port is taken, any free one), `LIVESPAN_QUIET=1` (the address is not
/// printed), `LIVESPAN_TOKEN` (readers need it, see [`Auth::token`]; the printed address then signs one browser in),
/// `RUST_LOG` (which spans and events, by target and level as in `shop=debug,warn`; `info` when it is not set or makes no
/// sense), `OTEL_SERVICE_NAME`. The log is kept in
/// memory; for a store that outlives the process, and for every other setting, use [`LiveSpans::builder`].
///
/// # Errors
/// An error leaves nothing behind: no subscriber, no provider, no server.
///
/// - A subscriber is installed already ([invalid](Error::is_invalid)): leave it out, or add `tracing-opentelemetry`'s layer
///   to it, see the README.
/// - `LIVESPAN_ADDR` is no loopback address and there is no `LIVESPAN_TOKEN` ([invalid](Error::is_invalid)).
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
    let live = builder().build()?;
    install(&live).inspect_err(|_error| {
        // Only the server and the log's thread have begun.
        drop(live.shutdown());
    })
}

/// Sets everything up. Invariant: everything that can fail comes before the first global change.
fn install(live: &LiveSpans) -> Result<InitGuard, Error> {
    let server = serve(live)?;
    let announced = announcement(&server)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(live.sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn))))
        .with_span_processor(live.span_processor())
        .build();
    let subscriber = tracing_subscriber::registry()
        .with(filter())
        .with(fmt::layer())
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("livespan")));
    if let Err(error) = set_global_default(subscriber) {
        drop(provider.shutdown());
        return Err(Error::invalid(SUBSCRIBER_TAKEN).caused_by(error));
    }
    // Records of the crate `log` are printed, unless the program has another logger for them.
    drop(
        LogTracer::builder()
            .with_max_level(LevelFilter::current().as_log())
            .init(),
    );
    // Without this, the SDK prints a line about it.
    with_default(NoSubscriber::default(), || {
        global::set_tracer_provider(provider.clone());
    });
    global::set_text_map_propagator(TraceContextPropagator::new());
    panic_hook();
    print_line(announced.as_deref());
    Ok(InitGuard {
        live: live.clone(),
        provider,
        server,
    })
}

/// What to do where a program has a subscriber already.
const SUBSCRIBER_TAKEN: &str = "install the tracing subscriber, because there is one already: leave out \
    `tracing_subscriber::fmt::init()`, as `livespan::init()` prints to the console as well, or keep your subscriber and add \
    `tracing_opentelemetry::layer()` to its registry (\"An app with a provider of its own\" in livespan's README)";

/// Returns a builder that requires the token if the environment has one.
fn builder() -> LiveSpansBuilder {
    let builder = LiveSpans::builder();
    if has_token() {
        builder.auth(Auth::token_from_env(TOKEN))
    } else {
        builder
    }
}

fn has_token() -> bool {
    env::var_os(TOKEN).is_some_and(|token| !token.is_empty())
}

fn address_from_env() -> Option<String> {
    env::var("LIVESPAN_ADDR")
        .ok()
        .filter(|address| !address.is_empty())
}

fn serve(live: &LiveSpans) -> Result<LiveServer, Error> {
    let Some(address) = address_from_env() else {
        return live.serve_in_background(LiveServer::DEFAULT_ADDRESS);
    };
    live.serve_in_background(&address).map_err(|error| {
        let mut message = format!("serve on LIVESPAN_ADDR={address}");
        if error.is_invalid() && !has_token() {
            message.push_str(" without LIVESPAN_TOKEN");
        }
        // An invalid setting is reported as such, not as a failure of the operating system.
        if error.is_invalid() {
            Error::invalid(message).caused_by(error)
        } else {
            Error::io(message, error)
        }
    })
}

/// Returns the levels of `RUST_LOG`, or `info` for all targets if it is unset, empty or malformed. It is not an
/// `EnvFilter`: that needs a feature of `tracing-subscriber` that changes every program with livespan in its build.
/// With that feature, `tracing_subscriber::fmt::init()` prints errors only.
fn filter() -> Targets {
    env::var("RUST_LOG")
        .ok()
        .filter(|wanted| !wanted.is_empty())
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// Returns the resource that the environment describes. Without a service name, the service is named after the
/// program's file.
fn resource() -> Resource {
    let resource = Resource::builder().build();
    let service = resource.get(&Key::from_static_str("service.name"));
    if service.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    let builder = Resource::builder();
    let program = env::current_exe().ok();
    let name = program
        .as_deref()
        .and_then(|path| path.file_stem())
        .and_then(|name| name.to_str());
    match name {
        Some(name) => builder.with_service_name(name.to_owned()).build(),
        None => builder.build(),
    }
}

/// Returns the line to print, or `None` if the environment turned it off.
fn announcement(server: &LiveServer) -> Result<Option<String>, Error> {
    if env::var_os("LIVESPAN_QUIET").is_some_and(|quiet| quiet == "1") {
        return Ok(None);
    }
    let url = server.login_url()?;
    let wanted = LiveServer::DEFAULT_PORT;
    let is_other = address_from_env().is_none() && server.local_addr().port() != wanted;
    let why = if is_other {
        format!(" (port {wanted} is taken)")
    } else {
        String::new()
    };
    Ok(Some(format!("livespan: {url}{why}\n")))
}

fn print_line(line: Option<&str>) {
    if let Some(line) = line {
        // A program may have closed its standard error, and `eprintln!` would panic then.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
}
