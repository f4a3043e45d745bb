//! Tensors that are larger than the largest binding: a dispatch binds a window of the buffer, and the work is halved until the
//! elements of every operand fit a window. Element-wise functions, copies, reductions and matrix products are split in this way;
//! any other operation that binds a tensor that is too large queues an error, and its result is missing.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::stream::Bind;
use minitorch_core::Layout;

/// The range of a buffer that a dispatch binds, from element `first` on. Offsets in a shader count from there.
pub(crate) struct Window<'a> {
    storage: &'a Storage,
    first: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn read(&self) -> Bind<'a> {
        Bind::ReadAt(self.storage, self.first)
    }

    pub(crate) fn write(&self) -> Bind<'a> {
        Bind::WriteAt(self.storage, self.first)
    }

    /// The layout relative to the window.
    pub(crate) fn within(&self, layout: &Layout) -> Layout {
        Layout::new(*layout.shape(), layout.strides(), layout.offset() - self.first)
    }
}

/// The dimension along which the layout's elements span the most memory.
pub(crate) fn widest(layout: &Layout) -> usize {
    let reach = |d: usize| layout.shape()[d].saturating_sub(1) * layout.strides()[d];
    (0..layout.shape().len()).rev().max_by_key(|&d| reach(d)).unwrap_or_default()
}

/// The layout's two halves along a dimension.
pub(crate) fn halves(layout: &Layout, dim: usize) -> [Layout; 2] {
    let size = layout.shape()[dim];
    [layout.narrow(dim, 0, size / 2), layout.narrow(dim, size / 2, size - size / 2)]
}

impl Wgpu {
    /// The window that holds a layout's elements.
    pub(crate) fn window<'a>(&self, storage: &'a Storage, layout: &Layout) -> Window<'a> {
        let align = self.alignment(storage);
        let first = if self.binds_whole(storage) { 0 } else { layout.offset() / align * align };
        Window { storage, first }
    }

    /// Elements to which a window's start is aligned: as the adapter demands, and to vec4 of 32 bits.
    fn alignment(&self, storage: &Storage) -> usize {
        self.0.context.limits.min_storage_buffer_offset_alignment.max(16) as usize / storage.element() as usize
    }

    fn binds_whole(&self, storage: &Storage) -> bool {
        storage.bytes() <= self.0.context.largest_binding()
    }

    /// The dimension to halve, if the layout's elements do not fit a window.
    pub(crate) fn too_wide(&self, storage: &Storage, layout: &Layout) -> Option<usize> {
        if self.binds_whole(storage) || layout.numel() == 0 {
            return None;
        }
        let span = layout.end() - layout.offset();
        (!self.0.context.fits_binding(span + self.alignment(storage))).then(|| widest(layout))
    }
}
