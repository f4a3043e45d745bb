//! What shaders take: structs that mirror those of `shaders/`, in WGSL's layout for uniforms.

use bytemuck::{Pod, Zeroable};
use minitorch_core::{Layout, MAX_RANK};

/// A shape, innermost dimension first; sizes beyond the rank are 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Walk {
    pub(crate) sizes: [u32; MAX_RANK],
    pub(crate) numel: u32,
    pub(crate) rank: u32,
}

/// Where a tensor's elements lie along a [`Walk`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Operand {
    pub(crate) strides: [u32; MAX_RANK],
    pub(crate) offset: u32,
    pub(crate) ordered: u32,
}

/// What element-wise shaders take.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct MapParams {
    pub(crate) walk: Walk,
    pub(crate) out: Operand,
    pub(crate) x: Operand,
    pub(crate) y: Operand,
    pub(crate) z: Operand,
    /// Numbers of the function, as bits of the element type.
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) unused: [u32; 2],
}

/// Innermost first.
fn reversed(values: &[usize], fill: u32) -> [u32; MAX_RANK] {
    let mut out = [fill; MAX_RANK];
    for (to, &value) in out.iter_mut().zip(values.iter().rev()) {
        *to = value as u32;
    }
    out
}

impl Walk {
    /// # Panics
    /// If there are more elements than shaders count.
    pub(crate) fn new(shape: &[usize]) -> Self {
        let Ok(numel) = u32::try_from(shape.iter().product::<usize>()) else {
            panic!("wgpu: {shape:?} has more elements than the 2^32 that shaders count")
        };
        Walk { sizes: reversed(shape, 1), numel, rank: shape.len() as u32 }
    }
}

impl Operand {
    /// # Panics
    /// If the layout reaches further than shaders count.
    pub(crate) fn new(layout: &Layout) -> Self {
        assert!(
            layout.end() <= u32::MAX as usize,
            "wgpu: {layout:?} reaches beyond the 2^32 elements that shaders count"
        );
        let (strides, offset) = (reversed(layout.strides(), 0), layout.offset() as u32);
        Operand { strides, offset, ordered: layout.is_contiguous() as u32 }
    }
}
