//! How a kernel moves over its input, and the size of what it makes.

use crate::shape::Shape;

/// A number for all spatial dimensions, or one each: `2` or `[2, 1]`.
pub trait PerDim<const N: usize> {
    /// One number per dimension.
    fn per_dim(self) -> [usize; N];
}
impl<const N: usize> PerDim<N> for usize {
    fn per_dim(self) -> [usize; N] {
        [self; N]
    }
}
impl<const N: usize> PerDim<N> for [usize; N] {
    fn per_dim(self) -> [usize; N] {
        self
    }
}

/// How a kernel of N spatial dimensions moves over its input.
///
/// ```
/// # use minitorch_core::ConvOptions;
/// let options = ConvOptions::<2>::default().stride(2).padding([1, 0]);
/// assert_eq!(options.output_size([28, 28], [3, 3]), Some([14, 13]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions<const N: usize> {
    /// Steps between neighbouring windows; at least 1.
    pub stride: [usize; N],
    /// Zeros laid around the input, on both sides.
    pub padding: [usize; N],
    /// Distance of neighbouring kernel taps; at least 1.
    pub dilation: [usize; N],
    /// Independent groups of channels; at least 1.
    pub groups: usize,
}

/// [`ConvOptions`] of `conv1d`.
pub type Conv1dOptions = ConvOptions<1>;
/// [`ConvOptions`] of `conv2d`.
pub type Conv2dOptions = ConvOptions<2>;

impl<const N: usize> Default for ConvOptions<N> {
    /// Stride 1, no padding, dilation 1, one group.
    fn default() -> Self {
        ConvOptions { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// With this stride.
    pub fn stride(self, stride: impl PerDim<N>) -> Self {
        ConvOptions { stride: stride.per_dim(), ..self }
    }

    /// With this padding.
    pub fn padding(self, padding: impl PerDim<N>) -> Self {
        ConvOptions { padding: padding.per_dim(), ..self }
    }

    /// With this dilation.
    pub fn dilation(self, dilation: impl PerDim<N>) -> Self {
        ConvOptions { dilation: dilation.per_dim(), ..self }
    }

    /// With this many groups.
    pub fn groups(self, groups: usize) -> Self {
        ConvOptions { groups, ..self }
    }

    /// `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1`; `None` when the kernel does not fit, is empty, or the
    /// stride is 0.
    pub fn output_size(&self, size: [usize; N], kernel: [usize; N]) -> Option<[usize; N]> {
        output_size(size, kernel, self.stride, self.padding, self.dilation)
    }

    #[track_caller]
    pub(super) fn check(&self, op: &str, x: &[usize], w: &[usize], bias: Option<&[usize]>) -> [usize; N] {
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "{op}: stride and dilation must not be 0");
        assert!(self.groups > 0, "{op}: groups must not be 0");
        let (c_in, [c_out, c_group]) = (x[1], [w[0], w[1]]);
        assert!(
            c_group.checked_mul(self.groups) == Some(c_in),
            "{op}: a weight {w:?} in {} groups wants {} input channels, the input has {c_in}: {x:?}",
            self.groups,
            c_group.saturating_mul(self.groups)
        );
        assert!(
            c_out.is_multiple_of(self.groups),
            "{op}: {} groups do not divide the {c_out} output channels of a weight {w:?}",
            self.groups
        );
        if let Some(b) = bias {
            assert!(b == [c_out], "{op}: a bias {b:?} for {c_out} output channels");
        }
        let (size, kernel): (&[usize], &[usize]) = (&x[2..], &w[2..]);
        let (Ok(size), Ok(kernel)) = (size.try_into(), kernel.try_into()) else {
            panic!("{op}: wants an input and a weight of rank {}, not {x:?} and {w:?}", N + 2)
        };
        let Some(out) = self.output_size(size, kernel) else {
            panic!(
                "{op}: a kernel {kernel:?} (dilation {:?}) does not fit an input {size:?} padded by {:?}",
                self.dilation, self.padding
            )
        };
        let mut shape = [x[0], c_out, 1, 1];
        shape[2..2 + N].copy_from_slice(&out);
        assert!(
            Shape::try_new(&shape).is_some(),
            "{op}: {x:?} under a weight {w:?} has an output {out:?} of too many elements"
        );
        out
    }
}

/// See [`ConvOptions::output_size`]; pooling shares it.
pub(crate) fn output_size<const N: usize>(
    size: [usize; N],
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    dilation: [usize; N],
) -> Option<[usize; N]> {
    let mut out = [0; N];
    for d in 0..N {
        let reach = dilation[d].checked_mul(kernel[d].checked_sub(1)?)?.checked_add(1)?;
        let padded = padding[d].checked_mul(2)?.checked_add(size[d])?;
        out[d] = padded.checked_sub(reach)?.checked_div(stride[d])?.checked_add(1)?;
    }
    Some(out)
}
