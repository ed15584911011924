//! The common part of [`init()`](crate::init()) and [`layer()`](crate::layer()): the log, its server, a provider, and
//! the layers that show spans and events. All steps that can fail come before anything global is set.

use std::sync::Arc;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{
    Dispatch, Subscriber,
    span::Id,
    subscriber::{NoSubscriber, with_default},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

use crate::{
    access::Auth,
    error::Error,
    http::server::LiveServer,
    init::{
        environment,
        guard::{AbortedProgram, InitGuard},
        join::{self, Invitation, Joined},
        linger::Linger,
        log_layer::{BeforeOtel, LogLayer},
    },
    live_spans::LiveSpans,
    otel::{
        LiveTracerProvider, TaskLayer,
        panic_hook::{act_before_abort, panic_hook},
    },
};

/// A served log, and the provider whose spans it shows.
#[derive(Debug)]
pub(super) struct Setup {
    live: LiveSpans,
    server: LiveServer,
    provider: LiveTracerProvider,
    /// The line to print, unless it is turned off.
    announced: Option<String>,
    linger: Option<Linger>,
    joined: Option<Joined>,
    tasks: Option<TaskLayer>,
}

impl Setup {
    pub(super) fn new() -> Result<Self, Error> {
        let tasks = environment::wants_tasks()
            .then(TaskLayer::new)
            .transpose()?;
        let setup = Self::start()?;
        Ok(Self { tasks, ..setup })
    }

    fn start() -> Result<Self, Error> {
        let linger = Linger::from_env()?;
        if let Some(invitation) = Invitation::from_env()?
            && let Some(setup) = Self::joining(&invitation)?
        {
            return Ok(setup);
        }
        let live = environment::builder().build()?;
        Self::of(&live, linger).inspect_err(|_error| {
            // Only the server and the log's thread have started, so only they must end.
            drop(live.shutdown());
        })
    }

    /// Joins another livespan, which shows this program. Returns `None` if it refuses or does not answer.
    fn joining(invitation: &Invitation) -> Result<Option<Self>, Error> {
        let token = environment::token().map_or_else(join::random_token, Ok)?;
        let live = LiveSpans::builder()
            .auth(Auth::token(token.as_str()))
            .build()?;
        let joined = live.serve_in_background("127.0.0.1:0").and_then(|server| {
            let joined = Joined::new(invitation, (&live, &server, &token))?;
            Ok(joined.map(|joined| (server, joined)))
        });
        match joined {
            Ok(Some((server, joined))) => Ok(Some(Self {
                provider: provider(&live),
                live,
                server,
                announced: None,
                // The viewers are connected to the other livespan.
                linger: None,
                joined: Some(joined),
                tasks: None,
            })),
            refused => {
                drop(live.shutdown());
                refused.map(|_| None)
            }
        }
    }

    fn of(live: &LiveSpans, linger: Option<Linger>) -> Result<Self, Error> {
        let server = environment::serve(live)?;
        let announced = environment::announcement(&server)?;
        Ok(Self {
            live: live.clone(),
            server,
            provider: provider(live),
            announced,
            linger,
            joined: None,
            tasks: None,
        })
    }

    /// Returns the layer that shows spans, events (as log records) and, if requested, the polls of spans.
    pub(super) fn layer<S>(&mut self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'l> LookupSpan<'l> + Send + Sync,
    {
        layer_of(&self.live, &self.provider).and_then(OptionalTasks(self.tasks.take()))
    }

    /// Ends the parts that have started.
    pub(super) fn abandon(mut self) {
        if let Some(joined) = &mut self.joined {
            joined.stop_announcing();
        }
        drop(self.provider.shutdown());
        drop(self.live.shutdown());
    }

    /// Sets everything global except the subscriber, and prints the address.
    pub(super) fn finish(self) -> InitGuard {
        // The SDK reports the new provider as a `tracing` event, which the program's subscriber must not print.
        with_default(NoSubscriber::default(), || {
            global::set_tracer_provider(self.provider.clone());
        });
        global::set_text_map_propagator(TraceContextPropagator::new());
        panic_hook();
        let aborted = AbortedProgram {
            live: self.live.clone(),
            linger: self.linger,
            has_joined: self.joined.is_some(),
        };
        act_before_abort(move || aborted.end());
        environment::print_line(self.announced.as_deref());
        InitGuard {
            live: self.live,
            provider: self.provider,
            server: self.server,
            linger: self.linger,
            joined: self.joined,
        }
    }
}

/// A [`TaskLayer`], if requested. `Option<TaskLayer>` is a layer, too, but does not pass on its dispatch. The task
/// layer needs the dispatch to find OpenTelemetry's spans.
#[derive(Debug)]
pub(super) struct OptionalTasks(pub(super) Option<TaskLayer>);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for OptionalTasks {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        if let Some(tasks) = &self.0 {
            Layer::<S>::on_register_dispatch(tasks, subscriber);
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        if let Some(tasks) = &self.0 {
            tasks.on_enter(id, ctx);
        }
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        if let Some(tasks) = &self.0 {
            tasks.on_exit(id, ctx);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some(tasks) = &self.0 {
            tasks.on_close(id, ctx);
        }
    }
}

fn provider(live: &LiveSpans) -> LiveTracerProvider {
    live.tracer_provider(SdkTracerProvider::builder().with_resource(environment::resource()))
}

/// Returns the layer that shows the spans of a provider, and each event as a log record. The log must have no other
/// provider.
pub(crate) fn layer_of<S>(
    live: &LiveSpans,
    provider: &LiveTracerProvider,
) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'l> LookupSpan<'l> + Send + Sync,
{
    let shared = Arc::clone(&live.shared.parts);
    let source = shared.processes.newest().unwrap_or_default();
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the lifetimes of the method itself are not general enough"
    )]
    let are_spans = filter_fn(|metadata| metadata.is_span());
    // If the OpenTelemetry layer got the events, each would be shown a second time: in its span, when the span ends.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("livespan"))
        .with_filter(are_spans);
    BeforeOtel
        .and_then(spans)
        .and_then(LogLayer::new(shared, source))
}
