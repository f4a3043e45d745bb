//! Packing: copies operands into the order in which the micro-kernel reads them.
//!
//! ```text
//! to[panel][p][i]      p < k, i < width; rows beyond the operand's last are zero
//! ```
//! Both operands are seen as `[rows][k]`: the rows of A are rows of C, the rows of B are columns of C. `width` is `mr` for A and
//! `nr` for B. The micro-kernel reads a panel front to back.
//!
//! If the stride between rows is 1, `width` elements are copied at a time; if k is contiguous, 4 x 4 blocks are transposed in
//! registers. Cost: one read and one write per element, against `2 n` flops per element of A and `2 m` per element of B.

use std::ops::Range;

use crate::kernels::{Float, PARALLEL_ELEMENTS, for_each_chunk};

/// An operand that can be packed.
pub trait PackSource<T>: Sync {
    /// Writes `rows` and `k` as panels of `width` rows: `to[panel][p][i]`, zeros beyond the last row.
    /// `to` holds exactly `rows.len().div_ceil(width) * width * k.len()` elements, and all of them are written.
    fn pack(&self, rows: Range<usize>, k: Range<usize>, width: usize, to: &mut [T]);

    /// The operand as a strided matrix, if it is one: some products read it in place.
    fn as_strided(&self) -> Option<Strided<'_, T>> {
        None
    }
}

/// A matrix in memory: element `(i, p)` is `data[i * stride + p * k_stride]`. Strides may be 0.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
    pub k_stride: usize,
}

/// A matrix given by two tables of offsets: element `(i, p)` is `data[offsets[i] + k_offsets[p]]`. The im2col matrix of a padded
/// image is one (see `conv`), so it is never stored. Fast where `k_offsets` has runs of consecutive offsets.
#[derive(Clone, Copy, Debug)]
pub struct Indexed<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
    pub k_offsets: &'a [usize],
}

/// Packed panels `data[panel][p][i]` with `p < stride`, and the range of p in use.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, T> {
    data: &'a [T],
    width: usize,
    stride: usize,
    k: (usize, usize),
}

impl<'a, T> Panels<'a, T> {
    pub fn new(data: &'a [T], width: usize, k: usize) -> Self {
        Panels { data, width, stride: k, k: (0, k) }
    }

    /// The same panels, restricted to a range of k.
    pub fn k_range(self, k: Range<usize>) -> Self {
        assert!(k.start <= k.end && k.end <= self.k.1 - self.k.0);
        Panels { k: (self.k.0 + k.start, self.k.0 + k.end), ..self }
    }

    /// The panels from row `row` on, which must be the first of a panel.
    pub fn skip_rows(self, row: usize) -> Self {
        assert_eq!(row % self.width, 0, "panels are cut every {} rows", self.width);
        Panels { data: &self.data[row * self.stride..], ..self }
    }

    pub fn k(&self) -> usize {
        self.k.1 - self.k.0
    }

    /// The elements, the width of a panel and its k.
    pub(super) fn parts(&self) -> (&'a [T], usize, usize) {
        (self.data, self.width, self.stride)
    }

    #[inline(always)]
    pub(super) fn panel(&self, index: usize) -> &'a [T] {
        let first = index * self.stride;
        &self.data[(first + self.k.0) * self.width..(first + self.k.1) * self.width]
    }
}

/// All rows of an operand, and the width of its panels.
pub(super) struct PackJob<'a, O> {
    pub operand: &'a O,
    pub rows: usize,
    pub width: usize,
}

impl<O> PackJob<'_, O> {
    /// The panels of one task, about as much as is worth waking a thread for.
    fn task_panels(&self, k: usize) -> usize {
        PARALLEL_ELEMENTS.div_ceil((self.width * k).max(1)).next_multiple_of(GROUP)
    }

    /// Packs the panels of task `task`.
    fn pack<T: Float>(&self, task: usize, k: Range<usize>, to: &mut [T])
    where
        O: PackSource<T>,
    {
        let rows = self.task_panels(k.len()) * self.width;
        self.operand.pack(task * rows..self.rows.min((task + 1) * rows), k, self.width, to);
    }

    /// The part of `to` that the panels fill, and the number of elements of one task.
    fn destination<'a, T>(&self, k: usize, to: &'a mut [T]) -> (&'a mut [T], usize) {
        let panel = self.width * k;
        (&mut to[..self.rows.div_ceil(self.width) * panel], (self.task_panels(k) * panel).max(1))
    }
}

/// Packs all rows of one operand.
pub(crate) fn pack<'a, T: Float>(
    parallel: bool,
    operand: &impl PackSource<T>,
    rows: usize,
    k: Range<usize>,
    width: usize,
    to: &'a mut [T],
) -> Panels<'a, T> {
    let job = PackJob { operand, rows, width };
    let (to, task) = job.destination(k.len(), to);
    let parallel = parallel && to.len() >= 2 * PARALLEL_ELEMENTS;
    for_each_chunk(parallel, to, task, |index, to| job.pack(index, k.clone(), to));
    Panels::new(to, width, k.len())
}

/// Packs all rows of both operands in one parallel section.
pub(super) fn pack_both<'a, T: Float, A: PackSource<T>, B: PackSource<T>>(
    parallel: bool,
    (a, b): (PackJob<A>, PackJob<B>),
    k: Range<usize>,
    a_to: &'a mut [T],
    b_to: &'a mut [T],
) -> (Panels<'a, T>, Panels<'a, T>) {
    let ((a_to, a_task), (b_to, b_task)) = (a.destination(k.len(), a_to), b.destination(k.len(), b_to));
    let parallel = parallel && a_to.len() + b_to.len() >= 2 * PARALLEL_ELEMENTS;
    let mut tasks: Vec<(bool, usize, &mut [T])> =
        b_to.chunks_mut(b_task).enumerate().map(|(index, to)| (false, index, to)).collect();
    tasks.extend(a_to.chunks_mut(a_task).enumerate().map(|(index, to)| (true, index, to)));
    for_each_chunk(parallel, &mut tasks, 1, |_, task| {
        for (is_a, index, to) in task {
            if *is_a {
                a.pack(*index, k.clone(), to);
            } else {
                b.pack(*index, k.clone(), to);
            }
        }
    });
    drop(tasks);
    (Panels::new(a_to, a.width, k.len()), Panels::new(b_to, b.width, k.len()))
}

/// Calls `$function::<W>` with the panel width as a constant, so that its copies have a fixed size.
macro_rules! with_width {
    ($width:expr, $function:ident($($argument:expr),*)) => {
        match $width {
            1 => $function::<1, _>($($argument),*),
            4 => $function::<4, _>($($argument),*),
            6 => $function::<6, _>($($argument),*),
            8 => $function::<8, _>($($argument),*),
            12 => $function::<12, _>($($argument),*),
            16 => $function::<16, _>($($argument),*),
            32 => $function::<32, _>($($argument),*),
            other => panic!("no micro-kernel has panels of {other} rows"),
        }
    };
}

impl<T: Float> PackSource<T> for Strided<'_, T> {
    fn pack(&self, rows: Range<usize>, k: Range<usize>, width: usize, to: &mut [T]) {
        with_width!(width, pack_strided(self, rows, k, to));
    }

    fn as_strided(&self) -> Option<Strided<'_, T>> {
        Some(Strided { ..*self })
    }
}

impl<T: Float> PackSource<T> for Indexed<'_, T> {
    fn pack(&self, rows: Range<usize>, k: Range<usize>, width: usize, to: &mut [T]) {
        with_width!(width, pack_indexed(self, rows, k, to));
    }
}

/// Neighbouring panels that are packed together where the rows' stride is 1.
const GROUP: usize = 4;

fn pack_strided<const W: usize, T: Float>(matrix: &Strided<T>, rows: Range<usize>, k: Range<usize>, to: &mut [T]) {
    let panel = W * k.len();
    if matrix.stride == 1 {
        // Several panels together: for each p they read several cache lines in sequence, while the next p may be a page away.
        for (first, to) in rows.clone().step_by(GROUP * W).zip(to.chunks_mut((GROUP * panel).max(1))) {
            let rows = first..rows.end.min(first + GROUP * W);
            for (at, p) in k.clone().enumerate() {
                let from = &matrix.data[first + p * matrix.k_stride..][..rows.len()];
                let (full, rest) = from.as_chunks::<W>();
                for (number, from) in full.iter().enumerate() {
                    to[number * panel + at * W..][..W].copy_from_slice(from);
                }
                if !rest.is_empty() {
                    let to = &mut to[full.len() * panel + at * W..][..W];
                    to[..rest.len()].copy_from_slice(rest);
                    to[rest.len()..].fill(T::ZERO);
                }
            }
        }
        return;
    }
    for (first, to) in panels::<W, T>(&rows, panel, to) {
        let count = W.min(rows.end - first);
        let lines = to.as_chunks_mut::<W>().0;
        // Rows beyond the last repeat the first; they are cleared below.
        let offsets = std::array::from_fn(|i| (first + if i < count { i } else { 0 }) * matrix.stride);
        if matrix.k_stride == 1 {
            transpose::<W, T>(matrix.data, &offsets, k.start, lines);
        } else {
            for (p, line) in k.clone().zip(lines) {
                *line = offsets.map(|offset| matrix.data[offset + p * matrix.k_stride]);
            }
        }
        clear_rows::<W, T>(count, to);
    }
}

fn pack_indexed<const W: usize, T: Float>(matrix: &Indexed<T>, rows: Range<usize>, k: Range<usize>, to: &mut [T]) {
    let k_offsets = &matrix.k_offsets[k];
    for (first, to) in panels::<W, T>(&rows, W * k_offsets.len(), to) {
        let used = &matrix.offsets[first..rows.end.min(first + W)];
        let mut offsets = [used[0]; W];
        offsets[..used.len()].copy_from_slice(used);
        let mut lines = to.as_chunks_mut::<W>().0;
        for run in k_offsets.chunk_by(|a, b| a + 1 == *b) {
            let (to, rest) = lines.split_at_mut(run.len());
            transpose::<W, T>(matrix.data, &offsets, run[0], to);
            lines = rest;
        }
        clear_rows::<W, T>(used.len(), to);
    }
}

/// The first row of each panel, and the panel.
#[inline(always)]
fn panels<'a, const W: usize, T>(
    rows: &Range<usize>,
    panel: usize,
    to: &'a mut [T],
) -> impl Iterator<Item = (usize, &'a mut [T])> {
    assert_eq!(to.len(), rows.len().div_ceil(W) * panel, "packed size of {rows:?}");
    rows.clone().step_by(W).zip(to.chunks_exact_mut(panel.max(1)))
}

/// Zeros the rows of a panel from `count` on.
#[inline(always)]
fn clear_rows<const W: usize, T: Float>(count: usize, to: &mut [T]) {
    if count < W {
        to.as_chunks_mut::<W>().0.iter_mut().for_each(|line| line[count..].fill(T::ZERO));
    }
}

/// `to[p][i] = data[offsets[i] + base + p]`. Reads one cache line of every row at a time, so that a line is used in full before
/// it is evicted, even if the rows fall into few cache sets.
#[inline(always)]
fn transpose<const W: usize, T: Float>(data: &[T], offsets: &[usize; W], base: usize, to: &mut [[T; W]]) {
    let (mut lines, mut p) = (to, base);
    if W >= SQUARE {
        let (blocks, rest) = lines.as_chunks_mut::<16>();
        for block in blocks {
            transpose_block(data, offsets, p, block);
            p += 16;
        }
        let (squares, rest) = rest.as_chunks_mut::<SQUARE>();
        for square in squares {
            transpose_block(data, offsets, p, square);
            p += SQUARE;
        }
        lines = rest;
    }
    for line in lines {
        *line = offsets.map(|offset| data[offset + p]);
        p += 1;
    }
}

/// Side of the squares that are transposed in registers.
const SQUARE: usize = 4;

#[inline(always)]
fn transpose_block<const K: usize, const W: usize, T: Float>(
    data: &[T],
    offsets: &[usize; W],
    p: usize,
    to: &mut [[T; W]; K],
) {
    for i in (0..W).step_by(SQUARE) {
        // If W is no multiple of 4, the last square overlaps the one before: six rows are two squares that share two rows.
        let i = i.min(W - SQUARE);
        let from: [&[T; K]; SQUARE] =
            std::array::from_fn(|row| data[offsets[i + row] + p..].first_chunk().expect("k within data"));
        for (square, lines) in to.as_chunks_mut::<SQUARE>().0.iter_mut().enumerate() {
            let columns = from.map(|from| from.as_chunks::<SQUARE>().0[square]);
            for (line, from) in lines.iter_mut().zip(T::transpose(columns)) {
                line[i..i + SQUARE].copy_from_slice(&from);
            }
        }
    }
}
