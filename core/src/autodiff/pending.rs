//! The priority queue of a walk over the tape: the nodes that a gradient has reached, by id, each with the sum of its gradients.
//!
//! Ids grow with creation, so the next nodes of a walk mostly have ids closely below the current one. These are in a ring of
//! slots, addressed by id, with a bitmap of the used slots: no hashing, and the largest id is found by a scan over words of the
//! bitmap. Smaller ids are in an ordered map, and move to the ring as it advances.
//!
//! ```text
//!            top - capacity           top
//!  far  ....     |  ring: slot = id mod capacity  |     (already popped)
//! ```

use super::{Node, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of slots of a new ring and of the largest one. A ring grows if an id within `LARGEST` of the top does not fit.
const SMALLEST: usize = 64;
const LARGEST: usize = 4096;

pub(super) struct Entry<V: Value> {
    pub(super) id: u64,
    pub(super) node: Arc<Node<V>>,
    /// `None` only between the entry's creation and its first gradient.
    pub(super) sum: Option<V>,
}

pub(super) struct Queue<V: Value> {
    slots: Vec<Option<Entry<V>>>,
    used: Vec<u64>,
    /// No pending id is larger.
    top: u64,
    /// Ids of at most `top - capacity`.
    far: BTreeMap<u64, Entry<V>>,
}

impl<V: Value> Queue<V> {
    /// A queue for nodes with ids of at most `root`.
    pub(super) fn new(root: u64) -> Self {
        Queue { slots: empty(SMALLEST), used: vec![0; SMALLEST / 64], top: root, far: BTreeMap::new() }
    }

    /// The sum of the node's gradients, `None` before the first. The node is older than the last one that was popped.
    pub(super) fn sum(&mut self, node: &Arc<Node<V>>) -> &mut Option<V> {
        let id = node.id();
        let below = self.top - id;
        if below >= self.slots.len() as u64 {
            if below >= LARGEST as u64 {
                let entry = self.far.entry(id);
                return &mut entry.or_insert_with(|| Entry { id, node: node.clone(), sum: None }).sum;
            }
            self.grow((below as usize + 1).next_power_of_two());
        }
        let slot = id as usize & (self.slots.len() - 1);
        self.used[slot / 64] |= 1 << (slot % 64);
        &mut self.slots[slot].get_or_insert_with(|| Entry { id, node: node.clone(), sum: None }).sum
    }

    /// Removes the newest pending node.
    pub(super) fn pop(&mut self) -> Option<Entry<V>> {
        let entry = match self.newest_slot() {
            Some(slot) => {
                self.used[slot / 64] &= !(1 << (slot % 64));
                self.slots[slot].take()
            }
            None => self.far.pop_last().map(|(_, entry)| entry),
        };
        if let Some(entry) = &entry {
            self.top = entry.id;
            self.bring_near();
        }
        entry
    }

    /// The used slot of the largest id: the first one at or below the slot of `top`, cyclically.
    fn newest_slot(&self) -> Option<usize> {
        let words = self.used.len();
        let top = self.top as usize & (self.slots.len() - 1);
        let up_to_top = u64::MAX >> (63 - top % 64);
        (0..=words).find_map(|step| {
            let word = (top / 64 + words - step) % words;
            let among = match step {
                0 => up_to_top,
                _ if step == words => !up_to_top, // the word of `top` again: the slots above it are the ring's oldest
                _ => u64::MAX,
            };
            let found = self.used[word] & among;
            (found != 0).then(|| word * 64 + 63 - found.leading_zeros() as usize)
        })
    }

    /// Moves entries that the ring now covers from the map into the ring.
    fn bring_near(&mut self) {
        while let Some(entry) = self.far.last_entry()
            && self.top - entry.key() < self.slots.len() as u64
        {
            let entry = entry.remove();
            self.put(entry);
        }
    }

    fn put(&mut self, entry: Entry<V>) {
        let slot = entry.id as usize & (self.slots.len() - 1);
        self.used[slot / 64] |= 1 << (slot % 64);
        self.slots[slot] = Some(entry);
    }

    #[cold]
    fn grow(&mut self, capacity: usize) {
        let before = std::mem::replace(&mut self.slots, empty(capacity));
        self.used = vec![0; capacity / 64];
        before.into_iter().flatten().for_each(|entry| self.put(entry));
        self.bring_near();
    }
}

fn empty<T>(capacity: usize) -> Vec<Option<T>> {
    (0..capacity).map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scalar;
    use proptest::prelude::*;

    /// Nodes at these distances of ids.
    fn nodes(gaps: &[usize]) -> Vec<Arc<Node<Scalar>>> {
        let mut all = Vec::new();
        for &gap in gaps {
            (0..gap).for_each(|_| drop(Node::<Scalar>::leaf(&Scalar::from(0.0))));
            all.push(Node::leaf(&Scalar::from(0.0)));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Nodes are popped in descending order of ids, once each, with the sum of all that was added.
        #[test]
        fn nodes_come_out_newest_first_with_their_sums(
            gaps in prop::collection::vec(prop_oneof![6 => 0..3usize, 2 => 50..90usize, 1 => 4000..5000usize], 1..40),
            picks in prop::collection::vec((0..1000usize, 0..4usize), 1..200),
        ) {
            let nodes = nodes(&gaps);
            let mut queue = Queue::new(nodes[nodes.len() - 1].id());
            let mut expected = BTreeMap::new();
            let mut last = nodes.len();
            for (pick, pops) in picks {
                if last == 0 {
                    break;
                }
                let node = &nodes[pick % last];
                let sum = queue.sum(node);
                *sum = Some(sum.take().unwrap_or(Scalar::from(0.0)) + 1.0);
                *expected.entry(node.id()).or_insert(0.0) += 1.0;
                for _ in 0..pops / 3 {
                    let (popped, wanted) = (queue.pop(), expected.pop_last());
                    prop_assert_eq!(popped.as_ref().map(|e| e.id), wanted.map(|(id, _)| id));
                    if let (Some(entry), Some((_, sum))) = (popped, wanted) {
                        prop_assert_eq!(entry.sum.map(f64::from), Some(sum));
                        // Parents are older than the node that was popped.
                        last = nodes.iter().position(|node| node.id() >= entry.id).unwrap_or(0);
                    }
                }
            }
            while let Some((id, sum)) = expected.pop_last() {
                let entry = queue.pop();
                prop_assert_eq!(entry.as_ref().map(|e| e.id), Some(id));
                prop_assert_eq!(entry.and_then(|e| e.sum).map(f64::from), Some(sum));
            }
            prop_assert!(queue.pop().is_none());
        }
    }
}
