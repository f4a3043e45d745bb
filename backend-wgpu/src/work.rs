//! Grids, and how much is submitted at once. Systems with a screen end a program whose submission keeps the GPU for too long: after 2 s on
//! Windows, after some seconds elsewhere. So what is recorded is submitted before it may take that long, by an estimate for a slow
//! GPU.

use crate::device::Wgpu;

/// Invocations of a workgroup of an element-wise shader.
pub(crate) const THREADS: usize = 256;

/// Dispatches of a submission, at most.
pub(crate) const DISPATCHES: usize = 1024;

/// Estimated nanoseconds of a submission, at most: a quarter of a second, an eighth of the shortest time that a system grants. The
/// estimate may be wrong by that factor. A dispatch that takes longer by itself is a submission of its own.
const LIMIT: u64 = 250_000_000;

/// Bytes per nanosecond and operations per nanosecond of a slow integrated GPU: one channel of memory, some of it lost to strided
/// access; and a quarter of the arithmetic that it could do.
const BYTES: u64 = 8;
const OPERATIONS: u64 = 100;

/// How many times as fast a discrete GPU is at least, in both.
const DISCRETE: u64 = 8;

/// Operations of an invocation of an element-wise shader: more than most functions take.
const INVOCATION: u64 = 64;

/// What was recorded and not submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    dispatches: usize,
    nanoseconds: u64,
    limit: u64,
}

impl Recorded {
    pub(crate) fn new(discrete: bool) -> Self {
        Recorded { dispatches: 0, nanoseconds: 0, limit: if discrete { LIMIT * DISCRETE } else { LIMIT } }
    }

    /// Whether a dispatch of so many nanoseconds fits beside what was recorded.
    pub(crate) fn holds(&self, nanoseconds: u64) -> bool {
        self.dispatches == 0
            || self.dispatches < DISPATCHES && self.nanoseconds.saturating_add(nanoseconds) <= self.limit
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.dispatches += 1;
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }

    /// All was submitted.
    pub(crate) fn clear(&mut self) {
        (self.dispatches, self.nanoseconds) = (0, 0);
    }
}

/// Nanoseconds of a dispatch on a slow integrated GPU: by the bytes that it binds, its invocations, and the operations that
/// it takes beyond some for each of these.
pub(crate) fn estimate(bytes: u64, invocations: u64, operations: u64) -> u64 {
    let operations = invocations.saturating_mul(INVOCATION).saturating_add(operations);
    bytes / BYTES + operations / OPERATIONS
}

impl Wgpu {
    /// The grid of an element-wise shader of one element per invocation and turn.
    pub(crate) fn walk_over(&self, items: usize) -> [u32; 3] {
        self.folded(items.div_ceil(THREADS))
    }

    /// Workgroups along one dimension of a grid.
    pub(crate) fn largest_grid(&self) -> usize {
        self.0.limits.max_compute_workgroups_per_dimension as usize
    }

    /// So many workgroups or a few more, folded into two dimensions if one does not hold them; fewer if two do not, for shaders
    /// that walk.
    pub(crate) fn folded(&self, groups: usize) -> [u32; 3] {
        let most = self.largest_grid();
        let groups = groups.max(1);
        let rows = groups.div_ceil(most).min(most);
        [groups.div_ceil(rows).min(most) as u32, rows as u32, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submissions of so many equal dispatches.
    fn submissions(count: usize, nanoseconds: u64, discrete: bool) -> usize {
        let mut recorded = Recorded::new(discrete);
        (0..count).fold(1, |submissions, _| {
            let full = !recorded.holds(nanoseconds);
            if full {
                recorded.clear();
            }
            recorded.add(nanoseconds);
            submissions + full as usize
        })
    }

    #[test]
    fn no_submission_is_long() {
        // 64 Mi elements are read and written.
        let relu = estimate(512 << 20, 64 << 20, 0);
        assert!(relu < LIMIT && submissions(10, relu, false) >= 4);
        assert_eq!(submissions(10, relu, true), 1);
        // A matrix product of 2048 counts by its operations.
        let product = estimate(48 << 20, 64 << 10, 2 * 2048 * 2048 * 2048);
        assert!(submissions(10, product, false) >= 5, "{product} ns");
        // One that is too long stands alone; many short ones are bounded by their number.
        assert_eq!(submissions(3, u64::MAX, false), 3);
        assert_eq!(submissions(2 * DISPATCHES, estimate(4096, 256, 0), false), 2);
    }
}
