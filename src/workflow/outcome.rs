//! Decides from a step's output whether the step failed, and collects the error's causes. Pure.

use std::{
    borrow::Cow, collections::HashMap, error::Error, fmt, rc::Rc, sync::Arc, time::Duration,
};

use crate::span::ending::{self, PanicDetails};

/// Upper bound on the causes kept of an error. Without it, a chain of sources with a cycle would never end.
const CAUSES_MAX: usize = 32;

/// The reason why a step failed, or that it was cancelled.
///
/// ```
/// use livespan::workflow::Failure;
///
/// let failure = Failure::of(&std::io::Error::other("the disk is full"));
/// assert_eq!(failure.to_string(), "the disk is full");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    type_name: &'static str,
    causes: Vec<String>,
    cancelled: bool,
    panic: Option<Arc<PanicDetails>>,
}

impl Failure {
    /// Creates a failure from a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            type_name: "",
            causes: Vec::new(),
            cancelled: false,
            panic: None,
        }
    }

    /// Creates a failure from an error: its message, and those of its first 32 sources.
    pub fn of<E: Error + ?Sized>(error: &E) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source.filter(|_| causes.len() < CAUSES_MAX) {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            type_name: std::any::type_name::<E>(),
            causes,
            ..Self::new(error.to_string())
        }
    }

    /// Creates the failure of a cancelled step. A cancellation is not an error: the span gets no `exception` event.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self {
            cancelled: true,
            ..Self::new(reason)
        }
    }

    /// Creates the failure of a step that panicked with this message. A panic is shown as its own outcome, not as a
    /// plain error.
    pub(crate) fn panicked(message: Option<&str>) -> Self {
        // If livespan's panic hook is installed and saw this panic, it has more details.
        let seen = ending::panic_details().filter(|seen| seen.message.as_deref() == message);
        let panic = seen.unwrap_or_else(|| {
            Arc::new(PanicDetails {
                message: message.map(str::to_owned),
                ..PanicDetails::default()
            })
        });
        Self {
            panic: Some(panic),
            ..Self::new(format!("panicked: {}", message.unwrap_or("(no message)")))
        }
    }

    /// Returns the details of the panic, if the failure was one.
    pub(crate) fn panic(&self) -> Option<&Arc<PanicDetails>> {
        self.panic.as_ref()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    pub(crate) fn has_causes(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Returns the message and each cause, one per line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            text.push_str("\ncaused by: ");
            text.push_str(cause);
        }
        text
    }
}

/// Writes the message and then each cause. Omits a cause if the text before it already ends with it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.message.clone();
        for cause in &self.causes {
            if !text.ends_with(cause.as_str()) {
                text.push_str(": ");
                text.push_str(cause);
            }
        }
        f.write_str(&text)
    }
}

/// The error type of a `Result`, from which livespan reads the failure and its causes. The parameter only keeps the
/// implementations apart; it is always inferred.
///
/// It is implemented for every [`Error`], for `Box<dyn Error>`, for text (`AsRef<str>`), and for every
/// `AsRef<dyn Error + Send + Sync>`. That includes `anyhow::Error` and `Box<dyn Error + Send + Sync>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an error nor text",
    note = "implement `std::error::Error` for it, or decide with `step_classified` whether the step failed"
)]
pub trait Cause<Way> {
    /// Returns the failure.
    fn failure(&self) -> Failure;
}

/// Marker types that keep the implementations of [`Cause`] and [`Outcome`] apart.
pub mod marker {
    /// For types that implement [`Error`](std::error::Error).
    #[derive(Debug)]
    pub enum IsError {}
    /// For types that implement `AsRef<dyn Error + Send + Sync>`.
    #[derive(Debug)]
    pub enum HoldsError {}
    /// For boxed errors that are not both `Send` and `Sync`.
    #[derive(Debug)]
    pub enum HoldsLocalError {}
    /// For text.
    #[derive(Debug)]
    pub enum IsText {}
    /// For outputs that are not a `Result`.
    #[derive(Debug)]
    pub enum Plain {}
    /// For a `Result` whose error type is a [`Cause`](super::Cause) with the marker `Way`.
    #[derive(Debug)]
    pub struct Fallible<Way>(Way);
}

impl<E: Error> Cause<marker::IsError> for E {
    fn failure(&self) -> Failure {
        Failure::of(self)
    }
}

impl<E: AsRef<dyn Error + Send + Sync>> Cause<marker::HoldsError> for E {
    fn failure(&self) -> Failure {
        let failure = Failure::of(self.as_ref());
        Failure {
            type_name: std::any::type_name::<E>(),
            ..failure
        }
    }
}

macro_rules! local {
    ($($type:ty),*) => {
        $(impl Cause<marker::HoldsLocalError> for $type {
            fn failure(&self) -> Failure {
                let failure = Failure::of(self.as_ref());
                Failure {
                    type_name: std::any::type_name::<$type>(),
                    ..failure
                }
            }
        })*
    };
}

// Not for every `AsRef<dyn Error>`: many of these types also implement `AsRef<dyn Error + Send + Sync>`, so two
// implementations would apply and inference would fail.
local![Box<dyn Error>, Box<dyn Error + Send>, Box<dyn Error + Sync>];

impl<E: AsRef<str>> Cause<marker::IsText> for E {
    fn failure(&self) -> Failure {
        Failure::new(self.as_ref())
    }
}

impl Cause<marker::IsError> for Failure {
    fn failure(&self) -> Failure {
        self.clone()
    }
}

/// The output of a step's future: a `Result`, or a value that is never a failure. The parameter is always inferred.
///
/// For a type of your own, write `impl Outcome<marker::Plain> for Mine {}`. For a type of another crate, use
/// [`Workflow::step_classified`](crate::workflow::Workflow::step_classified).
#[diagnostic::on_unimplemented(
    message = "livespan cannot tell whether `{Self}` is a failure",
    note = "give a `Result`, or use `step_classified`, or `impl livespan::workflow::Outcome<livespan::workflow::marker::Plain> for` it"
)]
pub trait Outcome<Way> {
    /// Returns why the step failed, if it did.
    fn failed(&self) -> Option<Failure> {
        None
    }
}

impl<T, E: Cause<Way>, Way> Outcome<marker::Fallible<Way>> for Result<T, E> {
    fn failed(&self) -> Option<Failure> {
        self.as_ref().err().map(Cause::failure)
    }
}

macro_rules! plain {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {
        $(impl<$($generics)*> Outcome<marker::Plain> for $type {})*
    };
}

plain![
    [] (), [] bool, [] char, [] String, [] &str, [] Cow<'_, str>, [] bytes::Bytes, [] serde_json::Value,
    [] u8, [] u16, [] u32, [] u64, [] u128, [] usize, [] i8, [] i16, [] i32, [] i64, [] i128, [] isize, [] f32, [] f64,
    [] Duration, [] std::time::SystemTime, [] std::time::Instant,
    [T] Option<T>, [T] Vec<T>, [T: ?Sized] Box<T>, [T: ?Sized] Rc<T>, [T: ?Sized] Arc<T>, [T, const N: usize] [T; N],
    [K, V, S] HashMap<K, V, S>, [A] (A,), [A, B] (A, B), [A, B, C] (A, B, C), [A, B, C, D] (A, B, C, D),
];
