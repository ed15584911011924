//! Waits for a report on a thread that cannot await one, such as that of a signal or of a failing test. It blocks
//! that thread, at most until a deadline.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

struct UnparkCaller(Thread);

impl Wake for UnparkCaller {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future until it is ready. Returns its output, or `None` if that takes longer than `timeout`. The caller
/// may be inside a tokio runtime. Then another thread polls the future, and the result is also `None` if that thread
/// cannot be started or the future panics.
pub(crate) fn block_on_for<F>(timeout: Duration, future: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send,
{
    if Handle::try_current().is_err() {
        return poll_for(timeout, future);
    }
    // On a thread of a runtime, tokio delays wake-ups until the thread's current poll has ended. This poll ends only
    // after the wait, so another thread polls.
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("livespan-report".to_owned());
        let polling = thread.spawn_scoped(scope, || poll_for(timeout, future));
        polling.ok()?.join().ok()?
    })
}

fn poll_for<F: Future>(timeout: Duration, future: F) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(UnparkCaller(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = Instant::now() + timeout;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::Builder, task};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Yields, and uses up more than tokio's budget of a poll.
    async fn yields_often() -> u32 {
        for _ in 0..200 {
            task::yield_now().await;
            task::coop::consume_budget().await;
        }
        7
    }

    #[test]
    fn inside_a_runtime_a_future_that_yields_is_ready_at_once() {
        let current_thread = Builder::new_current_thread().build().unwrap();
        let wait = async { block_on_for(PATIENCE, yields_often()) };
        assert_eq!(current_thread.block_on(wait), Some(7));

        let multi_thread = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let waiting = multi_thread.spawn(async { block_on_for(PATIENCE, yields_often()) });
        assert_eq!(multi_thread.block_on(waiting).unwrap(), Some(7));
    }

    #[test]
    fn an_output_in_time_is_returned_and_a_wait_ends_at_its_timeout() {
        let mut polls = 0;
        let third = std::future::poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 3 {
                Poll::Ready(7)
            } else {
                Poll::Pending
            }
        });
        assert_eq!(block_on_for(PATIENCE, third), Some(7));
        let never = std::future::pending::<()>();
        assert_eq!(block_on_for(Duration::from_millis(5), never), None);
    }
}
