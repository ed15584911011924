//! Events that other processes report to a receiver. [`state`] is the interface to the receiver, [`events`] has the
//! steps of the encoder. It runs on the worker thread.

mod events;
pub(super) mod state;

pub(crate) use self::{
    events::{EarlierEvent, SharedReceiver},
    state::{ReceivedEvents, RequestProgress},
};
