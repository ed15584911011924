//! The engine of one workflow: creates, bounds and cancels its instances. The host calls it from any thread or task. It
//! never scans the map of instances while it holds an entry of that map, because that would deadlock.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use opentelemetry::Context;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SdkTracerProvider};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{
    live_spans::LiveSpans,
    local_workflow::{
        error::EngineError,
        inbox,
        instance::Instance,
        task::{Function, InstanceHandle, InstanceState, run_instance},
    },
    span::{event::TraceId, record::Durability},
    workflow::{
        outcome::{Cause, Failure},
        workflows::Workflows,
    },
};

/// Runs the instances of one workflow in this process: see [the module](crate::local_workflow). Cloning is cheap. When
/// the last clone and the last router are dropped, instances that still run are cancelled.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// Configures an [`Engine`].
///
/// ```
/// use livespan::{LiveSpans, local_workflow::{Engine, Instance, StepError}};
///
/// let live = LiveSpans::builder().build()?;
/// let hello = Engine::builder(&live)
///     .namespace("greetings")
///     .instances_max(100)
///     .build("Hello", |_: Instance, name: String| async move { Ok::<_, StepError>(format!("hello {name}")) });
/// # drop(hello);
/// # Ok::<(), livespan::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EngineBuilder {
    #[cfg(feature = "http")]
    live: LiveSpans,
    flows: Workflows,
    namespace: Option<String>,
    instances_max: usize,
    #[cfg(feature = "http")]
    body_bytes_max: usize,
}

type Start = dyn Fn(Instance, Json) -> Result<Function, EngineError> + Send + Sync;

struct Shared {
    #[cfg(feature = "http")]
    live: LiveSpans,
    flows: Workflows,
    name: Arc<str>,
    start: Box<Start>,
    #[cfg(feature = "http")]
    body_bytes_max: usize,
    instances: Instances,
}

/// The running instances, and those that ended most recently.
struct Instances {
    by_id: DashMap<String, Arc<InstanceHandle>>,
    /// Invariant: at least the number of entries in `by_id`, at most `max`. A thread reserves before it inserts.
    reserved: AtomicUsize,
    max: usize,
    /// The number of the next instance.
    next_number: AtomicU64,
}

impl EngineBuilder {
    /// Sets the namespace of the instances. The default is the workflow's name. An instance's trace id is derived from
    /// its namespace and its id.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Also passes the spans to the other processors of this provider: see [`Workflows::exporting`].
    pub fn exporting(mut self, provider: &SdkTracerProvider) -> Self {
        self.flows = self.flows.exporting(provider);
        self
    }

    /// Sets the upper bound on the instances that the engine knows, running or ended. The default is
    /// [`Engine::DEFAULT_INSTANCES_MAX`]. At the bound, a new instance evicts the oldest one that has ended. If all are
    /// running, the new one is refused.
    pub fn instances_max(mut self, instances_max: usize) -> Self {
        self.instances_max = instances_max;
        self
    }

    /// Sets the upper bound on the body of a request to the router, in bytes. The default is
    /// [`Engine::DEFAULT_BODY_BYTES_MAX`].
    #[cfg(feature = "http")]
    pub fn body_bytes_max(mut self, body_bytes_max: usize) -> Self {
        self.body_bytes_max = body_bytes_max;
        self
    }

    /// Builds the engine of a workflow with this name. `function` gets the instance and its input.
    pub fn build<F, Fut, I, O, E, Way>(self, name: impl Into<String>, function: F) -> Engine
    where
        F: Fn(Instance, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Cause<Way> + 'static,
        Way: 'static,
    {
        let name: Arc<str> = name.into().into();
        let start = move |instance, input| -> Result<Function, EngineError> {
            let input = serde_json::from_value(input)
                .map_err(|error| EngineError::Invalid(format!("invalid input: {error}")))?;
            let running = function(instance, input);
            Ok(Box::pin(async move {
                let output = running.await.map_err(|error| error.failure())?;
                serde_json::to_value(output).map_err(|error| Failure::of(&error))
            }))
        };
        let namespace = self.namespace.as_deref().unwrap_or(&name);
        let shared = Shared {
            flows: self.flows.namespace(namespace),
            #[cfg(feature = "http")]
            live: self.live,
            name,
            start: Box::new(start),
            #[cfg(feature = "http")]
            body_bytes_max: self.body_bytes_max,
            instances: Instances::new(self.instances_max),
        };
        Engine {
            shared: Arc::new(shared),
        }
    }
}

impl Engine {
    /// Default upper bound on the instances that an engine knows: 1,000.
    pub const DEFAULT_INSTANCES_MAX: usize = 1000;
    /// Default upper bound on the body of a request to the router, in bytes: 256 KiB.
    pub const DEFAULT_BODY_BYTES_MAX: usize = 256 * 1024;
    /// Upper bound on an instance's id, in bytes: 128.
    pub const INSTANCE_ID_BYTES_MAX: usize = 128;
    /// Upper bound on the events that wait for one instance: 256.
    pub const INBOX_EVENTS_MAX: usize = inbox::INBOX_EVENTS_MAX;
    /// Upper bound on the size of the events that wait for one instance, in bytes of JSON: 256 KiB.
    pub const INBOX_BYTES_MAX: usize = inbox::INBOX_BYTES_MAX;

    /// Returns a builder of an engine whose instances are shown in this log.
    pub fn builder(live: &LiveSpans) -> EngineBuilder {
        EngineBuilder {
            #[cfg(feature = "http")]
            live: live.clone(),
            flows: Workflows::with_durability(live, Durability::Process),
            namespace: None,
            instances_max: Engine::DEFAULT_INSTANCES_MAX,
            #[cfg(feature = "http")]
            body_bytes_max: Engine::DEFAULT_BODY_BYTES_MAX,
        }
    }

    /// Starts an instance on the caller's tokio runtime. Returns its id, a random UUID. If a span is current, the
    /// instance's root span links to it.
    ///
    /// # Errors
    /// Returns an error if the input does not deserialize into the function's input type, if [too
    /// many](EngineBuilder::instances_max) instances are running, or if there is no tokio runtime.
    pub fn create(&self, input: impl Into<Json>) -> Result<String, EngineError> {
        let id = random_id();
        self.create_with_id(&id, input).map(|()| id)
    }

    /// Starts an instance like [`create`](Self::create), with an id of your own: 1 to
    /// [`INSTANCE_ID_BYTES_MAX`](Self::INSTANCE_ID_BYTES_MAX) bytes.
    ///
    /// The engine does not know an instance that was evicted or whose process died. A new instance with its id
    /// continues in the old trace, and its steps that had already ended there are not shown again.
    ///
    /// # Errors
    /// Returns the errors of [`create`](Self::create). Also returns an error if the engine knows an instance with this
    /// id, even one that has ended.
    pub fn create_with_id(&self, id: &str, input: impl Into<Json>) -> Result<(), EngineError> {
        if id.is_empty() || id.len() > Self::INSTANCE_ID_BYTES_MAX {
            let message = format!(
                "an instance id must have 1 to {} bytes",
                Self::INSTANCE_ID_BYTES_MAX
            );
            return Err(EngineError::Invalid(message));
        }
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_none| EngineError::NoRuntime)?;
        let number = self.shared.instances.next_number();
        let handle = Arc::new(InstanceHandle::new(id.to_owned(), number));
        let workflow = self.shared.flows.instance(id);
        let instance = Instance::new(workflow.clone(), Arc::clone(&handle));
        // The function is the host's code, so it is called before the map is locked.
        let function = (self.shared.start)(instance, input.into())?;
        self.shared.instances.insert(&handle)?;
        let name = Arc::clone(&self.shared.name);
        // The task ends by itself, when it is cancelled, or when the last handle of the engine is gone.
        drop(runtime.spawn(run_instance(
            workflow,
            name,
            handle,
            function,
            Context::current(),
        )));
        Ok(())
    }

    /// Sends an event to an instance. If no step waits for the event, the instance keeps it for a later step, up to
    /// [`INBOX_EVENTS_MAX`](Self::INBOX_EVENTS_MAX) events and [`INBOX_BYTES_MAX`](Self::INBOX_BYTES_MAX) bytes.
    ///
    /// # Errors
    /// Returns an error if there is no such instance, if it has ended, or if too many events wait for it.
    pub fn send_event(
        &self,
        id: &str,
        event: impl AsRef<str>,
        payload: impl Into<Json>,
    ) -> Result<(), EngineError> {
        self.put(id, Some(event.as_ref()), payload.into())
    }

    pub(crate) fn put(
        &self,
        id: &str,
        event: Option<&str>,
        payload: Json,
    ) -> Result<(), EngineError> {
        let handle = self.handle(id)?;
        if handle.is_over() {
            return Err(EngineError::Over);
        }
        handle.inbox.put(event, payload)
    }

    /// Cancels an instance: the engine drops its function, and its open spans end as cancelled. This call does not wait
    /// for that; [`finished`](Self::finished) does.
    ///
    /// # Errors
    /// Returns an error if there is no such instance, or if it has ended.
    pub fn cancel(&self, id: &str, reason: impl AsRef<str>) -> Result<(), EngineError> {
        let handle = self.handle(id)?;
        if handle.is_over() {
            return Err(EngineError::Over);
        }
        handle.cancel(reason.as_ref());
        Ok(())
    }

    /// Returns the state of an instance.
    ///
    /// # Errors
    /// Returns an error if there is no such instance.
    pub fn state(&self, id: &str) -> Result<InstanceState, EngineError> {
        self.handle(id).map(|handle| handle.state.borrow().clone())
    }

    /// Waits until an instance has ended. Returns its final state.
    ///
    /// # Errors
    /// Returns an error if there is no such instance.
    pub async fn finished(&self, id: &str) -> Result<InstanceState, EngineError> {
        let handle = self.handle(id)?;
        let mut state = handle.state.subscribe();
        match state
            .wait_for(|state| *state != InstanceState::Running)
            .await
        {
            Ok(state) => Ok(state.clone()),
            Err(_gone) => Err(EngineError::Unknown),
        }
    }

    /// Returns the number of instances that the engine knows, running or ended.
    pub fn instances(&self) -> usize {
        self.shared.instances.by_id.len()
    }

    /// Returns the trace id of an instance, for [`LiveSpans::respond`] for example.
    pub fn trace_id(&self, id: &str) -> TraceId {
        self.shared.flows.trace_id(id)
    }

    fn handle(&self, id: &str) -> Result<Arc<InstanceHandle>, EngineError> {
        let instance = self.shared.instances.by_id.get(id);
        let handle = instance.map(|instance| Arc::clone(&instance));
        handle.ok_or(EngineError::Unknown)
    }
}

#[cfg(feature = "http")]
impl Engine {
    pub(crate) fn live(&self) -> &LiveSpans {
        &self.shared.live
    }

    pub(crate) fn body_bytes_max(&self) -> usize {
        self.shared.body_bytes_max
    }
}

impl Instances {
    fn new(max: usize) -> Self {
        Self {
            by_id: DashMap::new(),
            reserved: AtomicUsize::new(0),
            max,
            next_number: AtomicU64::new(0),
        }
    }

    fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    fn insert(&self, handle: &Arc<InstanceHandle>) -> Result<(), EngineError> {
        // Also checked before the reservation: a duplicate id must not evict another instance.
        if self.by_id.contains_key(&handle.id) {
            return Err(EngineError::Taken);
        }
        self.reserve()?;
        match self.by_id.entry(handle.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(handle));
                Ok(())
            }
            Entry::Occupied(_) => {
                self.reserved.fetch_sub(1, Ordering::Relaxed);
                Err(EngineError::Taken)
            }
        }
    }

    /// Reserves room for one instance. If there is none, evicts the oldest instance that has ended.
    fn reserve(&self) -> Result<(), EngineError> {
        // Relaxed: the count guards no other memory.
        let reserved =
            self.reserved
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reserved| {
                    (reserved < self.max).then_some(reserved + 1)
                });
        if reserved.is_ok() || self.evict_oldest_ended() {
            Ok(())
        } else {
            Err(EngineError::Full)
        }
    }

    fn evict_oldest_ended(&self) -> bool {
        loop {
            let ended = self.by_id.iter().filter(|instance| instance.is_over());
            let oldest = ended
                .map(|instance| Arc::clone(&instance))
                .min_by_key(|handle| handle.number);
            let Some(oldest) = oldest else {
                return false;
            };
            let evicted = self
                .by_id
                .remove_if(&oldest.id, |_, handle| Arc::ptr_eq(handle, &oldest));
            // If the instance was no longer in the map, another thread has evicted it. Try the next one.
            if evicted.is_some() {
                return true;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for handle in &self.instances.by_id {
            handle.cancel("the engine was dropped");
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.shared.name)
            .field("instances", &self.instances())
            .finish_non_exhaustive()
    }
}

/// Returns a random UUID of version 4.
fn random_id() -> String {
    let random = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
    let fixed = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{fixed:032x}");
    let mut id = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}
