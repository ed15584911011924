//! Runs work that takes milliseconds or more on a blocking thread of the runtime, so that it does
//! not delay the tasks of the host's runtime.

use http::StatusCode;

use crate::http::error::HttpError;

/// Runs the work on a blocking thread, because the caller may be on the host's own runtime.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let failed = |error: tokio::task::JoinError| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
