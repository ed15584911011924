//! The attributes of workflow spans. OpenTelemetry has no stable names for them yet.

/// The namespace of the instance. Only the root span has it.
pub const NAMESPACE: &str = "workflow.namespace";
/// The name of the workflow. Only the root span has it.
pub const DEFINITION: &str = "workflow.definition.name";
/// The id of the instance. Every span has it.
pub const INSTANCE: &str = "workflow.instance.id";
/// The kind of a step: `do`, `sleep`, `wait` or `scope`.
pub const STEP_KIND: &str = "workflow.step.kind";
/// The number of attempts of a step. It is absent if there was only one, unless the engine set it.
pub const ATTEMPTS: &str = "workflow.step.attempts";
/// The time at which a sleep ends, as RFC 3339.
pub const SLEEP_UNTIL: &str = "workflow.sleep.until";
/// The duration of a sleep, in milliseconds.
pub const SLEEP_DURATION: &str = "workflow.sleep.duration_ms";
/// The name of the event that a step waits for.
pub const WAIT_EVENT: &str = "workflow.wait.event";
/// The time limit of a wait, in milliseconds.
pub const WAIT_TIMEOUT: &str = "workflow.wait.timeout_ms";
/// The time at which a wait times out, as RFC 3339.
pub const WAIT_UNTIL: &str = "workflow.wait.until";
