// Copies, fills and conversions. Elements are 32 bits of any dtype, or f16, which are handled as the bits of their f32: a copy between
// the two converts.
//
//   copy           out[i] = x[i]
//   fill           out[i] = a
//   cast_FROM_TO   out[i] = convert(x[i]), with bool as i32
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

fn copy_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, x_at(at));
}
fn fill_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, vec4(p.a));
}
fn cast_f32_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    let x = x_at(at);
    put_at(at, mask, vec4(f32_i32(x.x), f32_i32(x.y), f32_i32(x.z), f32_i32(x.w)));
}
// x != 0, which is true for NaN.
fn cast_f32_bool_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, select(vec4(0u), vec4(1u), (x_at(at) & vec4(0x7fffffffu)) != vec4(0u)));
}
fn cast_i32_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, bitcast<vec4<u32>>(vec4<f32>(bitcast<vec4<i32>>(x_at(at)))));
}
fn cast_i32_bool_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, select(vec4(0u), vec4(1u), x_at(at) != vec4(0u)));
}
