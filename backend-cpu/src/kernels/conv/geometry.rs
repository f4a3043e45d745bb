//! The sizes of a convolution, and what all algorithms derive from them: which tensor a pass reads, its output grid, and
//! the frame that holds a padded image.

use super::frame::Frame;
use crate::kernels::end_of;

/// The sizes of a convolution. `oh` and `ow` are the output's: `(h + 2 padding - dilation (kh - 1) - 1) / stride + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    pub n: usize,
    pub c_in: usize,
    pub h: usize,
    pub w: usize,
    pub c_out: usize,
    pub kh: usize,
    pub kw: usize,
    /// At most the size of the padded image, as any larger stride is equivalent: there is a single window.
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub oh: usize,
    pub ow: usize,
}

/// The convolution or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    GradInput,
    GradWeight,
}

impl Pass {
    /// The name in launch reports.
    pub fn kernel(self) -> &'static str {
        match self {
            Pass::Forward => "conv2d",
            Pass::GradInput => "conv2d_grad_input",
            Pass::GradWeight => "conv2d_grad_weight",
        }
    }
}

impl Conv2d {
    pub(super) fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    pub(super) fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    pub(super) fn taps(&self) -> usize {
        self.kh * self.kw
    }

    /// One input and one output channel per group.
    pub(super) fn is_depthwise(&self) -> bool {
        self.group_in() == 1 && self.group_out() == 1
    }

    /// A 1 x 1 kernel in one group, without stride or padding.
    pub(super) fn is_pointwise(&self) -> bool {
        [self.kh, self.kw, self.groups] == [1; 3]
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && [self.oh, self.ow] == [self.h, self.w]
    }

    /// Channels per group of the images that the pass reads and of those that it writes. The weights' gradient reads `x`.
    pub(super) fn channels(&self, pass: Pass) -> [usize; 2] {
        match pass {
            Pass::Forward | Pass::GradWeight => [self.group_in(), self.group_out()],
            Pass::GradInput => [self.group_out(), self.group_in()],
        }
    }

    /// Height and width of the images that `Forward` or `GradInput` writes.
    pub(super) fn output(&self, pass: Pass) -> [usize; 2] {
        match pass {
            Pass::GradInput => [self.h, self.w],
            Pass::Forward | Pass::GradWeight => [self.oh, self.ow],
        }
    }

    /// Multiply-adds of any of the three passes (an upper bound where padding is not skipped).
    pub(super) fn work(&self) -> usize {
        (self.n * self.c_out * self.oh * self.ow).saturating_mul(self.group_in() * self.taps())
    }

    /// An upper bound, in bytes, of every frame and offset table of this convolution; `None` if it overflows. If it does not, no
    /// product of sizes, strides and channels in these files overflows.
    fn framed_bytes(&self) -> Option<usize> {
        let side = |size: usize, padding: usize| 4_usize.checked_mul(padding.checked_mul(2)?.checked_add(size)? + 1);
        let image = side(self.h, self.padding[0])?.checked_mul(side(self.w, self.padding[1])?)?;
        let channels = self.c_in.checked_add(self.c_out)?.max(1);
        image.checked_mul(channels)?.checked_mul(self.n.max(1))?.checked_mul(size_of::<f64>())
    }

    /// # Panics
    /// If the sizes contradict each other or the lengths of the slices, or are too large.
    pub(super) fn check<T>(&self, input: &[T], weight: &[T], output: &[T]) {
        assert!(
            self.groups > 0 && self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups),
            "groups of {self:?}"
        );
        assert!(self.stride[0] > 0 && self.stride[1] > 0 && self.dilation[0] > 0 && self.dilation[1] > 0, "{self:?}");
        assert!(self.framed_bytes().is_some_and(|bytes| bytes <= isize::MAX as usize), "{self:?} is too large");
        let fits = |out: usize, kernel: usize, stride, dilation, size, padding| {
            let padded = size + 2 * padding;
            out == 0
                || kernel > 0 && stride <= padded && end_of([(out - 1, stride), (kernel - 1, dilation)], 1) <= padded
        };
        assert!(fits(self.oh, self.kh, self.stride[0], self.dilation[0], self.h, self.padding[0]), "oh of {self:?}");
        assert!(fits(self.ow, self.kw, self.stride[1], self.dilation[1], self.w, self.padding[1]), "ow of {self:?}");
        assert_eq!(input.len(), self.n * self.c_in * self.h * self.w, "input of {self:?}");
        assert_eq!(weight.len(), self.c_out * self.group_in() * self.taps(), "weight of {self:?}");
        assert_eq!(output.len(), self.n * self.c_out * self.oh * self.ow, "output of {self:?}");
    }

    /// The frame for the images that the pass reads: `x`, or `gy` for the input's gradient.
    pub(super) fn frame(&self, pass: Pass) -> Frame {
        if pass == Pass::GradInput { self.gradient_frame() } else { self.input_frame() }
    }

    fn input_frame(&self) -> Frame {
        let extent = |out: usize, kernel, stride, dilation| (out - 1) * stride + (kernel - 1) * dilation + 1;
        let extent = [
            extent(self.oh, self.kh, self.stride[0], self.dilation[0]),
            extent(self.ow, self.kw, self.stride[1], self.dilation[1]),
        ];
        let frame = Frame::new([self.h, self.w], self.padding, self.stride, extent);
        // Without padding and stride the image serves as its own frame, even if no window reads its last rows or columns.
        if self.padding == [0, 0] && self.stride == [1, 1] { Frame { size: [self.h, self.w], ..frame } } else { frame }
    }

    /// Along one axis, output pixel `(p + padding - tap dilation) / stride` reads input pixel `p` through the tap, if that is an
    /// integer. The margin makes the smallest such index 0, and the frame ends with the largest.
    fn gradient_frame(&self) -> Frame {
        let kernel = [self.kh, self.kw];
        let margin = [0, 1].map(|axis| {
            ((kernel[axis] - 1) * self.dilation[axis]).saturating_sub(self.padding[axis]).div_ceil(self.stride[axis])
        });
        let extent = |axis: usize, size: usize| margin[axis] + (size - 1 + self.padding[axis]) / self.stride[axis] + 1;
        Frame::new([self.oh, self.ow], margin, [1, 1], [extent(0, self.h), extent(1, self.w)])
    }

    /// The offset of every tap `(y, x)` of one channel in the input's frame.
    pub(super) fn input_taps(&self, frame: &Frame) -> Vec<usize> {
        let mut taps = Vec::with_capacity(self.taps());
        for y in 0..self.kh {
            taps.extend((0..self.kw).map(|x| frame.offset(y * self.dilation[0], x * self.dilation[1])));
        }
        taps
    }
}

/// `c * channel + offset` for all `c < channels` and, within each `c`, all offsets.
pub(super) fn channels_and_taps(channels: usize, channel: usize, offsets: &[usize]) -> Vec<usize> {
    (0..channels).flat_map(|c| offsets.iter().map(move |offset| c * channel + offset)).collect()
}
