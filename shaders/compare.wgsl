// Comparisons, as bool of 0 or 1, and selection.
//
//   compare_TYPE          out[i] = x[i] ~ y[i]
//   compare_scalar_TYPE   out[i] = x[i] ~ a; for i32, the backend has replaced other numbers by an integer
//   where_cond            out[i] = x[i] ? y[i] : z[i]
//
// Bool is compared as i32. Cost: one to three reads and one write per element.

// The comparison: a `CompareOp`, from which shader.rs generates the constants EQ, NE, ..
override OP: u32 = 0u;

fn apply_f32(a: f32, b: f32) -> bool {
    // A comparison with NaN is false, except NE. Hardware need not know (see common.wgsl).
    if (is_nan(a) || is_nan(b)) {
        return OP == NE;
    }
    switch (OP) {
        case EQ: { return a == b; }
        case NE: { return a != b; }
        case LT: { return a < b; }
        case LE: { return a <= b; }
        case GT: { return a > b; }
        default: { return a >= b; }
    }
}

fn apply_i32(a: i32, b: i32) -> bool {
    switch (OP) {
        case EQ: { return a == b; }
        case NE: { return a != b; }
        case LT: { return a < b; }
        case LE: { return a <= b; }
        case GT: { return a > b; }
        default: { return a >= b; }
    }
}

fn all_f32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<f32>>(a_bits);
    let b = bitcast<vec4<f32>>(b_bits);
    let results = vec4(apply_f32(a.x, b.x), apply_f32(a.y, b.y), apply_f32(a.z, b.z), apply_f32(a.w, b.w));
    return select(vec4(0u), vec4(1u), results);
}
fn all_i32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<i32>>(a_bits);
    let b = bitcast<vec4<i32>>(b_bits);
    let results = vec4(apply_i32(a.x, b.x), apply_i32(a.y, b.y), apply_i32(a.z, b.z), apply_i32(a.w, b.w));
    return select(vec4(0u), vec4(1u), results);
}

fn compare_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_f32(x_at(at), y_at(at)));
}
fn compare_scalar_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_f32(x_at(at), vec4(p.a)));
}
fn compare_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_i32(x_at(at), y_at(at)));
}
fn compare_scalar_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_i32(x_at(at), vec4(p.a)));
}

fn where_cond_at(at: vec4<u32>, mask: vec4<bool>) {
    let condition = x_bool(offsets_of(p.walk, p.x, at));
    put_at(at, mask, select(z_bits(offsets_of(p.walk, p.z, at)), y_at(at), condition));
}
