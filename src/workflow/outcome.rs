//! How a step ended, read off what its future gave: whether that is a failure, and what caused it. Pure.

use std::{
    borrow::Cow, collections::HashMap, error::Error, fmt, rc::Rc, sync::Arc, time::Duration,
};

/// Causes of an error that are told; one that goes round in circles has no end.
const CAUSES_MAX: usize = 32;

/// Why a step failed.
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
}

impl Failure {
    /// Says why with a text alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            type_name: "",
            causes: Vec::new(),
            cancelled: false,
        }
    }

    /// Takes the message of an error, and those of its sources.
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

    /// Says that the step was cancelled, which is no error.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self {
            cancelled: true,
            ..Self::new(reason)
        }
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

    /// The error and what caused it, a line each.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            text.push_str("\ncaused by: ");
            text.push_str(cause);
        }
        text
    }
}

/// The message, then each cause that the text before it does not say already.
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

/// What an error in a `Result` is, so that the failure can be told with its causes. The parameter only tells the ways
/// apart; it is always inferred.
///
/// Every [`Error`] is one, every text, everything that can be seen as an error, such as `anyhow::Error` and
/// `Box<dyn Error + Send + Sync>`, and a `Box<dyn Error>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an error nor a text",
    note = "implement `std::error::Error` for it, or say with `step_classified` when it failed"
)]
pub trait Cause<Way> {
    /// Returns the failure.
    fn failure(&self) -> Failure;
}

/// The ways in which a value can be a [`Cause`] or an [`Outcome`].
pub mod marker {
    /// It is an error.
    #[derive(Debug)]
    pub enum IsError {}
    /// It can be seen as an error.
    #[derive(Debug)]
    pub enum HoldsError {}
    /// It is the box of an error of one thread.
    #[derive(Debug)]
    pub enum HoldsLocalError {}
    /// It is text.
    #[derive(Debug)]
    pub enum IsText {}
    /// It is no `Result`.
    #[derive(Debug)]
    pub enum Plain {}
    /// It is a `Result`, whose error is a cause in this way.
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

// Not whatever can be seen as a local error: much that can be is seen as one for all threads, too, and then there would be
// two ways.
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

/// What a step's future gives: a `Result`, or a value that is never a failure. The parameter is always inferred.
///
/// Types of your own need `impl Outcome<marker::Plain> for Mine {}`; for those of others say with
/// [`Workflow::step_classified`](crate::workflow::Workflow::step_classified) when they are a failure.
#[diagnostic::on_unimplemented(
    message = "whether `{Self}` is a failure cannot be told",
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
