// Normalisation and its gradient, over any dimensions. The shape is seen as [kept, reduced], two walks with strides of their own; a mean
// and a variance per kept place, in order. x and g lie in order; w and b have x's rank, with stride 0 where they repeat.
//
// moments: mean = sum(x) / m, var = sum((x - mean)²) / m, a workgroup of 256 invocations per kept place; the second pass takes the
//          differences from the mean, so that a large mean costs no digits
// apply:   y = (x - mean) / sqrt(var + eps) w + b, an invocation per element
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
    // mean and variance along the kept walk: in order for moments and sums.
    m_kept: Operand,
    // eps; the first elements of x, g, b; whether there are w and b.
    eps: f32,
    g_offset: u32,
    has_weight: u32,
    b_offset: u32,
}
@group(0) @binding(0) var<uniform> p: NormParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
@group(0) @binding(6) var<storage, read> b: array<f32>;
@group(0) @binding(7) var<storage, read> g: array<f32>;
// The second result of moments, sums and affine; for grad the slopes.
@group(0) @binding(8) var<storage, read_write> second: array<f32>;

// The sums over the workgroup, in every invocation.
fn joined(local: u32, value: vec2<f32>) -> vec2<f32> {
    return vec2(join_sum(value.x, local), join_sum(value.y, local));
}

fn root(at: u32) -> f32 {
    return 1.0 / sqrt(variance[at] + p.eps);
}

@compute @workgroup_size(256)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, kept);
        var total = 0.0;
        for (var i = local; i < p.reduced.numel; i += 256u) {
            total += x[corner + place(p.reduced, p.x_reduced, i)];
        }
        let centre = join_sum(total, local) / count;
        var sum = vec2(0.0);
        for (var i = local; i < p.reduced.numel; i += 256u) {
            let d = x[corner + place(p.reduced, p.x_reduced, i)] - centre;
            sum += vec2(d * d, d);
        }
        sum = joined(local, sum);
        if (local == 0u) {
            // What rounding left of the sum of differences belongs to the mean.
            let left = sum.y / count;
            out[kept] = centre + left;
            let spread = sum.x / count - left * left;
            second[kept] = or_nan(spread, max(spread, 0.0));
        }
    }
}

@compute @workgroup_size(256)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.kept.numel; i += thread_count(groups)) {
        let m = place(p.kept, p.m_kept, i);
        var y = (x[p.x_kept.offset + i] - mean[m]) * root(m);
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
        let centre = mean[kept];
        let scale = root(kept);
        var sum = vec2(0.0);
        for (var i = local; i < p.reduced.numel; i += 256u) {
            let at = corner + place(p.reduced, p.x_reduced, i);
            var gradient = g[at - p.x_kept.offset + p.g_offset];
            if (p.has_weight != 0u) {
                gradient *= w[w_corner + place(p.reduced, p.w_reduced, i)];
            }
            sum += vec2(gradient, gradient * ((x[at] - centre) * scale));
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
        let scale = root(m);
        let h = (x[p.x_kept.offset + i] - mean[m]) * scale;
        var gradient = g[p.g_offset + i];
        if (p.has_weight != 0u) {
            gradient *= w[place(p.kept, p.w_kept, i)];
        }
        out[i] = (gradient - b[m] - h * second[m]) * scale;
    }
}

// kept = the weight's places, reduced = all that shares one; m_kept and w_reduced: where mean and variance lie along both.
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
            sum += vec2(gradient * ((x[at] - mean[m]) * root(m)), gradient);
        }
        sum = joined(local, sum);
        if (local == 0u) {
            out[kept] = sum.x;
            second[kept] = sum.y;
        }
    }
}
