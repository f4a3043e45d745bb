//! Parameters of shaders: structs that mirror those of `shaders/`, in WGSL's layout for uniforms.

use bytemuck::Pod;
use minitorch_core::{Layout, MAX_RANK};

/// A struct of parameters. WGSL declares the same members in the same order.
pub(crate) trait Params: Pod {
    /// Its name, in Rust and in WGSL.
    #[cfg(test)]
    const NAME: &'static str;
    /// The files of `shaders/` that declare it.
    #[cfg(test)]
    const FILES: &'static [&'static str];
    /// Name, type, offset and size of each member.
    #[cfg(test)]
    fn members() -> Vec<(&'static str, &'static str, usize, usize)>;
}

/// Declares a [`Params`] and says which files of `shaders/` mirror it; `params_tests.rs` compares them.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident in $($file:literal)* { $($(#[$note:meta])* $member:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name {
            $($(#[$note])* pub(crate) $member: $type,)*
        }

        impl $crate::params::Params for $name {
            #[cfg(test)]
            const NAME: &'static str = stringify!($name);
            #[cfg(test)]
            const FILES: &'static [&'static str] = &[$($file),*];
            #[cfg(test)]
            fn members() -> Vec<(&'static str, &'static str, usize, usize)> {
                vec![$((
                    stringify!($member),
                    stringify!($type),
                    std::mem::offset_of!($name, $member),
                    size_of::<$type>(),
                ),)*]
            }
        }
    };
}
pub(crate) use params;

params! {
    /// A shape to iterate over, innermost dimension first: the sizes of the last four dimensions and of the two before. Sizes beyond the
    /// rank are 1.
    Walk in "unary" "reduce" {
        near: [u32; 4],
        far: [u32; 2],
        numel: u32,
        rank: u32,
    }
}

params! {
    /// The strides of a tensor along a [`Walk`], in its order of dimensions, and the first element.
    Strides in "unary" "reduce" {
        near: [u32; 4],
        far: [u32; 2],
        offset: u32,
        contiguous: u32,
    }
}

params! {
    /// Parameters of element-wise shaders; a and b are numbers of the function, as bits of the element type.
    MapParams in "binary" "compare" "copy" "transpose" "unary" {
        walk: Walk,
        out: Strides,
        x: Strides,
        y: Strides,
        z: Strides,
        a: u32,
        b: u32,
        unused: [u32; 2],
    }
}

/// The last four of at most `MAX_RANK` values and the two before, innermost first.
fn reversed(values: &[usize], fill: u32) -> ([u32; 4], [u32; 2]) {
    let mut out = [fill; MAX_RANK];
    for (to, &value) in out.iter_mut().zip(values.iter().rev()) {
        *to = value as u32;
    }
    let [a, b, c, d, e, f] = out;
    ([a, b, c, d], [e, f])
}

impl Walk {
    /// # Panics
    /// If there are more elements than a u32 counts.
    pub(crate) fn new(shape: &[usize]) -> Self {
        let Ok(numel) = u32::try_from(shape.iter().product::<usize>()) else {
            panic!("wgpu: {shape:?} has more elements than the 2^32 that shaders count")
        };
        let (near, far) = reversed(shape, 1);
        Walk { near, far, numel, rank: shape.len() as u32 }
    }
}

impl Strides {
    /// # Panics
    /// If an element lies beyond what a u32 addresses.
    pub(crate) fn new(layout: &Layout) -> Self {
        assert!(
            layout.end() <= u32::MAX as usize,
            "wgpu: {layout:?} reaches beyond the 2^32 elements that shaders count"
        );
        let ((near, far), offset) = (reversed(layout.strides(), 0), layout.offset() as u32);
        Strides { near, far, offset, contiguous: layout.is_contiguous() as u32 }
    }

    /// The strides of a second walk over the same tensor: the first one's strides bring the offset.
    pub(crate) fn without_offset(layout: &Layout) -> Self {
        Strides { offset: 0, ..Strides::new(layout) }
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
