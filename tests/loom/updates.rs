//! Mounts the files of `span::updates` that a model needs. The changes of a span are their number.

pub(crate) mod changes {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Changes(pub(crate) usize);

    impl Changes {
        #[expect(clippy::unused_self, reason = "the signature of the real one")]
        pub(crate) fn set_task(&mut self, _task: ()) {}
    }
}
/// The spans of the models are not polled.
pub(crate) mod poll_counters {
    #[derive(Debug)]
    pub(crate) struct PollCounters;

    impl PollCounters {
        #[expect(clippy::unused_self, reason = "the signature of the real one")]
        pub(crate) fn take_changed(&self) -> Option<()> {
            None
        }
    }
}
#[path = "../../src/span/updates/slot.rs"]
pub(crate) mod slot;
