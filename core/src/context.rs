//! What runs when an operation panics, such as a layer of a model, as part of the panic's message.
//!
//! ```text
//! linear: an input [64, 100] for a weight [128, 784]; in layer 3: Linear
//! ```
//!
//! Core knows no layers: the crate that does registers a function that describes what the calling thread runs. In core,
//! `panic!` and `assert!` are the macros of this file, so that every message of an operation has the description. Without
//! a panic they cost what the standard macros cost.

use std::fmt::Arguments;
use std::sync::OnceLock;

/// What the calling thread runs, as the end of a sentence: `in layer 3: Linear`. `None` if there is nothing to say.
pub type Describe = fn() -> Option<String>;

static DESCRIBE: OnceLock<Describe> = OnceLock::new();

/// Registers the description that panics of this process add to their messages. Only the first one counts. It must not
/// panic.
pub fn describe_with(describe: Describe) {
    DESCRIBE.get_or_init(|| describe);
}

/// Panics at the caller's line, with the message and the registered description.
///
/// # Panics
/// Always.
#[cold]
#[track_caller]
pub fn fail(message: Arguments<'_>) -> ! {
    match DESCRIBE.get().and_then(|describe| describe()) {
        Some(description) => std::panic!("{message}; {description}"),
        None => std::panic!("{message}"),
    }
}

/// The standard macro, with the description of [`fail`].
macro_rules! panic {
    ($($message:tt)+) => {
        $crate::context::fail(::std::format_args!($($message)+))
    };
}

/// The standard macro, with the description of [`fail`] if it has a message.
macro_rules! assert {
    ($condition:expr $(,)?) => {
        ::std::assert!($condition)
    };
    ($condition:expr, $($message:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            $crate::context::fail(::std::format_args!($($message)+))
        }
    }};
}
