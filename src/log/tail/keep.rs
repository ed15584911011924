//! Keeps streams on request, such as a trace that a person still reads. Kept streams are bounded in number and size.
//! Their events are carried, that is, kept beyond retention. It runs on the thread of the caller, under the tail's
//! lock.

use crate::{
    log::{
        event::StreamKey,
        retention::{KeepError, Retention},
        tail::{Tail, carried::StreamSize},
    },
    util::sync::{read, write},
};

impl Tail {
    /// Keeps all readable and future events of a stream, until [`stop_keeping`](Self::stop_keeping) or until the kept
    /// streams outgrow their share.
    pub(crate) fn keep(&self, key: &StreamKey) -> Result<(), KeepError> {
        let mut state = write(&self.state);
        if !state.carried.is_enabled() {
            return Err(KeepError::TooLarge);
        }
        let slot = state.streams.find(key);
        let slot = slot.filter(|slot| state.streams.len(*slot) > 0);
        let slot = slot.ok_or(KeepError::Unknown)?;
        if state.streams.is_kept(slot) {
            return Ok(());
        }
        if state.kept.len() >= Retention::KEPT_STREAMS_MAX {
            return Err(KeepError::TooMany);
        }
        let all = state.kept.iter().copied().chain([slot]);
        let size = all.fold(StreamSize::default(), |sum, slot| {
            sum.plus(state.size_of(slot))
        });
        if !size.fits(state.carried.kept_max()) {
            return Err(KeepError::TooLarge);
        }
        state.keep(slot);
        Ok(())
    }

    /// Stops keeping the stream. Returns whether it was kept.
    pub(crate) fn stop_keeping(&self, key: &StreamKey) -> bool {
        let mut state = write(&self.state);
        let slot = state.streams.find(key);
        let Some(slot) = slot.filter(|slot| state.streams.is_kept(*slot)) else {
            return false;
        };
        state.stop_keeping(slot);
        true
    }

    /// Returns the streams that are kept on request.
    pub(crate) fn kept(&self) -> Vec<StreamKey> {
        let state = read(&self.state);
        let kept = state.kept.iter();
        kept.filter_map(|slot| state.streams.key(*slot)).collect()
    }
}
