//! The conformance suite: one generic body per behaviour, run on every backend; and [`Plain`], the oracle.
//!
//! [`cases`] lists the suite for one backend, and a test binary runs it (`tests/main.rs` in this repository, a binary of its own
//! elsewhere). Most bodies are
//!
//! ```text
//! agree!(on, tolerance, |d| f(d))   f on the device under test, f on Plain in f64, and the results compared
//! ```
//!
//! There is one file per family of `core/src/ops`, of the same name; besides them the tape, gradients, panics, PyTorch's goldens and
//! random layouts. The `elements` and `needs` of a [`Case`] say which devices can run it.

#![forbid(unsafe_code)]

#[macro_use]
mod close;
#[macro_use]
mod check;
pub mod doc;
mod on;
mod plain;

mod arrange;
mod binary;
mod compare;
mod conv;
mod copy;
mod course;
mod einsum;
mod errors;
mod golden;
mod gradient;
mod half;
mod index;
mod inspect;
mod loss;
mod magnitude;
mod matmul;
mod norm;
mod optim;
mod panics;
mod pool;
mod property;
mod random;
mod reduce;
mod resize;
mod reuse;
mod rows;
mod scan;
mod sentiment;
mod softmax;
mod sort;
mod tape;
mod unary;
mod view;

use minitorch_core::{Backend, DType};
use std::sync::Arc;

pub use close::Tolerance;
pub use on::{Lay, On};
pub use plain::Plain;

/// One test of one backend.
pub struct Case<B> {
    /// `family::what`.
    pub name: String,
    /// Elements of the largest tensor, roughly; slow devices skip cases above a cap.
    pub elements: usize,
    /// The dtype of the inputs; devices without it skip the case.
    pub needs: DType,
    /// Whether it reads counters of memory that a backend may hold per process, so that no other case may run at the same time.
    pub alone: bool,
    /// The body; panics on failure. A device runs one case at a time: cases set seeds and queue errors.
    pub run: Box<dyn Fn(&B) + Send + Sync>,
}

/// The whole suite. `make` returns a device, a new one at each call if the backend has several.
pub fn cases<B: Backend>(make: impl Fn() -> B + Send + Sync + 'static) -> Vec<Case<B>> {
    let families: &[Family<B>] = &[
        ("unary", unary::cases),
        ("binary", binary::cases),
        ("compare", compare::cases),
        ("reduce", reduce::cases),
        ("matmul", matmul::cases),
        ("conv", conv::cases),
        ("pool", pool::cases),
        ("softmax", softmax::cases),
        ("norm", norm::cases),
        ("scan", scan::cases),
        ("sort", sort::cases),
        ("loss", loss::cases),
        ("index", |suite| {
            index::cases(suite);
            rows::cases(suite);
        }),
        ("copy", copy::cases),
        ("random", random::cases),
        ("optim", optim::cases),
        ("view", view::cases),
        ("arrange", arrange::cases),
        ("einsum", einsum::cases),
        ("resize", resize::cases),
        ("gradient", |suite| {
            gradient::cases(suite);
            magnitude::cases(suite);
        }),
        ("tape", |suite| {
            tape::cases(suite);
            reuse::cases(suite);
            inspect::cases(suite);
        }),
        ("half", half::cases),
        ("panics", panics::cases),
        ("errors", errors::cases),
        ("golden", golden::cases),
        ("property", property::cases),
        ("course", course::cases),
        ("sentiment", sentiment::cases),
    ];
    let mut suite = Suite { family: "", make: Arc::new(make), cases: Vec::new() };
    for &(family, add) in families {
        suite.family = family;
        add(&mut suite);
    }
    suite.cases
}

/// The message with which `f` panics; the panic is not printed.
///
/// # Panics
/// If `f` returns.
#[track_caller]
pub fn panic_message(f: impl FnOnce()) -> String {
    check::catch(f).message
}

/// A family: its name, and the function that adds its cases.
type Family<B> = (&'static str, fn(&mut Suite<B>));

/// Collects cases.
struct Suite<B: Backend> {
    family: &'static str,
    make: Arc<dyn Fn() -> B + Send + Sync>,
    cases: Vec<Case<B>>,
}

impl<B: Backend> Suite<B> {
    /// A case whose inputs are F32.
    fn f32(&mut self, name: impl AsRef<str>, elements: usize, body: impl Fn(&On<B>) + Send + Sync + 'static) {
        self.add(name.as_ref(), elements, &[DType::F32], body);
    }

    /// A case whose inputs are F16, on devices that have it.
    fn f16(&mut self, name: impl AsRef<str>, elements: usize, body: impl Fn(&On<B>) + Send + Sync + 'static) {
        self.add(name.as_ref(), elements, &[DType::F16], body);
    }

    /// A case whose inputs are F64, on devices that have it.
    fn f64(&mut self, name: impl AsRef<str>, elements: usize, body: impl Fn(&On<B>) + Send + Sync + 'static) {
        self.add(name.as_ref(), elements, &[DType::F64], body);
    }

    /// A case that runs with F32 and, on devices that have it, once more with F64.
    fn floats(&mut self, name: impl AsRef<str>, elements: usize, body: impl Fn(&On<B>) + Send + Sync + 'static) {
        self.add(name.as_ref(), elements, &[DType::F32, DType::F64], body);
    }

    /// An F32 case that reads the device's memory counters.
    fn alone(&mut self, name: impl AsRef<str>, elements: usize, body: impl Fn(&On<B>) + Send + Sync + 'static) {
        self.f32(name, elements, body);
        if let Some(case) = self.cases.last_mut() {
            case.alone = true;
        }
    }

    fn add(
        &mut self,
        name: &str,
        elements: usize,
        dtypes: &'static [DType],
        body: impl Fn(&On<B>) + Send + Sync + 'static,
    ) {
        let name = format!("{}::{name}", self.family);
        let seed = seed_of(&name);
        let run = move |device: &B| {
            for &dtype in dtypes.iter().filter(|&&dtype| device.supports(dtype)) {
                body(&On::new(device.clone(), dtype, seed));
            }
        };
        self.cases.push(Case { name, elements, needs: dtypes[0], alone: false, run: Box::new(run) });
    }
}

/// A case's seed: the FNV-1a hash of its name, so that it does not depend on the other cases.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
}
