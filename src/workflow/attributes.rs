//! The attributes of workflow spans. OpenTelemetry has no stable names for them yet.

/// The namespace of the instance; on the root.
pub const NAMESPACE: &str = "workflow.namespace";
/// The name of the workflow; on the root.
pub const DEFINITION: &str = "workflow.definition.name";
/// The instance's own id; on every span.
pub const INSTANCE: &str = "workflow.instance.id";
/// What a step does: `do`, `sleep`, `wait` or `scope`.
pub const STEP_KIND: &str = "workflow.step.kind";
/// How often a step was tried, if more than once or if its engine says so.
pub const ATTEMPTS: &str = "workflow.step.attempts";
/// When a sleep wakes up: RFC 3339.
pub const SLEEP_UNTIL: &str = "workflow.sleep.until";
/// How long a sleep lasts, in milliseconds.
pub const SLEEP_DURATION: &str = "workflow.sleep.duration_ms";
/// The event that a wait is for.
pub const WAIT_EVENT: &str = "workflow.wait.event";
/// After how many milliseconds a wait gives up.
pub const WAIT_TIMEOUT: &str = "workflow.wait.timeout_ms";
/// When a wait gives up: RFC 3339.
pub const WAIT_UNTIL: &str = "workflow.wait.until";
