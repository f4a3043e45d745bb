//! A backend that computes as Plain does and writes down what core asks of it: the names of the trait's methods. What a fused
//! method asks for inside its default is its own affair and not written down.

use minitorch_conformance::Plain;
use minitorch_core::backend::*;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::random::{DeviceRng, Draw};
use minitorch_core::{Conv2dOptions, DType, Error, HostData, HostSlice, Layout, Pool2dOptions, Result};
use std::sync::{Arc, Mutex, MutexGuard};

type Tensor = minitorch_core::Tensor<Traced>;
type Storage = <Plain as Backend>::Storage;

/// The recording device.
#[derive(Clone)]
pub(crate) struct Traced {
    plain: Plain,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// How many methods are under way; only the outermost is written down.
    depth: usize,
    names: Vec<&'static str>,
}

impl Traced {
    pub(crate) fn new() -> Self {
        Traced { plain: Plain::new(), log: Arc::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What was asked for since the last call, each name once.
    pub(crate) fn take(&self) -> Vec<&'static str> {
        let mut log = self.log();
        log.depth = 0; // a panic may have left a method under way
        let mut once = Vec::new();
        for name in std::mem::take(&mut log.names) {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        once
    }

    /// How often a method was asked for since the last [`take`](Self::take).
    pub(crate) fn count(&self, name: &str) -> usize {
        self.log().names.iter().filter(|asked| **asked == name).count()
    }

    /// Runs `f` without writing anything down.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce() -> T) -> T {
        self.log().depth += 1;
        let result = f();
        let mut log = self.log();
        log.depth = log.depth.saturating_sub(1);
        drop(log);
        result
    }

    fn note<T>(&self, name: &'static str, f: impl FnOnce() -> T) -> T {
        let mut log = self.log();
        if log.depth == 0 {
            log.names.push(name);
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
            self.note(stringify!($name), || self.plain.$name($($arg),*))
        }
    )* };
}

macro_rules! fused {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => { $(
        fn $name(&self, $($arg: $type),*) -> $out {
            self.note(stringify!($name), || composed::$name($($arg),*))
        }
    )* };
}

impl Backend for Traced {
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
    fn keep(&self, failure: Error) {
        self.plain.keep(failure);
    }
    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.plain.download(x)
    }
    families! {
        full(dtype: DType, len: usize, value: f64) -> Result<Storage>;
        upload(data: HostSlice<'_>) -> Result<Storage>;
        copy(x: ViewOf<'_, Self>) -> Storage;
        write(to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>);
        fill(to: &mut Storage, at: &Layout, dtype: DType, value: f64);
        cast(x: ViewOf<'_, Self>, to: DType) -> Storage;
        unary(op: UnaryOp, x: ViewOf<'_, Self>) -> Storage;
        binary(op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
        compare(op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
        compare_scalar(op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Storage;
        where_cond(condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
        reduce(op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage;
        arg_reduce(op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage;
        matmul(a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage;
        gather(x: ViewOf<'_, Self>, dim: usize, index: ViewOf<'_, Self>) -> Storage;
        scatter(
            op: ScatterOp, to: &mut Storage, layout: &Layout, dim: usize, index: ViewOf<'_, Self>, x: ViewOf<'_, Self>
        );
        random(op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage;
    }
    // In place is an accident of who holds the operand: written down as the family.
    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        self.note("unary", || self.plain.unary_mut(op, x, layout, dtype));
    }
    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        self.note("binary", || self.plain.binary_mut(op, a, layout, b));
    }
    fused! {
        unary_grad(op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor;
        linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor;
        conv2d(
            x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions, activation: Option<Activation>
        ) -> Tensor;
        running_statistics(running: [&Tensor; 2], statistics: &Tensor, momentum: f64, unbiased: f64) -> [Tensor; 2];
        conv2d_grad_input(g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor;
        conv2d_grad_weight(x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor;
        max_pool2d(x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor);
        avg_pool2d(x: &Tensor, options: &Pool2dOptions) -> Tensor;
        avg_pool2d_grad(g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor;
        softmax(x: &Tensor, dim: usize) -> Tensor;
        softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor;
        log_softmax(x: &Tensor, dim: usize) -> Tensor;
        log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor;
        cross_entropy(logits: &Tensor, target: &Tensor) -> (Tensor, Tensor);
        cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor;
        normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, options: &NormOptions) -> [Tensor; 2];
        normalize_by(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, statistics: &Tensor, options: &NormOptions) -> Tensor;
        cumsum(x: &Tensor, dim: usize, reverse: bool) -> Tensor;
        argsort(x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor;
        dropout(x: &Tensor, p: f64, draw: Draw) -> Tensor;
    }
    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, size: [usize; 2], _: &Pool2dOptions) -> Tensor {
        self.note("max_pool2d_grad", || composed::max_pool2d_grad(g, indices, size))
    }
    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        w: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        self.note("normalize_grad", || composed::normalize_grad(g, x, w, statistics, options))
    }
}
