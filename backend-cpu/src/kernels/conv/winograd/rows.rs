//! The frame of one block of tiles: the image rows that the tiles read, copied with their margins just before the transform,
//! which so finds them in L2.

use crate::kernels::Float;
use crate::kernels::conv::frame::Frame;
use crate::simd::{Isa, Kernel};

/// Rows `first .. first + count` of the padded image `image`.
#[derive(Clone, Copy, Debug)]
struct RowRange {
    image: usize,
    first: usize,
    count: usize,
}

/// `len` horizontally adjacent tiles, in the lanes of a register from `lane` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileRun {
    pub lane: usize,
    pub len: usize,
    /// The offset of the first tile's patch in the first channel of the frame.
    pub from: usize,
    pub image: usize,
    /// The first tile's row and column among those of its image.
    pub row: usize,
    pub column: usize,
}

/// The layout of the frame: for each channel, the row ranges of the images one after the other.
#[derive(Debug)]
pub(super) struct BlockFrame {
    ranges: Vec<RowRange>,
    /// From one row to the next: what a row of tiles reads.
    pub pitch: usize,
    /// From one channel to the next: an odd number of cache lines, so that the same pixel of consecutive channels falls into
    /// different cache sets.
    pub channel: usize,
    /// The tiles of each register.
    pub runs: Vec<Vec<TileRun>>,
}

impl BlockFrame {
    /// The frame for tiles `block` of images of `down x across` tiles, in `registers` registers of `lanes` tiles.
    pub fn new([down, across]: [usize; 2], block: std::ops::Range<usize>, registers: usize, lanes: usize) -> Self {
        let pitch = 2 * across + 2;
        let (mut ranges, mut firsts, mut height) = (Vec::new(), Vec::new(), 0);
        // Rows of tiles, numbered through all images.
        let (top, bottom) = (block.start / across, block.end.div_ceil(across));
        let mut row = top;
        while row < bottom {
            let image = row / down;
            let end = bottom.min((image + 1) * down);
            let count = 2 * (end - row) + 2;
            ranges.push(RowRange { image, first: 2 * (row % down), count });
            firsts.extend((0..end - row).map(|at| (height + 2 * at) * pitch));
            height += count;
            row = end;
        }
        let register = |at: usize| {
            let (mut runs, mut tile, end) = (Vec::new(), at, block.end.min(at + lanes));
            while tile < end {
                let (row, column) = (tile / across, tile % across);
                let len = (across - column).min(end - tile);
                let from = firsts[row - top] + 2 * column;
                runs.push(TileRun { lane: tile - at, len, from, image: row / down, row: row % down, column });
                tile += len;
            }
            runs
        };
        let runs = (0..registers).map(|number| register(block.start + number * lanes)).collect();
        BlockFrame { ranges, pitch, channel: ((height * pitch).div_ceil(16) | 1) * 16, runs }
    }
}

/// Copies `channels` channels into the block's frame; those of image `n` begin at `source[first + n * image]`.
pub(super) struct Fill<'a, 'b, T> {
    pub block: &'a BlockFrame,
    pub frame: &'a Frame,
    pub source: &'a [T],
    pub first: usize,
    pub image: usize,
    pub channels: usize,
    pub to: &'b mut [T],
}

impl<T: Float> Kernel for Fill<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Fill { block, frame, source, first, image, channels, to } = self;
        for c in 0..channels {
            let mut at = c * block.channel;
            for &RowRange { image: number, first: row, count } in &block.ranges {
                let from = &source[first + number * image + c * frame.image[0] * frame.image[1]..];
                frame.copy_rows(isa, row..row + count, block.pitch, from, &mut to[at..]);
                at += count * block.pitch;
            }
        }
    }
}
