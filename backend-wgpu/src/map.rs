//! Calls of element-wise shaders: shapes and places into one struct.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{MapParams, Operand, Walk};
use crate::stream::{Bind, Shader};
use bytemuck::Zeroable;
use minitorch_core::Layout;
use minitorch_core::backend::View;

impl Wgpu {
    /// `out[i] = f(operands[i] ..)` over the shape of `layout`, which says where out's elements lie.
    pub(crate) fn map<const N: usize>(
        &self,
        shader: Shader,
        out: &Storage,
        layout: &Layout,
        operands: [View<'_, Storage>; N],
        [a, b]: [u32; 2],
    ) {
        if layout.numel() == 0 {
            return;
        }
        let mut places = [Operand::zeroed(); 3];
        for (place, x) in places.iter_mut().zip(&operands) {
            *place = Operand::new(x.layout);
        }
        let [x, y, z] = places;
        let (walk, to) = (Walk::new(layout.shape()), Operand::new(layout));
        let params = MapParams { walk, out: to, x, y, z, a, b, unused: [0; 2] };
        let mut binds = vec![Bind::Write(out)];
        binds.extend(operands.iter().map(|x| Bind::Read(x.storage)));
        self.dispatch(shader, self.walk_over(layout.numel()), &params, &binds);
    }
}
