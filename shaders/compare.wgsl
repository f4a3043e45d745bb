// Comparisons: out[i] = a[i] ~ b[i] as bool, 0 or 1.
//
// compare_TYPE: x = a, y = b. compare_scalar_TYPE: x = a, b is a number in `a` of the parameters, of a float's type; beside whole
// numbers it is a whole number, and the backend has chosen the comparison that says the same. Bool is compared as i32. Four
// elements per invocation and turn. Cost: one or two reads and one write per element.

// Which comparison; CompareOp in compare.rs.
override OP: u32 = 0u;
const EQ: u32 = 0u;
const NE: u32 = 1u;
const LT: u32 = 2u;
const LE: u32 = 3u;
const GT: u32 = 4u;
const GE: u32 = 5u;

fn apply_f32(a: f32, b: f32) -> bool {
    // An implementation may assume that there is no NaN: all comparisons with one are false but NE.
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

fn all_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
    let truths = vec4(apply_f32(a.x, b.x), apply_f32(a.y, b.y), apply_f32(a.z, b.z), apply_f32(a.w, b.w));
    return select(vec4(0u), vec4(1u), truths);
}
fn all_i32(a_bits: vec4<u32>, b_bits: vec4<u32>) -> vec4<u32> {
    let a = bitcast<vec4<i32>>(a_bits);
    let b = bitcast<vec4<i32>>(b_bits);
    let truths = vec4(apply_i32(a.x, b.x), apply_i32(a.y, b.y), apply_i32(a.z, b.z), apply_i32(a.w, b.w));
    return select(vec4(0u), vec4(1u), truths);
}

@compute @workgroup_size(256)
fn compare_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_f32(places(p.walk, p.x, at));
            let b = y_f32(places(p.walk, p.y, at));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), all_f32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn compare_scalar_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_f32(places(p.walk, p.x, at));
            let b = vec4(bitcast<f32>(p.a));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), all_f32(a, b));
        }
    }
}

@compute @workgroup_size(256)
fn compare_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
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
fn compare_scalar_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let a = x_bits(places(p.walk, p.x, at));
            let b = vec4(p.a);
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), all_i32(a, b));
        }
    }
}
