//! Who packs what: the panels of one operand, or of both, as tasks of one parallel section.

use std::ops::Range;

use super::operand::{self, Operand, Panels};
use crate::kernels::{Float, PARALLEL_ELEMENTS, for_each_chunk};

/// All lanes of an operand, and how wide the panels are that it is packed into.
pub(super) struct Side<'a, O> {
    pub operand: &'a O,
    pub lanes: usize,
    pub width: usize,
}

impl<O> Side<'_, O> {
    /// The panels of one task hold about as much as is worth waking a thread for.
    fn task_panels(&self, depth: usize) -> usize {
        PARALLEL_ELEMENTS.div_ceil((self.width * depth).max(1)).next_multiple_of(operand::TOGETHER)
    }

    /// Packs the panels of task `task` into what belongs to them.
    fn pack<T: Float>(&self, task: usize, depth: Range<usize>, to: &mut [T])
    where
        O: Operand<T>,
    {
        let lanes = self.task_panels(depth.len()) * self.width;
        self.operand.pack(task * lanes..self.lanes.min((task + 1) * lanes), depth, self.width, to);
    }

    /// The front of `to` that all panels fill, and the part of one task.
    fn cut<'a, T>(&self, depth: usize, to: &'a mut [T]) -> (&'a mut [T], usize) {
        let panel = self.width * depth;
        (&mut to[..self.lanes.div_ceil(self.width) * panel], (self.task_panels(depth) * panel).max(1))
    }
}

/// Packs all lanes of one operand.
pub(crate) fn pack<'a, T: Float>(
    parallel: bool,
    operand: &impl Operand<T>,
    lanes: usize,
    depth: Range<usize>,
    width: usize,
    to: &'a mut [T],
) -> Panels<'a, T> {
    let side = Side { operand, lanes, width };
    let (to, task) = side.cut(depth.len(), to);
    let parallel = parallel && to.len() >= 2 * PARALLEL_ELEMENTS;
    for_each_chunk(parallel, to, task, |index, to| side.pack(index, depth.clone(), to));
    Panels::new(to, width, depth.len())
}

/// Packs all lanes of both operands, all threads taking panels of either.
pub(super) fn pack_both<'a, T: Float, A: Operand<T>, B: Operand<T>>(
    parallel: bool,
    (a, b): (Side<A>, Side<B>),
    depth: Range<usize>,
    left: &'a mut [T],
    right: &'a mut [T],
) -> (Panels<'a, T>, Panels<'a, T>) {
    let ((left, a_task), (right, b_task)) = (a.cut(depth.len(), left), b.cut(depth.len(), right));
    let parallel = parallel && left.len() + right.len() >= 2 * PARALLEL_ELEMENTS;
    let mut tasks: Vec<(bool, usize, &mut [T])> =
        right.chunks_mut(b_task).enumerate().map(|(index, to)| (false, index, to)).collect();
    tasks.extend(left.chunks_mut(a_task).enumerate().map(|(index, to)| (true, index, to)));
    for_each_chunk(parallel, &mut tasks, 1, |_, task| {
        for (is_left, index, to) in task {
            if *is_left {
                a.pack(*index, depth.clone(), to);
            } else {
                b.pack(*index, depth.clone(), to);
            }
        }
    });
    drop(tasks);
    (Panels::new(left, a.width, depth.len()), Panels::new(right, b.width, depth.len()))
}
