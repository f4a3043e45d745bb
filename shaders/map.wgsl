// Parameters of element-wise shaders. Mirrors `MapParams` in params.rs. vec4.wgsl and scalars.wgsl declare the buffers: out at binding 1,
// x, y and z at 2 to 4.
//
// An element-wise file holds a function `NAME_at(at, mask)` for each entry point NAME: it handles the elements with the indices `at` of
// the walk and stores those that the mask selects. shader.rs adds the entry points from map_entry.wgsl.
struct MapParams {
    // The shape of all operands, and the strides of each along it.
    walk: Walk,
    out: Strides,
    x: Strides,
    y: Strides,
    z: Strides,
    // Constants of the function, as bits of the element type.
    a: u32,
    b: u32,
}
@group(0) @binding(0) var<uniform> p: MapParams;

fn items() -> u32 {
    return p.walk.numel;
}
