//! Direct calls of the CPU's trait methods: layouts beyond their storage, operands of unequal shapes, storages that are too short, options
//! that core rejects.

use crate::source::Source;
use minitorch_core::backend::{
    Activation, AdagradConfig, AdamConfig, ArgReduceOp, AtIndex, BinaryOp, BinaryOps, Caller, CompareOp, CompareOps,
    ConvOps, CopyOps, Device, IndexOps, LossOps, MatmulOps, NormOps, OptimOps, PoolOps, RandomOp, RandomOps, ReduceOp,
    ReduceOps, RmsPropConfig, ScanOps, ScatterOp, SgdConfig, SoftmaxOps, SortOps, StepRule, StepSlot, UnaryOp,
    UnaryOps, View,
};
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::{Conv2dOptions, DType, DimSet, Dims, HostData, HostSlice, Layout, Pool2dOptions, Shape, Tensor};
use minitorch_cpu::{Cpu, Storage};

type T = Tensor<Cpu>;

const FLOATS: [DType; 4] = [DType::F32, DType::F32, DType::F32, DType::F64];

impl Source {
    fn device(&self) -> Cpu {
        Cpu::default()
    }

    fn storage(&mut self, dtype: DType, len: usize) -> Storage {
        let device = self.device();
        if dtype == DType::I32 {
            let numbers: Vec<i32> = (0..len).map(|_| self.pick(&[0, 0, 1, 2, 3, -1, i32::MAX])).collect();
            return device.upload(HostSlice::I32(&numbers)).expect("a small storage");
        }
        device.full(dtype, len, 1.0).expect("a small storage")
    }

    fn stride(&mut self) -> usize {
        match self.below(4) {
            0 => self.huge(),
            1 => self.pick(&[0, 1, 16, 64, 255, 256]),
            _ => self.small(),
        }
    }

    /// The layout of a shape: contiguous, with any strides, or contiguous but for one number.
    fn layout(&mut self, shape: Shape) -> Layout {
        let whole = Layout::contiguous(shape);
        let mut strides = whole.strides().to_vec();
        let mut offset = 0;
        match self.below(8) {
            0..3 => {}
            3 => strides.iter_mut().for_each(|stride| *stride = self.stride()),
            4 if !strides.is_empty() => {
                let d = self.below(strides.len());
                strides[d] = self.stride();
            }
            5 if strides.len() > 1 => strides.reverse(),
            6 => offset = self.size(),
            _ => offset = self.small(),
        }
        Layout::new(shape, &strides, offset)
    }

    /// A shape of small sizes, with one beyond any memory at times.
    fn sizes_of(&mut self, rank: usize) -> Shape {
        let mut dims = self.shape(rank).to_vec();
        if rank > 0 && self.one_in(8) {
            dims = vec![1; rank];
            dims[self.below(rank)] = self.pick(&[1 << 58, 1 << 59, (1 << 60) - 1]);
        }
        Shape::new(&dims)
    }

    /// A second shape: the same, one that differs in one size, or any.
    fn like(&mut self, shape: Shape) -> Shape {
        match self.below(8) {
            0 => {
                let rank = self.below(7);
                self.sizes_of(rank)
            }
            1 if !shape.is_empty() => {
                let (d, size) = (self.below(shape.len()), self.small());
                shape.with(d, size)
            }
            _ => shape,
        }
    }

    /// A storage for a layout: of the length that it needs, slightly less, or any.
    fn behind(&mut self, dtype: DType, layout: &Layout) -> Storage {
        let dtype = if self.one_in(20) { self.dtype() } else { dtype };
        let end = layout.end();
        let len = match self.below(8) {
            0 => self.below(64),
            1 => end.saturating_sub(1),
            _ => end,
        };
        self.storage(dtype, if len > 1 << 16 { 100 } else { len })
    }

    /// Storage and layout of an operand.
    fn operand(&mut self, dtype: DType, shape: Shape) -> (Storage, Layout) {
        let shape = self.like(shape);
        let layout = self.layout(shape);
        (self.behind(dtype, &layout), layout)
    }

    /// A tensor whose storage may be too short for it.
    fn tensor(&mut self, dtype: DType, dims: &[usize]) -> T {
        let shape = self.like(Shape::new(dims));
        let whole = Layout::contiguous(shape);
        let storage = self.behind(dtype, &whole);
        let x = T::from_storage(&self.device(), storage, dtype, shape);
        if self.one_in(4) && x.rank() > 1 { x.transpose(0, -1) } else { x }
    }

    fn small_sizes<const N: usize>(&mut self) -> [usize; N] {
        std::array::from_fn(|_| self.small())
    }

    fn wild_conv(&mut self) -> Conv2dOptions {
        let [a, b, c, d, e, f, g] = [(); 7].map(|()| if self.one_in(6) { self.size() } else { 1 });
        let padding = if self.one_in(2) { [0, 0] } else { [c, d] };
        Conv2dOptions { stride: [a, b], padding, dilation: [e, f], groups: g }
    }

    fn wild_pool(&mut self) -> Pool2dOptions {
        let mut o = Pool2dOptions::new([2, 2]);
        for d in 0..2 {
            for number in [&mut o.kernel[d], &mut o.stride[d], &mut o.padding[d], &mut o.dilation[d]] {
                if self.one_in(4) {
                    *number = self.size();
                }
            }
        }
        o
    }

    fn dims(&mut self) -> DimSet {
        let dim = self.below(6) as isize;
        dim.resolve("wild", 6).expect("a dimension below the rank")
    }
}

/// All elements of a result, whatever its length.
fn look(device: &Cpu, storage: &Storage, len: usize) {
    drop(device.take_error()); // out of memory in this call or an earlier one would refuse the read
    let layout = Layout::contiguous([len]);
    if let Ok(HostData::F32(data)) = device.download(View { storage, layout: &layout, dtype: storage.dtype() }) {
        std::hint::black_box(data.iter().sum::<f32>());
    }
}

fn see(x: &T) {
    look(x.device(), x.view().storage, x.numel());
}

/// One random call.
pub(crate) fn call(s: &mut Source, named: &mut dyn FnMut(&str)) {
    let device = s.device();
    let (dtype, rank) = (s.dtype(), s.below(7));
    let shape = s.sizes_of(rank);
    type Method = fn(&mut Source, &Cpu, DType, Shape);
    let methods: [(&str, Method); 5] =
        [("families", families), ("families", families), ("products", products), ("images", images), ("fused", fused)];
    let (name, method) = s.pick(&methods);
    named(name);
    method(s, &device, dtype, shape);
}

fn families(s: &mut Source, device: &Cpu, dtype: DType, shape: Shape) {
    let (xs, xl) = s.operand(dtype, shape);
    let (ys, yl) = s.operand(dtype, shape);
    fn view<'a>(storage: &'a Storage, layout: &'a Layout, dtype: DType) -> View<'a, Storage> {
        View { storage, layout, dtype }
    }
    fn at<'a>(dim: usize, index: View<'a, Storage>) -> AtIndex<'a, Storage> {
        AtIndex { dim, index, caller: Caller::of("wild") }
    }
    let (x, y) = (view(&xs, &xl, dtype), view(&ys, &yl, dtype));
    let (dim, op) = (s.below(7), s.pick(&[BinaryOp::Add, BinaryOp::Mul, BinaryOp::Maximum]));
    let out = match s.below(15) {
        0 => return drop(device.download(x)),
        1 => device.copy(x),
        2 => device.cast(x, s.dtype()),
        3 => device.unary(s.pick(&[UnaryOp::Neg, UnaryOp::Relu, UnaryOp::Exp, UnaryOp::Sin]), x),
        4 => device.binary(op, x, y),
        5 => device.compare(CompareOp::Lt, x, y),
        6 => device.compare_scalar(CompareOp::Ge, x, 0.5),
        7 => {
            let (cs, cl) = s.operand(DType::Bool, shape);
            device.where_cond(view(&cs, &cl, DType::Bool), x, y)
        }
        8 => {
            let dims: Vec<usize> = (0..7).filter(|_| s.one_in(2)).collect();
            device.reduce(s.pick(&[ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Prod, ReduceOp::Max]), x, &dims)
        }
        9 => device.arg_reduce(s.pick(&[ArgReduceOp::ArgMax, ArgReduceOp::ArgMin]), x, dim),
        10 => {
            let (is, il) = s.operand(DType::I32, shape);
            let Ok(out) = device.gather(x, at(dim, view(&is, &il, DType::I32))) else { return };
            out
        }
        kind => {
            let mut to = xs;
            match kind {
                11 => device.write(&mut to, &xl, y),
                12 => device.fill(&mut to, &xl, dtype, 2.0),
                13 if s.one_in(2) => device.unary_mut(UnaryOp::Neg, &mut to, &xl, dtype),
                13 => device.binary_mut(op, &mut to, &xl, y),
                _ => {
                    let (is, il) = s.operand(DType::I32, shape);
                    let op = s.pick(&[ScatterOp::Add, ScatterOp::Set]);
                    let _ = device.scatter(op, &mut to, &xl, at(dim, view(&is, &il, DType::I32)), y);
                }
            }
            to
        }
    };
    look(device, &out, shape.numel());
}

fn products(s: &mut Source, device: &Cpu, _: DType, _: Shape) {
    let (dtype, [p, m, n]) = (s.pick(&FLOATS), s.small_sizes());
    // Values of k that are short, long, and so long that a product is split along k.
    let k = s.pick(&[0, 1, 2, 3, 5, 8, 33, 64, 100, 2048, 5000]);
    let (m, n) = if s.one_in(3) { (m * 9, n * 17) } else { (m, n) };
    let (a, b) = if s.one_in(2) { (vec![m, k], vec![k, n]) } else { (vec![p, m, k], vec![p, k, n]) };
    let (a, b) = if s.one_in(8) { (vec![2, 1 << 58], vec![1 << 58, 3]) } else { (a, b) };
    if s.one_in(2) {
        let ((xs, xl), (ys, yl)) = (s.operand(dtype, Shape::new(&a)), s.operand(dtype, Shape::new(&b)));
        let out = device.matmul(View { storage: &xs, layout: &xl, dtype }, View { storage: &ys, layout: &yl, dtype });
        return look(device, &out, m * n);
    }
    // Transposed operands make a result of k x k.
    let k = k.min(128);
    let (x, w, bias) = (s.tensor(dtype, &[p, m, k]), s.tensor(dtype, &[n, k]), s.tensor(dtype, &[n]));
    let bias = if s.one_in(2) { Some(&bias) } else { None };
    see(&match s.below(2) {
        0 => device.linear(&x, &w, bias, None),
        _ => device.linear(&x, &w, bias, Some(Activation::Sigmoid)),
    });
}

fn images(s: &mut Source, device: &Cpu, _: DType, _: Shape) {
    let (dtype, o, pool) = (s.pick(&FLOATS), s.wild_conv(), s.wild_pool());
    // Enough channels and pixels for every algorithm, at times.
    let wide = s.one_in(4);
    let [n, ci, co, h, w] = if wide { [2, 32, 32, 12, s.pick(&[8, 12, 16])] } else { s.small_sizes() };
    let [kh, kw] = if wide { [3, 3] } else { s.small_sizes() };
    let [oh, ow] = match o.output_size([h, w], [kh, kw]) {
        Some([oh, ow]) if oh.max(ow) < 64 && !s.one_in(8) => [oh, ow],
        _ => s.small_sizes(),
    };
    let x = s.tensor(dtype, &[n, ci, h, w]);
    let size = if s.one_in(8) { s.sizes() } else { [h, w] };
    match s.below(7) {
        0 | 1 => {
            let (w, b) = (s.tensor(dtype, &[co, ci, kh, kw]), s.tensor(dtype, &[co]));
            see(&device.conv2d(&x, &w, if s.one_in(2) { Some(&b) } else { None }, &o, None));
        }
        2 => {
            let (g, w) = (s.tensor(dtype, &[n, co, oh, ow]), s.tensor(dtype, &[co, ci, kh, kw]));
            see(&device.conv2d_grad_input(&g, &w, size, &o));
        }
        3 => {
            let g = s.tensor(dtype, &[n, co, oh, ow]);
            see(&device.conv2d_grad_weight(&x, &g, [kh, kw], &o));
        }
        kind => {
            let [oh, ow] = pool.output_size([h, w]).filter(|out| out[0].max(out[1]) < 64).unwrap_or([1, 2]);
            let (g, i) = (s.tensor(dtype, &[n, ci, oh, ow]), s.tensor(DType::I32, &[n, ci, oh, ow]));
            match kind {
                4 if s.one_in(2) => see(&device.avg_pool2d(&x, &pool)),
                4 => see(&device.max_pool2d(&x, &pool).0),
                5 => see(&device.max_pool2d_grad(&g, &i, size, &pool)),
                _ => see(&device.avg_pool2d_grad(&g, size, &pool)),
            }
        }
    }
}

fn fused(s: &mut Source, device: &Cpu, _: DType, shape: Shape) {
    let dtype = s.pick(&FLOATS);
    let (dim, k, n) = (s.below(6), s.size(), shape.len());
    let (x, g) = (s.tensor(dtype, &shape), s.tensor(dtype, &shape));
    let draw = device.rng().draw();
    match s.below(10) {
        0 => see(&device.softmax(&x, dim)),
        1 => see(&device.log_softmax_grad(&x, &g, dim)),
        2 => see(&device.cumsum(&x, dim, s.one_in(2))),
        3 => see(&device.argsort(&x, dim, s.one_in(2), k)),
        4 => see(&device.dropout(&x, 0.5, draw)),
        5 => see(&device.unary_grad(UnaryOp::Tanh, &x, &g)),
        6 => look(device, &device.random(RandomOp::Uniform, dtype, k, draw), k),
        7 => {
            let [rows, c] = s.small_sizes();
            let (x, t) = (s.tensor(dtype, &[rows, c]), s.tensor(DType::I32, &[rows]));
            let Ok((loss, kept)) = device.cross_entropy(&x, &t, Caller::of("wild")) else { return };
            see(&device.cross_entropy_grad(&loss, &x, &t, &kept));
        }
        8 => {
            let [a, c, size] = s.small_sizes();
            let dims: DimSet = if s.one_in(3) { s.dims() } else { [0, 2].resolve("wild", 3).expect("two of three") };
            let o = NormOptions { dims, eps: s.float() };
            let (x, w) = (s.tensor(dtype, &[a, c, size]), s.tensor(dtype, &[1, c, 1]));
            let [y, statistics] = device.normalize(&x, Some(&w), None, &o);
            let statistics = if s.one_in(4) { s.tensor(dtype, &[c, 4]) } else { statistics };
            see(&device.normalize_by(&x, Some(&w), None, &statistics, &o));
            see(&device.normalize_grad(&y, &x, Some(&w), &statistics, &o).0);
        }
        _ => {
            let rule = match s.below(4) {
                0 => StepRule::Sgd(SgdConfig { momentum: 0.9, dampening: 0.0, weight_decay: 0.1, nesterov: true }),
                1 => StepRule::Adam(AdamConfig {
                    beta1: 0.9,
                    beta2: 0.99,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    decoupled: true,
                }),
                2 => StepRule::RmsProp(RmsPropConfig {
                    alpha: 0.9,
                    eps: 1e-8,
                    weight_decay: 0.0,
                    momentum: 0.5,
                    centered: true,
                }),
                _ => StepRule::Adagrad(AdagradConfig { lr_decay: 0.1, weight_decay: 0.0, initial: 0.0, eps: 1e-8 }),
            };
            let len = s.pick(&[0, 1, 7, 100, 40_000]);
            let numbers = if s.one_in(6) { 1 } else { 2 };
            let (mut param, mut scalars) = (s.storage(dtype, len), s.storage(dtype, numbers));
            let mut states: Vec<Storage> = (0..s.below(4))
                .map(|_| {
                    let len = if s.one_in(6) { len / 2 } else { len };
                    s.storage(dtype, len)
                })
                .collect();
            let (gs, gl) = s.operand(dtype, Shape::new(&[len; 1][..n.min(1)]));
            let grad = View { storage: &gs, layout: &gl, dtype };
            let slot =
                StepSlot { param: &mut param, grad, state: states.iter_mut().collect(), fresh: s.one_in(2), missed: 0 };
            device.optimizer_step(&rule, &mut [slot], &mut scalars);
            look(device, &param, len);
        }
    }
}
