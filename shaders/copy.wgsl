// Copies, fills, conversions and choices. Elements are 32 bits, whatever they mean, or f16, seen as the bits of their f32: a copy
// between them converts.
//
// copy: out[i] = x[i], either of them strided. fill: out[i] = a. choose: out[i] = c[i] ? a[i] : b[i] (condition = c, y = a, z = b).
// cast_FROM_TO: out[i] = convert(x[i]). Four elements per invocation and turn. Cost: bytes read plus bytes written.

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
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), x_bits(places(p.walk, p.x, at)));
        }
    }
}

@compute @workgroup_size(256)
fn fill(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), vec4(p.a));
        }
    }
}

@compute @workgroup_size(256)
fn choose(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let either = select(z_bits(places(p.walk, p.z, at)), y_bits(places(p.walk, p.y, at)), x_bool(places(p.walk, p.x, at)));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), either);
        }
    }
}

@compute @workgroup_size(256)
fn cast_f32_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(f32_i32(x.x), f32_i32(x.y), f32_i32(x.z), f32_i32(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}

@compute @workgroup_size(256)
fn cast_f32_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(f32_bool(x.x), f32_bool(x.y), f32_bool(x.z), f32_bool(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}

@compute @workgroup_size(256)
fn cast_i32_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(i32_f32(x.x), i32_f32(x.y), i32_f32(x.z), i32_f32(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}

@compute @workgroup_size(256)
fn cast_i32_bool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(i32_bool(x.x), i32_bool(x.y), i32_bool(x.z), i32_bool(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}

@compute @workgroup_size(256)
fn cast_bool_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(bool_f32(x.x), bool_f32(x.y), bool_f32(x.z), bool_f32(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}

@compute @workgroup_size(256)
fn cast_bool_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.walk.numel) {
            let at = items(i, p.walk.numel);
            let x = x_bits(places(p.walk, p.x, at));
            let converted = vec4(bool_i32(x.x), bool_i32(x.y), bool_i32(x.z), bool_i32(x.w));
            put_bits(places(p.walk, p.out, at), valid(i, p.walk.numel), converted);
        }
    }
}
