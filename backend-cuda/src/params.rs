//! What kernels take: structs that mirror those of `kernels/`, field by field. A test reads the kernels' text and compares.

use crate::Tensor;
use crate::driver::Address;
use crate::memory::Storage;
use minitorch_core::{DType, Layout, MAX_RANK};

/// A struct that a kernel takes by value.
///
/// # Safety
/// It is `repr(C)`, and the kernels that take it declare the same fields in the same order.
pub(crate) unsafe trait Params: Copy {
    /// Its name, in Rust and in the kernels.
    #[cfg(test)]
    const NAME: &'static str;
    /// Where the kernels declare it.
    #[cfg(test)]
    const FILE: &'static str;
    /// Name, type and offset of each field.
    #[cfg(test)]
    fn fields() -> Vec<(&'static str, &'static str, usize)>;
}

/// Declares a [`Params`] and says which file of `kernels/` mirrors it.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident in $file:literal { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }

        // SAFETY: `repr(C)`; `params_tests.rs` compares the fields with those of the file.
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
    /// A walk over a shape: how a flat index becomes coordinates.
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
    /// Where a tensor's elements lie along a [`Walk`].
    Operand in "common.cuh" {
        data: Address,
        strides: [u64; MAX_RANK],
        order: u32,
        unused: u32,
    }
}

params! {
    /// What element-wise kernels take.
    MapParams in "map.cuh" {
        walk: Walk,
        out: Operand,
        r#in: [Operand; 3],
        a: f64,
        b: f64,
    }
}

impl Walk {
    /// The walk over a shape.
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
        return (0, 0); // such a walk is empty, or wide
    }
    let shift = size.next_power_of_two().trailing_zeros();
    ((((1 << 32) * ((1u64 << shift) - size)) / size + 1) as u32, shift)
}

/// Where the first element of a contiguous tensor lies; of an empty one, anywhere.
pub(crate) fn data(x: &Tensor) -> Address {
    let view = x.view();
    Operand::of(view.storage, view.dtype, view.layout).data
}

impl Operand {
    /// No operand.
    pub(crate) const NONE: Operand = Operand { data: 0, strides: [0; MAX_RANK], order: 0, unused: 0 };

    /// A storage's elements, seen through a layout.
    ///
    /// # Panics
    /// If the layout reaches beyond the storage.
    pub(crate) fn of(storage: &Storage, dtype: DType, layout: &Layout) -> Self {
        storage.check(dtype, layout);
        Operand::new(storage.address(), dtype, layout)
    }

    /// Elements of a buffer that starts at `address`, seen through a layout that lies within it, or is empty.
    pub(crate) fn new(address: Address, dtype: DType, layout: &Layout) -> Self {
        // An empty view may begin anywhere, and is not read.
        let data = if layout.numel() == 0 { address } else { address + (layout.offset() * dtype.size()) as u64 };
        let mut strides = [0; MAX_RANK];
        for (to, &stride) in strides.iter_mut().zip(layout.strides()) {
            *to = stride as u64;
        }
        // Packs of four elements are moved 16 bytes at a time, or all of their fewer bytes at once.
        let pack = (4 * dtype.size()).min(16) as u64;
        let order = match (layout.is_contiguous(), data.is_multiple_of(pack)) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        Operand { data, strides, order, unused: 0 }
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
