//! Fuzzing: every tensor operation (`calls.rs`) and every trait method of the CPU (`wild.rs`) with random arguments, most of them invalid.
//! A call may panic; it must not abort the process, hang, or access memory out of bounds.
//!
//! A thousand calls of either run with the other tests; `scripts/hostile` runs 200,000 in release, and those of the trait under the
//! address sanitizer. `MINITORCH_HOSTILE_CALLS` is their number, `MINITORCH_HOSTILE_SEED` their seed, `MINITORCH_HOSTILE_ONLY=n` runs the
//! n-th alone, and `MINITORCH_HOSTILE_TRACE=1` prints each name before the call, so that the last one printed aborted the process.

mod calls;
mod operands;
mod source;
mod wild;

use source::Source;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A call that takes longer hangs. Under a sanitizer on a busy machine a call may take seconds.
const LONGEST: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Runs random calls, each with a seed of its own. `call` passes the name of the function to `began` before it calls it, and returns
/// it; `judge` checks the messages of panics.
fn run(what: &str, call: impl Fn(&mut Source, &mut dyn FnMut(&str)), judge: impl Fn(&str) -> Result<(), String>) {
    // One run at a time: the panic hook is replaced, and memory is short.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (calls, seed) =
        (number("MINITORCH_HOSTILE_CALLS").unwrap_or(1000), number("MINITORCH_HOSTILE_SEED").unwrap_or(1));
    let (only, trace) = (number("MINITORCH_HOSTILE_ONLY"), number("MINITORCH_HOSTILE_TRACE") == Some(1));
    let range = only.map_or(0..calls, |only| only..only + 1);
    let (current, began, last) = (AtomicUsize::new(usize::MAX), Mutex::new(Instant::now()), Mutex::new(String::new()));
    let hook = std::panic::take_hook();
    if only.is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let (mut panics, mut longest, mut unclear) = (0, (Duration::ZERO, 0), Vec::new());
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while current.load(Ordering::Relaxed) != usize::MAX - 1 {
                std::thread::park_timeout(Duration::from_millis(500));
                let begun = *began.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if begun.elapsed() > LONGEST {
                    let at = current.load(Ordering::Relaxed);
                    eprintln!("{what}: call {at} of seed {seed} hangs: {:?}", last.lock());
                    std::process::abort();
                }
            }
        });
        for at in range.clone() {
            current.store(at, Ordering::Relaxed);
            let start = Instant::now();
            *began.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = start;
            let mut source = Source::new(seed as u64, at as u64);
            let mut named = |name: &str| {
                if trace {
                    eprintln!("{what}: call {at}: {name}");
                }
                name.clone_into(&mut last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| call(&mut source, &mut named))) {
                panics += 1;
                if let Err(why) = judge(message(&*payload)) {
                    unclear.push(format!("call {at}, {}: {why}: {}", last.lock().unwrap(), message(&*payload)));
                }
            }
            longest = longest.max((start.elapsed(), at));
        }
        current.store(usize::MAX - 1, Ordering::Relaxed);
        watch.thread().unpark();
    });
    std::panic::set_hook(hook);
    println!(
        "{what}: {} calls of seed {seed}, {panics} of them refused, the longest, {}, took {:?}",
        range.len(),
        longest.1,
        longest.0
    );
    let count = unclear.len();
    unclear.truncate(30);
    assert!(count == 0, "{what}: {count} panics that do not say what is wrong:\n  {}", unclear.join("\n  "));
    assert!(only.is_some() || panics < range.len() * 9 / 10, "{what}: nearly nothing is computed");
}

/// The prefix of the message of a failed check, as opposed to the panic of an invalid call.
pub(crate) const WRONG: &str = "WRONG: ";

/// Panic messages of the standard library: a missing check.
const UNCLEAR: [&str; 15] = [
    WRONG,
    "attempt to ",
    "index out of bounds",
    "out of range for slice",
    "range start index",
    "slice index",
    "internal error",
    "capacity overflow",
    "called `",
    "assertion `",
    "assertion failed",
    "mid >",
    "chunk size must",
    "source slice length",
    "no text",
];

#[test]
fn operations_with_absurd_numbers() {
    run("operations", calls::call, |text| match UNCLEAR.iter().find(|unclear| text.contains(**unclear)) {
        Some(unclear) => Err(format!("{unclear:?}")),
        None => Ok(()),
    });
}

/// The trait's methods may rely on core's checks for their messages.
#[test]
fn the_trait_with_wild_layouts() {
    run("the trait", wild::call, |_| Ok(()));
}

/// Every operation that docs/ops.md lists is called.
#[test]
fn every_operation_is_called() {
    let (list, calls) = (include_str!("../../../docs/ops.md"), include_str!("calls.rs"));
    let (list, _) = list.split_once("\n## ").unwrap_or((list, ""));
    let names = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named = |name: &str| [format!("{name}("), format!("{name} "), format!("{name},"), format!("{name};")];
    let missing: Vec<&str> = names
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .filter(|name| !named(name).iter().any(|call| calls.contains(call)))
        .collect();
    assert!(missing.is_empty(), "backend-cpu/tests/hostile/calls.rs does not call {missing:?}");
}
