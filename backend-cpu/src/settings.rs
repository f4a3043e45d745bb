//! Settings from the environment. An invalid value is reported in one line on stderr, once, and ignored: a typo in a shell script
//! neither ends a program nor goes unnoticed.
//!
//! `MINITORCH_NUM_THREADS` sizes rayon's global pool. `MINITORCH_ISA` is read in `simd`.

use rayon::ThreadBuilder;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};

/// The most threads of a pool: the larger of this and [`PER_CORE`] per core. Idle threads of a rayon pool poll each other for work, so a
/// pool far larger than the machine is slow.
const MAX_THREADS: usize = 64;
const PER_CORE: usize = 4;

/// The value of a variable; `None` if it is unset or empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Writes a line to stderr.
pub(crate) fn warn(line: &str) {
    // stderr may be closed.
    let _ = writeln!(io::stderr(), "minitorch: {line}");
}

/// A value quoted for a warning: escaped, and cut to 40 characters.
pub(crate) fn shown(value: &str) -> String {
    format!("{:?}", value.chars().take(40).collect::<String>())
}

/// The number of threads that `text` requests on a machine with `cores` cores, and the warning if it is invalid. `None` and 0 stand
/// for rayon's default.
fn threads(text: &str, cores: usize) -> (Option<usize>, Option<String>) {
    let max = MAX_THREADS.max(PER_CORE * cores);
    match text.parse::<usize>() {
        Ok(0) => (None, None),
        Ok(number) if number <= max => (Some(number), None),
        Ok(number) => {
            let warning =
                format!("MINITORCH_NUM_THREADS: {number} threads are too many for {cores} cores; {max} are used");
            (Some(max), Some(warning))
        }
        Err(_) => {
            let warning = format!("MINITORCH_NUM_THREADS: {} is not a number of threads; it is ignored", shown(text));
            (None, Some(warning))
        }
    }
}

/// Sizes rayon's global pool by `MINITORCH_NUM_THREADS`, if it is set and the program has not built the pool itself. Called once,
/// before the first loop.
pub(crate) fn size_pool() {
    let Some(text) = variable("MINITORCH_NUM_THREADS") else { return };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (wanted, warning) = threads(&text, cores);
    warning.iter().for_each(|line| warn(line));
    let Some(wanted) = wanted else { return };
    let (waiting, failure) = start(wanted, |run| std::thread::Builder::new().spawn(run).map(drop));
    let builder = rayon::ThreadPoolBuilder::new().num_threads(waiting.len().max(1));
    let alone = waiting.is_empty();
    let builder = if alone { builder.use_current_thread() } else { builder };
    let count = waiting.len();
    if builder.spawn_handler(hand_over(waiting)).build_global().is_err() {
        // The program has built the global pool.
        return;
    }
    if let Some(failure) = failure {
        warn(&fewer(count, wanted, &failure));
    }
}

fn fewer(count: usize, wanted: usize, failure: &io::Error) -> String {
    format!("MINITORCH_NUM_THREADS: the system starts {count} threads and not {wanted}: {failure}")
}

/// A thread that waits for its part in a pool.
type Waiting = Sender<ThreadBuilder>;

/// Starts up to `wanted` threads, and returns those that the OS allowed and the error of the first that it refused. Rayon would fail
/// to build the pool, and the global pool can be built only once.
fn start(
    wanted: usize,
    mut spawn: impl FnMut(Box<dyn FnOnce() + Send>) -> io::Result<()>,
) -> (Vec<Waiting>, Option<io::Error>) {
    let mut waiting = Vec::new();
    for _ in 0..wanted {
        let (sender, receiver) = channel::<ThreadBuilder>();
        let run = move || {
            if let Ok(thread) = receiver.recv() {
                thread.run();
            }
        };
        match spawn(Box::new(run)) {
            Ok(()) => waiting.push(sender),
            Err(error) => return (waiting, Some(error)),
        }
    }
    (waiting, None)
}

/// A spawn handler that runs the threads of a pool on waiting ones, which are as many.
fn hand_over(mut waiting: Vec<Waiting>) -> impl FnMut(ThreadBuilder) -> io::Result<()> {
    move |thread| match waiting.pop() {
        Some(sender) => sender.send(thread).map_err(|_| io::Error::other("a waiting thread has ended")),
        None => Err(io::Error::other("the pool has more threads than are waiting")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_threads_are_used_limited_or_ignored() {
        for (text, cores, number) in [("0", 2, None), ("1", 2, Some(1)), ("64", 2, Some(64)), ("300", 96, Some(300))] {
            assert_eq!(threads(text, cores), (number, None), "{text}");
        }
        let parsed = |text, cores| (threads(text, cores).0, threads(text, cores).1.unwrap_or_default());
        let (number, why) = parsed("3000", 2);
        assert!(number == Some(64) && why.contains("3000 threads are too many for 2 cores; 64 are used"), "{why}");
        for text in ["abc", "-1", "1.5", "2 3", "99999999999999999999999", "\u{1b}[31m"] {
            let (number, why) = parsed(text, 2);
            assert!(number.is_none() && why.contains("is not a number of threads"), "{why}");
            assert!(!why.contains(char::is_control), "{why}");
        }
        assert!(parsed(&"x".repeat(1 << 20), 2).1.len() < 200);
    }

    #[test]
    fn a_pool_has_the_threads_that_the_os_allows() {
        let mut left = 3;
        let (waiting, failure) = start(8, |run| {
            left -= 1;
            match left {
                0.. => std::thread::Builder::new().spawn(run).map(drop),
                _ => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            }
        });
        let (count, failure) = (waiting.len(), failure.expect("the fourth was refused"));
        assert_eq!((count, failure.kind()), (3, io::ErrorKind::WouldBlock));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).spawn_handler(hand_over(waiting)).build().unwrap();
        assert_eq!(pool.install(rayon::current_num_threads), 3);
        let (a, b) = pool.join(|| 1, || 2);
        assert_eq!(a + b, 3);
        let line = fewer(count, 8, &failure);
        assert!(line.contains("3 threads and not 8: ") && line.ends_with(&failure.to_string()), "{line}");
    }
}
