//! Reports of launched loops; see `minitorch_core::launch`. They are built only while a listener is installed.

use crate::parallel;
use minitorch_core::Layout;
pub(crate) use minitorch_core::launch::{Launch, report};
use std::any::type_name;
use std::borrow::Cow;

/// A loop over elements of type `T` in `chunks` chunks.
pub(crate) fn on<T>(kernel: &str, chunks: usize) -> Launch {
    let element = match type_name::<T>() {
        "u8" => "bool",
        name => name,
    };
    Launch::on_threads(format!("{kernel}_{element}"), rayon::current_num_threads(), chunks)
}

/// The name of a loop that is generic over a fold or an update rule: `reduce_sum` for `reduce` and `Sum`.
pub(crate) fn named<F>(kernel: &str) -> String {
    let name = type_name::<F>().split('<').next().unwrap_or_default();
    format!("{kernel}_{}", name.rsplit("::").next().unwrap_or_default().to_lowercase())
}

/// A loop that [`parallel::split`] divides; the arguments are those of the division.
pub(crate) fn split<T>(kernel: &str, len: usize, unit: usize, work: usize) -> Launch {
    on::<T>(kernel, parallel::chunk_count(len, unit, work))
}

/// An element-wise loop over operands of these layouts.
pub(crate) fn elementwise<T>(
    kernel: &str,
    layouts: &[&Layout],
    (len, unit, work): (usize, usize, usize),
    streams: bool,
) -> Launch {
    let access = access(layouts);
    // Non-temporal stores are limited to rows of stride 1 in all operands.
    let streams = streams && matches!(access, "contiguous" | "row broadcast" | "rows");
    let path = if streams { Cow::Owned(format!("{access}, streaming")) } else { Cow::Borrowed(access) };
    split::<T>(kernel, len, unit, work).path(path)
}

/// A loop that overwrites one of its operands.
pub(crate) fn in_place(launch: Launch) -> Launch {
    let path = format!("in place, {}", launch.path);
    launch.path(path)
}

/// The access pattern of operands of one shape: the cases that [`elementwise`](crate::elementwise) distinguishes.
fn access(layouts: &[&Layout]) -> &'static str {
    let repeats = |dims: &dyn Fn(usize) -> std::ops::Range<usize>| {
        layouts.iter().any(|layout| {
            let rank = layout.shape().len();
            dims(rank).any(|d| layout.strides()[d] == 0 && layout.shape()[d] > 1)
        })
    };
    let is_row = layouts.iter().all(|layout| layout.shape().len() <= 1);
    if layouts.iter().any(|layout| layout.strides().last().is_some_and(|&stride| stride > 1)) {
        "strided"
    } else if repeats(&|rank| rank.saturating_sub(1)..rank) {
        if is_row { "scalar broadcast" } else { "column broadcast" }
    } else if is_row {
        "contiguous"
    } else if repeats(&|rank| 0..rank.saturating_sub(1)) {
        "row broadcast"
    } else {
        "rows"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_patterns() {
        let whole = Layout::contiguous([12]);
        let matrix = Layout::contiguous([3, 4]);
        for (layouts, name) in [
            (vec![Layout::contiguous([])], "contiguous"),
            (vec![whole, whole], "contiguous"),
            (vec![whole, Layout::new([12], &[0], 5)], "scalar broadcast"),
            (vec![whole, Layout::new([12], &[2], 5)], "strided"),
            (vec![matrix, Layout::new([3, 4], &[0, 1], 0)], "row broadcast"),
            (vec![matrix, Layout::new([3, 4], &[1, 0], 0)], "column broadcast"),
            (vec![matrix, Layout::new([3, 4], &[1, 3], 0)], "strided"),
            (vec![matrix, Layout::new([3, 4], &[9, 1], 2)], "rows"),
        ] {
            assert_eq!(access(&layouts.iter().collect::<Vec<_>>()), name, "{layouts:?}");
        }
    }

    #[test]
    fn names_and_chunks() {
        assert_eq!(split::<u8>("map1", 10, 1, 1).to_string(), "map1_bool | 1 thread");
        let large = elementwise::<f32>("map2", &[&Layout::contiguous([1 << 20])], (1 << 20, 64, 1), true);
        assert!(large.to_string().contains("map2_f32 | contiguous, streaming | "), "{large}");
        assert!(large.to_string().ends_with(" 32 chunks"), "{large}");
    }
}
