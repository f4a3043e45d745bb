//! The lines of images that a block of tiles reads, copied with their margins: a frame (`frame.rs`) for one block only,
//! read from the second cache right after it was written.

use super::transform::Run;
use crate::kernels::Float;
use crate::kernels::conv::frame::Frame;
use crate::simd::{Isa, Kernel};

/// Some lines of the padded image `image`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    image: usize,
    first: usize,
    count: usize,
}

/// The frame of one block of tiles: pieces of images below each other, channel after channel.
#[derive(Debug)]
pub(super) struct Lines {
    pieces: Vec<Piece>,
    /// From one line to the next: what a line of tiles reads.
    pub pitch: usize,
    /// From one channel to the next: an odd number of cache lines, so that the same pixel of neighbouring channels never
    /// competes for one place in the cache.
    pub channel: usize,
    /// The tiles of each register.
    pub runs: Vec<Vec<Run>>,
}

impl Lines {
    /// The frame for tiles `block` of images with `down x across` of them, and `registers` times `lanes` places for tiles.
    pub fn new([down, across]: [usize; 2], block: std::ops::Range<usize>, registers: usize, lanes: usize) -> Self {
        let pitch = 2 * across + 2;
        let (mut pieces, mut firsts, mut lines) = (Vec::new(), Vec::new(), 0);
        // Tiles by line, all images counted on.
        let (top, bottom) = (block.start / across, block.end.div_ceil(across));
        let mut line = top;
        while line < bottom {
            let image = line / down;
            let end = bottom.min((image + 1) * down);
            let count = 2 * (end - line) + 2;
            pieces.push(Piece { image, first: 2 * (line % down), count });
            firsts.extend((0..end - line).map(|at| (lines + 2 * at) * pitch));
            lines += count;
            line = end;
        }
        let register = |at: usize| {
            let (mut runs, mut tile, end) = (Vec::new(), at, block.end.min(at + lanes));
            while tile < end {
                let (line, column) = (tile / across, tile % across);
                let len = (across - column).min(end - tile);
                let from = firsts[line - top] + 2 * column;
                runs.push(Run { lane: tile - at, len, from, image: line / down, line: line % down, column });
                tile += len;
            }
            runs
        };
        let runs = (0..registers).map(|number| register(block.start + number * lanes)).collect();
        Lines { pieces, pitch, channel: ((lines * pitch).div_ceil(16) | 1) * 16, runs }
    }
}

/// Fills the frame with `channels` channels, those of image `n` beginning at `source[first + n * image]`.
pub(super) struct Fill<'a, 'b, T> {
    pub lines: &'a Lines,
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
    fn run<I: Isa>(self, _: I) {
        let Fill { lines, frame, source, first, image, channels, to } = self;
        for c in 0..channels {
            let mut at = c * lines.channel;
            for &Piece { image: number, first: line, count } in &lines.pieces {
                let from = &source[first + number * image + c * frame.image[0] * frame.image[1]..];
                frame.copy_lines::<T, I>(line..line + count, lines.pitch, from, &mut to[at..]);
                at += count * lines.pitch;
            }
        }
    }
}
