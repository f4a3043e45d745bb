//! Golden files: results of PyTorch, and comparison with a tolerance.

use minitorch::nn::state::{Elements, StateDict};
use minitorch::prelude::*;
use std::path::PathBuf;

/// The path of a golden file.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/goldens").join(name)
}

/// All tensors of a golden file.
pub(crate) struct Golden(pub(crate) StateDict);

impl Golden {
    pub(crate) fn read(name: &str) -> Result<Self> {
        StateDict::read(golden_path(name)).map(Golden)
    }

    pub(crate) fn f32(&self, name: &str) -> &[f32] {
        match &self.0[name].data {
            Elements::F32(v) => v,
            other => panic!("{name} is {other:.20?}"),
        }
    }

    /// Asserts that the gradients of six parameters, which the file has, are PyTorch's.
    pub(crate) fn assert_gradients<B: Backend>(
        &self,
        model: &dyn Module<B>,
        grads: &Gradients<Tensor<B>>,
    ) -> Result<()> {
        let mut compared = 0;
        for (name, param) in model.named_parameters() {
            let of_param = format!("grad/{name}");
            if self.0.contains(&of_param) {
                compared += 1;
                assert_close(&name, &grads[param].to_vec::<f32>()?, self.f32(&of_param), 1e-4);
            }
        }
        assert_eq!(compared, 6);
        Ok(())
    }

    pub(crate) fn tensor<B: Backend>(&self, name: &str, device: &B) -> Tensor<B> {
        self.0[name].to_tensor(device).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Asserts that a model has the names, shapes and values of a file of PyTorch, whose counters are of int64.
pub(crate) fn assert_same_state(ours: &StateDict, theirs: &StateDict) {
    assert_eq!(ours.len(), theirs.len());
    for (name, tensor) in theirs.iter() {
        let same = tensor.to_dtype(tensor.dtype());
        assert_eq!(same.ok().as_ref(), ours.get(name), "{name}");
    }
}

/// Asserts that errors are within a tolerance times `1 + |y|`.
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let off = |i: usize| (got[i] - want[i]).abs() / (1.0 + want[i].abs());
    if let Some(worst) = (0..got.len()).max_by(|&a, &b| off(a).total_cmp(&off(b))) {
        let error = off(worst);
        assert!(error <= tolerance, "{what}[{worst}]: {} against {}, {error:e}", got[worst], want[worst]);
    }
}
