//! The bytes of SSE: lines and frames (WHATWG HTML, section 9.2). This code searches a payload for line breaks, but
//! never interprets the payload. Pure; the worker thread and the readers' tasks call it.

use memchr::memchr2;

use crate::wire::id::Epoch;

/// Appends a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends one event with its id. Returns the number of bytes before the payload. Returns `None` if the payload has
/// line breaks, because the frame then does not contain it as one run of bytes.
pub(crate) fn event(
    out: &mut Vec<u8>,
    name: &str,
    epoch: Epoch,
    sequence: u64,
    payload: &[u8],
) -> Option<usize> {
    let head = head(out, name, epoch, sequence);
    let single = data(out, payload);
    out.extend_from_slice(b"\n\n");
    single.then_some(head)
}

/// Like [`event`], for a payload that is known to have no line breaks.
pub(crate) fn line_event(
    out: &mut Vec<u8>,
    name: &str,
    epoch: Epoch,
    sequence: u64,
    payload: &[u8],
) -> usize {
    let head = head(out, name, epoch, sequence);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\n\n");
    head
}

/// Appends the bytes before the payload of an event. Returns their number.
fn head(out: &mut Vec<u8>, name: &str, epoch: Epoch, sequence: u64) -> usize {
    let start = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\nid: ");
    out.extend_from_slice(epoch.as_bytes());
    out.push(b'-');
    number(out, sequence);
    out.extend_from_slice(b"\ndata: ");
    out.len() - start
}

/// Returns the exact size of the frame that [`event`] writes for a payload without line breaks. For other payloads, it
/// is a lower bound.
pub(crate) fn event_size(name: &str, sequence: u64, payload: &[u8]) -> usize {
    let digits = sequence.checked_ilog10().map_or(1, |log| log as usize + 1);
    "event: \nid: 12345678-\ndata: \n\n".len() + name.len() + digits + payload.len()
}

/// Appends a control event. It has no `id:` line, so it never moves a client's cursor.
pub(crate) fn control(out: &mut Vec<u8>, name: &str, payload: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    data(out, payload);
    out.extend_from_slice(b"\n\n");
}

/// Appends a cursor frame, which moves the browser's last event id and dispatches no event.
pub(crate) fn cursor(out: &mut Vec<u8>, epoch: Epoch, sequence: u64) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(epoch.as_bytes());
    out.push(b'-');
    number(out, sequence);
    out.extend_from_slice(b"\n\n");
}

/// Appends the reconnection time, in milliseconds.
pub(crate) fn retry(out: &mut Vec<u8>, milliseconds: u64) {
    out.extend_from_slice(b"retry: ");
    number(out, milliseconds);
    out.extend_from_slice(b"\n\n");
}

/// Reads the payload from the `data:` lines of one frame.
pub(crate) fn payload_of(frame: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(frame.len());
    let mut first = true;
    for line in frame.split(|byte| *byte == b'\n') {
        if let Some(text) = line.strip_prefix(b"data: ") {
            if !first {
                payload.push(b'\n');
            }
            payload.extend_from_slice(text);
            first = false;
        }
    }
    payload
}

/// Appends the payload after an open `data: `, with a further `data:` line at each line break. Returns whether the
/// payload had no line break.
fn data(out: &mut Vec<u8>, payload: &[u8]) -> bool {
    let mut rest = payload;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        let (line, tail) = rest.split_at(at);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\ndata: ");
        let width = if tail.starts_with(b"\r\n") { 2 } else { 1 };
        rest = tail.get(width..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    rest.len() == payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Epoch {
        "k3x9q2a7".parse().unwrap()
    }

    #[test]
    fn a_frame_has_event_id_and_data_in_this_order() {
        let mut out = Vec::new();
        let head = event(&mut out, "started", epoch(), 41, b"{\"a\":1}");
        assert_eq!(out, b"event: started\nid: k3x9q2a7-41\ndata: {\"a\":1}\n\n");
        assert_eq!(head, Some(out.len() - 9));
        assert_eq!(event_size("started", 41, b"{\"a\":1}"), out.len());
        assert_eq!(payload_of(&out), b"{\"a\":1}");
    }

    #[test]
    fn every_kind_of_line_break_becomes_a_further_data_line() {
        let mut out = Vec::new();
        assert_eq!(
            event(&mut out, "note", epoch(), 1, b"a\r\nb\rc\n\nd\n"),
            None
        );
        assert_eq!(
            out,
            b"event: note\nid: k3x9q2a7-1\ndata: a\ndata: b\ndata: c\ndata: \ndata: d\ndata: \n\n"
        );
        assert_eq!(payload_of(&out), b"a\nb\nc\n\nd\n");
    }

    #[test]
    fn control_cursor_and_retry_frames_are_exact() {
        let mut out = Vec::new();
        retry(&mut out, 2500);
        control(&mut out, "end", b"{}");
        cursor(&mut out, epoch(), 0);
        assert_eq!(
            out,
            b"retry: 2500\n\nevent: end\ndata: {}\n\nid: k3x9q2a7-0\n\n"
        );
    }
}
