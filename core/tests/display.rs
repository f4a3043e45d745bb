//! Printing, against what PyTorch 2.15 prints for the same tensors.

use minitorch_conformance::doc::*;

fn printed(x: Tensor<Plain>) -> String {
    x.to_string()
}

#[test]
fn numbers_are_aligned_in_one_form() {
    let d = device();
    assert_eq!(printed(Tensor::new([[1.0, 2.0], [3.0, 4.0]], &d)), "tensor([[1., 2.],\n        [3., 4.]])");
    assert_eq!(
        printed(Tensor::new([[1.5, -2.25], [3.0, 100.0]], &d)),
        "tensor([[  1.5000,  -2.2500],\n        [  3.0000, 100.0000]])"
    );
    assert_eq!(printed(Tensor::new(3.25, &d)), "tensor(3.2500)");
    assert_eq!(printed(Tensor::new([1e-5, 1.0], &d)), "tensor([1.0000e-05, 1.0000e+00])");
    assert_eq!(printed(Tensor::new([0.001, 1234.5], &d)), "tensor([1.0000e-03, 1.2345e+03])");
    assert_eq!(printed(Tensor::new([f64::NAN, f64::INFINITY, -1.5], &d)), "tensor([    nan,     inf, -1.5000])");
    assert_eq!(format!("{:.1}", Tensor::new([0.25, 1.75], &d)), "tensor([0.2, 1.8])");
}

#[test]
fn other_dtypes_and_nothing_have_their_form() {
    let d = device();
    assert_eq!(printed(Tensor::new([1, -20, 300], &d)), "tensor([  1, -20, 300])");
    assert_eq!(printed(Tensor::new([true, false], &d)), "tensor([ true, false])");
    assert_eq!(printed(Tensor::new([1.5], &d).cast(DType::F64)), "tensor([1.5000], dtype=float64)");
    assert_eq!(printed(Tensor::zeros([0, 3], &d)), "tensor([], shape=[0, 3])");
}

#[test]
fn deep_tensors_are_separated_by_empty_lines() {
    let d = device();
    let cube = Tensor::arange(0..8, &d).cast(DType::F32).reshape([2, 2, 2]) / 3.0;
    let expected = "tensor([[[0.0000, 0.3333],\n         [0.6667, 1.0000]],\n\n        [[1.3333, 1.6667],\n         [2.0000, 2.3333]]])";
    assert_eq!(printed(cube), expected);
}

#[test]
fn long_rows_wrap_and_large_tensors_show_their_edges() {
    let d = device();
    let row = Tensor::arange(0..12, &d).cast(DType::F32) / 7.0;
    assert_eq!(
        printed(row),
        "tensor([0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,\n        1.2857, 1.4286, 1.5714])"
    );
    let long = Tensor::arange(0..1001, &d).cast(DType::F32);
    assert_eq!(printed(long), "tensor([   0.,    1.,    2.,  ...,  998.,  999., 1000.])");
    let big = Tensor::arange(0..2000, &d).cast(DType::F32).reshape([4, 500]);
    let text = printed(big);
    let first = "tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 4.9700e+02, 4.9800e+02,\n         4.9900e+02],\n";
    assert!(text.starts_with(first), "{text}");
    let tall = printed(Tensor::zeros([2000, 1], &d));
    assert_eq!(
        tall,
        "tensor([[0.],\n        [0.],\n        [0.],\n        ...,\n        [0.],\n        [0.],\n        [0.]])"
    );
}
