//! Modules and parameters; and layers of scalars.

use minitorch::prelude::*;
use std::marker::PhantomData;

fn number(value: f64) -> Param<Cpu> {
    thread_local! {
        static DEVICE: Cpu = Cpu::new();
    }
    Param::new(DEVICE.with(|device| Tensor::full([], value, device)))
}

fn names(module: &impl Module<Cpu>) -> Vec<(String, f64)> {
    let value = |param: &Param<Cpu>| param.item().unwrap_or(f64::NAN);
    module.named_parameters().into_iter().map(|(name, param)| (name, value(param))).collect()
}

#[derive(Module)]
struct C {
    p3: Param<Cpu>,
}

#[derive(Module)]
struct A {
    p2: Param<Cpu>,
}

#[derive(Module)]
struct B {
    c: C,
}

#[derive(Module)]
struct Demo {
    p1: Param<Cpu>,
    a: A,
    b: B,
}

#[test]
fn test_stacked_demo() {
    let demo = Demo { p1: number(5.0), a: A { p2: number(10.0) }, b: B { c: C { p3: number(15.0) } } };
    let want = [("p1", 5.0), ("a.p2", 10.0), ("b.c.p3", 15.0)];
    assert_eq!(names(&demo), want.map(|(name, value)| (name.to_string(), value)));
    let text = summary(&demo, |_: &Demo| ()).to_string();
    assert!(["Demo", "A", "B", "C"].iter().all(|kind| text.contains(kind)), "{text}");
}

/// Two named parameters, a plain number, a list of further parameters and a mode.
#[derive(Module)]
struct Part {
    parameter_a: Param<Cpu>,
    parameter_b: Param<Cpu>,
    non_parameter: f64,
    extra_parameter: Vec<Param<Cpu>>,
    training: Training,
}

fn part(extra: usize) -> Part {
    Part {
        parameter_a: number(50.0),
        parameter_b: number(100.0),
        non_parameter: 10.0,
        extra_parameter: (0..extra).map(|_| number(0.0)).collect(),
        training: Training::default(),
    }
}

impl Part {
    fn forward(&self) -> f64 {
        self.non_parameter
    }
}

#[derive(Module)]
struct Stack {
    parameter_a: Param<Cpu>,
    a: Part,
    b: Part,
    training: Training,
}

#[test]
fn test_module() {
    let mut module = part(0);
    module.eval();
    assert!(!module.training.is_on());
    module.train();
    assert!(module.training.is_on());
    assert_eq!(module.named_parameters().len(), 2);
    for extra in [1, 3, 10] {
        let module = part(extra);
        let named = names(&module);
        assert_eq!(named.len(), 2 + extra);
        assert_eq!((&*named[0].0, named[0].1), ("parameter_a", 50.0));
        assert_eq!((&*named[1].0, named[1].1), ("parameter_b", 100.0));
        assert_eq!((&*named[2].0, named[2].1), ("extra_parameter.0", 0.0));
    }
}

#[test]
fn test_stacked_module() {
    for (a, b) in [(0, 0), (2, 5), (10, 1)] {
        let mut stack = Stack { parameter_a: number(1.0), a: part(a), b: part(b), training: Training::default() };
        stack.eval();
        assert!(![stack.training, stack.a.training, stack.b.training].iter().any(|mode| mode.is_on()));
        stack.train();
        assert!([stack.training, stack.a.training, stack.b.training].iter().all(|mode| mode.is_on()));
        let named = names(&stack);
        assert_eq!(named.len(), 1 + (a + 2) + (b + 2));
        for name in ["parameter_a", "a.parameter_a", "a.parameter_b", "b.parameter_a", "b.parameter_b"] {
            assert!(named.iter().any(|(found, _)| found == name), "{name}");
        }
    }
}

/// Whether a type is a layer, decided by the compiler: the inherent constant comes before the trait's.
struct IsLayer<T>(PhantomData<T>);

trait NoLayer {
    const LAYER: bool = false;
}
impl<T> NoLayer for IsLayer<T> {}

impl<T: Layer<Cpu>> IsLayer<T> {
    const LAYER: bool = true;
}

#[test]
fn test_module_fail_forward() {
    // A module without a forward map is not a layer, and calling its forward does not compile.
    const { assert!(!IsLayer::<Demo>::LAYER && IsLayer::<Linear<Cpu>>::LAYER) }
}

#[test]
fn test_module_forward() {
    assert_eq!(part(0).forward(), 10.0);
    let device = Cpu::new();
    let layer: &dyn Layer<Cpu> = &Relu;
    assert_eq!(layer.forward(&Tensor::new([-1.0, 10.0], &device)).to_vec::<f32>().ok(), Some(vec![0.0, 10.0]));
}

#[test]
fn test_parameter() {
    let mut parameter = number(3.0);
    let id = parameter.id();
    assert!(parameter.is_tracked(), "a parameter's gradient is wanted from the start");
    parameter.set(number(7.0).detach());
    assert!(
        parameter.is_tracked() && parameter.id() == id && parameter.item().ok() == Some(7.0),
        "and after an update"
    );
    let grads = (&*parameter * 2.0).backward();
    assert_eq!(grads[&parameter].item().ok(), Some(2.0));
}

/// `out[j] = sum over i of x[i] w[i][j] + b[j]`, scalar by scalar.
struct ScalarLinear {
    weight: Vec<Vec<Scalar>>,
    bias: Vec<Scalar>,
}

impl ScalarLinear {
    fn new(inputs: usize, outputs: usize) -> Self {
        let number = |i: usize, j: usize| Scalar::variable(((i * 7 + j * 3) % 11) as f64 / 5.0 - 1.0);
        let weight = (0..inputs).map(|i| (0..outputs).map(|j| number(i, j)).collect()).collect();
        ScalarLinear { weight, bias: (0..outputs).map(|j| number(j, 1)).collect() }
    }

    fn forward(&self, x: &[Scalar]) -> Vec<Scalar> {
        let output = |j: usize| x.iter().zip(&self.weight).map(|(x, row)| x * &row[j]).sum::<Scalar>() + &self.bias[j];
        (0..self.bias.len()).map(output).collect()
    }

    /// The layer of tensors that has the same numbers.
    fn as_tensors(&self, device: &Cpu) -> Linear<Cpu> {
        let mut layer = Linear::new(self.weight.len(), self.bias.len(), device);
        let weight: Vec<f32> =
            (0..self.bias.len()).flat_map(|j| self.weight.iter().map(move |row| row[j].value() as f32)).collect();
        let bias: Vec<f32> = self.bias.iter().map(|b| b.value() as f32).collect();
        layer.weight.set(Tensor::from_slice(&weight, *layer.weight.shape(), device));
        if let Some(b) = &mut layer.bias {
            b.set(Tensor::from_slice(&bias, *b.shape(), device));
        }
        layer
    }
}

#[test]
fn test_linear() -> Result<()> {
    let device = Cpu::new();
    for (inputs, hidden, outputs) in [(1, 5, 5), (3, 7, 20), (10, 20, 6)] {
        let (first, second) = (ScalarLinear::new(inputs, hidden), ScalarLinear::new(hidden, outputs));
        let x: Vec<Scalar> = (0..inputs).map(|i| Scalar::variable(i as f64 / 4.0 - 1.0)).collect();
        let middle: Vec<Scalar> = first.forward(&x).iter().map(Scalar::relu).collect();
        let y = second.forward(&middle);

        let numbers: Vec<f32> = x.iter().map(|x| x.value() as f32).collect();
        let input = Tensor::from_slice(&numbers, [1, inputs], &device).requires_grad();
        let output = second.as_tensors(&device).forward(&first.as_tensors(&device).forward(&input).relu());
        let pairs = |tensor: &Tensor<Cpu>, scalars: Vec<f64>| -> Result<()> {
            let values: Vec<f32> = tensor.to_vec()?;
            assert_eq!(values.len(), scalars.len());
            for (tensor, scalar) in values.into_iter().zip(scalars) {
                assert!(
                    (tensor as f64 - scalar).abs() <= 1e-4 * scalar.abs().max(1.0),
                    "{tensor}, of scalars {scalar}"
                );
            }
            Ok(())
        };
        pairs(&output, y.iter().map(Scalar::value).collect())?;
        let grads = y.iter().sum::<Scalar>().backward();
        pairs(&output.sum(..).backward()[&input], x.iter().map(|x| grads[x].value()).collect())?;
    }
    Ok(())
}

#[test]
fn test_nn_size() -> Result<()> {
    let device = Cpu::new();
    let mut model = [Linear::new(2, 10, &device), Linear::new(10, 10, &device), Linear::new(10, 1, &device)];
    let counts: Vec<usize> = model.iter().map(|layer| layer.num_parameters()).collect();
    assert_eq!((counts[0], counts[1], counts[2]), (2 * 10 + 10, 10 * 10 + 10, 10 + 1));
    assert_eq!(model.num_parameters(), counts.iter().sum::<usize>());
    // The walk lends the parameters themselves: what is set there is what the layer computes with.
    for (_, parameter) in model.named_parameters_mut() {
        parameter.update(|value| value.zeros_like());
    }
    assert_eq!(model[2].forward(&Tensor::ones([1, 10], &device)).to_vec::<f32>()?, [0.0]);
    Ok(())
}
