//! The frame: a padded copy of one image, in which every tap of a convolution reads contiguous pixels for any stride.
//!
//! Pixel `(y, x)` of the padded image of channel `c`, with strides `(sy, sx)`, lies at
//! ```text
//! to[c][y % sy][x % sx][y / sy][x / sx]
//! ```
//! * No tap reads beyond the frame, so inner loops have no tests for the image's borders.
//! * Output pixel `(i, j)` reads `(i * sy + dy, j * sx + dx)` for a tap at `(dy, dx)`. The address of that is the sum of an
//!   offset of the tap and `i * columns + j`. So two small tables describe the im2col matrix, and output pixels `j` and `j + 1`
//!   read adjacent elements.
//!
//! Cost: one read of the image and one write of the frame, against up to `kh kw c_out / groups` uses of each pixel.

use std::ops::Range;

use crate::kernels::{Float, Scratch};
use crate::simd::{Isa, Kernel, Level, Vector};

#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Height and width of the image.
    pub image: [usize; 2],
    /// Zeros above and to the left of the image.
    pub margin: [usize; 2],
    /// The convolution's stride. Pixels whose positions have equal remainders modulo it are contiguous.
    pub stride: [usize; 2],
    /// Rows and columns of the pixels of one remainder. The image is cut, or extended by zeros, to fill them.
    pub size: [usize; 2],
}

impl Frame {
    /// A frame for `extent` rows and columns of the padded image.
    pub fn new(image: [usize; 2], margin: [usize; 2], stride: [usize; 2], extent: [usize; 2]) -> Self {
        let size = [extent[0].div_ceil(stride[0]), extent[1].div_ceil(stride[1])];
        Frame { image, margin, stride, size }
    }

    /// Elements per channel: an odd number of cache lines, so that the same pixel of consecutive channels falls into different
    /// cache sets. An image that is its own frame stays as it is.
    pub fn len(&self) -> usize {
        let pixels = self.stride[0] * self.stride[1] * self.size[0] * self.size[1];
        if self.is_image() { pixels } else { (pixels.div_ceil(16) | 1) * 16 }
    }

    /// Whether the frame is the image itself, and no copy is needed.
    pub fn is_image(&self) -> bool {
        self.margin == [0, 0] && self.stride == [1, 1] && self.size == self.image
    }

    /// Where the pixel `(y, x)` of the padded image lies within its channel.
    pub fn offset(&self, y: usize, x: usize) -> usize {
        let ([sy, sx], [rows, columns]) = (self.stride, self.size);
        ((y % sy * sx + x % sx) * rows + y / sy) * columns + x / sx
    }

    /// Copies `channels` channels of an image into their frames.
    pub fn fill_channels<T: Float>(&self, level: Level, channels: usize, from: &[T], to: &mut [T]) {
        level.dispatch(Fill { frame: self, channels, from, to });
    }

    /// The channels of one image in this frame: `source` itself if the frame is the image and `slack` more elements follow, else
    /// a copy in `copy`, followed by `slack` zeros. The image begins with `source`.
    pub fn framed<'a, T: Float>(
        &self,
        level: Level,
        channels: usize,
        source: &'a [T],
        slack: usize,
        copy: &'a mut Option<Scratch<T>>,
    ) -> &'a [T] {
        let len = channels * self.len();
        if self.is_image() && source.len() >= len + slack {
            return source;
        }
        let copy = copy.insert(Scratch::new(len + slack));
        self.fill_channels(level, channels, source, copy);
        copy[len..].fill(T::ZERO);
        copy
    }

    /// Copies rows `rows` of the padded channel to rows `pitch` apart; the stride must be 1. `from` begins with the channel. Up
    /// to a register after the last row in `to` may be overwritten.
    #[inline(always)]
    pub fn copy_rows<T: Float, I: Isa>(&self, isa: I, rows: Range<usize>, pitch: usize, from: &[T], to: &mut [T]) {
        let ([height, width], [top, left]) = (self.image, self.margin);
        let lanes = <T::Vector<I> as Vector<T, I>>::LANES;
        let left = left.min(pitch);
        let count = width.min(pitch - left);
        for (index, y) in rows.enumerate() {
            let to = &mut to[index * pitch..];
            let y = y.wrapping_sub(top);
            if y >= height {
                to[..pitch].fill(T::ZERO);
                continue;
            }
            let from = &from[y * width..];
            clear(&mut to[..left]);
            let [read, written] = [count, pitch].map(|len| len.saturating_add(lanes));
            if from.len() >= read && to.len() >= written {
                // The last register may exceed the row; the margin and the next row are written afterwards.
                for x in (0..count).step_by(lanes) {
                    // SAFETY: `x < count`, and both slices were found to have a register beyond `count`.
                    unsafe { T::Vector::<I>::load(isa, from.as_ptr().add(x)).store(to.as_mut_ptr().add(left + x)) };
                }
            } else {
                to[left..][..count].copy_from_slice(&from[..count]);
            }
            clear(&mut to[left + count..pitch]);
        }
    }

    /// Copies the channel at the start of `from`, one remainder of the strides after the other. Elements after it in `from` may
    /// be read.
    #[inline(always)]
    fn copy_strided<T: Float, I: Isa>(&self, isa: I, from: &[T], to: &mut [T]) {
        let ([sy, sx], [rows, columns]) = (self.stride, self.size);
        let [height, width] = self.image;
        for (remainder, plane) in to.chunks_exact_mut(rows * columns).take(sy * sx).enumerate() {
            let (y0, x0) = (remainder / sx, remainder % sx);
            // The columns `first .. last` of a row are pixels `column * sx + x0 - margin` of the image.
            let first = self.margin[1].saturating_sub(x0).div_ceil(sx).min(columns);
            let last = (self.margin[1] + width).saturating_sub(x0).div_ceil(sx).clamp(first, columns);
            for row in 0..rows {
                let to = &mut plane[row * columns..];
                let y = (row * sy + y0).wrapping_sub(self.margin[0]);
                if y >= height || first == last {
                    to[..columns].fill(T::ZERO);
                    continue;
                }
                clear(&mut to[..first]);
                let from = &from[y * width + first * sx + x0 - self.margin[1]..];
                copy_every(isa, &mut to[first..], last - first, from, sx);
                clear(&mut to[last..columns]);
            }
        }
    }
}

/// [`Frame::fill_channels`]
struct Fill<'a, 'b, T> {
    frame: &'a Frame,
    channels: usize,
    from: &'a [T],
    to: &'b mut [T],
}

impl<T: Float> Kernel for Fill<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Fill { frame, channels, from, to } = self;
        let (image, len) = (frame.image[0] * frame.image[1], frame.len());
        let to = &mut to[..channels * len];
        for c in 0..channels {
            let (from, to) = (&from[c * image..], &mut to[c * len..]);
            if frame.stride == [1, 1] {
                frame.copy_rows(isa, 0..frame.size[0], frame.size[1], from, to);
            } else {
                frame.copy_strided(isa, from, to);
            }
        }
    }
}

/// Fills a margin with zeros. It usually has one or two elements, too few for a call of memset.
#[inline(always)]
fn clear<T: Float>(to: &mut [T]) {
    match to {
        [a] => *a = T::ZERO,
        [a, b] => (*a, *b) = (T::ZERO, T::ZERO),
        more => more.fill(T::ZERO),
    }
}

/// `to[i] = from[i * step]` for `i < count`. Up to a register after them in `to` may be overwritten.
#[inline(always)]
fn copy_every<T: Float, I: Isa>(isa: I, to: &mut [T], count: usize, from: &[T], step: usize) {
    let lanes = <T::Vector<I> as Vector<T, I>>::LANES;
    let padded = count.next_multiple_of(lanes);
    if step == 2 && padded <= to.len() && padded <= from.len() / 2 {
        for at in (0..padded).step_by(lanes) {
            // SAFETY: `to` has `padded` elements and `from` twice as many, as just checked.
            unsafe {
                let pairs = from.as_ptr().add(2 * at);
                let [even, _] =
                    T::Vector::<I>::load(isa, pairs).deinterleave(T::Vector::<I>::load(isa, pairs.add(lanes)));
                even.store(to.as_mut_ptr().add(at));
            }
        }
        return;
    }
    to[..count].iter_mut().zip(from.iter().step_by(step)).for_each(|(to, &from)| *to = from);
}
