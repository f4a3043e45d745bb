//! Element-wise functions of one tensor and their gradients (`kernels/unary.cu`).

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::backend::{UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout};

impl UnaryOps for Cuda {
    fn unary(&self, op: UnaryOp, x: View<'_, Storage>) -> Storage {
        let (kernel, numbers) = op.kernel();
        self.elementwise_new(("unary", x.dtype), name!("unary_{kernel}_{}", suffix(x.dtype)), [x], numbers)
    }

    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        let (kernel, numbers) = op.kernel();
        let (out, x) = ((&*x, dtype, layout), View { storage: &*x, layout, dtype });
        self.elementwise(name!("unary_{kernel}_{}", suffix(dtype)), out, [x], numbers);
    }

    fn unary_grad(&self, op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor {
        let (dtype, shape) = (g.dtype(), *g.shape());
        let (kernel, numbers) = match op {
            // Computed as 1 / x, but with the gradient of `powf`.
            UnaryOp::Pow(-1.0) => (op.name(), op.numbers()),
            op => op.kernel(),
        };
        let [layout_s, layout_g] = Layout::merge([*saved.layout(), *g.layout()]);
        let inputs = [View { layout: &layout_s, ..saved.view() }, View { layout: &layout_g, ..g.view() }];
        let kernel = name!("unary_grad_{kernel}_{}", suffix(dtype));
        let out = self.elementwise_new(("unary_grad", dtype), kernel, inputs, numbers);
        Tensor::from_storage(self, out, dtype, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SOURCES;
    use std::collections::BTreeSet;

    /// The names of the kernels that a macro of unary.cu defines.
    fn defined(makro: &str) -> BTreeSet<&'static str> {
        let (_, source) = SOURCES.iter().find(|(name, _)| *name == "unary.cu").expect("unary.cu");
        let calls = source.lines().filter_map(|line| line.strip_prefix(makro)?.strip_prefix('('));
        calls.filter_map(|call| Some(call.split_once(',')?.0)).collect()
    }

    #[test]
    fn kernels_are_those_of_core() {
        let listed: BTreeSet<&str> = UnaryOp::KERNELS.iter().copied().filter(|&name| name != "logical_not").collect();
        assert_eq!(defined("FLOATS"), listed, "unary.cu and UnaryOp::KERNELS");
        assert!(defined("INTS").is_subset(&listed) && defined("GRAD").is_subset(&listed));
    }
}
