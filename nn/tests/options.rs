//! NaN as an option panics where it is set, or at the latest where it is used.

use minitorch_conformance::Plain;
use minitorch_core::Tensor;
use minitorch_nn::data::{Dataset, ImageDataset};
use minitorch_nn::init::{self, Gain};
use minitorch_nn::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A name, and a function that sets an option.
type Case<'a> = (&'a str, Box<dyn Fn(f64) + 'a>);

/// Asserts that each case panics with NaN in the message.
fn assert_refused(cases: Vec<Case<'_>>) {
    for (what, case) in cases {
        let payload = catch_unwind(AssertUnwindSafe(|| case(f64::NAN))).expect_err(what);
        let message = payload.downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        assert!(message.contains("NaN"), "{what}: {message}");
    }
}

fn case<'a, T>(f: impl Fn(f64) -> T + 'a) -> Box<dyn Fn(f64) + 'a> {
    Box::new(move |x| drop(f(x)))
}

#[test]
fn nan_is_refused_by_every_option() {
    let device = &Plain::new();
    let x = &Tensor::<Plain>::randn([4, 6], device);
    let images = || ImageDataset::new(vec![0; 4], vec![0], [1, 2, 2]);
    assert_refused(vec![
        ("normalize: mean", case(|v| images().normalize(v as f32, 1.0))),
        ("normalize: std", case(|v| images().normalize(0.0, v as f32))),
        ("split", case(|v| images().split(v, 1))),
        ("Dropout", case(Dropout::new)),
        ("Dropout::p", case(|p| Dropout { p, training: Training(true) }.forward(x))),
        ("Dropout2d", case(Dropout2d::new)),
        ("LeakyRelu", case(|slope| LeakyRelu { slope }.forward(x))),
        ("Elu", case(|alpha| Elu { alpha }.forward(x))),
        ("LayerNorm", case(|eps| LayerNorm { eps, ..LayerNorm::new(6, device) }.forward(x))),
        ("GroupNorm", case(|eps| GroupNorm { eps, ..GroupNorm::new(2, 6, device) }.forward(x))),
        ("BatchNorm1d: eps", case(|eps| BatchNorm1d { eps, ..BatchNorm1d::new(6, device) }.forward(x))),
        ("BatchNorm1d: momentum", case(|momentum| BatchNorm1d { momentum, ..BatchNorm1d::new(6, device) }.forward(x))),
        ("Ema", case(|decay| Ema::new(&Linear::new(2, 2, device), decay))),
        ("uniform", case(|v| init::uniform([2, 2], v, 1.0, device))),
        ("uniform: high", case(|v| init::uniform([2, 2], 0.0, v, device))),
        ("normal: mean", case(|v| init::normal([2, 2], v, 1.0, device))),
        ("normal: std", case(|v| init::normal([2, 2], 0.0, v, device))),
        ("kaiming", case(|v| init::kaiming_uniform([2, 2], Gain::LeakyRelu(v), device))),
        ("xavier", case(|v| init::xavier_normal([2, 2], Gain::LeakyRelu(v), device))),
    ]);
    assert_refused(vec![
        ("Sgd", case(Sgd::<Plain>::new)),
        ("Sgd: momentum", case(|v| Sgd::<Plain>::new(0.1).momentum(v))),
        ("Sgd: dampening", case(|v| Sgd::<Plain>::new(0.1).dampening(v))),
        ("weight decay", case(|v| Sgd::<Plain>::new(0.1).weight_decay(v))),
        ("set_lr", case(|v| Sgd::<Plain>::new(0.1).set_lr(v))),
        ("Adam: betas", case(|v| Adam::<Plain>::new(0.1).betas(v, 0.9))),
        ("Adam: betas", case(|v| Adam::<Plain>::new(0.1).betas(0.9, v))),
        ("AdamW: eps", case(|v| AdamW::<Plain>::new(0.1).eps(v))),
        ("RmsProp: alpha", case(|v| RmsProp::<Plain>::new(0.1).alpha(v))),
        ("RmsProp: eps", case(|v| RmsProp::<Plain>::new(0.1).eps(v))),
        ("RmsProp: momentum", case(|v| RmsProp::<Plain>::new(0.1).momentum(v))),
        ("Adagrad: decay", case(|v| Adagrad::<Plain>::new(0.1).lr_decay(v))),
        ("Adagrad: eps", case(|v| Adagrad::<Plain>::new(0.1).eps(v))),
        ("Adagrad: initial", case(|v| Adagrad::<Plain>::new(0.1).initial_accumulator(v))),
        ("Group: decay", case(|v| Group::new().weight_decay(v))),
        ("Group: scale", case(|v| Group::new().lr_scale(v))),
        ("OneCycle", case(|v| OneCycle::new(v, 10))),
        ("Cosine", case(|v| Cosine::new(v, 10))),
        ("Cosine: eta_min", case(|v| Cosine::new(0.1, 10).eta_min(v))),
        ("CosineRestarts", case(|v| CosineRestarts::new(v, 1, 1))),
        ("CosineRestarts: eta_min", case(|v| CosineRestarts::new(0.1, 1, 1).eta_min(v))),
        ("Plateau", case(Plateau::new)),
        ("Plateau: factor", case(|v| Plateau::new(0.1).factor(v))),
        ("Plateau: threshold", case(|v| Plateau::new(0.1).threshold(v))),
        ("Plateau: min_lr", case(|v| Plateau::new(0.1).min_lr(v))),
        ("Constant", case(Constant::new)),
        ("StepLr", case(|v| StepLr::new(v, 1, 0.5))),
        ("StepLr: gamma", case(|v| StepLr::new(0.1, 1, v))),
        ("MultiStepLr: gamma", case(|v| MultiStepLr::new(0.1, [1], v))),
        ("ExponentialLr: gamma", case(|v| ExponentialLr::new(0.1, v))),
        ("WarmUp", case(|v| WarmUp::new(2, v, Constant::new(0.1)))),
    ]);
}
