//! Writes traces as one HTML file on the disk, for a failed test. It blocks its thread, which must
//! not be inside a runtime.

use std::{
    future::poll_fn,
    io::{self, Write},
    pin::Pin,
};

use http_body::Body as _;

use crate::{http::routes::trace_snapshot::route, live_spans::LiveSpans, span::event::TraceId};

/// Writes the file. Traces that are not in the log are left out.
pub(crate) fn write_to(
    live: &LiveSpans,
    traces: &[TraceId],
    out: &mut impl Write,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let body = route::file_of(live, traces).await;
        let mut body = body
            .map_err(|_busy| io::Error::from(io::ErrorKind::WouldBlock))?
            .into_body();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(io::Error::other)?;
            if let Some(bytes) = frame.data_ref() {
                out.write_all(bytes)?;
            }
        }
        Ok(())
    })
}
