//! Settings from the environment. A value that makes no sense is told in one line on stderr, once, and ignored: a slip in a shell
//! script neither ends a program nor goes unseen.

use rayon::ThreadBuilder;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};

/// A pool may have so many threads whatever the machine; beyond, the larger of this and [`PER_CORE`] for each core.
const THREADS: usize = 64;
/// Each idle thread looks for work at every other, so many of them spend all time on that.
const PER_CORE: usize = 4;

/// The value of a variable; none if it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// One line on stderr.
pub(crate) fn warn(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "minitorch: {line}");
}

/// A value as a warning shows it.
pub(crate) fn shown(value: &str) -> String {
    format!("{:?}", value.chars().take(40).collect::<String>())
}

/// The number of threads that a text asks for on a machine of so many cores, and what is wrong with it. None is rayon's own
/// number, which 0 stands for as well.
fn threads(text: &str, cores: usize) -> (Option<usize>, Option<String>) {
    let most = THREADS.max(PER_CORE * cores);
    match text.parse::<usize>() {
        Ok(0) => (None, None),
        Ok(number) if number <= most => (Some(number), None),
        Ok(number) => {
            let why =
                format!("MINITORCH_NUM_THREADS: {number} threads are too many for {cores} cores; {most} are used");
            (Some(most), Some(why))
        }
        Err(_) => {
            let why = format!("MINITORCH_NUM_THREADS: {} is not a number of threads; it is ignored", shown(text));
            (None, Some(why))
        }
    }
}

/// Sizes rayon's global pool by `MINITORCH_NUM_THREADS`, if it is set.
pub(crate) fn size_pool() {
    let Some(text) = variable("MINITORCH_NUM_THREADS") else { return };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (wanted, wrong) = threads(&text, cores);
    wrong.iter().for_each(|line| warn(line));
    let Some(wanted) = wanted else { return };
    let (waiting, failure) = start(wanted, |run| std::thread::Builder::new().spawn(run).map(drop));
    let builder = rayon::ThreadPoolBuilder::new().num_threads(waiting.len().max(1));
    let alone = waiting.is_empty();
    let builder = if alone { builder.use_current_thread() } else { builder };
    let count = waiting.len();
    if builder.spawn_handler(hand_over(waiting)).build_global().is_err() {
        // The program built the global pool itself; its choice stands.
        return;
    }
    if let Some(failure) = failure {
        warn(&fewer(count, wanted, &failure));
    }
}

fn fewer(count: usize, wanted: usize, failure: &io::Error) -> String {
    format!("MINITORCH_NUM_THREADS: the system starts {count} threads and not {wanted}: {failure}")
}

/// A thread that waits for the place in the pool that it is to take.
type Waiting = Sender<ThreadBuilder>;

/// Starts threads, up to the first that the system does not allow, and says why. Rayon would give up the whole pool then, and the
/// global one cannot be asked for twice.
fn start(
    wanted: usize,
    mut spawn: impl FnMut(Box<dyn FnOnce() + Send>) -> io::Result<()>,
) -> (Vec<Waiting>, Option<io::Error>) {
    let mut waiting = Vec::new();
    for _ in 0..wanted {
        let (give, take) = channel::<ThreadBuilder>();
        let run = move || {
            if let Ok(place) = take.recv() {
                place.run();
            }
        };
        match spawn(Box::new(run)) {
            Ok(()) => waiting.push(give),
            Err(error) => return (waiting, Some(error)),
        }
    }
    (waiting, None)
}

/// Gives the places of a pool to threads that wait, which are as many.
fn hand_over(mut waiting: Vec<Waiting>) -> impl FnMut(ThreadBuilder) -> io::Result<()> {
    move |place| match waiting.pop() {
        Some(thread) => thread.send(place).map_err(|_| io::Error::other("a thread is gone")),
        None => Err(io::Error::other("no thread is left")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_cut_or_ignored() {
        for (text, cores, number) in [("0", 2, None), ("1", 2, Some(1)), ("64", 2, Some(64)), ("300", 96, Some(300))] {
            assert_eq!(threads(text, cores), (number, None), "{text}");
        }
        let told = |text, cores| (threads(text, cores).0, threads(text, cores).1.unwrap_or_default());
        let (number, why) = told("3000", 2);
        assert!(number == Some(64) && why.contains("3000 threads are too many for 2 cores; 64 are used"), "{why}");
        for text in ["abc", "-1", "1.5", "2 3", "99999999999999999999999", "\u{1b}[31m"] {
            let (number, why) = told(text, 2);
            assert!(number.is_none() && why.contains("is not a number of threads"), "{why}");
            assert!(!why.contains(char::is_control), "{why}");
        }
        assert!(told(&"x".repeat(1 << 20), 2).1.len() < 200);
    }

    #[test]
    fn a_pool_has_the_threads_that_the_system_starts_and_the_reason_is_kept() {
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
