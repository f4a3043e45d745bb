//! The sizes of this machine's caches. They decide block sizes and kinds of stores, never the order in which numbers are added, so
//! results are bit-identical on all machines with the same SIMD level.

use std::path::Path;
use std::sync::OnceLock;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caches {
    /// One thread's share of L2.
    pub(crate) l2: usize,
    /// The last-level cache, capped at [`LLC_PER_THREAD`]: a virtual machine sees that of the socket but gets the share of its own
    /// cores.
    pub(crate) llc: usize,
}

/// Bytes of the last-level cache that a hardware thread can count on, at most.
const LLC_PER_THREAD: usize = 16 << 20;

impl Caches {
    /// This machine's, from Linux's sysfs; elsewhere those of a server of 2020.
    pub(crate) fn get() -> Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let Caches { l2, llc } = Caches::read(Path::new("/sys/devices/system/cpu/cpu0/cache"));
            Caches { l2, llc: llc.min(threads.saturating_mul(LLC_PER_THREAD)) }
        })
    }

    /// The caches that the directories `index0`, `index1`... of `folder` describe.
    fn read(folder: &Path) -> Caches {
        let mut caches = Caches { l2: 512 << 10, llc: 32 << 20 };
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
                caches.l2 = size / sharing.max(1);
            }
            if level >= last_level {
                (caches.llc, last_level) = (size, level);
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

/// The number of CPUs in a list like `"0-3,8"`.
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
        // Two hardware threads share L2; L3 is the last level. Index 1 is unreadable.
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
        assert_eq!(caches, Caches { l2: 1 << 20, llc: 108 << 20 });
        // Nothing described.
        assert_eq!(Caches::read(&folder), Caches { l2: 512 << 10, llc: 32 << 20 });
    }
}
