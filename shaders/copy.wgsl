// Copies, fills, conversions and choices. Elements are 32 bits, whatever they mean, or f16, seen as the bits of their f32: a copy
// between them converts.
//
// copy: out[i] = x[i], either of them strided. fill: out[i] = a. choose: out[i] = c[i] ? a[i] : b[i] (condition = c, y = a, z = b).
// cast_FROM_TO: out[i] = convert(x[i]). One element per invocation and turn. Cost: bytes read plus bytes written.
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
@group(0) @binding(2) var<storage, read> x: array<WordIn>;
@group(0) @binding(2) var<storage, read> condition: array<u32>;
@group(0) @binding(3) var<storage, read> y: array<WordIn>;
@group(0) @binding(4) var<storage, read> z: array<WordIn>;

// Truncates and saturates; NaN becomes 0.
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

// Not equal to 0: NaN is true.
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

@compute @workgroup_size(256)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(word_in(x[place(p.walk, p.x, i)]));
    }
}

@compute @workgroup_size(256)
fn fill(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(p.a);
    }
}

@compute @workgroup_size(256)
fn choose(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let either = vec2(word_in(y[place(p.walk, p.y, i)]), word_in(z[place(p.walk, p.z, i)]));
        out[place(p.walk, p.out, i)] = word_out(select(either.y, either.x, condition[place(p.walk, p.x, i)] != 0u));
    }
}

@compute @workgroup_size(256)
fn cast_f32_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(f32_i32(word_in(x[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn cast_f32_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(f32_bool(word_in(x[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn cast_i32_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(i32_f32(word_in(x[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn cast_i32_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(i32_bool(word_in(x[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn cast_bool_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(bool_f32(word_in(x[place(p.walk, p.x, i)])));
    }
}

@compute @workgroup_size(256)
fn cast_bool_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        out[place(p.walk, p.out, i)] = word_out(bool_i32(word_in(x[place(p.walk, p.x, i)])));
    }
}
