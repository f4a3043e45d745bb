//! Numbers that no program means: every tensor operation (`calls.rs`) and every method of the CPU's `Backend` (`wild.rs`) with random
//! arguments, most of them absurd. Each call may panic; none may end the process, hang, or touch memory that is not its own.
//!
//! A thousand calls of either run with the other tests. `scripts/hostile` runs 200,000 in release, and the trait's under the
//! address sanitizer. `MINITORCH_HOSTILE_CALLS` says how many, `MINITORCH_HOSTILE_SEED` which ones, `MINITORCH_HOSTILE_ONLY=n` runs
//! the n-th alone, and `MINITORCH_HOSTILE_TRACE=1` names each before it runs: the last one named is the one that ended the process.

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

/// A call that takes longer counts as one that hangs. Under a sanitizer on a busy machine an ordinary one may take seconds.
const LONGEST: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Runs random calls, each from a source of its own. `call` returns the name of what it called, also to `began` before it does;
/// `judge` looks at the messages of panics.
fn run(what: &str, call: impl Fn(&mut Source, &mut dyn FnMut(&str)), judge: impl Fn(&str) -> Result<(), String>) {
    // One run at a time: a panic's text is not printed meanwhile, and memory is short.
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

/// How the message of a test that fails begins, as opposed to that of a call which is refused.
pub(crate) const WRONG: &str = "WRONG: ";

/// What the language says when code of ours did not look first.
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

/// docs/ops.md lists all operations; each is called.
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
