//! How much work one submission holds. An operating system with a display kills a program whose submission occupies the GPU for too
//! long: after 2 s on Windows, after some seconds elsewhere. So recorded dispatches are submitted before their estimated time on a
//! slow GPU reaches a fraction of that.

/// Invocations of a workgroup of an element-wise shader.
pub(crate) const THREADS: usize = 256;

/// Dispatches of a submission, at most.
pub(crate) const DISPATCHES: usize = 1024;

/// Estimated nanoseconds of a submission, at most: an eighth of the shortest time limit of an operating system, as the estimate may
/// be wrong by that factor. A dispatch that takes longer by itself is a submission of its own.
const LIMIT: u64 = 250_000_000;

/// Bytes and operations per nanosecond of a slow integrated GPU: one memory channel, less what strided access loses; a quarter of
/// its peak arithmetic.
const BYTES: u64 = 8;
const OPERATIONS: u64 = 100;

/// The least factor by which a discrete GPU is faster, in both.
const DISCRETE: u64 = 8;

/// Assumed operations of an invocation beyond those that a dispatch states: more than most element-wise functions take.
const INVOCATION: u64 = 64;

/// The dispatches recorded since the last submission.
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

    /// Whether a dispatch of this estimated time joins the submission.
    pub(crate) fn has_room_for(&self, nanoseconds: u64) -> bool {
        self.dispatches == 0
            || self.dispatches < DISPATCHES && self.nanoseconds.saturating_add(nanoseconds) <= self.limit
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.dispatches += 1;
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }

    /// Starts the next submission.
    pub(crate) fn clear(&mut self) {
        (self.dispatches, self.nanoseconds) = (0, 0);
    }
}

/// Estimated nanoseconds of a dispatch on a slow integrated GPU, from the bytes that it binds, its invocations, and its operations
/// beyond a fixed number for each invocation.
pub(crate) fn estimate(bytes: u64, invocations: u64, operations: u64) -> u64 {
    let operations = invocations.saturating_mul(INVOCATION).saturating_add(operations);
    bytes / BYTES + operations / OPERATIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submissions that `count` equal dispatches take.
    fn submissions(count: usize, nanoseconds: u64, discrete: bool) -> usize {
        let mut recorded = Recorded::new(discrete);
        (0..count).fold(1, |submissions, _| {
            let full = !recorded.has_room_for(nanoseconds);
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
        // A matrix product of size 2048: its operations dominate.
        let product = estimate(48 << 20, 64 << 10, 2 * 2048 * 2048 * 2048);
        assert!(submissions(10, product, false) >= 5, "{product} ns");
        // A long one is a submission of its own; the number of short ones is bounded.
        assert_eq!(submissions(3, u64::MAX, false), 3);
        assert_eq!(submissions(2 * DISPATCHES, estimate(4096, 256, 0), false), 2);
    }
}
