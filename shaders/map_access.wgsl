// Access of element-wise files to their operands, through vec4.wgsl or scalars.wgsl.

// The elements with four indices of the walk, as their bits.
fn x_at(at: vec4<u32>) -> vec4<u32> {
    return x_bits(offsets_of(p.walk, p.x, at));
}
fn y_at(at: vec4<u32>) -> vec4<u32> {
    return y_bits(offsets_of(p.walk, p.y, at));
}
fn put_at(at: vec4<u32>, mask: vec4<bool>, four: vec4<u32>) {
    store_bits(offsets_of(p.walk, p.out, at), mask, four);
}
