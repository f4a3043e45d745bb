//! Operands and digests, the same for every peer; torch_peer.py has its own copy of these functions.

/// n numbers in [-1, 1): a hash of index and seed.
pub fn fill(n: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(0x9e37_79b9));
        x ^= x >> 15;
        x = x.wrapping_mul(0x85eb_ca6b);
        x ^= x >> 13;
        x = x.wrapping_mul(0xc2b2_ae35);
        x ^= x >> 16;
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n as u32).map(number).collect()
}

/// The initial values of a network's parameter i; see [`Net`](crate::rows::Net).
pub fn parameter(i: usize, name: &str, shape: &[usize]) -> Vec<f32> {
    let n: usize = shape.iter().product();
    if shape.len() < 2 {
        return vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; n];
    }
    let scale = 1.0 / ((n / shape[0]) as f32).sqrt();
    fill(n, 100 + i as u32).into_iter().map(|x| x * scale).collect()
}

/// Number of elements, sum, sum of squares, and up to 1000 elements at equal distances.
pub fn digest(values: &[f32]) -> Vec<f64> {
    let sum: f64 = values.iter().map(|&x| x as f64).sum();
    let squares: f64 = values.iter().map(|&x| x as f64 * x as f64).sum();
    let step = values.len().div_ceil(1000).max(1);
    [values.len() as f64, sum, squares].into_iter().chain(values.iter().step_by(step).map(|&x| x as f64)).collect()
}
