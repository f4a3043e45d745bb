//! Kernel parameters: structs that mirror those of `kernels/` field by field. A test compares them with the kernels' source.

use crate::driver::Address;
use minitorch_core::{DType, Layout, MAX_RANK};

/// A struct that a kernel takes by value.
///
/// # Safety
/// The type is `repr(C)`, and the kernels that take it declare the same fields in the same order.
pub(crate) unsafe trait Params: Copy {
    /// The struct's name, in Rust and in the kernels.
    #[cfg(test)]
    const NAME: &'static str;
    /// The file of `kernels/` that declares the struct.
    #[cfg(test)]
    const FILE: &'static str;
    /// Name, type and offset of each field.
    #[cfg(test)]
    fn fields() -> Vec<(&'static str, &'static str, usize)>;
}

/// Declares a [`Params`] and names the file of `kernels/` with the mirrored struct.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident in $file:literal { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }

        // SAFETY: the struct above is `repr(C)`, and `params_tests.rs` compares its fields with those of the file.
        unsafe impl $crate::params::Params for $name {
            #[cfg(test)]
            const NAME: &'static str = stringify!($name);
            #[cfg(test)]
            const FILE: &'static str = $file;
            #[cfg(test)]
            fn fields() -> Vec<(&'static str, &'static str, usize)> {
                vec![$((stringify!($field), stringify!($type), std::mem::offset_of!($name, $field)),)*]
            }
        }
    };
}
pub(crate) use params;

params! {
    /// A shape, for the conversion of a flat row-major index into coordinates.
    #[derive(Default)]
    Walk in "common.cuh" {
        numel: u64,
        sizes: [u64; MAX_RANK],
        magics: [u32; MAX_RANK],
        shifts: [u32; MAX_RANK],
        rank: u32,
        wide: u32,
    }
}

params! {
    /// A tensor's address and its strides along a [`Walk`].
    #[derive(Default)]
    TensorRef in "common.cuh" {
        data: Address,
        strides: [u64; MAX_RANK],
        order: u32,
        unused: u32,
    }
}

params! {
    /// A divisor of numbers below 2^31; see [`magic`].
    #[derive(Default)]
    Divisor in "common.cuh" {
        size: u32,
        magic: u32,
        shift: u32,
        unused: u32,
    }
}

impl Divisor {
    pub(crate) fn new(size: usize) -> Self {
        let (magic, shift) = magic(size as u64);
        Divisor { size: size as u32, magic, shift, unused: 0 }
    }
}

impl Walk {
    pub(crate) fn new(shape: &[usize]) -> Self {
        let numel = shape.iter().product::<usize>() as u64;
        let mut walk = Walk {
            numel,
            sizes: [1; MAX_RANK],
            magics: [1; MAX_RANK],
            shifts: [0; MAX_RANK],
            rank: shape.len() as u32,
            wide: (numel >= 1 << 31) as u32,
        };
        for (d, &size) in shape.iter().enumerate() {
            walk.sizes[d] = size as u64;
            (walk.magics[d], walk.shifts[d]) = magic(size as u64);
        }
        walk
    }
}

/// The multiplier and shift that divide by `size`: with them `x / size` is `((x * magic >> 32) + x) >> shift` for x below
/// 2^31. Granlund and Montgomery, "Division by invariant integers using multiplication", 1994.
pub(crate) fn magic(size: u64) -> (u32, u32) {
    if !(1..1 << 31).contains(&size) {
        return (0, 0); // the walk is empty, or `wide`
    }
    let shift = size.next_power_of_two().trailing_zeros();
    ((((1 << 32) * ((1u64 << shift) - size)) / size + 1) as u32, shift)
}

// `TensorRef::order`, as in common.cuh.
pub(crate) const STRIDED: u32 = 0;
pub(crate) const CONTIGUOUS: u32 = 1;
pub(crate) const PACKED: u32 = 2;

impl TensorRef {
    /// No tensor.
    pub(crate) const NONE: TensorRef = TensorRef { data: 0, strides: [0; MAX_RANK], order: STRIDED, unused: 0 };

    /// The elements of a buffer at `address` that a layout shows. The layout lies within the buffer, or is empty.
    pub(crate) fn new(address: Address, dtype: DType, layout: &Layout) -> Self {
        // The offset of an empty view may lie past the end, and nothing is accessed.
        let data = if layout.numel() == 0 { address } else { address + (layout.offset() * dtype.size()) as u64 };
        let order = match (layout.is_contiguous(), data.is_multiple_of(pack_alignment(dtype))) {
            (false, _) => STRIDED,
            (true, false) => CONTIGUOUS,
            (true, true) => PACKED,
        };
        TensorRef { data, strides: strides(layout), order, unused: 0 }
    }
}

/// A layout's strides, as kernels take them.
pub(crate) fn strides(layout: &Layout) -> [u64; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    strides.iter_mut().zip(layout.strides()).for_each(|(to, &stride)| *to = stride as u64);
    strides
}

/// The alignment of a pack of four elements: its size, at most 16 bytes.
pub(crate) fn pack_alignment(dtype: DType) -> u64 {
    (4 * dtype.size()).min(16) as u64
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
