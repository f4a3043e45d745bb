//! The calls of the goldens of `scripts/goldens_arrange.py`.

use minitorch_core::backend::Backend;
use minitorch_core::{DType, Indexing, PadMode, Tensor};
use std::collections::BTreeMap;

/// The result of the call; `None` for a name of another family.
pub(super) fn apply<B: Backend>(name: &str, inputs: &BTreeMap<&str, Tensor<B>>) -> Option<Tensor<B>> {
    let x = inputs.get("x")?;
    let operands: Vec<&Tensor<B>> = ["x", "w", "b"].iter().filter_map(|role| inputs.get(role)).collect();
    let grid = |indexing| {
        let vectors: Vec<Tensor<B>> = operands.iter().map(|&x| x.clone()).collect();
        Tensor::stack(&Tensor::meshgrid(&vectors, indexing), 0)
    };
    let pad = |mode| x.pad_with([(0, 2), (3, 1)], mode);
    let einsum = |equation| Tensor::einsum(equation, &operands);
    let place = (x.device(), DType::F32);
    Some(match name {
        "split_third" => x.split(2, 1)[2].clone(),
        "split_sizes_second" => x.split_sizes(&[1, 3, 1], 1)[1].clone(),
        "chunk_last" => x.chunk(4, -1).pop()?,
        "unbind_second" => x.unbind(1)[1].clone(),
        "flip_two" => x.flip([0, -1]),
        "roll_forward" => x.roll(2, 1),
        "roll_back" => x.roll(-9, 0),
        "movedim_last" => x.movedim(0, -1),
        "repeat_leading" => x.repeat([2, 3, 1, 2]),
        "tile_last" => x.tile([3]),
        "repeat_interleave_middle" => x.repeat_interleave(3, 1),
        "unfold_overlapping" => x.unfold(1, 3, 1),
        "unfold_gaps" => x.unfold(-1, 2, 3),
        "diagonal_above" => x.diagonal(1, 0, 2),
        "diagonal_below" => x.diagonal(-2, -1, 0),
        "tril_above" => x.tril(1),
        "triu_below" => x.triu(-1),
        "meshgrid_ij" => grid(Indexing::Ij),
        "meshgrid_xy" => grid(Indexing::Xy),
        "pad_reflect" => pad(PadMode::Reflect),
        "pad_replicate" => pad(PadMode::Replicate),
        "pad_circular" => pad(PadMode::Circular),
        "linspace_seven" => x * Tensor::linspace(-1.5, 2.0, 7, place),
        "arange_step_down" => x * Tensor::arange_step(2.5, -1.0, -0.5, place),
        "eye_wide" => x * Tensor::eye([3, 5], place),
        "einsum_bmm" => einsum("bij,bjk->bik"),
        "einsum_attention" => einsum("bqhd,bkhd->bhqk"),
        "einsum_implicit" => einsum("ij,jk"),
        "einsum_implicit_order" => einsum("ba,Cb"),
        "einsum_rows" => einsum("ij,ij->i"),
        "einsum_outer" => einsum("ij,kl->ljik"),
        "einsum_chain" => einsum("ij,jk,kl->li"),
        "einsum_bilinear" => einsum("bn,anm,bm->ba"),
        "einsum_ellipsis" => einsum("...ij,...jk->...ik"),
        "einsum_ellipsis_summed" => einsum("i...,i...->i"),
        "einsum_ones" => einsum("ij,jk->ik"),
        "einsum_diagonal" => einsum("iji->ij"),
        "einsum_trace" => einsum("ii"),
        "einsum_columns" => einsum("ijk->kj"),
        "nearest_up" => x.interpolate_nearest([6, 12]),
        "nearest_down" => x.interpolate_nearest([3, 2]),
        "nearest_between" => x.interpolate_nearest([7, 3]),
        _ => return resized(name, x),
    })
}

/// `bilinear_corners_up`, `adaptive_max_grows`, ..
fn resized<B: Backend>(name: &str, x: &Tensor<B>) -> Option<Tensor<B>> {
    let (op, sort) = name.rsplit_once('_')?;
    let size = |sizes: &[(&str, [usize; 2])]| sizes.iter().find(|(known, _)| *known == sort).map(|&(_, size)| size);
    let linear = [("up", [6, 8]), ("down", [2, 3]), ("between", [7, 3]), ("one", [1, 4])];
    let pooled = [("divides", [2, 3]), ("overlaps", [3, 4]), ("mixed", [5, 2]), ("grows", [4, 5]), ("ties", [3, 2])];
    Some(match op {
        "bilinear_halves" => x.interpolate_bilinear(size(&linear)?, false),
        "bilinear_corners" => x.interpolate_bilinear(size(&linear)?, true),
        "adaptive_avg" if sort == "one" => x.adaptive_avg_pool1d(3),
        "adaptive_max" if sort == "one" => x.adaptive_max_pool1d(3),
        "adaptive_avg" => x.adaptive_avg_pool2d(size(&pooled)?),
        "adaptive_max" => x.adaptive_max_pool2d(size(&pooled)?),
        _ => return None,
    })
}
