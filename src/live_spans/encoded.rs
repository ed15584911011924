//! Accepts encoded events of other logs, and ends the spans of a process that is gone. Any thread or task calls it.

use std::{sync::Arc, time::SystemTime};

use crate::{
    error::Error,
    ingest::{buffer::RecordClass, write_buf::WriteBuf},
    live_spans::LiveSpans,
    span::{encoded_event::EncodedEvent, record},
    sse::target::SseTarget,
};

impl LiveSpans {
    /// Upper bound on the id of a process, in bytes: 256.
    pub const PROCESS_ID_BYTES_MAX: usize = 256;

    /// Returns the log as a target for events that are already encoded, such as events from another livespan's stream
    /// or the lines of a file.
    ///
    /// The index, the list and the page treat them as the events of this program's own spans. Dispatch them in their
    /// order. For many events use [`dispatch_all`](SseTarget::dispatch_all): when the buffer is full, it waits and
    /// drops nothing.
    pub fn encoded_target(&self) -> SseTarget<EncodedEvent> {
        SseTarget::from_runtime(Arc::clone(&self.shared.parts.runtime))
    }

    /// Ends the open spans of a process as *lost*, with the time `last_heard`, because the process is known to be gone.
    /// Use it for processes whose events came through [`encoded_target`](Self::encoded_target). Spans of steps that
    /// outlive their process stay open and wait. Only events dispatched before the call are considered.
    ///
    /// # Errors
    /// Returns an error if the log is shut down, or the id is longer than
    /// [`PROCESS_ID_BYTES_MAX`](Self::PROCESS_ID_BYTES_MAX).
    pub async fn end_process(&self, process: &str, last_heard: SystemTime) -> Result<(), Error> {
        if process.len() > Self::PROCESS_ID_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the id of the process has {} bytes, which is more than {}",
                process.len(),
                Self::PROCESS_ID_BYTES_MAX
            )));
        }
        let write =
            |buf: &mut WriteBuf<'_>| record::write_process_gone(buf, process, last_heard.into());
        let runtime = &self.shared.parts.runtime;
        runtime.push(RecordClass::Internal, write).await
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::Pin, time::Duration};

    use futures_core::Stream as _;

    use super::*;
    use crate::{reader::subscription::Subscribe, sse::Message, util::block_on::block_on};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const TIME: &str = "2026-11-22T11:39:00.123456789Z";

    fn started(span: &str, process: &str) -> String {
        format!(
            "{{\"type\":\"started\",\"traceId\":\"{TRACE}\",\"spanId\":\"{span}\",\"parentSpanId\":null,\"name\":\"job\",\
             \"kind\":\"INTERNAL\",\"process\":\"{process}\",\"service\":\"shop\",\"scope\":\"\",\"attributes\":{{}},\
             \"timestamp\":\"{TIME}\"}}"
        )
    }

    fn payloads(live: &LiveSpans, count: usize) -> Vec<String> {
        live.target().flush(Duration::from_secs(60)).unwrap();
        let mut subscription = live.target().subscribe(Subscribe::all());
        let mut next = || block_on(poll_fn(|cx| Pin::new(&mut subscription).poll_next(cx)));
        let texts = (0..count).map(|_| match next() {
            Some(Message::Event(event)) => String::from_utf8(event.payload.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        texts.collect()
    }

    #[test]
    fn events_of_another_log_are_kept_as_they_are_and_indexed() {
        let live = LiveSpans::builder().build().unwrap();
        let lines = [
            r#"{"type":"process","process":"p7f3k2aa","service":"shop","resource":{},"pid":7}"#
                .to_owned(),
            started("00f067aa0ba902b7", "p7f3k2aa"),
            started("00f067aa0ba902b8", "p7f3k2aa"),
        ];
        let events: Vec<_> = lines
            .iter()
            .map(|line| EncodedEvent::new(line.as_str()).unwrap())
            .collect();
        let last = block_on(live.encoded_target().dispatch_all(&events)).unwrap();
        assert_eq!(last, Some(live.status().head));
        assert_eq!(
            block_on(live.encoded_target().dispatch_all(&[])).unwrap(),
            None
        );
        assert_eq!(payloads(&live, 3), lines);
        let id = u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes();
        assert!(live.shared.index.knows(&id));
        live.shutdown().unwrap();
    }

    #[test]
    fn secrets_are_masked_also_behind_white_space() {
        let live = LiveSpans::builder().build().unwrap();
        let plain = started("00f067aa0ba902b7", "p7f3k2aa");
        let secret = plain.replace(
            "\"attributes\":{}",
            "\"attributes\": {\n\t\"password\" : \"x\" }",
        );
        assert_ne!(secret, plain);
        let event = EncodedEvent::new(secret).unwrap();
        block_on(live.encoded_target().dispatch(&event)).unwrap();
        let masked = plain.replace(
            "\"attributes\":{}",
            "\"attributes\":{\"password\":\"[redacted]\"}",
        );
        assert_eq!(payloads(&live, 1), [masked]);
        live.shutdown().unwrap();
    }

    #[test]
    fn spans_of_a_process_that_is_gone_are_lost_and_those_of_others_run_on() {
        let live = LiveSpans::builder().build().unwrap();
        let lines = [
            started("00f067aa0ba902b7", "p7f3k2aa"),
            started("00f067aa0ba902b8", "p0000000"),
        ];
        let target = live.encoded_target();
        for line in &lines {
            block_on(target.dispatch(&EncodedEvent::new(line.as_str()).unwrap())).unwrap();
        }
        let last_heard = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        block_on(live.end_process("p7f3k2aa", last_heard)).unwrap();
        block_on(live.end_process("p7f3k2aa", last_heard)).unwrap();
        let all = payloads(&live, 3);
        assert_eq!(all[..2], lines);
        let ended: serde_json::Value = serde_json::from_str(&all[2]).unwrap();
        let facts = ["type", "spanId", "process", "startTimestamp", "timestamp"];
        let facts = facts.map(|key| ended[key].as_str());
        let end = "2027-01-15T08:00:00.000000000Z";
        let expected = ["ended", "00f067aa0ba902b7", "p7f3k2aa", TIME, end].map(Some);
        assert_eq!(
            (facts, ended["lost"]["reason"].as_str()),
            (expected, Some("crashed"))
        );
        assert_eq!(live.status().head.sequence().get(), 3);
        let too_long = "p".repeat(LiveSpans::PROCESS_ID_BYTES_MAX + 1);
        assert!(
            block_on(live.end_process(&too_long, last_heard))
                .unwrap_err()
                .is_invalid()
        );
        live.shutdown().unwrap();
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn spans_of_running_processes_stay_open_when_the_log_is_opened_again() {
        let folder = std::env::temp_dir().join(format!("livespan-running-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let open = || {
            let store = crate::SqliteEventStore::new(folder.join("spans.db"));
            let builder = LiveSpans::builder().store(store);
            builder.running_processes(["p7f3k2aa"]).build().unwrap()
        };
        let events = |live: &LiveSpans, count| -> Vec<String> {
            let all = payloads(live, count).into_iter();
            let kinds = all.map(|payload| EncodedEvent::new(payload).unwrap().kind().to_owned());
            kinds.collect()
        };
        let first = [
            started("00f067aa0ba902b7", "p7f3k2aa"),
            started("00f067aa0ba902b8", "p0000000"),
        ];
        let first = first.map(|line| EncodedEvent::new(line).unwrap());
        let live = open();
        block_on(live.encoded_target().dispatch_all(&first)).unwrap();
        live.shutdown().unwrap();

        let live = open();
        // The span of the other process is lost.
        assert_eq!(events(&live, 3), ["started", "started", "ended"]);
        let log = format!("{{\"type\":\"log\",\"timestamp\":\"{TIME}\"}}");
        let logs = vec![EncodedEvent::new(log).unwrap(); 10_001];
        block_on(live.encoded_target().dispatch_all(&logs)).unwrap();
        live.shutdown().unwrap();

        // The start is no longer in memory.
        let live = open();
        block_on(live.end_process("p7f3k2aa", SystemTime::now())).unwrap();
        let all = payloads(&live, 10_006);
        assert_eq!(all[10_004], first[0].payload());
        let ended: serde_json::Value = serde_json::from_str(&all[10_005]).unwrap();
        assert_eq!(ended["spanId"], "00f067aa0ba902b7");
        assert_eq!(ended["lost"]["reason"], "crashed");
        assert_eq!(live.status().head.sequence().get(), 10_006);
        live.shutdown().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
