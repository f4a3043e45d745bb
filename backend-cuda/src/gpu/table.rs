//! A hash table from names to kernels with lock-free reads.

use std::sync::OnceLock;

/// A power of two, and more than twice the number of kernels, so that probe sequences are short.
pub(super) const SLOTS: usize = 4096;

/// An entry, or an empty slot.
type Slot<T> = OnceLock<(Box<str>, T)>;

/// Open addressing with linear probing. Entries are never moved or removed, so a slot is empty or final, and readers need no
/// lock.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Box<[Slot<T>]>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: (0..SLOTS).map(|_| OnceLock::new()).collect() }
    }
}

impl<T> Table<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        for slot in self.probe(name) {
            let (known, value) = slot.get()?;
            if **known == *name {
                return Some(value);
            }
        }
        None
    }

    /// Adds an entry unless the name has one. Returns the value in the table, or `value` as an error if the table is full.
    pub(super) fn insert(&self, name: &str, value: T) -> Result<&T, T> {
        let mut entry = (name.into(), value);
        for slot in self.probe(name) {
            // If two threads reach an empty slot, one fills it and the other gets its entry back.
            let taken = slot.set(entry);
            match (slot.get(), taken) {
                (Some((known, value)), _) if **known == *name => return Ok(value),
                (_, Err(back)) => entry = back,
                (_, Ok(())) => unreachable!("a slot holds what it was set to"),
            }
        }
        Err(entry.1)
    }

    /// All slots, beginning at that of the name's hash.
    fn probe(&self, name: &str) -> impl Iterator<Item = &Slot<T>> {
        let start = hash(name.as_bytes());
        (0..SLOTS).map(move |step| &self.slots[start.wrapping_add(step) % SLOTS])
    }
}

/// FxHash-style: each word of eight bytes is mixed into the rotated state and multiplied. The upper half of a product depends on
/// all bits.
fn hash(bytes: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(ODD);
    let mut state = bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    (mix(state, u64::from_le_bytes(last)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SOURCES;
    use std::collections::HashSet;

    #[test]
    fn only_added_names_are_found() {
        let table = Table::default();
        let names: Vec<String> = (0..1000).map(|i| format!("kernel_{i}_f32")).collect();
        for (i, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), None);
            assert_eq!(table.insert(name, i), Ok(&i));
        }
        assert!(names.iter().enumerate().all(|(i, name)| table.get(name) == Some(&i)));
        assert_eq!(table.insert("kernel_7_f32", 1000), Ok(&7), "the first one stays");
        for other in ["", "kernel", "kernel_7", "kernel_7_f3", "kernel_7_f32 ", "kernel_7_f32\0"] {
            assert_eq!(table.get(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_full_table_refuses_entries_and_finds_others() {
        let table = Table::default();
        for i in 0..SLOTS {
            assert!(table.insert(&i.to_string(), i).is_ok());
        }
        assert_eq!(table.insert("one too many", 7), Err(7));
        assert_eq!((table.get("17"), table.get("one too many")), (Some(&17), None));
    }

    #[test]
    fn threads_that_add_the_same_names_agree() {
        let table = Table::default();
        let seen: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let work = |thread: usize| {
                let table = &table;
                move || (0..500).map(|i| *table.insert(&format!("k_{i}"), 1000 * thread + i).unwrap()).collect()
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|of| *of == seen[0]));
        assert!((0..500).all(|i| table.get(&format!("k_{i}")) == Some(&seen[0][i])));
    }

    /// Names of kernels differ in a few letters. The test builds some from words of the kernels' source.
    #[test]
    fn kernel_names_hash_to_distinct_slots() {
        let words: HashSet<&str> =
            SOURCES.iter().flat_map(|(_, text)| text.split(|c: char| !c.is_ascii_alphanumeric())).collect();
        let mut words: Vec<&str> = words.into_iter().filter(|word| word.len() > 2).collect();
        words.sort();
        let names: HashSet<String> =
            words.iter().take(500).flat_map(|w| ["f32", "f64"].map(|t| format!("unary_{w}_{t}"))).collect();
        let used: HashSet<usize> = names.iter().map(|name| hash(name.as_bytes()) % SLOTS).collect();
        // 1000 random slots of 4096 are about 889 distinct ones.
        assert!(names.len() == 1000 && used.len() > 840, "{} of {}", used.len(), names.len());
    }
}
