//! The conformance suite of [`EventStore`](crate::EventStore): every promise of the trait, checked on a store of yours.

mod checks;
mod draft;
mod failure;
mod handle;
mod model;
mod place;
mod random;
mod stage;
mod suite;

pub use self::{
    place::Place,
    stage::{Check, Fault},
    suite::{DEFAULT_HISTORIES, DEFAULT_SEED, Suite, conformance},
};
