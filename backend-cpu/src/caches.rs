//! How large this machine's caches are. That decides by which road data go, never in which order numbers are added: the bits of a
//! result are those of any other machine with the same vectors.

use std::path::Path;
use std::sync::OnceLock;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caches {
    /// One thread's share of the second level.
    pub(crate) second: usize,
    /// The last level, which all share, as far as it is ours: a virtual machine is told of the whole socket's and has the use of
    /// its own cores' share.
    pub(crate) last: usize,
}

/// The most of the last level that is taken to be ours, for each hardware thread.
const LAST_PER_THREAD: usize = 16 << 20;

impl Caches {
    /// This machine's. Linux tells; elsewhere they are what a server of 2020 has.
    pub(crate) fn get() -> Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let Caches { second, last } = Caches::read(Path::new("/sys/devices/system/cpu/cpu0/cache"));
            Caches { second, last: last.min(threads.saturating_mul(LAST_PER_THREAD)) }
        })
    }

    /// The caches that the folders `index0`, `index1`... of `folder` describe.
    fn read(folder: &Path) -> Caches {
        let mut caches = Caches { second: 512 << 10, last: 32 << 20 };
        let mut last_level = 2;
        for index in 0.. {
            let text = |file| std::fs::read_to_string(folder.join(format!("index{index}")).join(file));
            let Ok(level) = text("level") else { break };
            let (Ok(level), Some(size)) = (level.trim().parse(), text("size").ok().and_then(|size| bytes(&size)))
            else {
                continue;
            };
            if level == 2 {
                let sharing = text("shared_cpu_list").map_or(1, |list| cpus(&list));
                caches.second = size / sharing.max(1);
            }
            if level >= last_level {
                (caches.last, last_level) = (size, level);
            }
        }
        caches
    }
}

/// `"512K"` or `"32M"`.
fn bytes(size: &str) -> Option<usize> {
    let size = size.trim();
    let unit = match size.chars().last()? {
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        _ => return size.parse().ok(),
    };
    size[..size.len() - 1].parse::<usize>().ok()?.checked_mul(unit)
}

/// How many CPUs a list like `"0-3,8"` names.
fn cpus(list: &str) -> usize {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    };
    list.trim().split(',').filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists() {
        assert_eq!(bytes("512K\n"), Some(512 << 10));
        assert_eq!(bytes("32M"), Some(32 << 20));
        assert_eq!(bytes("1000"), Some(1000));
        assert_eq!([bytes(""), bytes("K"), bytes("many")], [None; 3]);
        assert_eq!(cpus("0-3,8\n"), 5);
        assert_eq!(cpus("7"), 1);
        assert_eq!(cpus("none"), 0);
    }

    #[test]
    fn a_described_machine() {
        let folder = std::env::temp_dir().join(format!("minitorch-caches-{}", std::process::id()));
        // Two hardware threads share the second level; the third is the last. Index 1 is broken and says nothing.
        for (index, [level, size, shared]) in
            [["1", "48K", "0,64"], ["2", "?", ""], ["2", "2048K", "0,64"], ["3", "108M", "0-127"]].iter().enumerate()
        {
            let index = folder.join(format!("index{index}"));
            std::fs::create_dir_all(&index).unwrap();
            for (file, text) in [("level", level), ("size", size), ("shared_cpu_list", shared)] {
                std::fs::write(index.join(file), format!("{text}\n")).unwrap();
            }
        }
        let caches = Caches::read(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(caches, Caches { second: 1 << 20, last: 108 << 20 });
        // Nothing described.
        assert_eq!(Caches::read(&folder), Caches { second: 512 << 10, last: 32 << 20 });
    }
}
