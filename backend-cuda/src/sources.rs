//! The kernels' source, embedded in the program.

/// Every `kernels/*.cu` by its name; each is compiled to one module.
pub(crate) const SOURCES: &[(&str, &str)] = &[
    ("binary.cu", include_str!("../kernels/binary.cu")),
    ("compare.cu", include_str!("../kernels/compare.cu")),
    ("conv.cu", include_str!("../kernels/conv.cu")),
    ("conv_direct.cu", include_str!("../kernels/conv_direct.cu")),
    ("conv_tap.cu", include_str!("../kernels/conv_tap.cu")),
    ("copy.cu", include_str!("../kernels/copy.cu")),
    ("index.cu", include_str!("../kernels/index.cu")),
    ("loss.cu", include_str!("../kernels/loss.cu")),
    ("matmul.cu", include_str!("../kernels/matmul.cu")),
    ("matmul_grad.cu", include_str!("../kernels/matmul_grad.cu")),
    ("norm.cu", include_str!("../kernels/norm.cu")),
    ("norm_grad.cu", include_str!("../kernels/norm_grad.cu")),
    ("optim.cu", include_str!("../kernels/optim.cu")),
    ("pool.cu", include_str!("../kernels/pool.cu")),
    ("random.cu", include_str!("../kernels/random.cu")),
    ("reduce.cu", include_str!("../kernels/reduce.cu")),
    ("scan.cu", include_str!("../kernels/scan.cu")),
    ("softmax.cu", include_str!("../kernels/softmax.cu")),
    ("sort.cu", include_str!("../kernels/sort.cu")),
    ("unary.cu", include_str!("../kernels/unary.cu")),
];

/// Every `kernels/*.cuh` by its name in an `#include`.
pub(crate) const HEADERS: &[(&str, &str)] = &[
    ("common.cuh", include_str!("../kernels/common.cuh")),
    ("conv.cuh", include_str!("../kernels/conv.cuh")),
    ("conv_tile.cuh", include_str!("../kernels/conv_tile.cuh")),
    ("elementwise.cuh", include_str!("../kernels/elementwise.cuh")),
    ("gemm.cuh", include_str!("../kernels/gemm.cuh")),
    ("matmul.cuh", include_str!("../kernels/matmul.cuh")),
    ("norm.cuh", include_str!("../kernels/norm.cuh")),
    ("philox.cuh", include_str!("../kernels/philox.cuh")),
    ("rows.cuh", include_str!("../kernels/rows.cuh")),
    ("softmax.cuh", include_str!("../kernels/softmax.cuh")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The names of the files in kernels/ with an extension.
    fn on_disk(extension: &str) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some_and(|e| e == extension))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_lists_match_the_folder() {
        let names = |list: &[(&str, &str)]| list.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(SOURCES), on_disk("cu"), "SOURCES in sources.rs and kernels/*.cu");
        assert_eq!(names(HEADERS), on_disk("cuh"), "HEADERS in sources.rs and kernels/*.cuh");
    }
}
