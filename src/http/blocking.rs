//! Work that takes milliseconds and more, on a thread of the runtime that is there for it: a task of the host's runtime must not
//! be held up.

use http::StatusCode;

use crate::http::error::HttpError;

/// Does work that takes a while where it holds nobody up: the caller may be on the host's own runtime.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let failed = |error: tokio::task::JoinError| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
