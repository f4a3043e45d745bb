//! Checks beyond a comparison: gradients, panics, index errors.

use crate::close::{Tolerance, Values, assert_close, read};
use crate::on::On;
use minitorch_core::{Backend, DType, Error, Tensor, gradcheck};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

type Function<'a, B, const N: usize> = &'a dyn Fn([&Tensor<B>; N]) -> Tensor<B>;

/// The value of `f` and its gradients in all inputs, from a random gradient of the output: for [`agree!`].
#[track_caller]
pub(crate) fn with_grads<B: Backend, const N: usize>(
    d: &On<B>,
    inputs: [Tensor<B>; N],
    f: impl Fn([&Tensor<B>; N]) -> Tensor<B>,
) -> Vec<Tensor<B>> {
    with_grads_of(d, inputs, &f)
}

/// `dyn`, here and below: one instance for hundreds of closures bounds the compile time of the suite.
#[track_caller]
fn with_grads_of<B: Backend, const N: usize>(
    d: &On<B>,
    inputs: [Tensor<B>; N],
    f: Function<'_, B, N>,
) -> Vec<Tensor<B>> {
    let leaves = inputs.map(|x| x.requires_grad());
    let out = f(leaves.each_ref());
    let mut results = vec![out.detach()];
    let grads = out.backward_with(&d.uniform(-1.0, 1.0, *out.shape()));
    // A function need not depend on every input; no gradient means a gradient of zeros.
    results.extend(leaves.iter().map(|x| grads.get(x).cloned().unwrap_or_else(|| x.detach().zeros_like())));
    results
}

/// The tape's gradients against central differences, in F64.
#[track_caller]
fn first_derivative<B: Backend, const N: usize>(inputs: &[Tensor<B>; N], f: Function<'_, B, N>) {
    match gradcheck(f, inputs.each_ref(), 1e-6) {
        Ok(worst) => assert!(worst.error <= 1.0, "first derivative: {worst}"),
        Err(error) => panic!("first derivative: {error}"),
    }
}

/// The gradients of the gradients against central differences of the gradients, in F64.
///
/// `gradcheck` does not apply: it evaluates its function off the tape, where no gradients can be taken.
#[track_caller]
fn second_derivative<B: Backend, const N: usize>(inputs: &[Tensor<B>; N], f: Function<'_, B, N>) {
    // Weights of order 1 that differ from element to element, for the output and for its gradients.
    let weights = |like: &Tensor<B>, phase: f64| {
        let w: Vec<f64> = (0..like.numel()).map(|i| 0.5 + (phase + i as f64 * 0.618_033_988_75).fract()).collect();
        Tensor::from_slice(&w, *like.shape(), like.device())
    };
    // The first gradients at a point, and the leaves that they depend on.
    let gradients = |at: [Tensor<B>; N]| {
        let leaves = at.map(|x| x.requires_grad());
        let out = f(leaves.each_ref());
        let grads = out.grad_with(&weights(&out, 0.0), leaves.each_ref());
        (leaves, grads)
    };
    let contract = |grads: &[Tensor<B>; N]| -> Tensor<B> {
        let parts = grads.each_ref().map(|g| (g * weights(g, 0.3)).sum(..));
        Tensor::stack(&parts, 0).sum(..)
    };
    let (leaves, grads) = gradients(inputs.clone());
    let second = contract(&grads).grad(leaves.each_ref()).map(|g| read(&g));
    for (input, x) in inputs.iter().enumerate() {
        let (values, shape) = (read(x).data, *x.shape());
        for element in 0..values.len() {
            let step = 1e-5 * values[element].abs().max(1.0);
            let at = |shift: f64| {
                let mut moved = values.clone();
                moved[element] += shift;
                let mut point = inputs.clone();
                point[input] = Tensor::from_slice(&moved, shape, x.device());
                read(&contract(&gradients(point).1)).data[0]
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            let analytic = second[input].data[element];
            // Numbers of order 1 with rounding errors of 1e-15, over a step of 1e-5: an absolute error below 1e-7.
            assert!(
                (analytic - numeric).abs() <= 1e-7 + 1e-6 * numeric.abs(),
                "second derivative in input {input} at element {element}: {analytic} by the tape, {numeric} by differences"
            );
        }
    }
}

/// The first derivative and, of order 2, the second.
#[track_caller]
pub(crate) fn derivatives<B: Backend, const N: usize>(
    inputs: [Tensor<B>; N],
    order: usize,
    f: impl Fn([&Tensor<B>; N]) -> Tensor<B>,
) {
    first_derivative(&inputs, &f);
    if order == 2 {
        second_derivative(&inputs, &f);
    }
}

/// `check!(suite, "name", order, |d| inputs, function)`: two cases. In F64 the first derivative, and of order 2 the second,
/// against differences; in F32 values and gradients against the oracle's.
macro_rules! check {
    ($suite:ident, $name:literal, $order:literal, |$d:ident| $inputs:expr, $f:expr) => {
        $suite.f64(concat!($name, "_by_differences"), 200, |$d| {
            let inputs = $inputs;
            $crate::check::derivatives(inputs, $order, $f);
        });
        // Sums of up to 60 terms of order 1, through two or three operations.
        $suite.f32(concat!($name, "_in_f32"), 200, |on| {
            agree!(on, $crate::close::eps(64.0), |$d| $crate::check::with_grads($d, $inputs, $f));
        });
    };
}

/// A panic that was caught.
pub(crate) struct Caught {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

thread_local! {
    static EXPECTED: RefCell<Option<Option<Caught>>> = const { RefCell::new(None) };
}

/// Runs `f`, which must panic, without printing the panic. Panics of other threads are printed.
#[track_caller]
pub(crate) fn catch(f: impl FnOnce()) -> Caught {
    match attempt(f) {
        Err(caught) => caught,
        Ok(()) => panic!("a panic was expected, and there was none"),
    }
}

/// The value of `f`, or its panic, which is not printed.
pub(crate) fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let expected = EXPECTED.with_borrow_mut(|slot| match slot {
                Some(caught) => {
                    let payload = info.payload();
                    let text = payload.downcast_ref::<String>().cloned();
                    let message = text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()));
                    let (file, line) = info.location().map_or((String::new(), 0), |l| (l.file().into(), l.line()));
                    *caught = Some(Caught { message: message.unwrap_or_default(), file, line });
                    true
                }
                None => false,
            });
            if !expected {
                before(info);
            }
        }));
    });
    EXPECTED.set(Some(None));
    let result = catch_unwind(AssertUnwindSafe(f));
    let caught = EXPECTED.take().flatten();
    result.map_err(|_| caught.unwrap_or(Caught { message: String::new(), file: String::new(), line: 0 }))
}

/// The location is that of a macro call at `here`, which may span a few lines; `line!()` is the first.
#[track_caller]
pub(crate) fn assert_here(about: &str, (file, line): (&str, u32), here: (&str, u32)) {
    assert!(
        file == here.0 && (here.1..here.1 + 8).contains(&line),
        "{about:?} has the location {file}:{line}, not the caller's {}:{}",
        here.0,
        here.1
    );
}

/// `panics!("matmul", "[2, 3]", "[4, 5]"; a.matmul(&b))`: the expression panics with a message that contains all the parts, at the
/// location of the macro call (`#[track_caller]`).
macro_rules! panics {
    ($($part:expr),+; $body:expr) => {{
        let caught = $crate::check::catch(|| {
            let _unused = $body;
        });
        for part in [$($part),+] {
            assert!(caught.message.contains(&*part), "the message {:?} does not contain {part:?}", caught.message);
        }
        $crate::check::assert_here(&caught.message, (&caught.file, caught.line), (file!(), line!()));
    }};
}

/// `bad_index!(device, "gather", [7, -1], 5; x.gather(0, &index))`: the expression finds indices outside a dimension of size 5. Either
/// it panics as `panics!` says with the first of them, and the device has no error. Or each read and `synchronize` of the device, on
/// every thread, returns one of them with the operation and the location of the macro call, until `take_error` returns it; then the
/// value is that of the expression.
macro_rules! bad_index {
    ($device:expr, $op:expr, $bad:expr, $bound:expr; $body:expr) => {{
        let outcome = $crate::check::attempt(|| $body);
        let wanted = $crate::check::BadIndex { op: $op, bad: &$bad, bound: $bound, here: (file!(), line!()) };
        $crate::check::reports(&$device, wanted, outcome)
    }};
}

/// What the error of an index must say.
#[derive(Clone, Copy)]
pub(crate) struct BadIndex<'a> {
    pub(crate) op: &'a str,
    /// The indices out of range, in row-major order.
    pub(crate) bad: &'a [i64],
    pub(crate) bound: u64,
    pub(crate) here: (&'a str, u32),
}

impl BadIndex<'_> {
    /// Panics unless the error is that of one of the indices.
    #[track_caller]
    pub(crate) fn check(self, error: Option<Error>) {
        match error {
            Some(Error::IndexOutOfRange { index, bound, op, location }) => {
                assert!(op == self.op, "the error names {op}, not {}", self.op);
                assert!(self.bad.contains(&index), "{op}: the reported index {index} is not one of {:?}", self.bad);
                assert!(bound == self.bound, "{op}: the reported bound {bound} is not {}", self.bound);
                assert_here(op, (location.file(), location.line()), self.here);
            }
            Some(other) => panic!("{}: an index error was expected, not {other}", self.op),
            None => panic!("{}: an index error was expected, and none was reported", self.op),
        }
    }
}

/// See [`bad_index!`].
#[track_caller]
pub(crate) fn reports<B: Backend, T>(device: &B, wanted: BadIndex<'_>, outcome: Result<T, Caught>) -> Option<T> {
    let healthy = Tensor::full([2], 1.0, device);
    let BadIndex { op, bad, bound, here } = wanted;
    let value = match outcome {
        Err(Caught { message, file, line }) => {
            assert_eq!(message, format!("{op}: index {} is outside a dimension of size {bound}", bad[0]));
            assert_here(&message, (&file, line), here);
            None
        }
        Ok(value) => {
            let reads = || {
                for _ in 0..2 {
                    wanted.check(device.synchronize().err());
                    wanted.check(healthy.to_vec::<f32>().err());
                    wanted.check(healthy.sum(..).item().err());
                }
            };
            reads();
            on_a_thread(reads);
            wanted.check(device.take_error());
            Some(value)
        }
    };
    assert!(device.synchronize().is_ok() && device.take_error().is_none(), "{op}: an error was left");
    on_a_thread(|| assert!(healthy.to_vec::<f32>().is_ok_and(|x| x == [1.0; 2]), "{op}: a healthy tensor is not read"));
    value
}

/// Runs `f` on another thread.
pub(crate) fn on_a_thread(f: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(&f).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The tensor's elements are these, of any dtype.
#[track_caller]
pub(crate) fn assert_values<B: Backend>(x: &Tensor<B>, want: &[f64], tolerance: Tolerance) {
    let want = Values::new(*x.shape(), x.dtype(), want.to_vec());
    assert_close("the values", x, &want, tolerance);
}

/// Two tensors are bit-identical, except that any NaN equals any NaN.
#[track_caller]
pub(crate) fn assert_same<B: Backend>(about: &str, got: &Tensor<B>, want: &Tensor<B>) {
    let bits = |x: &Tensor<B>| -> Vec<u64> { read(x).data.into_iter().map(f64::to_bits).collect() };
    assert!(got.dtype() == want.dtype() && got.shape() == want.shape(), "{about}: dtype or shape differ");
    let (a, b) = (bits(got), bits(want));
    let nan = |bits: u64| f64::from_bits(bits).is_nan();
    let off = a.iter().zip(&b).position(|(&a, &b)| a != b && !(nan(a) && nan(b)));
    if let Some(i) = off {
        let (a, b) = (f64::from_bits(a[i]), f64::from_bits(b[i]));
        panic!("{about}: element {i} of {:?} is {a:e}, not {b:e}, and should be bit-identical", got.shape());
    }
}

/// Whether a device has F64.
pub(crate) fn has_f64<B: Backend>(device: &B) -> bool {
    device.supports(DType::F64)
}
