//! Tensors that are larger than what one binding reaches: they are bound in windows, and work is halved until all operands of a
//! part fit into one each. Element-wise functions, copies, reductions and matrix products are split like this; what else binds a
//! tensor that is too large refuses.

use crate::device::{DeviceState, Wgpu};
use crate::memory::Storage;
use crate::stream::Bind;
use minitorch_core::Layout;

/// A buffer as a dispatch binds it, and the element at which the binding begins: places count from there.
pub(crate) struct Window<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) first: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn read(&self) -> Bind<'a> {
        Bind::ReadAt(self.storage, self.first)
    }

    pub(crate) fn write(&self) -> Bind<'a> {
        Bind::WriteAt(self.storage, self.first)
    }

    /// Places in the binding.
    pub(crate) fn within(&self, layout: &Layout) -> Layout {
        Layout::new(*layout.shape(), layout.strides(), layout.offset() - self.first)
    }
}

/// The dimension along which a layout reaches furthest.
pub(crate) fn widest(layout: &Layout) -> usize {
    let reach = |d: usize| layout.shape()[d].saturating_sub(1) * layout.strides()[d];
    (0..layout.shape().len()).rev().max_by_key(|&d| reach(d)).unwrap_or_default()
}

/// The layout's two halves along a dimension.
pub(crate) fn halves(layout: &Layout, dim: usize) -> [Layout; 2] {
    let size = layout.shape()[dim];
    [layout.narrow(dim, 0, size / 2), layout.narrow(dim, size / 2, size - size / 2)]
}

impl DeviceState {
    /// Bytes of the largest binding.
    pub(crate) fn largest_binding(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size
    }

    /// Whether a tensor of so many elements is bound as a whole.
    pub(crate) fn binds_whole(&self, numel: usize) -> bool {
        numel as u64 * 4 <= self.largest_binding()
    }

    /// Elements by which a binding may have to begin before a tensor does.
    fn alignment(&self, storage: &Storage) -> usize {
        // At least whole vectors of four elements.
        self.limits.min_storage_buffer_offset_alignment.max(16) as usize / storage.element() as usize
    }
}

impl Wgpu {
    /// The window through which a layout's elements are reached.
    pub(crate) fn window<'a>(&self, storage: &'a Storage, layout: &Layout) -> Window<'a> {
        let align = self.0.alignment(storage);
        let first = if self.binds(storage) { 0 } else { layout.offset() / align * align };
        Window { storage, first }
    }

    fn binds(&self, storage: &Storage) -> bool {
        storage.bytes() <= self.0.largest_binding()
    }

    /// The dimension to halve if the layout's elements do not fit into a window.
    pub(crate) fn too_wide(&self, storage: &Storage, layout: &Layout) -> Option<usize> {
        if self.binds(storage) || layout.numel() == 0 {
            return None;
        }
        let span = layout.end() - layout.offset();
        (!self.0.binds_whole(span + self.0.alignment(storage))).then(|| widest(layout))
    }
}
