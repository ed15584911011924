//! Mounts the files of `span::updates` that a model needs. In the model, the changes of a span are
//! only counted.

pub(crate) mod changes {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Changes(pub(crate) usize);
}
#[path = "../../src/span/updates/slot.rs"]
pub(crate) mod slot;
