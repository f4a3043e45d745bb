// Copies, fills and conversions. Elements are 32 bits of any dtype, or f16, which are handled as the bits of their f32: a copy between
// the two converts.
//
//   copy           out[i] = x[i]
//   fill           out[i] = a
//   cast_FROM_TO   out[i] = convert(x[i])
//
// Cost: bytes read plus bytes written.

// Truncates towards 0 and saturates; NaN becomes 0.
fn f32_i32(bits: u32) -> u32 {
    let x = bitcast<f32>(bits);
    if (is_nan(x)) {
        return 0u;
    }
    if (x >= 2147483648.0) {
        return 0x7fffffffu;
    }
    if (x <= -2147483648.0) {
        return 0x80000000u;
    }
    return bitcast<u32>(i32(x));
}

// x != 0, which is true for NaN.
fn f32_bool(bits: u32) -> u32 {
    return select(0u, 1u, (bits & 0x7fffffffu) != 0u);
}
fn i32_f32(bits: u32) -> u32 {
    return bitcast<u32>(f32(bitcast<i32>(bits)));
}
fn i32_bool(bits: u32) -> u32 {
    return select(0u, 1u, bits != 0u);
}
fn bool_f32(bits: u32) -> u32 {
    return bitcast<u32>(f32(bits));
}
fn bool_i32(bits: u32) -> u32 {
    return bits;
}

fn copy_at(at: vec4<u32>, mask: vec4<bool>) {
    store_bits(offsets_of(p.walk, p.out, at), mask, x_bits(offsets_of(p.walk, p.x, at)));
}
fn fill_at(at: vec4<u32>, mask: vec4<bool>) {
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(p.a));
}
fn cast_f32_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(f32_i32(x.x), f32_i32(x.y), f32_i32(x.z), f32_i32(x.w)));
}
fn cast_f32_bool_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(f32_bool(x.x), f32_bool(x.y), f32_bool(x.z), f32_bool(x.w)));
}
fn cast_i32_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(i32_f32(x.x), i32_f32(x.y), i32_f32(x.z), i32_f32(x.w)));
}
fn cast_i32_bool_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(i32_bool(x.x), i32_bool(x.y), i32_bool(x.z), i32_bool(x.w)));
}
fn cast_bool_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(bool_f32(x.x), bool_f32(x.y), bool_f32(x.z), bool_f32(x.w)));
}
fn cast_bool_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_bits(offsets_of(p.walk, p.x, at));
    store_bits(offsets_of(p.walk, p.out, at), mask, vec4(bool_i32(x.x), bool_i32(x.y), bool_i32(x.z), bool_i32(x.w)));
}
