//! Mounts the files of `span::updates` that a model needs. In the model, the changes of a span are
//! only counted.

pub(crate) mod changes {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Changes(pub(crate) usize);

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub(crate) struct TaskState {
        pub(crate) polls: u64,
        pub(crate) busy_nanos: u64,
        pub(crate) idle_nanos: u64,
        pub(crate) longest_poll_nanos: u64,
        pub(crate) polling: Option<(crate::util::time::Timestamp, std::sync::Arc<str>)>,
    }
}
#[path = "../../src/span/updates/poll_counters.rs"]
pub(crate) mod poll_counters;
#[path = "../../src/span/updates/slot.rs"]
pub(crate) mod slot;
