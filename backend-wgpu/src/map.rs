//! Calls of element-wise shaders: shapes and places into one struct.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{MapParams, Operand, Walk};
use crate::shader::{Form, Shader};
use crate::split;
use bytemuck::Zeroable;
use minitorch_core::Layout;
use minitorch_core::backend::View;

impl Wgpu {
    /// `out[i] = f(operands[i] ..)` over the shape of `layout`, which says where out's elements lie.
    ///
    /// # Panics
    /// If an operand has another shape, or something lies beyond its storage.
    pub(crate) fn map<const N: usize>(
        &self,
        shader: Shader,
        out: &Storage,
        layout: &Layout,
        operands: [View<'_, Storage>; N],
        [a, b]: [u32; 2],
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
        self.map_part(shader, [a, b], (out, layout), operands.map(|x| x.storage), layouts);
    }

    /// The part of a map at these layouts: all of it, or halves of a tensor that one binding does not reach.
    fn map_part<const N: usize>(
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
                self.map_part(
                    shader,
                    [a, b],
                    (out, &to),
                    storages,
                    layouts.map(|layout| split::halves(&layout, dim)[half]),
                );
            }
            return;
        }
        // Merged with the shape of out, of which a copy stands in for the operands that there are not.
        let mut all = [*to; 4];
        all[1..=N].copy_from_slice(&layouts);
        let [to, merged @ ..] = Layout::merge(all);
        let to = &to;
        let layouts = &merged[..N];
        let window = self.window(out, to);
        let mut quads = by_fours(&window.within(to), false);
        let mut places = [Operand::zeroed(); 3];
        let mut binds = vec![window.write()];
        for (place, (storage, layout)) in places.iter_mut().zip(storages.into_iter().zip(layouts)) {
            let window = self.window(storage, layout);
            let within = window.within(layout);
            quads = quads && by_fours(&within, true);
            *place = Operand::new(&within);
            binds.push(window.read());
        }
        let [x, y, z] = places;
        let (walk, out) = (Walk::new(to.shape()), Operand::new(&window.within(to)));
        let params = MapParams { walk, out, x, y, z, a, b, unused: [0; 2] };
        let form = Form { quads, ..shader.form };
        self.dispatch(shader.form(form), self.walk_over(to.numel().div_ceil(4)), &params, &binds);
    }
}

/// Whether the elements of a merged layout can be taken by fours, as quads.wgsl demands; those of an operand that is read may repeat.
fn by_fours(layout: &Layout, reads: bool) -> bool {
    let four = |n: &usize| n.is_multiple_of(4);
    let Some((innermost, outer)) = layout.strides().split_last() else { return false };
    layout.shape().last().is_some_and(four)
        && match innermost {
            0 => reads,
            1 => outer.iter().all(four) && four(&layout.offset()),
            _ => false,
        }
}
