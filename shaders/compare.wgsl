// Comparisons: out[i] = a[i] ~ b[i] as bool, 0 or 1.
//
// compare_TYPE: x = a, y = b. compare_scalar_TYPE: x = a, b is a number in `a` of the parameters, of a float's type; beside whole
// numbers it is a whole number, and the backend has chosen the comparison that says the same. Bool is compared as i32. One
// element per invocation and turn. Cost: one or two reads and one write per element.
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read> x_f32: array<FloatIn>;
@group(0) @binding(2) var<storage, read> x_i32: array<i32>;
@group(0) @binding(3) var<storage, read> y_f32: array<FloatIn>;
@group(0) @binding(3) var<storage, read> y_i32: array<i32>;

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

@compute @workgroup_size(256)
fn compare_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let truth = apply_f32(float_in(x_f32[place(p.walk, p.x, i)]), float_in(y_f32[place(p.walk, p.y, i)]));
        out[place(p.walk, p.out, i)] = select(0u, 1u, truth);
    }
}

@compute @workgroup_size(256)
fn compare_scalar_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let truth = apply_f32(float_in(x_f32[place(p.walk, p.x, i)]), bitcast<f32>(p.a));
        out[place(p.walk, p.out, i)] = select(0u, 1u, truth);
    }
}

@compute @workgroup_size(256)
fn compare_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let truth = apply_i32(x_i32[place(p.walk, p.x, i)], y_i32[place(p.walk, p.y, i)]);
        out[place(p.walk, p.out, i)] = select(0u, 1u, truth);
    }
}

@compute @workgroup_size(256)
fn compare_scalar_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let truth = apply_i32(x_i32[place(p.walk, p.x, i)], bitcast<i32>(p.a));
        out[place(p.walk, p.out, i)] = select(0u, 1u, truth);
    }
}
