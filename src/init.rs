//! One line for a first look: provider, `tracing` subscriber and server at once. The only place that writes to the
//! host's standard error, and it writes one line.

use std::{env, fmt, time::Instant};

use opentelemetry::{Key, global, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    access::Auth,
    error::Error,
    http::server::LiveServer,
    live_spans::{LiveSpans, LiveSpansBuilder},
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

impl fmt::Debug for InitGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
/// It installs a tracer provider (global, with W3C trace-context propagation), a `tracing` subscriber with
/// `tracing-opentelemetry`, and serves the dashboard from a thread of its own. The environment decides: `LIVESPAN_ADDR`
/// (default [`LiveServer::DEFAULT_ADDRESS`]; when that port is taken, any free one), `LIVESPAN_QUIET=1` (prints nothing),
/// `LIVESPAN_TOKEN` (readers need it, see [`Auth::token`]; the printed address then signs one browser in),
/// `RUST_LOG` (which spans; `info` when it is not set or makes no sense), `OTEL_SERVICE_NAME`. The log is kept in memory;
/// for a store that outlives the process, and for every other setting, use [`LiveSpans::builder`].
///
/// # Errors
/// - A subscriber is installed already ([invalid](Error::is_invalid)): then add `tracing-opentelemetry`'s layer to yours,
///   see the README.
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
    let server = serve(&live)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(live.sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn))))
        .with_span_processor(live.span_processor())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("livespan"));
    if let Err(error) = tracing_subscriber::registry()
        .with(filter())
        .with(layer)
        .try_init()
    {
        drop(live.shutdown());
        return Err(Error::invalid("install the tracing subscriber").caused_by(error));
    }
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    announce(&server)?;
    Ok(InitGuard {
        live,
        provider,
        server,
    })
}

/// Readers need a token where the environment has one.
fn builder() -> LiveSpansBuilder {
    let builder = LiveSpans::builder();
    match env::var_os(TOKEN) {
        Some(token) if !token.is_empty() => builder.auth(Auth::token_from_env(TOKEN)),
        _ => builder,
    }
}

fn serve(live: &LiveSpans) -> Result<LiveServer, Error> {
    match env::var("LIVESPAN_ADDR")
        .ok()
        .filter(|address| !address.is_empty())
    {
        Some(address) => live.serve_in_background(&address).map_err(|error| {
            let message = format!("serve on LIVESPAN_ADDR={address}");
            // A setting that was refused stays one: it is no failure of the operating system.
            if error.is_invalid() {
                Error::invalid(message).caused_by(error)
            } else {
                Error::io(message, error)
            }
        }),
        None => live
            .serve_in_background(LiveServer::DEFAULT_ADDRESS)
            // A second program on this machine gets a place of its own.
            .or_else(|_| live.serve_in_background("127.0.0.1:0")),
    }
}

/// Which spans are made. Reading the variable strictly, because the lenient way prints what it does not understand.
fn filter() -> EnvFilter {
    let builder = || EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    let wanted = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    builder()
        .parse(wanted)
        .unwrap_or_else(|_error| builder().parse_lossy(""))
}

/// What the environment says of the program; a service without a name gets that of its file.
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

#[expect(clippy::print_stderr, reason = "the one line that `init` promises")]
fn announce(server: &LiveServer) -> Result<(), Error> {
    if env::var_os("LIVESPAN_QUIET").is_none_or(|quiet| quiet != "1") {
        eprintln!("livespan: {}", server.login_url()?);
    }
    Ok(())
}
