//! Every kind of loop and store gives the same elements, at every instruction set.

use super::{Map1, Map2, Source, Store};
use crate::simd::Level;
use crate::view::position;
use minitorch_core::Layout;

const STORES: [Store; 2] = [Store::Cached, Store::NonTemporal];

/// Checks elements `at..at + len` of `a - b` with every kind of store, and that nothing around them is written.
fn check2(a: Layout, b: Layout, at: usize, len: usize) {
    let data: Vec<f32> = (0..6000).map(|i| i as f32 * 0.5 - 700.0).collect();
    let expected: Vec<f32> = (at..at + len).map(|i| data[position(&a, i)] - data[position(&b, i)]).collect();
    let [a, b] = [&a, &b].map(|layout| Source { data: &data[..], layout });
    for level in Level::supported() {
        for (store, shift) in STORES.into_iter().flat_map(|store| (0..9).map(move |shift| (store, shift))) {
            let mut out = vec![f32::NAN; len + 20];
            level.dispatch(Map2 { at, out: &mut out[shift..][..len], a, b, f: |a, b| a - b, store });
            let what = format!("{} {store:?} {at} + {len}, shifted by {shift}", level.name());
            assert_eq!(out[shift..][..len], expected, "{what}");
            assert!(out[..shift].iter().chain(&out[shift + len..]).all(|x| x.is_nan()), "{what}: around it");
        }
    }
}

#[test]
fn contiguous_operands() {
    for len in [1, 3, 15, 63, 64, 65, 127, 200, 1000] {
        check2(Layout::new([2000], &[1], 5), Layout::new([2000], &[1], 100), 7, len);
    }
}

#[test]
fn rows_and_broadcasts() {
    for width in [1, 5, 16, 70] {
        let (a, b) = (Layout::new([40, width], &[width, 1], 3), Layout::new([40, width], &[0, 1], 11));
        for (at, len) in [(0, 40 * width), (0, 9 * width + width / 2), (width, 16 * width), (width / 2, 20 * width)] {
            check2(a, b, at, len);
        }
        // Rows with gaps, a transposed operand, and one element per row.
        check2(Layout::new([40, width], &[90, 1], 0), b, 0, 40 * width);
        check2(Layout::new([40, width], &[1, 40], 0), b, 2, 30 * width);
        check2(a, Layout::new([40, width], &[1, 0], 0), 0, 33 * width);
    }
}

#[test]
fn one_operand() {
    let data: Vec<f32> = (0..3000).map(|i| i as f32).collect();
    for stride in [1, 2] {
        let x = Source { data: &data[..], layout: &Layout::new([1000], &[stride], 9) };
        for level in Level::supported() {
            for (store, shift) in STORES.into_iter().flat_map(|store| (0..9).map(move |shift| (store, shift))) {
                let mut out = vec![f32::NAN; 1000];
                level.dispatch(Map1 { at: 3, out: &mut out[shift..][..900], x, f: |x: f32| -x, store });
                let expected = (0..900).map(|i| -((9 + (i + 3) * stride) as f32));
                assert!(out[shift..][..900].iter().copied().eq(expected), "{} {store:?} {shift}", level.name());
                assert!(out[..shift].iter().chain(&out[shift + 900..]).all(|x| x.is_nan()));
            }
        }
    }
}

#[test]
fn large_memory_bound_results_are_streamed() {
    let llc = crate::caches::Caches::get().llc;
    // Zeroed by the OS on access, and never accessed.
    let out = vec![0_u8; llc + 1];
    let store = |bytes: usize, work| Store::of(&out[..bytes], work);
    assert_eq!([store(0, 1), store(llc, 1)], [Store::Cached; 2]);
    assert_eq!(store(llc + 1, 1), Store::NonTemporal);
    assert_eq!(store(llc + 1, 8), Store::Cached);
}
