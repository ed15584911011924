//! The panic hook. It shows a panic at once in the span that is current, and `on_end` later shows it in each span that
//! the panic ends. The hook runs on the panicking thread, before anything unwinds, possibly under locks of the program,
//! the SDK or this crate. So it calls neither the SDK nor `tracing`, takes no lock that another thread may hold for
//! long, allocates little, and never panics.

use std::{
    panic::{self, PanicHookInfo},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    otel::log_registry,
    span::{
        ending::{self, PanicDetails},
        json::{VALUE_BYTES_MAX, clip},
    },
};

/// Upper bound on the time that the hook waits for the stores of all logs, in a program that aborts on panic.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Installs a panic hook that shows viewers why a span panicked: the span's end then has the panic's message, its
/// location and the name of its thread. Without the hook, the end shows only *that* a panic ended the span.
///
/// - The previous hook still runs, after this one, so messages on the console do not change. A hook that the program
///   sets *later* replaces this one, so call this function after that.
/// - [`init`](crate::init()) calls this function. Further calls, and calls on a panicking thread, have no effect.
/// - The message is cut at [`SpanEvent::VALUE_BYTES_MAX`](crate::SpanEvent::VALUE_BYTES_MAX) and masked like the
///   message of a status. A payload that is not a text gives no message.
/// - With `panic = "abort"`, a panic ends the program before any span ends. The hook then waits, for at most one
///   second, until all records of this program's logs are stored. If [`init`](crate::init()) was called, it also waits
///   after the previous hook: for another second until viewers have the end, and, with `LIVESPAN_LINGER`, for a viewer
///   to come. Without `panic = "abort"`, it never waits.
///
/// ```
/// livespan::panic_hook();
/// ```
pub fn panic_hook() {
    let flush = if cfg!(panic = "abort") {
        Flush::BeforeAbort
    } else {
        Flush::Never
    };
    install(flush);
}

/// Whether the hook waits until all records are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Never,
    /// The program aborts after the hook.
    BeforeAbort,
}

type LastAct = Box<dyn Fn() + Send + Sync>;

/// The last action of a program that aborts on panic.
static LAST_ACT: OnceLock<LastAct> = OnceLock::new();

/// Sets the last action of a program that aborts on panic. It runs after all hooks. Only the first call has an effect.
#[cfg(feature = "tracing")]
pub(crate) fn act_before_abort(act: impl Fn() + Send + Sync + 'static) {
    if cfg!(panic = "abort") {
        let _is_first = LAST_ACT.set(Box::new(act)).is_ok();
    }
}

fn install(flush: Flush) {
    static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
    // On a panicking thread, the standard library refuses to exchange hooks.
    if thread::panicking() || IS_INSTALLED.swap(true, Ordering::AcqRel) {
        return;
    }
    panic::set_hook(before(panic::take_hook(), flush));
}

type PanicHook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Returns our hook, which calls `next` after its own work.
fn before(next: PanicHook, flush: Flush) -> PanicHook {
    Box::new(move |info| {
        ending::note_panic(details(info));
        let span = log_registry::current_span();
        let panic = ending::panic_details();
        log_registry::note(&span, |changes| {
            changes.panic.clone_from(&panic);
            true
        });
        if flush == Flush::BeforeAbort {
            log_registry::for_each(|log| log.enqueue_shared_changes(&span));
            flush_all();
        }
        next(info);
        if flush == Flush::BeforeAbort
            && !is_own_thread()
            && let Some(act) = LAST_ACT.get()
        {
            act();
        }
    })
}

fn details(info: &PanicHookInfo<'_>) -> PanicDetails {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let bounded = |text: &str| clip(text, VALUE_BYTES_MAX).0.to_owned();
    PanicDetails {
        message: message.map(bounded),
        location: info.location().map(|place| bounded(&place.to_string())),
        thread: thread::current().name().map(bounded),
    }
}

/// Waits until all records in the logs' buffers are stored, for at most [`LAST_WORDS_TIMEOUT`].
fn flush_all() {
    if is_own_thread() {
        return;
    }
    let deadline = Instant::now() + LAST_WORDS_TIMEOUT;
    log_registry::for_each(|log| {
        let left = deadline.saturating_duration_since(Instant::now());
        // There is no caller to return an error to.
        drop(log.runtime.flush_unless_failing(left));
    });
}

/// Returns whether this is a thread of a log, which cannot wait for itself.
fn is_own_thread() -> bool {
    thread::current()
        .name()
        .is_some_and(|name| name.starts_with("livespan"))
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        process::{Command, Stdio},
        sync::Arc,
    };

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::{
        EventStore, LiveSpans, MemoryEventStore,
        log::{batch::Batch, event::StreamKey, retention::Retention},
        store::{Appended, EpochStart, PageLimit, ReadFuture},
        wire::id::Sequence,
    };

    const CHILD: &str = "LIVESPAN_TEST_ABORTS";

    /// A slow store: each append takes 200 ms. An event is stored before the abort only if the hook waits for it.
    #[derive(Debug, Default)]
    struct SlowStore(MemoryEventStore);

    impl EventStore for SlowStore {
        fn kind(&self) -> &'static str {
            "slow"
        }

        fn open(&self) -> Result<Sequence, crate::Error> {
            self.0.open()
        }

        fn epochs(&self) -> Arc<[EpochStart]> {
            self.0.epochs()
        }

        fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, crate::Error> {
            thread::park_timeout(Duration::from_millis(200));
            self.0.append(first, batch)
        }

        fn oldest(&self) -> Sequence {
            self.0.oldest()
        }

        fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
            self.0.read_after(after, limit)
        }

        fn read_streams_after(
            &self,
            keys: &[StreamKey],
            after: Sequence,
            limit: PageLimit,
        ) -> ReadFuture<'_> {
            self.0.read_streams_after(keys, after, limit)
        }

        fn tail_retention(&self) -> Retention {
            self.0.tail_retention()
        }
    }

    #[test]
    #[ignore = "not a test: a program that a panic aborts, which the next test starts"]
    fn aborting_program() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        let live = LiveSpans::builder()
            .store(SlowStore::default())
            .build()
            .unwrap();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(live.span_processor())
            .build();
        let log = live.clone();
        let abort: PanicHook = Box::new(move |_| {
            println!("\n>{} stored", log.target().head().sequence().get());
            std::process::abort();
        });
        panic::set_hook(before(abort, Flush::BeforeAbort));
        provider.tracer("test").in_span("last words", |_| {});
        panic!("out of luck");
    }

    #[test]
    fn events_before_an_aborting_panic_are_stored() {
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "otel::panic_hook::tests::aborting_program",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(!child.status.success());
        let printed = String::from_utf8(child.stdout).unwrap();
        let output = printed.lines().find_map(|line| line.strip_prefix('>'));
        // The events `process`, `started` and `ended`.
        assert_eq!(output, Some("3 stored"));
    }
}
