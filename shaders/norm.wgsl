// Normalisation and its gradient, over any dimensions. The shape is seen as [kept, reduced], two walks with strides of their own; statistics per
// kept place, in order. x and g lie in order; w and b have x's rank, with stride 0 where they repeat.
//
// moments: statistics = (mean, what its rounding left, var, 1 / sqrt(var + eps)), a workgroup of 256 invocations per kept place. The
//          second pass takes differences from the mean, so that a large mean costs no digits, and in them a power of two near the
//          largest magnitude out of the squares, so that none overflows or vanishes
// apply:   y = (x - mean) / sqrt(var + eps) w + b by statistics, an invocation per element
// sums:    shift = mean(g w), slope = mean(g w h), h the normalised x; a workgroup per kept place
// grad:    gx = (g w - shift - h slope) / sqrt(var + eps), an invocation per element
// affine:  gw = sum(g h), gb = sum(g) over all that shares a weight: here `kept` is the weight's places; a workgroup per weight
// Grids: x and y = kept places (or 256 elements each), which walk. Cost: moments reads x twice, the others read each operand once.
struct NormParams {
    kept: Walk,
    reduced: Walk,
    // x and g, along both walks; elements of the whole for apply and grad, where kept is the whole shape.
    x_kept: Operand,
    x_reduced: Operand,
    w_kept: Operand,
    w_reduced: Operand,
    // Statistics along the kept walk: in order for moments and sums.
    m_kept: Operand,
    // eps; the first elements of x, g, b; whether there are w and b.
    eps: f32,
    g_offset: u32,
    has_weight: u32,
    b_offset: u32,
}
@group(0) @binding(0) var<uniform> p: NormParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read_write> statistics_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
@group(0) @binding(5) var<storage, read> b: array<f32>;
@group(0) @binding(6) var<storage, read> g: array<f32>;
// The second result of sums and affine; for grad the slopes.
@group(0) @binding(7) var<storage, read_write> second: array<f32>;

// The sums over the workgroup, in every invocation.
fn joined(local: u32, value: vec2<f32>) -> vec2<f32> {
    return vec2(join_sum(value.x, local), join_sum(value.y, local));
}

// The normalised x by these statistics.
fn normalized(value: f32, by: vec4<f32>) -> f32 {
    return ((value - by.x) - by.y) * by.w;
}

// 2^-e for a magnitude from 2^e to 2^(e + 1) whose bits these are, and 2^e; of the ends of the range what is a normal number.
fn scales(bits: u32) -> vec2<f32> {
    let e = clamp(bits >> 23u, 1u, 253u);
    return vec2(bitcast<f32>((254u - e) << 23u), bitcast<f32>(e << 23u));
}

// Terms that an invocation adds one by one before it adds their sum to the others.
const SOME: u32 = 32u;

@compute @workgroup_size(256)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    // Divided by a power of two near the count, a sum does not overflow.
    let share = scales(bitcast<u32>(count)).x;
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, kept);
        var total = 0.0;
        // With eps, which is divided by the scale too.
        var largest = bitcast<u32>(sqrt(max(p.eps, 0.0)));
        var i = local;
        while (i < p.reduced.numel) {
            var part = 0.0;
            for (var k = 0u; k < SOME && i < p.reduced.numel; k++) {
                let value = x[corner + place(p.reduced, p.x_reduced, i)];
                part += value * share;
                largest = max(largest, bitcast<u32>(value) & 0x7fffffffu);
                i += 256u;
            }
            total += part;
        }
        let centre = join_sum(total, local) / (count * share);
        let scale = scales(join(MAX_I32, largest, local));
        let scaled = centre * scale.x;
        var sum = vec2(0.0);
        i = local;
        while (i < p.reduced.numel) {
            var part = vec2(0.0);
            for (var k = 0u; k < SOME && i < p.reduced.numel; k++) {
                let d = x[corner + place(p.reduced, p.x_reduced, i)] * scale.x - scaled;
                part += vec2(d * d, d);
                i += 256u;
            }
            sum += part;
        }
        sum = joined(local, sum);
        if (local == 0u) {
            // What rounding left of the sum of differences belongs to the mean.
            let left = sum.y / count;
            let around = sum.x / count - left * left;
            let spread = or_nan(around, max(around, 0.0));
            // Squares of the scale need not be numbers.
            let twice = 2 * (i32(bitcast<u32>(scale.y) >> 23u) - 127);
            let root = scale.x / sqrt(spread + shifted(p.eps, -twice));
            let rest = left * scale.y;
            let whole = centre + rest;
            statistics_out[kept] = vec4(whole, (centre - whole) + rest, shifted(spread, twice), root);
        }
    }
}

@compute @workgroup_size(256)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.kept.numel; i += thread_count(groups)) {
        var y = normalized(x[p.x_kept.offset + i], statistics[place(p.kept, p.m_kept, i)]);
        if (p.has_weight != 0u) {
            let at = place(p.kept, p.w_kept, i);
            y *= w[at];
            if (p.has_weight == 2u) {
                y += b[at - p.w_kept.offset + p.b_offset];
            }
        }
        out[i] = y;
    }
}

@compute @workgroup_size(256)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, kept);
        let w_corner = place(p.kept, p.w_kept, kept);
        let by = statistics[kept];
        var sum = vec2(0.0);
        for (var i = local; i < p.reduced.numel; i += 256u) {
            let at = corner + place(p.reduced, p.x_reduced, i);
            var gradient = g[at - p.x_kept.offset + p.g_offset];
            if (p.has_weight != 0u) {
                gradient *= w[w_corner + place(p.reduced, p.w_reduced, i)];
            }
            sum += vec2(gradient, gradient * normalized(x[at], by));
        }
        sum = joined(local, sum);
        if (local == 0u) {
            out[kept] = sum.x / count;
            second[kept] = sum.y / count;
        }
    }
}

// b = shift.
@compute @workgroup_size(256)
fn grad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.kept.numel; i += thread_count(groups)) {
        let m = place(p.kept, p.m_kept, i);
        let by = statistics[m];
        let h = normalized(x[p.x_kept.offset + i], by);
        var gradient = g[p.g_offset + i];
        if (p.has_weight != 0u) {
            gradient *= w[place(p.kept, p.w_kept, i)];
        }
        out[i] = (gradient - b[m] - h * second[m]) * by.w;
    }
}

// kept = the weight's places, reduced = all that shares one; m_kept and w_reduced: where statistics lie along both.
@compute @workgroup_size(256)
fn affine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, kept);
        let m_corner = place(p.kept, p.m_kept, kept);
        var sum = vec2(0.0);
        for (var i = local; i < p.reduced.numel; i += 256u) {
            let at = corner + place(p.reduced, p.x_reduced, i);
            let m = m_corner + place(p.reduced, p.w_reduced, i);
            let gradient = g[at - p.x_kept.offset + p.g_offset];
            sum += vec2(gradient * normalized(x[at], statistics[m]), gradient);
        }
        sum = joined(local, sum);
        if (local == 0u) {
            out[kept] = sum.x;
            second[kept] = sum.y;
        }
    }
}
