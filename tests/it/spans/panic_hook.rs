//! `panic_hook()` is global to a process, so this runs in a separate process: this test program
//! again, with `program` as its only test.

use std::{
    env,
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind, panic_any, resume_unwind},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use livespan::{Redaction, SpanEvent};
use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use serde_json::{Value as Json, json};

use super::{live_provider::Watched, panicked::endings};
use crate::support::until;

const CHILD: &str = "LIVESPAN_TEST_PANIC_HOOK";

/// The number of calls of the program's own hook.
static HOOKED: AtomicUsize = AtomicUsize::new(0);
/// The place of the newest panic, recorded by the program's own hook.
static PLACE: Mutex<String> = Mutex::new(String::new());

fn own_hook(info: &PanicHookInfo<'_>) {
    HOOKED.fetch_add(1, Ordering::Relaxed);
    *PLACE.lock().unwrap() = info.location().unwrap().to_string();
}

/// Returns the end of a span in which `fails` panics, and the place of the panic.
fn end_of(watched: &Watched, fails: impl FnOnce()) -> (Json, String) {
    let tracer = watched.tracer();
    let unwound = catch_unwind(AssertUnwindSafe(|| tracer.in_span("work", |_| fails())));
    assert!(unwound.is_err());
    let ended = endings(watched).pop().unwrap();
    (ended, PLACE.lock().unwrap().clone())
}

fn ended(message: &str, panic: &Json) -> Json {
    json!({"name": "work", "status": {"code": "ERROR", "message": message}, "panicked": true, "panic": panic})
}

/// Returns the name that the test harness gives to the thread.
fn this_thread() -> String {
    thread::current().name().unwrap().to_owned()
}

#[test]
#[ignore = "not a test: the next test starts it as a separate process"]
fn program() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    panic::set_hook(Box::new(own_hook));
    livespan::panic_hook();
    livespan::panic_hook();
    says_message_place_and_thread();
    says_what_it_can_of_other_payloads();
    forgets_a_panic_that_was_caught();
    masks_and_cuts();
    shows_a_panic_before_its_span_ends();
}

fn says_message_place_and_thread() {
    let watched = Watched::new();
    let before = HOOKED.load(Ordering::Relaxed);
    let thread = this_thread();
    let (end, location) = end_of(&watched, || panic!("out of luck"));
    let known = json!({"message": "out of luck", "location": location, "thread": thread});
    assert_eq!(end, ended("out of luck", &known));
    let (end, location) = end_of(&watched, || panic!("out of luck: {}", 7));
    let known = json!({"message": "out of luck: 7", "location": location, "thread": thread});
    assert_eq!(end, ended("out of luck: 7", &known));
    assert_eq!(
        HOOKED.load(Ordering::Relaxed) - before,
        2,
        "the hook did not run once for each panic"
    );
    thread::scope(|scope| {
        let unnamed = scope.spawn(|| end_of(&watched, || panic!("elsewhere")));
        let (end, location) = unnamed.join().unwrap();
        let known = json!({"message": "elsewhere", "location": location});
        assert_eq!(end, ended("elsewhere", &known));
    });
}

fn says_what_it_can_of_other_payloads() {
    let watched = Watched::new();
    let (end, location) = end_of(&watched, || panic_any(7));
    let known = json!({"location": location, "thread": this_thread()});
    assert_eq!(end, ended("panicked", &known));
    let (end, location) = end_of(&watched, || panic_any(String::new()));
    let known = json!({"message": "", "location": location, "thread": this_thread()});
    let mut expected = ended("", &known);
    expected["status"] = json!({"code": "ERROR"});
    assert_eq!(end, expected);
}

/// A caught panic must not be attributed to a later one. The hook does not run for a resumed panic.
fn forgets_a_panic_that_was_caught() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let payload = catch_unwind(|| panic!("caught")).unwrap_err();
    // A panic that is resumed at once counts as the same panic.
    let (end, location) = end_of(&watched, || resume_unwind(payload));
    let known = json!({"message": "caught", "location": location, "thread": this_thread()});
    assert_eq!(end, ended("caught", &known));
    tracer.in_span("fine", |_| {});
    let (end, _) = end_of(&watched, || resume_unwind(Box::new("of another thread")));
    let bare = json!({"name": "work", "status": {"code": "ERROR", "message": "panicked"}, "panicked": true});
    assert_eq!(end, bare);
    // A panic that a destructor catches does not hide the one that is unwinding.
    let inner = catch_unwind(AssertUnwindSafe(|| {
        tracer.in_span("outer", |cx| {
            cx.span().add_event("tries", Vec::new());
            drop(catch_unwind(|| panic!("inside")));
            panic!("at last");
        });
    }));
    assert!(inner.is_err());
    let outer = endings(&watched).pop().unwrap();
    assert_eq!(outer["panic"]["message"], "at last");
}

fn masks_and_cuts() {
    let redaction = Redaction::none().deny(["status.message"]);
    let watched = Watched::with(livespan::LiveSpans::builder().redact(redaction));
    let (end, _) = end_of(&watched, || panic!("password=hush"));
    assert_eq!(
        (&end["status"]["message"], &end["panic"]["message"]),
        (
            &json!(Redaction::PLACEHOLDER),
            &json!(Redaction::PLACEHOLDER)
        )
    );
    let watched = Watched::new();
    let long = "x".repeat(SpanEvent::VALUE_BYTES_MAX + 7);
    let (end, _) = end_of(&watched, || panic!("{long}"));
    let cut = json!(&long[..SpanEvent::VALUE_BYTES_MAX]);
    assert_eq!(
        (&end["status"]["message"], &end["panic"]["message"]),
        (&cut, &cut)
    );
}

/// The panic is caught, and the span continues.
fn shows_a_panic_before_its_span_ends() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    tracer.in_span("work", |_| {
        drop(catch_unwind(|| panic!("no card")));
        let shown = || {
            watched
                .events()
                .into_iter()
                .find(|event| event["type"] == "updated")
        };
        until(|| shown().is_some());
        let location = PLACE.lock().unwrap().clone();
        let known = json!({"message": "no card", "location": location, "thread": this_thread()});
        assert_eq!(shown().unwrap()["panic"], known);
    });
    assert_eq!(endings(&watched).pop().unwrap()["panicked"], json!(null));
}

#[test]
fn the_hook_shows_viewers_why_a_span_panicked_and_leaves_the_programs_own_hook() {
    let status = Command::new(env::current_exe().unwrap())
        .args(["spans::panic_hook::program", "--exact", "--ignored"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
