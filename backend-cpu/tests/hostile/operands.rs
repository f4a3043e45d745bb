//! Random operands of tensor operations, most of them compatible, so that calls reach the kernels.

use crate::source::Source;
use minitorch_core::{ConvOptions, DType, PoolOptions, Shape, Tensor};
use minitorch_cpu::Cpu;

pub(crate) type T = Tensor<Cpu>;

/// Results of at most this many elements are read back; larger ones are printed, and a read fails for lack of memory.
pub(crate) const READ: usize = 1 << 22;

pub(crate) fn device() -> Cpu {
    Cpu::default()
}

impl Source {
    /// A tensor of this shape in any layout, with special values, on the tape or not.
    pub(crate) fn of(&mut self, shape: Shape, dtype: DType) -> T {
        let rank = shape.len();
        let fresh = |shape: Shape| {
            let x = Tensor::rand(shape, &device()) * 5.0 - 2.0;
            if dtype == DType::Bool { x.gt(0.0) } else { x.cast(dtype) }
        };
        let (a, b) = (self.below(rank.max(1)), self.below(rank.max(1)));
        let mut x = match self.below(8) {
            0 if rank > 0 => fresh(shape.swap(a, b)).transpose(a as isize, b as isize),
            1 if rank > 0 && shape.numel() < 2048 => fresh(shape.with(a, shape[a] + 2)).narrow(a as isize, 1, shape[a]),
            2 if rank > 0 && shape[a] > 0 => fresh(shape.with(a, 1)).expand(shape),
            3 if rank < 6 => fresh(shape.insert(rank, 2)).narrow(-1, 1, 1).squeeze(-1),
            _ => fresh(shape),
        };
        if dtype.is_float() && self.one_in(8) {
            x = x.masked_fill(&x.gt(1.0), self.float());
        }
        if dtype.is_float() && self.one_in(3) { x.requires_grad() } else { x }
    }

    /// A tensor of any rank; one in eight is a view of few elements with sizes beyond any memory.
    pub(crate) fn any(&mut self, dtype: DType) -> T {
        let rank = self.below(7);
        self.ranked(rank, dtype)
    }

    pub(crate) fn ranked(&mut self, rank: usize, dtype: DType) -> T {
        let shape = self.shape(rank);
        let x = self.of(shape, dtype);
        if rank == 0 || !self.one_in(8) {
            return x;
        }
        let d = self.below(rank);
        self.wide(x, d)
    }

    /// The tensor with one element of a dimension broadcast to a size beyond any memory.
    pub(crate) fn wide(&mut self, x: T, d: usize) -> T {
        let (size, shape) = (self.huge(), *x.shape());
        if shape[d] == 0 { x } else { x.narrow(d as isize, 0, 1).expand(shape.with(d, 1).with(d, size)) }
    }

    pub(crate) fn f(&mut self, rank: usize) -> T {
        let dtype = self.pick(&[DType::F32, DType::F32, DType::F64]);
        self.ranked(rank, dtype)
    }

    pub(crate) fn x(&mut self) -> T {
        let dtype = self.dtype();
        self.any(dtype)
    }

    pub(crate) fn float_x(&mut self) -> T {
        let rank = self.below(7);
        self.f(rank)
    }

    /// A second operand, of a shape that may broadcast.
    pub(crate) fn with(&mut self, x: &T) -> T {
        let shape = if x.numel() > READ || self.one_in(12) {
            let rank = self.below(4);
            self.shape(rank)
        } else {
            self.beside(x.shape())
        };
        let dtype = if self.one_in(20) { self.dtype() } else { x.dtype() };
        let y = self.of(shape, dtype);
        if self.one_in(12) && y.rank() > 0 {
            let d = self.below(y.rank());
            self.wide(y, d)
        } else {
            y
        }
    }

    /// A tensor of these sizes, of which large ones are broadcast.
    pub(crate) fn sized(&mut self, sizes: &[usize], dtype: DType) -> T {
        let small: Vec<usize> = sizes.iter().map(|&n| if n > 64 { 1 } else { n }).collect();
        self.of(Shape::new(&small), dtype).expand(sizes)
    }

    pub(crate) fn ints(&mut self, shape: Shape, bound: usize) -> T {
        let odd = self.one_in(12);
        let numbers: Vec<i32> = (0..shape.numel())
            .map(|_| if odd { self.pick(&[i32::MIN, -1, i32::MAX]) } else { self.below(bound.clamp(1, 64)) as i32 })
            .collect();
        Tensor::from_vec(numbers, shape, &device())
    }

    /// An index for a tensor and a dimension, in most cases.
    pub(crate) fn index(&mut self, x: &T, d: isize) -> T {
        let d = d.rem_euclid(x.rank().max(1) as isize) as usize;
        if x.rank() == 0 || x.numel() > READ {
            let shape = self.shape(x.rank());
            return self.ints(shape, 3);
        }
        let size = self.small();
        let shape = if self.one_in(8) { self.shape(x.rank()) } else { x.shape().with(d, size) };
        let index = self.ints(shape, x.shape()[d]);
        if self.one_in(12) { self.wide(index, d) } else { index }
    }

    pub(crate) fn optional(&mut self, x: T) -> Option<T> {
        (!self.one_in(3)).then_some(x)
    }

    pub(crate) fn conv<const N: usize>(&mut self) -> ConvOptions<N> {
        let mut o = ConvOptions::<N>::default();
        for d in 0..N {
            o.stride[d] = if self.one_in(3) { self.size() } else { 1 };
            o.padding[d] = if self.one_in(2) { self.size() } else { 0 };
            o.dilation[d] = if self.one_in(3) { self.size() } else { 1 };
        }
        o.groups = if self.one_in(4) { self.size() } else { 1 };
        o
    }

    pub(crate) fn pool<const N: usize>(&mut self) -> PoolOptions<N> {
        let mut o = PoolOptions::<N>::new(self.sizes::<N>().map(|k| if k == 0 { 2 } else { k }));
        for d in 0..N {
            o.stride[d] = if self.one_in(3) { self.size() } else { 1 };
            o.padding[d] = match self.below(4) {
                0 => o.kernel[d] / 2,
                1 => self.size(),
                _ => 0,
            };
            o.dilation[d] = if self.one_in(4) { self.size() } else { 1 };
        }
        o.count_include_pad(self.one_in(2))
    }

    /// Image, weight and bias of a convolution, compatible in most cases.
    pub(crate) fn images(&mut self, rank: usize, transposed: bool) -> [T; 3] {
        let (dtype, [ci, co]) = (self.pick(&[DType::F32, DType::F32, DType::F64]), [self.small(), self.small()]);
        let mut side = |first: usize, second: usize| {
            let sizes: Vec<usize> = [first, second].into_iter().chain((2..rank).map(|_| self.small() + 1)).collect();
            let x = self.sized(&sizes, dtype);
            if self.one_in(12) {
                let d = self.below(rank);
                self.wide(x, d)
            } else {
                x
            }
        };
        let n = 2;
        let (x, w) = (side(n, ci), if transposed { side(ci, co) } else { side(co, ci) });
        [x, w, self.sized(&[co], dtype)]
    }

    pub(crate) fn pairs<const N: usize>(&mut self) -> [(usize, usize); N] {
        std::array::from_fn(|_| (self.size(), self.size()))
    }
}
