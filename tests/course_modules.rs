//! The tests of the MiniTorch course that need no tensor: operators, scalars, the engine and modules, under their own names.
//!
//! The course's lists of numbers are iterators here, and its context of a function is what a closure captures. Its tests of tensors,
//! networks and GPU kernels are conformance cases: `cargo test --test main -- course`.

#[path = "course_modules/engine.rs"]
mod autodiff;
#[path = "course_modules/module.rs"]
mod module;

use minitorch::prelude::*;

/// Numbers of both signs, large and small.
const NUMBERS: [f64; 11] = [-100.0, -7.25, -1.0, -0.5, -1e-3, 0.0, 1e-3, 0.25, 1.0, 3.5, 100.0];

fn pairs() -> impl Iterator<Item = (f64, f64)> {
    NUMBERS.iter().flat_map(|&a| NUMBERS.iter().map(move |&b| (a, b)))
}

#[track_caller]
fn close(got: f64, want: f64) {
    assert!(got == want || (got - want).abs() <= 1e-12 * want.abs().max(1.0), "{got:e}, not {want:e}");
}

/// A function of one argument: of numbers, and of scalars.
type One = (fn(f64) -> f64, fn(&Scalar) -> Scalar);
/// A function of two.
type Two = (fn(f64, f64) -> f64, fn(&Scalar, &Scalar) -> Scalar);

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The course's functions of one argument.
const ONE_ARGUMENT: [One; 14] = [
    (|x| -x, |x| -x),
    (|x| 5.0 + x, |x| 5 + x),
    (|x| x * x, |x| x * x),
    (|x| x * x * x, |x| x * x * x),
    (|x| x - 5.0, |x| x - 5),
    (|x| 5.0 * x, |x| 5 * x),
    (|x| x / 5.0, |x| x / 5),
    (|x| 1.0 / (x + 3.25), |x| (x + 3.25).recip()),
    (sigmoid, |x| x.sigmoid()),
    (|x| (x + 100_000.0).ln(), |x| (x + 100_000.0).log()),
    (|x| (x + 5.5).max(0.0), |x| (x + 5.5).relu()),
    (|x| (x - 200.0).exp(), |x| (x - 200.0).exp()),
    (|x| (x + 100_000.0).ln() + (x - 200.0).exp(), |x| (x + 100_000.0).log() + (x - 200.0).exp()),
    (
        |x| sigmoid(((10.0 * x + 7.0).max(0.0) * 6.0 + 5.0).max(0.0) * 10.0).ln() / 50.0,
        |x| ((((x * 10 + 7).relu() * 6 + 5).relu()) * 10).sigmoid().log() / 50,
    ),
];

/// The course's functions of two arguments.
const TWO_ARGUMENTS: [Two; 6] = [
    (|a, b| a + b, |a, b| a + b),
    (|a, b| a * b, |a, b| a * b),
    (|a, b| a / (b + 5.5), |a, b| a / (b + 5.5)),
    (|a, b| f64::from(u8::from(a + 1.2 > b)), |a, b| (a + 1.2).gt(b)),
    (|a, b| f64::from(u8::from(a + 1.2 < b)), |a, b| (a + 1.2).lt(b)),
    (|a, b| f64::from(u8::from(a == b + 5.5)), |a, b| Scalar::eq(a, b + 5.5)),
];

mod operators {
    use super::*;

    fn of(value: f64) -> Scalar {
        Scalar::from(value)
    }

    #[test]
    fn test_same_as_python() {
        for (a, b) in pairs() {
            assert_eq!((of(a) * b).value(), a * b);
            assert_eq!((of(a) + b).value(), a + b);
            assert_eq!((-of(a)).value(), -a);
            assert_eq!(of(a).maximum(b).value(), if a > b { a } else { b });
            if a.abs() > 1e-5 {
                assert_eq!(of(a).recip().value(), 1.0 / a);
            }
        }
    }

    #[test]
    fn test_relu() {
        NUMBERS.iter().for_each(|&a| assert_eq!(of(a).relu().value(), if a > 0.0 { a } else { 0.0 }));
    }

    #[test]
    fn test_relu_back() {
        for (a, b) in pairs() {
            let x = Scalar::variable(a);
            assert_eq!((x.relu() * b).backward()[&x].value(), if a > 0.0 { b } else { 0.0 });
        }
    }

    #[test]
    fn test_id() {
        NUMBERS.iter().for_each(|&a| assert_eq!(of(a).value(), a));
    }

    #[test]
    fn test_lt() {
        for a in NUMBERS {
            assert_eq!((of(a - 1.0).lt(a).value(), of(a).lt(a - 1.0).value(), of(a).lt(a).value()), (1.0, 0.0, 0.0));
        }
    }

    #[test]
    fn test_max() {
        for (a, b) in pairs() {
            let (low, high) = (a.min(b), a.max(b));
            assert_eq!((of(a).maximum(b).value(), of(b).maximum(a).value()), (high, high));
            assert_eq!((of(high).maximum(low).value(), of(low).minimum(high).value()), (high, low));
        }
    }

    #[test]
    fn test_eq() {
        for a in NUMBERS {
            assert_eq!((of(a).eq(a).value(), of(a).eq(a + 1.0).value(), of(a).eq(a - 1.0).value()), (1.0, 0.0, 0.0));
            assert!(of(a).is_close(a + 0.009, 0.01) && !of(a).is_close(a + 0.011, 0.01));
        }
    }

    #[test]
    fn test_sigmoid() {
        let at = |x: f64| of(x).sigmoid().value();
        assert_eq!(at(0.0), 0.5);
        for pair in NUMBERS.windows(2) {
            let x = pair[0];
            assert!((0.0..=1.0).contains(&at(x)));
            close(1.0 - at(x), at(-x));
            assert!(at(x) < at(pair[1]), "increasing from {x}");
        }
        assert_eq!((at(-1e4), at(1e4)), (0.0, 1.0), "neither branch overflows");
    }

    #[test]
    fn test_transitive() {
        for (a, b) in pairs() {
            for c in NUMBERS {
                let less = |a: f64, b: f64| of(a).lt(b).value() == 1.0;
                assert!(!(less(a, b) && less(b, c)) || less(a, c), "{a} {b} {c}");
            }
        }
    }

    #[test]
    fn test_symmetric() {
        pairs().for_each(|(a, b)| assert_eq!((of(a) * b).value(), (of(b) * a).value()));
    }

    #[test]
    fn test_distribute() {
        for (x, y) in pairs() {
            NUMBERS.iter().for_each(|&z| close((z * (of(x) + y)).value(), (z * of(x) + z * of(y)).value()));
        }
    }

    #[test]
    fn test_other() {
        // log undoes exp, and the two extremes add up to both.
        for (a, b) in pairs() {
            close(of(a).exp().log().value(), a);
            assert_eq!((of(a).maximum(b) + of(a).minimum(b)).value(), a + b);
        }
    }

    #[test]
    fn test_zip_with() {
        for (a, b) in pairs() {
            let sums = [of(a), of(1.0)].into_iter().zip([of(b), of(2.0)]).map(|(x, y)| x + y);
            assert_eq!(sums.map(|x| x.value()).collect::<Vec<_>>(), [a + b, 3.0]);
        }
    }

    #[test]
    fn test_sum_distribute() {
        let (left, right) = (NUMBERS.map(of), NUMBERS.map(|x| of(1.5 - x)));
        let both = left.iter().sum::<Scalar>() + right.iter().sum::<Scalar>();
        close(both.value(), left.iter().zip(&right).map(|(x, y)| x + y).sum::<Scalar>().value());
    }

    #[test]
    fn test_sum() {
        assert_eq!(std::iter::empty::<Scalar>().sum::<Scalar>().value(), 0.0);
        close(NUMBERS.iter().map(|&x| of(x)).sum::<Scalar>().value(), NUMBERS.iter().sum());
    }

    #[test]
    fn test_prod() {
        let product = |xs: &[f64]| xs.iter().map(|&x| of(x)).product::<Scalar>().value();
        assert_eq!((product(&[]), product(&[2.0, -3.0, 4.0])), (1.0, -24.0));
    }

    #[test]
    fn test_neg_list() {
        let negated: Vec<f64> = NUMBERS.iter().map(|&x| (-of(x)).value()).collect();
        assert!(negated.iter().zip(NUMBERS).all(|(&n, x)| n == -x) && negated.len() == NUMBERS.len());
    }

    #[test]
    fn test_backs() {
        for (a, b) in pairs() {
            for (f, slope) in [
                ((|x| x.relu()) as fn(&Scalar) -> Scalar, if a > 0.0 { 1.0 } else { 0.0 }),
                (|x| (x + 2.4).recip(), -1.0 / (a + 2.4).powi(2)),
                (|x| (x.abs() + 4.0).log(), if a == 0.0 { 0.0 } else { a.signum() / (a.abs() + 4.0) }),
            ] {
                let x = Scalar::variable(a);
                close((f(&x) * b).backward()[&x].value(), slope * b);
            }
        }
    }
}

mod scalar {
    use super::*;

    #[test]
    fn test_central_diff() {
        let d = |got: f64, want: f64| assert!((got - want).abs() < 1e-6, "{got}, not {want}");
        d(central_difference(|[x]: [f64; 1]| x, [5.0], 0, 1e-6), 1.0);
        d(central_difference(|[x, y]: [f64; 2]| x + y, [5.0, 10.0], 0, 1e-6), 1.0);
        d(central_difference(|[x, y]: [f64; 2]| x * y, [5.0, 10.0], 0, 1e-6), 10.0);
        d(central_difference(|[x, y]: [f64; 2]| x * y, [5.0, 10.0], 1, 1e-6), 5.0);
        d(central_difference(|[x]: [Scalar; 1]| x.exp(), [2.0], 0, 1e-6), 2f64.exp());
    }

    #[test]
    fn test_simple() {
        for (a, b) in pairs() {
            let (x, y) = (Scalar::variable(a), Scalar::variable(b));
            assert_eq!((&x + &y).value(), a + b);
            assert_eq!((&x * &y).value(), a * b);
            assert_eq!((x.relu() + y.relu()).value(), a.max(0.0) + b.max(0.0));
            assert_eq!((1 - &x).value(), 1.0 - a);
        }
    }

    #[test]
    fn test_one_args() {
        for (i, (number, scalar)) in ONE_ARGUMENT.iter().enumerate() {
            for a in NUMBERS {
                let (got, want) = (scalar(&Scalar::variable(a)).value(), number(a));
                assert!((got - want).abs() <= 1e-12 * want.abs().max(1e-3), "function {i} of {a}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn test_two_args() {
        for (number, scalar) in TWO_ARGUMENTS {
            for (a, b) in pairs() {
                close(scalar(&Scalar::variable(a), &Scalar::variable(b)).value(), number(a, b));
            }
        }
    }

    #[test]
    fn test_one_derivative() {
        for (i, (_, scalar)) in ONE_ARGUMENT.iter().enumerate() {
            // Exponentials have derivatives of order 1 only at the last two.
            for a in NUMBERS.into_iter().chain([199.0, 201.5]) {
                let worst = derivative_check(|[x]| scalar(x), [a], 1e-5);
                assert!(worst.error <= 1.0, "function {i} at {a}: {worst}");
            }
        }
        // And the logarithm only here, where differences of so large an argument are too coarse.
        let x = Scalar::variable(-99_998.5);
        close((&x + 100_000).log().backward()[&x].value(), 1.0 / 1.5);
    }

    #[test]
    fn test_two_derivative() {
        for (i, (_, scalar)) in TWO_ARGUMENTS.iter().enumerate() {
            for (a, b) in pairs() {
                // At its jump a comparison has no derivative.
                if i < 3 || (a + 1.2 - b).abs() > 1e-3 && (a - b - 5.5).abs() > 1e-3 {
                    let worst = derivative_check(|[x, y]| scalar(x, y), [a, b], 1e-5);
                    assert!(worst.error <= 1.0, "function {i} at {a}, {b}: {worst}");
                }
            }
        }
    }
}
