// What element-wise shaders take. Mirrors `MapParams` in params.rs. The operands are bound as quads.wgsl says.
struct MapParams {
    // The shape of all operands, and where the elements of each lie along it.
    walk: Walk,
    out: Operand,
    x: Operand,
    y: Operand,
    z: Operand,
    // Numbers of the function, as bits of the element type.
    a: u32,
    b: u32,
}
@group(0) @binding(0) var<uniform> p: MapParams;
