//! Dispatches of element-wise shaders: `out[i] = f(operands[i] ..)` over one shape.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{MapParams, Strides, Walk};
use crate::shader::{Form, Shader};
use crate::split;
use bytemuck::Zeroable;
use minitorch_core::backend::View;
use minitorch_core::{DType, Layout};

/// A number as the bits of an element; for F16 as the bits of its F32.
pub(crate) fn bits(dtype: DType, value: f64) -> u32 {
    match dtype {
        DType::I32 => value as i32 as u32,
        DType::Bool => (value != 0.0) as u32,
        DType::F16 | DType::F32 | DType::F64 => (value as f32).to_bits(),
    }
}

impl Wgpu {
    /// `f(operands[i] ..)` in a new contiguous buffer of the operands' shape.
    pub(crate) fn map_new<const N: usize>(
        &self,
        (op, dtype): (&str, DType),
        shader: Shader,
        operands: [View<'_, Storage>; N],
        numbers: [u32; 2],
    ) -> Storage {
        let layout = Layout::contiguous(*operands[0].layout.shape());
        let out = self.alloc(op, dtype, layout.numel());
        self.map(shader, &out, &layout, operands, numbers);
        out
    }

    /// `out[i] = f(operands[i] ..)` over the shape of `layout`, the layout of `out`; `numbers` are the function's constants as bits.
    ///
    /// # Panics
    /// If an operand has another shape, or a layout reaches beyond its storage.
    pub(crate) fn map<const N: usize>(
        &self,
        shader: Shader,
        out: &Storage,
        layout: &Layout,
        operands: [View<'_, Storage>; N],
        numbers: [u32; 2],
    ) {
        if layout.numel() == 0 || out.is_missing() {
            return;
        }
        out.check(layout);
        for x in &operands {
            assert!(x.layout.shape() == layout.shape(), "{:?} and {:?}", x.layout.shape(), layout.shape());
            x.storage.check(x.layout);
        }
        let layouts = operands.map(|x| *x.layout);
        self.map_checked(shader, numbers, (out, layout), operands.map(|x| x.storage), layouts);
    }

    /// The dispatch, or the dispatches of both halves if a tensor does not fit a binding.
    fn map_checked<const N: usize>(
        &self,
        shader: Shader,
        [a, b]: [u32; 2],
        (out, to): (&Storage, &Layout),
        storages: [&Storage; N],
        layouts: [Layout; N],
    ) {
        let too_wide = storages.iter().zip(&layouts).find_map(|(storage, layout)| self.too_wide(storage, layout));
        if let Some(dim) = self.too_wide(out, to).or(too_wide) {
            for half in 0..2 {
                let to = split::halves(to, dim)[half];
                let layouts = layouts.map(|layout| split::halves(&layout, dim)[half]);
                self.map_checked(shader, [a, b], (out, &to), storages, layouts);
            }
            return;
        }
        // Dimensions are merged over all layouts; that of out fills the unused slots.
        let mut all = [*to; 4];
        all[1..=N].copy_from_slice(&layouts);
        let [to, merged @ ..] = Layout::merge(all);
        let window = self.window(out, &to);
        let within = window.within(&to);
        let mut vec4 = is_vec4(&within, false);
        let mut strides = [Strides::zeroed(); 3];
        let mut binds = vec![window.write()];
        for (strides, (storage, layout)) in strides.iter_mut().zip(storages.into_iter().zip(&merged[..N])) {
            let window = self.window(storage, layout);
            let within = window.within(layout);
            vec4 = vec4 && is_vec4(&within, true);
            *strides = Strides::new(&within);
            binds.push(window.read());
        }
        let [x, y, z] = strides;
        let params =
            MapParams { walk: Walk::new(to.shape()), out: Strides::new(&within), x, y, z, a, b, unused: [0; 2] };
        let form = Form { vec4, ..shader.form };
        self.dispatch(shader.form(form), self.grid_over(to.numel().div_ceil(4)), &params, &binds);
    }
}

/// Whether the elements of a merged layout can be accessed as vec4, by the conditions of vec4.wgsl. Only an operand that is read may
/// repeat elements.
fn is_vec4(layout: &Layout, is_read: bool) -> bool {
    let aligned = |n: &usize| n.is_multiple_of(4);
    let Some((innermost, outer)) = layout.strides().split_last() else { return false };
    layout.shape().last().is_some_and(aligned)
        && match innermost {
            0 => is_read,
            1 => outer.iter().all(aligned) && aligned(&layout.offset()),
            _ => false,
        }
}
