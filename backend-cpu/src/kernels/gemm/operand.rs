//! Packing: how one side of a product is laid out for the micro-kernel.
//!
//! ```text
//! to[panel][d][lane]      lane < width; lanes beyond the operand's last are zero
//! ```
//! A panel is what one row (or column) of tiles reads front to back. Where neighbouring
//! lanes are neighbours in memory a row is one copy of constant size; where neighbouring depths are, [`transpose`]
//! turns squares in registers. Cost: one read and one write per element, against `2 * (lanes of the other side)` flops.

use std::ops::Range;

use crate::kernels::Float;

/// One side of a product, seen as `lanes x depth`: A's lanes are rows of the result, B's are its columns.
pub trait Operand<T>: Sync {
    /// Writes `lanes` and `depth` as panels of `width` lanes: `to[panel][d][lane]`, zeros beyond the last lane.
    /// `to` holds exactly `lanes.len().div_ceil(width) * width * depth.len()` elements, and all of them are written.
    fn pack(&self, lanes: Range<usize>, depth: Range<usize>, width: usize, to: &mut [T]);

    /// The operand as a plain matrix, if it is one: then a product with a vector needs no packing.
    fn as_strided(&self) -> Option<Strided<'_, T>> {
        None
    }
}

/// A matrix in memory: element `(lane, d)` is `data[lane * lane_stride + d * depth_stride]`. Strides may be 0.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub lane_stride: usize,
    pub depth_stride: usize,
}

/// A matrix whose addresses separate: element `(lane, d)` is `data[lanes[lane] + depths[d]]`. Convolution over a padded
/// image is of this form (see `conv`), so its im2col matrix is never built. Fast where depths come in unit runs.
#[derive(Clone, Copy, Debug)]
pub struct Indexed<'a, T> {
    pub data: &'a [T],
    pub lanes: &'a [usize],
    pub depths: &'a [usize],
}

/// Packed panels: `data[panel][d][lane]` with `stride` depths per panel, of which `depth` are meant.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, T> {
    data: &'a [T],
    width: usize,
    stride: usize,
    depth: (usize, usize),
}

impl<'a, T> Panels<'a, T> {
    pub fn new(data: &'a [T], width: usize, depth: usize) -> Self {
        Panels { data, width, stride: depth, depth: (0, depth) }
    }

    /// The same panels, restricted to some depths.
    pub fn depths(self, depth: Range<usize>) -> Self {
        assert!(depth.start <= depth.end && depth.end <= self.depth.1 - self.depth.0);
        Panels { depth: (self.depth.0 + depth.start, self.depth.0 + depth.end), ..self }
    }

    /// The same panels without those before lane `lane`, with which a panel starts.
    pub fn skip_lanes(self, lane: usize) -> Self {
        assert_eq!(lane % self.width, 0, "panels are cut every {} lanes", self.width);
        Panels { data: &self.data[lane * self.stride..], ..self }
    }

    pub fn depth(&self) -> usize {
        self.depth.1 - self.depth.0
    }

    /// The elements, the width of a panel and its depth.
    pub(super) fn parts(&self) -> (&'a [T], usize, usize) {
        (self.data, self.width, self.stride)
    }

    #[inline(always)]
    pub(super) fn panel(&self, index: usize) -> &'a [T] {
        let first = index * self.stride;
        &self.data[(first + self.depth.0) * self.width..(first + self.depth.1) * self.width]
    }
}

/// Calls `$function::<W>` with the panel width as a constant, so that the copies inside have a fixed size.
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
            other => panic!("no micro-kernel has panels of {other} lanes"),
        }
    };
}

impl<T: Float> Operand<T> for Strided<'_, T> {
    fn pack(&self, lanes: Range<usize>, depth: Range<usize>, width: usize, to: &mut [T]) {
        with_width!(width, pack_strided(self, lanes, depth, to));
    }

    fn as_strided(&self) -> Option<Strided<'_, T>> {
        Some(Strided { ..*self })
    }
}

impl<T: Float> Operand<T> for Indexed<'_, T> {
    fn pack(&self, lanes: Range<usize>, depth: Range<usize>, width: usize, to: &mut [T]) {
        with_width!(width, pack_indexed(self, lanes, depth, to));
    }
}

/// Panels that are packed at a time, where neighbouring lanes are neighbours in memory.
pub(super) const TOGETHER: usize = 4;

fn pack_strided<const W: usize, T: Float>(matrix: &Strided<T>, lanes: Range<usize>, depth: Range<usize>, to: &mut [T]) {
    let panel = W * depth.len();
    if matrix.lane_stride == 1 {
        // Neighbouring panels together: a run of lines is read from each depth, which lies a page or more from the next.
        for (first, to) in lanes.clone().step_by(TOGETHER * W).zip(to.chunks_mut((TOGETHER * panel).max(1))) {
            let lanes = first..lanes.end.min(first + TOGETHER * W);
            for (row, d) in depth.clone().enumerate() {
                let from = &matrix.data[first + d * matrix.depth_stride..][..lanes.len()];
                let (whole, rest) = from.as_chunks::<W>();
                for (number, from) in whole.iter().enumerate() {
                    to[number * panel + row * W..][..W].copy_from_slice(from);
                }
                if !rest.is_empty() {
                    let to = &mut to[whole.len() * panel + row * W..][..W];
                    to[..rest.len()].copy_from_slice(rest);
                    to[rest.len()..].fill(T::ZERO);
                }
            }
        }
        return;
    }
    for (first, to) in panels::<W, T>(&lanes, panel, to) {
        let count = W.min(lanes.end - first);
        let rows = to.as_chunks_mut::<W>().0;
        // Lanes beyond the last repeat the first; they are cleared below.
        let offsets = std::array::from_fn(|lane| (first + if lane < count { lane } else { 0 }) * matrix.lane_stride);
        if matrix.depth_stride == 1 {
            transpose::<W, T>(matrix.data, &offsets, depth.start, rows);
        } else {
            for (d, row) in depth.clone().zip(rows) {
                *row = offsets.map(|offset| matrix.data[offset + d * matrix.depth_stride]);
            }
        }
        clear_lanes::<W, T>(count, to);
    }
}

fn pack_indexed<const W: usize, T: Float>(matrix: &Indexed<T>, lanes: Range<usize>, depth: Range<usize>, to: &mut [T]) {
    let depths = &matrix.depths[depth];
    for (first, to) in panels::<W, T>(&lanes, W * depths.len(), to) {
        let used = &matrix.lanes[first..lanes.end.min(first + W)];
        let mut offsets = [used[0]; W];
        offsets[..used.len()].copy_from_slice(used);
        let mut rows = to.as_chunks_mut::<W>().0;
        for run in depths.chunk_by(|a, b| a + 1 == *b) {
            let (to, rest) = rows.split_at_mut(run.len());
            transpose::<W, T>(matrix.data, &offsets, run[0], to);
            rows = rest;
        }
        clear_lanes::<W, T>(used.len(), to);
    }
}

/// The first lane of each panel, and where the panel goes.
#[inline(always)]
fn panels<'a, const W: usize, T>(
    lanes: &Range<usize>,
    panel: usize,
    to: &'a mut [T],
) -> impl Iterator<Item = (usize, &'a mut [T])> {
    assert_eq!(to.len(), lanes.len().div_ceil(W) * panel, "packed size of {lanes:?}");
    lanes.clone().step_by(W).zip(to.chunks_exact_mut(panel.max(1)))
}

/// Clears the lanes from `count` on.
#[inline(always)]
fn clear_lanes<const W: usize, T: Float>(count: usize, to: &mut [T]) {
    if count < W {
        to.as_chunks_mut::<W>().0.iter_mut().for_each(|row| row[count..].fill(T::ZERO));
    }
}

/// `to[d][lane] = data[offsets[lane] + base + d]`. A cache line of every lane at a time: whole lines are
/// read and whole rows written even if the lanes' addresses compete for the same few places in the cache.
#[inline(always)]
fn transpose<const W: usize, T: Float>(data: &[T], offsets: &[usize; W], base: usize, to: &mut [[T; W]]) {
    let (mut rows, mut d) = (to, base);
    if W >= SQUARE {
        let (lines, rest) = rows.as_chunks_mut::<16>();
        for line in lines {
            transpose_block(data, offsets, d, line);
            d += 16;
        }
        let (squares, rest) = rest.as_chunks_mut::<SQUARE>();
        for square in squares {
            transpose_block(data, offsets, d, square);
            d += SQUARE;
        }
        rows = rest;
    }
    for row in rows {
        *row = offsets.map(|offset| data[offset + d]);
        d += 1;
    }
}

/// Side of the squares that are transposed in registers.
const SQUARE: usize = 4;

#[inline(always)]
fn transpose_block<const D: usize, const W: usize, T: Float>(
    data: &[T],
    offsets: &[usize; W],
    d: usize,
    to: &mut [[T; W]; D],
) {
    for lane in (0..W).step_by(SQUARE) {
        // Six lanes are two squares that overlap by two.
        let lane = lane.min(W - SQUARE);
        let from: [&[T; D]; SQUARE] =
            std::array::from_fn(|i| data[offsets[lane + i] + d..].first_chunk().expect("depth within data"));
        for (square, rows) in to.as_chunks_mut::<SQUARE>().0.iter_mut().enumerate() {
            let columns = from.map(|from| from.as_chunks::<SQUARE>().0[square]);
            for (row, from) in rows.iter_mut().zip(T::transpose(columns)) {
                row[lane..lane + SQUARE].copy_from_slice(&from);
            }
        }
    }
}
