//! Inspection of tapes and layouts, and functions with gradients of the program's own.

use crate::check::{assert_values, catch};
use crate::close::{EXACT, eps, read};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Conv2dOptions, DType, Function, Graph, Pool2dOptions, Tensor, custom, gradcheck, no_grad};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("a_custom_function_is_differentiable_twice", 10, custom_function);
    suite.f64("a_custom_function_passes_gradcheck", 10, |on| {
        let (x, y) = (on.mixed([2, 3]), on.mixed([2, 3]));
        let f = |[x, y]: [&Tensor<B>; 2]| SquareTimes.apply([x, y]);
        let worst = gradcheck(f, [&x, &y], 1e-6).unwrap_or_else(|error| panic!("{error}"));
        assert!(worst.error <= 1.0, "{worst}");
        let slope = |[x, y]: [&Tensor<B>; 2]| {
            let [slope] = SquareTimes.apply([x, y]).grad([x]);
            slope
        };
        let worst = gradcheck(slope, [&x, &y], 1e-6).unwrap_or_else(|error| panic!("{error}"));
        assert!(worst.error <= 1.0, "second: {worst}");
    });
    suite.f32("a_custom_function_is_checked", 10, |on| {
        let x = on.mixed([2, 3]).requires_grad();
        let y = custom("crooked", [&x], |[x]| x * 2.0, |g, _, _| [Some(g.sum(..))]);
        let message = catch(|| drop(y.sum(..).backward())).message;
        assert!(
            message.contains("crooked") && message.contains("[] for input 0") && message.contains("[2, 3]"),
            "{message}"
        );
        // An index has no gradient; constants and no_grad record nothing.
        let index = Tensor::new([0, 2], &on.device);
        let picked = |x: &Tensor<B>| {
            custom("pick", [x, &index], |[x, i]| x.index_select(1, i), |_, [x, _], _| [Some(x.zeros_like()), None])
        };
        assert_values(&picked(&x).sum(..).backward()[&x], &[0.0; 6], EXACT);
        assert!(!picked(&x.detach()).is_tracked() && !no_grad(|| picked(&x)).is_tracked());
    });
    suite.f32("every_operation_has_its_name_on_the_tape", 1000, names);
    suite.f32("a_traced_graph_has_values_and_gradients", 10, traced);
    suite.f32("explanations_follow_the_layout", 10, explained);
    suite.f32("explaining_keeps_a_failure", 10, |on| {
        let x = on.mixed([2, 3]);
        let missing = on.mixed([1, 1]).expand([1 << 25, 1 << 25]).contiguous();
        for _ in 0..2 {
            let (text, printed) = (x.explain().to_string(), [&x, &missing.slice((..1, ..1))].map(|x| x.to_string()));
            assert!(text.contains("cannot be read"), "{text}");
            assert!(printed.iter().all(|text| text.contains("unreadable")), "{printed:?}");
            assert!(x.to_vec::<f32>().is_err(), "the failure was taken");
        }
        // Printing what was never computed is no error of the device.
        assert!(on.device.take_error().is_some());
        assert!(missing.slice((..1, ..1)).to_string().contains("unreadable") && on.device.synchronize().is_ok());
    });
}

/// `x^2 y` with its derivatives by hand.
struct SquareTimes;

impl<B: Backend> Function<Tensor<B>, 2> for SquareTimes {
    const NAME: &'static str = "square_times";
    fn forward(&self, [x, y]: [&Tensor<B>; 2]) -> Tensor<B> {
        x * x * y
    }
    fn backward(&self, g: &Tensor<B>, [x, y]: [&Tensor<B>; 2], _: &Tensor<B>) -> [Option<Tensor<B>>; 2] {
        [Some(g * (x * y * 2.0)), Some(g * (x * x))]
    }
}

fn custom_function<B: Backend>(on: &On<B>) {
    let (x, y) = (on.list(&[3.0, -1.0], [2]).requires_grad(), on.list(&[5.0, 2.0], [2]).requires_grad());
    let z = SquareTimes.apply([&x, &y]);
    assert_values(&z, &[45.0, 2.0], EXACT);
    let [dx, dy] = z.grad([&x, &y]);
    assert_values(&dx, &[30.0, -4.0], EXACT);
    assert_values(&dy, &[9.0, 1.0], EXACT);
    let [dxx, dxy] = dx.grad([&x, &y]);
    assert_values(&dxx, &[10.0, 4.0], EXACT);
    assert_values(&dxy, &[6.0, -2.0], EXACT);
    // A gradient from the output, e^x, differentiated three times.
    let exp = custom("my_exp", [&x], |[x]| x.exp(), |g, _, y| [Some(g * y)]);
    let [first] = exp.grad([&x]);
    let [second] = first.grad([&x]);
    assert_values(&second, &[3f64.exp(), (-1f64).exp()], eps(8.0));
    // The straight-through estimator.
    let rounded = custom("round_through", [&x], |[x]| (x * 0.9).round(), |g, _, _| [Some(g.clone())]);
    assert_values(&rounded, &[3.0, -1.0], EXACT);
    assert_values(&rounded.square().sum(..).backward()[&x], &[6.0, -2.0], EXACT);
}

/// The names of the operations from the leaves to the output.
fn ops<B: Backend>(y: &Tensor<B>) -> Vec<&'static str> {
    y.graph().nodes().iter().filter(|node| !node.is_leaf).map(|node| node.op).collect()
}

fn names<B: Backend>(on: &On<B>) {
    let x = on.mixed([2, 3]).requires_grad();
    let other = on.mixed([2, 3]).requires_grad();
    let image = on.mixed([2, 3, 4, 4]).requires_grad();
    let target = Tensor::new([0, 2], &on.device);
    let only = |name: &str, y: Tensor<B>| assert_eq!(ops(&y), [name]);
    for (name, y) in [
        ("add", &x + 1.0),
        ("rsub", 1.0 - &x),
        ("rdiv", 1.0 / &x),
        ("neg", -&x),
        ("leaky_relu", x.leaky_relu(0.1)),
        ("gelu_tanh", x.gelu_tanh()),
        ("add", &x + &other),
        ("div", &x / &other),
        ("pow", x.abs().detach().pow(&other)),
        ("maximum", x.maximum(&other)),
        ("where_cond", Tensor::where_cond(&x.detach().gt(0.0), &x, &other)),
        ("sum", x.sum(..)),
        ("max", x.max(0)),
        ("prod", x.prod(1)),
        ("cumsum", x.cumsum(0)),
        ("softmax", x.softmax(1)),
        ("log_softmax", x.log_softmax(1)),
        ("cross_entropy", x.cross_entropy(&target)),
        ("matmul", x.matmul(&other.detach().t())),
        ("linear", x.detach().linear(&other, None)),
        ("conv2d", image.conv2d(&on.mixed([5, 3, 2, 2]), None, Conv2dOptions::default())),
        ("max_pool2d", image.max_pool2d(2)),
        ("avg_pool2d", image.avg_pool2d(Pool2dOptions::new(2))),
        ("gather", x.gather(1, &Tensor::new([[0], [1]], &on.device))),
        ("permute", image.permute([0, 2, 3, 1])),
        ("transpose", x.t()),
        ("reshape", x.reshape([3, 2])),
        ("expand", x.expand([4, 2, 3])),
        ("unsqueeze", x.unsqueeze(0)),
        ("slice", x.slice((.., 1..))),
        ("flip", x.flip([0])),
        ("dropout", x.dropout(0.5)),
    ] {
        only(name, y);
    }
    assert_eq!(ops(&Tensor::cat(&[x.clone(), other.clone()], 0)), ["cat", "cat"]);
    assert_eq!(ops(&x.square().mean(..)), ["square", "mean"]);
    assert!(ops(&image.layer_norm([4], None, None, 1e-5)).contains(&"normalize"));
}

fn traced<B: Backend>(on: &On<B>) {
    let w = on.list(&[2.0, -1.0], [2, 1]).requires_grad();
    let x = on.list(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    let graph = Graph::trace(|| x.matmul(&w).relu().sum(..)).name(&w, "w");
    let nodes = graph.nodes();
    let specs: Vec<String> = nodes.iter().map(|node| format!("{} {}", node.op, node.spec)).collect();
    assert_eq!(specs, ["leaf [2, 1]", "matmul [2, 1]", "relu [2, 1]", "sum []"]);
    let wanted: [(&[f64], &[f64]); 4] =
        [(&[2.0, -1.0], &[3.0, 4.0]), (&[0.0, 2.0], &[0.0, 1.0]), (&[0.0, 2.0], &[1.0, 1.0]), (&[2.0], &[1.0])];
    for (node, (value, gradient)) in nodes.iter().zip(wanted) {
        let (Some(v), Some(g)) = (&node.value, &node.gradient) else { panic!("{}: no value or no gradient", node.op) };
        assert!(!v.is_tracked() && !g.is_tracked());
        assert_values(v, value, EXACT);
        assert_values(g, gradient, EXACT);
    }
    let (text, svg) = (graph.to_string(), graph.to_svg());
    assert!(text.contains("value [0, 2]") && svg.contains("grad [3, 4]"), "{text}");
    // No values are kept outside of `trace`, and the tape is not consumed.
    let loss = x.matmul(&w).relu().sum(..);
    assert!(loss.graph().nodes().iter().all(|node| node.value.is_none()));
    assert_values(&loss.backward()[&w], &[3.0, 4.0], EXACT);
}

fn explained<B: Backend>(on: &On<B>) {
    let x = on.list(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    let lines = |x: &Tensor<B>| -> Vec<String> { x.explain().to_string().lines().map(str::to_string).collect() };
    let row = |x: &Tensor<B>, label: &str| -> Vec<String> {
        let all = lines(x);
        let line = all.iter().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("no {label}: {all:?}"));
        line[label.len()..].split_whitespace().map(str::to_string).collect()
    };
    assert_eq!(row(&x, "index"), ["[0,0]", "[0,1]", "[0,2]", "[1,0]", "[1,1]", "[1,2]"]);
    assert_eq!(row(&x, "contiguous")[0], "yes:");
    let t = x.t();
    assert_eq!(row(&t, "value"), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(row(&t, "index"), ["[0,0]", "[1,0]", "[2,0]", "[0,1]", "[1,1]", "[2,1]"]);
    assert_eq!(row(&t, "contiguous").join(" "), "no: dimension 1 has stride 3, row-major order wants 1");
    let part = x.slice((1, 1..));
    assert_eq!((row(&part, "index").join(" "), row(&part, "offset")[0].as_str()), ("- - - - [0] [1]".into(), "4:"));
    assert!(x.shares_storage(&t) && t.shares_storage(&part) && !x.shares_storage(&(&x + 0.0)));
    let repeated = on.list(&[7.0], [1]).expand([3]);
    assert_eq!(row(&repeated, "index").join(" "), "[0] x3");
    assert!(lines(&repeated)[1].contains("stays in place"), "{:?}", lines(&repeated));
    // Every element is at the position that the map shows.
    let values = read(&t).data;
    let map = row(&t, "index");
    for (position, index) in map.iter().enumerate() {
        let digits: Vec<usize> = index.trim_matches(['[', ']']).split(',').filter_map(|d| d.parse().ok()).collect();
        assert_eq!(values[digits[0] * 2 + digits[1]], (position + 1) as f64);
    }
    // Rank 0, no elements, many elements, bools; each as SVG.
    for x in [
        on.list(&[5.0], []),
        on.list(&[], [0, 2]),
        on.mixed([2, 3, 2, 2]),
        on.mixed([100]),
        x.gt(2.0),
        x.requires_grad(),
        Tensor::zeros([2], (&on.device, DType::I32)),
    ] {
        let (text, svg) = (x.explain().to_string(), x.explain().to_svg());
        assert!(text.starts_with(&format!("Tensor {:?}", x.shape())), "{text}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
        assert_eq!(text.contains("\nposition  "), (1..=64).contains(&x.numel()), "{text}");
    }
}
