//! The bounds of values and events, and where a text may be cut. The writer lists cuts in the event's `cut`
//! field. Pure; host threads, the worker and the tasks of requests call it.

use crate::span::event::SpanEvent;

pub(crate) const VALUE_BYTES_MAX: usize = SpanEvent::VALUE_BYTES_MAX;
pub(crate) const EVENT_BYTES_MAX: usize = SpanEvent::EVENT_BYTES_MAX;
pub(crate) const ATTRIBUTES_MAX: usize = SpanEvent::ATTRIBUTES_MAX;

/// Bytes reserved for the fields that follow the attributes, events and links: trace state, scope version, `cut`.
pub(super) const RESERVE: usize = 40 * 1024;

/// Upper bound on the paths that `cut` lists; `...` stands for further ones.
pub(super) const CUT_PATHS_MAX: usize = 32;

/// Returns at most `bytes_max` bytes of the text, up to a character boundary, and whether something was cut.
#[inline]
pub(crate) fn clip(text: &str, bytes_max: usize) -> (&str, bool) {
    if text.len() <= bytes_max {
        return (text, false);
    }
    let boundary = (0..=bytes_max)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    (text.get(..boundary).unwrap_or_default(), true)
}

/// Cuts a text that is not in an attribute, such as a name, service or scope. Returns the part to write, and whether
/// something was cut. The part has at most `VALUE_BYTES_MAX` bytes, and at most twice as many once it is escaped. So
/// these texts always leave room for the rest of the event.
#[inline]
pub(super) fn clip_head(text: &str) -> (&str, bool) {
    if text.len() * 6 <= 2 * VALUE_BYTES_MAX {
        return (text, false);
    }
    clip_long_head(text)
}

#[cold]
fn clip_long_head(text: &str) -> (&str, bool) {
    let (text, cut) = clip(text, VALUE_BYTES_MAX);
    let mut room = 2 * VALUE_BYTES_MAX;
    for (at, byte) in text.bytes().enumerate() {
        let size = match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..=0x1f => 6,
            _ => 1,
        };
        if size > room {
            return (clip(text, at).0, true);
        }
        room -= size;
    }
    (text, cut)
}
