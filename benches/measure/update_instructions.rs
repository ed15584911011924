//! Counts the instructions of one attribute that is set on an open span, through the SDK alone and
//! through livespan's provider. The worker reads the change on its own thread, whose instructions
//! do not count.

use std::cell::RefCell;

use livespan::LiveSpans;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Calls in a burst.
const CALLS: u32 = 60;
pub(crate) const BURSTS: u32 = 12;

/// The attribute that a call sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The same key in every call, as a loop sets its progress.
    Again,
    /// A new key in every call. The first call also allocates the memory for the span's changes.
    New,
}

impl Change {
    pub(crate) const ALL: [Self; 2] = [Self::Again, Self::New];

    /// Returns the upper bound on the instructions per call that livespan adds to the SDK's, in the
    /// program's own object: the measured value plus about 5 %. The targets are 60 and 350.
    fn bound(self) -> i64 {
        match self {
            Self::Again => 52,
            Self::New => 276,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Again => "a key that is set again",
            Self::New => "a key that is new",
        }
    }
}

const PROVIDERS: [&str; 2] = ["sdk", "live"];

/// Makes the bursts. It runs in the child under callgrind; `counted` is the function in which callgrind counts.
pub(crate) fn make_bursts(provider: &str, change: &str, counted: fn(&dyn Fn(u32))) {
    let change = Change::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == change)
        .expect("no such change");
    if provider == "live" {
        let live = LiveSpans::builder().build().expect("a log in memory opens");
        let provider = live.tracer_provider(SdkTracerProvider::builder());
        change_spans(&provider.tracer("bench"), change, counted);
    } else {
        let provider = SdkTracerProvider::builder().build();
        change_spans(&provider.tracer("bench"), change, counted);
    }
}

fn change_spans<T: Tracer>(tracer: &T, change: Change, counted: fn(&dyn Fn(u32))) {
    let keys: Vec<&'static str> = (0..CALLS)
        .map(|number| &*format!("key {number}").leak())
        .collect();
    for _ in 0..BURSTS {
        let span = RefCell::new(tracer.start("job"));
        span.borrow_mut()
            .set_attribute(KeyValue::new("progress.current", -1));
        counted(&|_| {
            let mut span = span.borrow_mut();
            for (number, key) in (0_i64..).zip(&keys) {
                let key = match change {
                    Change::Again => "progress.current",
                    Change::New => key,
                };
                span.set_attribute(KeyValue::new(key, number));
            }
        });
    }
}

/// Counts and prints. Returns whether all bounds hold. `count` returns the instructions of the
/// smallest burst of the child with these arguments.
pub(crate) fn report(count: impl Fn(&[String]) -> u64) -> bool {
    println!(
        "\n{:<42} {:>8} {:>10} {:>10} {:>8}",
        "one attribute, open span, own object", "SDK", "livespan", "over SDK", "bound"
    );
    let mut is_within = true;
    for change in Change::ALL {
        let [sdk, live] = PROVIDERS.map(|provider| {
            let arguments = [
                "run-updates".to_owned(),
                provider.to_owned(),
                format!("{change:?}"),
            ];
            i64::try_from(count(&arguments) / u64::from(CALLS)).unwrap_or(i64::MAX)
        });
        let over = live - sdk;
        let is_passed = over > change.bound();
        is_within &= !is_passed;
        println!(
            "{:<42} {sdk:>8} {live:>10} {over:>10} {:>8} {}",
            change.name(),
            change.bound(),
            if is_passed { "TOO MANY" } else { "" }
        );
    }
    is_within
}
