//! Waits for a report on a thread without a runtime, such as that of a signal or of a failing test. It blocks that
//! thread, at most until a deadline.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

struct UnparkCaller(Thread);

impl Wake for UnparkCaller {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future until it is ready. Returns its output, or `None` if that takes longer than
/// `timeout`.
pub(crate) fn block_on_for<F: Future>(timeout: Duration, future: F) -> Option<F::Output> {
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
    use super::*;

    #[test]
    fn what_is_ready_in_time_is_returned_and_nothing_is_waited_for_longer() {
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
        assert_eq!(block_on_for(Duration::from_secs(60), third), Some(7));
        let never = std::future::pending::<()>();
        assert_eq!(block_on_for(Duration::from_millis(5), never), None);
    }
}
