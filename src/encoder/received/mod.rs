//! Events that other processes report to a receiver. [`state`] is the interface to the receiver, [`events`] and
//! [`prepared_spans`] have the steps of the encoder. This code runs on the worker thread. Only spans are also encoded
//! on the threads that decode requests.

mod events;
mod prepared_spans;
pub(super) mod state;

pub(crate) use self::{
    events::{EarlierEvent, SharedReceiver},
    prepared_spans::{CompletedSpan, PreparedIndex, PreparedSpans},
    state::{ReceivedEvents, RequestProgress},
};
