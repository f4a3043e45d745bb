//! A backend that computes as Plain does and records the names of the trait methods that core calls. Calls from within the default of a
//! fused method are not recorded.

use minitorch_conformance::Plain;
use minitorch_core::backend::*;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::random::{DeviceRng, Draw};
use minitorch_core::{Conv2dOptions, DType, Error, HostData, HostSlice, Layout, Pool2dOptions, Result};
use std::sync::{Arc, Mutex, MutexGuard};

type Tensor = minitorch_core::Tensor<Traced>;
type Storage = <Plain as Device>::Storage;

/// The recording device.
#[derive(Clone)]
pub(crate) struct Traced {
    plain: Plain,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// The depth of nested calls; only the outermost is recorded.
    depth: usize,
    calls: Vec<Method>,
}

/// A method of a trait.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    /// Whether it has a default in terms of other operations.
    pub(crate) is_fused: bool,
}

impl Traced {
    pub(crate) fn new() -> Self {
        Traced { plain: Plain::new(), log: Arc::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The methods called since the last `take`, each once.
    pub(crate) fn take(&self) -> Vec<Method> {
        let mut log = self.log();
        log.depth = 0; // a panic may have skipped the decrement
        let mut once = Vec::new();
        for method in std::mem::take(&mut log.calls) {
            if !once.contains(&method) {
                once.push(method);
            }
        }
        once
    }

    /// How often a method was called since the last [`take`](Self::take).
    pub(crate) fn count(&self, name: &str) -> usize {
        self.log().calls.iter().filter(|called| called.name == name).count()
    }

    /// Runs `f` without recording.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce() -> T) -> T {
        self.log().depth += 1;
        let result = f();
        let mut log = self.log();
        log.depth = log.depth.saturating_sub(1);
        drop(log);
        result
    }

    fn family<T>(&self, name: &'static str, f: impl FnOnce() -> T) -> T {
        self.record(Method { name, is_fused: false }, f)
    }

    fn fused<T>(&self, name: &'static str, f: impl FnOnce() -> T) -> T {
        self.record(Method { name, is_fused: true }, f)
    }

    fn record<T>(&self, method: Method, f: impl FnOnce() -> T) -> T {
        let mut log = self.log();
        if log.depth == 0 {
            log.calls.push(method);
        }
        drop(log);
        self.quietly(f)
    }
}

impl PartialEq for Traced {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Traced({:?})", self.plain)
    }
}

macro_rules! families {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => { $(
        fn $name(&self, $($arg: $type),*) $(-> $out)? {
            self.family(stringify!($name), || self.plain.$name($($arg),*))
        }
    )* };
}

macro_rules! fused {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => { $(
        fn $name(&self, $($arg: $type),*) -> $out {
            self.fused(stringify!($name), || composed::$name($($arg),*))
        }
    )* };
}

impl Device for Traced {
    type Storage = Storage;

    fn supports(&self, _: DType) -> bool {
        true
    }
    fn rng(&self) -> &DeviceRng {
        self.plain.rng()
    }
    fn memory(&self) -> MemoryStats {
        self.plain.memory()
    }
    fn reset_peak_memory(&self) {
        self.plain.reset_peak_memory();
    }
    fn synchronize(&self) -> Result<()> {
        self.plain.synchronize()
    }
    fn take_error(&self) -> Option<Error> {
        self.plain.take_error()
    }
}

impl CopyOps for Traced {
    families! {
        full(dtype: DType, len: usize, value: f64) -> Result<Storage>;
        upload(data: HostSlice<'_>) -> Result<Storage>;
        copy(x: ViewOf<'_, Self>) -> Storage;
        write(to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>);
        fill(to: &mut Storage, at: &Layout, dtype: DType, value: f64);
        cast(x: ViewOf<'_, Self>, to: DType) -> Storage;
    }
    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.plain.download(x)
    }
}

impl UnaryOps for Traced {
    families! {
        unary(op: UnaryOp, x: ViewOf<'_, Self>) -> Storage;
    }
    fused! {
        unary_grad(op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor;
    }
    // Whether core calls it depends on the number of holders: recorded as `unary`.
    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        self.family("unary", || self.plain.unary_mut(op, x, layout, dtype));
    }
}

impl BinaryOps for Traced {
    families! {
        binary(op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
    }
    // As `unary_mut`.
    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        self.family("binary", || self.plain.binary_mut(op, a, layout, b));
    }
}

impl CompareOps for Traced {
    families! {
        compare(op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
        compare_scalar(op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Storage;
        where_cond(condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
    }
}

impl ReduceOps for Traced {
    families! {
        reduce(op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage;
        arg_reduce(op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage;
    }
}

impl MatmulOps for Traced {
    families! {
        matmul(a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
    }
    fused! {
        linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor;
    }
}

impl IndexOps for Traced {
    families! {
        gather(x: ViewOf<'_, Self>, at: AtIndexOf<'_, Self>) -> Result<Storage, OutOfRange>;
        scatter(
            op: ScatterOp, to: &mut Storage, layout: &Layout, at: AtIndexOf<'_, Self>, x: ViewOf<'_, Self>
        ) -> Result<(), OutOfRange>;
    }
}

impl RandomOps for Traced {
    families! {
        random(op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage;
    }
    fused! {
        dropout(x: &Tensor, p: f64, draw: Draw) -> Tensor;
    }
}

impl ConvOps for Traced {
    fused! {
        conv2d(
            x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions, activation: Option<Activation>
        ) -> Tensor;
        conv2d_grad_input(g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor;
        conv2d_grad_weight(x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor;
    }
}

impl PoolOps for Traced {
    fused! {
        max_pool2d(x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor);
        avg_pool2d(x: &Tensor, options: &Pool2dOptions) -> Tensor;
        avg_pool2d_grad(g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor;
    }
    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, size: [usize; 2], _: &Pool2dOptions) -> Tensor {
        self.fused("max_pool2d_grad", || composed::max_pool2d_grad(g, indices, size))
    }
}

impl SoftmaxOps for Traced {
    fused! {
        softmax(x: &Tensor, dim: usize) -> Tensor;
        softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor;
        log_softmax(x: &Tensor, dim: usize) -> Tensor;
        log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor;
    }
}

impl NormOps for Traced {
    fused! {
        normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, options: &NormOptions) -> [Tensor; 2];
        normalize_by(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, statistics: &Tensor, options: &NormOptions) -> Tensor;
        running_statistics(running: [&Tensor; 2], statistics: &Tensor, momentum: f64, unbiased: f64) -> [Tensor; 2];
    }
    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        w: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        self.fused("normalize_grad", || composed::normalize_grad(g, x, w, statistics, options))
    }
}

impl ScanOps for Traced {
    fused! {
        cumsum(x: &Tensor, dim: usize, reverse: bool) -> Tensor;
    }
}

impl SortOps for Traced {
    fused! {
        argsort(x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor;
    }
}

impl LossOps for Traced {
    fused! {
        cross_entropy(logits: &Tensor, target: &Tensor, caller: Caller) -> Result<(Tensor, Tensor), OutOfRange>;
        cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor;
    }
}

impl OptimOps for Traced {}
