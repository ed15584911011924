//! Events that other processes report to a receiver. [`state`] is the interface to the receiver, [`events`] and
//! [`prepared_ends`] have the steps of the encoder. It runs on the worker thread.

mod events;
mod prepared_ends;
pub(super) mod state;

pub(crate) use self::{
    events::{EarlierEvent, SharedReceiver},
    prepared_ends::{PreparedEnd, PreparedEnds},
    state::{ReceivedEvents, RequestProgress},
};
