// Functions of two elements: out[i] = f(a[i], b[i]).
//
// binary_TYPE writes a new buffer, x = a and y = b. binary_mut_TYPE overwrites a, which is out and is bound once, as WGSL demands
// of what is written; x = b. One element per invocation and turn. Cost: two reads and one write per element.
@group(0) @binding(1) var<storage, read_write> out_f32: array<FloatOut>;
@group(0) @binding(1) var<storage, read_write> out_i32: array<i32>;
@group(0) @binding(1) var<storage, read_write> out_bool: array<u32>;
@group(0) @binding(2) var<storage, read> x_f32: array<FloatIn>;
@group(0) @binding(2) var<storage, read> x_i32: array<i32>;
@group(0) @binding(2) var<storage, read> x_bool: array<u32>;
@group(0) @binding(3) var<storage, read> y_f32: array<FloatIn>;
@group(0) @binding(3) var<storage, read> y_i32: array<i32>;
@group(0) @binding(3) var<storage, read> y_bool: array<u32>;

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
fn apply_bool(a: u32, b: u32) -> u32 {
    return select(a & b, a | b, OP == MAXIMUM);
}

@compute @workgroup_size(256)
fn binary_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let result = apply_f32(float_in(x_f32[place(p.walk, p.x, i)]), float_in(y_f32[place(p.walk, p.y, i)]));
        out_f32[place(p.walk, p.out, i)] = float_out(result);
    }
}

@compute @workgroup_size(256)
fn binary_mut_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let at = place(p.walk, p.out, i);
        out_f32[at] = float_out(apply_f32(float_back(out_f32[at]), float_in(x_f32[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn binary_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out_i32[place(p.walk, p.out, i)] = apply_i32(x_i32[place(p.walk, p.x, i)], y_i32[place(p.walk, p.y, i)]);
    }
}

@compute @workgroup_size(256)
fn binary_mut_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let at = place(p.walk, p.out, i);
        out_i32[at] = apply_i32(out_i32[at], x_i32[place(p.walk, p.x, i)]);
    }
}

@compute @workgroup_size(256)
fn binary_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out_bool[place(p.walk, p.out, i)] = apply_bool(x_bool[place(p.walk, p.x, i)], y_bool[place(p.walk, p.y, i)]);
    }
}

@compute @workgroup_size(256)
fn binary_mut_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let at = place(p.walk, p.out, i);
        out_bool[at] = apply_bool(out_bool[at], x_bool[place(p.walk, p.x, i)]);
    }
}
