// Element-wise functions of two tensors.
//
//   binary_TYPE       out[i] = f(x[i], y[i])
//   binary_mut_TYPE   out[i] = f(out[i], x[i])
//
// Bool is handled as i32: MAXIMUM is or, MINIMUM is and.
//
// Cost: two reads and one write per element.

// The function: a `BinaryOp`, from which shader.rs generates the constants ADD, SUB, ..
override OP: u32 = 0u;

fn apply_f32(a: f32, b: f32) -> f32 {
    switch (OP) {
        case ADD: { return a + b; }
        case SUB: { return a - b; }
        case MUL: { return a * b; }
        case DIV: { return a / b; }
        case POW: { return power(a, b); }
        case REMAINDER: { return remainder(a, b); }
        // NaN if either is NaN.
        case MAXIMUM: { return or_nan(a, or_nan(b, select(b, a, a > b))); }
        default: { return or_nan(a, or_nan(b, select(b, a, a < b))); }
    }
}

fn apply_i32(a: i32, b: i32) -> i32 {
    switch (OP) {
        case ADD: { return a + b; }
        case SUB: { return a - b; }
        case MUL: { return a * b; }
        case REMAINDER: { return remainder_i32(a, b); }
        case MAXIMUM: { return max(a, b); }
        default: { return min(a, b); }
    }
}

fn all_f32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<f32>>(a_bits);
    let b = bitcast<vec4<f32>>(b_bits);
    return bitcast<vec4<u32>>(vec4(apply_f32(a.x, b.x), apply_f32(a.y, b.y), apply_f32(a.z, b.z), apply_f32(a.w, b.w)));
}
fn all_i32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<i32>>(a_bits);
    let b = bitcast<vec4<i32>>(b_bits);
    return bitcast<vec4<u32>>(vec4(apply_i32(a.x, b.x), apply_i32(a.y, b.y), apply_i32(a.z, b.z), apply_i32(a.w, b.w)));
}

fn binary_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_f32(x_at(at), y_at(at)));
}
fn binary_mut_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    let to = offsets_of(p.walk, p.out, at);
    store_bits(to, mask, all_f32(out_bits(to), x_at(at)));
}
fn binary_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_i32(x_at(at), y_at(at)));
}
fn binary_mut_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    let to = offsets_of(p.walk, p.out, at);
    store_bits(to, mask, all_i32(out_bits(to), x_at(at)));
}
