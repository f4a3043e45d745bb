// Functions of two elements: out[i] = f(a[i], b[i]).
//
// binary_TYPE writes a new buffer, x = a and y = b. binary_mut_TYPE overwrites a, which is out and is bound once, as WGSL demands
// of what is written; x = b. Four elements per invocation and turn. Cost: two reads and one write per element.

// Which function; BinaryOp in binary.rs.
override OP: u32 = 0u;
const ADD: u32 = 0u;
const SUB: u32 = 1u;
const MUL: u32 = 2u;
const DIV: u32 = 3u;
const POW: u32 = 4u;
const REMAINDER: u32 = 5u;
const MAXIMUM: u32 = 6u;
const MINIMUM: u32 = 7u;

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

// Or, and.
fn apply_bool(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return select(a & b, a | b, OP == MAXIMUM);
}

fn all_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4(apply_f32(a.x, b.x), apply_f32(a.y, b.y), apply_f32(a.z, b.z), apply_f32(a.w, b.w));
}
fn all_i32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<i32>>(a_bits);
    let b = bitcast<vec4<i32>>(b_bits);
    return bitcast<vec4<u32>>(vec4(apply_i32(a.x, b.x), apply_i32(a.y, b.y), apply_i32(a.z, b.z), apply_i32(a.w, b.w)));
}

@compute @workgroup_size(256)
fn binary_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_f32(places(p.walk, p.x, at));
            let b = y_f32(places(p.walk, p.y, at));
            put_f32(places(p.walk, p.out, at), valid(i, p.walk.numel), all_f32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn binary_mut_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let source = places(p.walk, p.out, at);
            let a = out_f32(source);
            let b = x_f32(places(p.walk, p.x, at));
            put_f32(source, valid(i, p.walk.numel), all_f32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn binary_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_bits(places(p.walk, p.x, at));
            let b = y_bits(places(p.walk, p.y, at));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), all_i32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn binary_mut_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let source = places(p.walk, p.out, at);
            let a = out_bits(source);
            let b = x_bits(places(p.walk, p.x, at));
            put_whole(source, valid(i, p.walk.numel), all_i32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn binary_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_bits(places(p.walk, p.x, at));
            let b = y_bits(places(p.walk, p.y, at));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), apply_bool(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn binary_mut_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let source = places(p.walk, p.out, at);
            let a = out_bits(source);
            let b = x_bits(places(p.walk, p.x, at));
            put_whole(source, valid(i, p.walk.numel), apply_bool(a, b));
        }
    }
}
