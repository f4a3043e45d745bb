// Softmax, its logarithm, and their gradients along one dimension of a contiguous [outer, n, inner]. A row is the n elements of one
// (outer, inner) pair.
//
//   OP 0  softmax            out = exp(x - max) / sum(exp(x - max))
//   OP 1  log_softmax        out = x - max - log1p(rest)
//   OP 2  softmax_grad       out = x (g - sum(g x)), where x is the output of softmax
//   OP 3  log_softmax_grad   out = g - exp(x) sum(g), where x is the output of log_softmax
//
// The rest is the sum of exp(x - max) without one of the largest elements, whose exponential is 1: small terms keep their precision.
//
//   rows      a workgroup of 256 invocations per row; grid: x and y = rows, grid-stride
//   columns   an invocation per row, for short rows and where neighbouring elements belong to different rows
//
// Cost: a row is read two or three times, from a cache after the first. Overwrites out.
struct SoftmaxParams {
    rows: u32,
    n: u32,
    inner: u32,
    // The first elements of x and g.
    x: u32,
    g: u32,
}
@group(0) @binding(0) var<uniform> p: SoftmaxParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> g: array<f32>;

override OP: u32 = 0u;
const SOFTMAX: u32 = 0u;
const LOG_SOFTMAX: u32 = 1u;
const SOFTMAX_GRAD: u32 = 2u;

// The first element of a row.
fn row_start(row: u32) -> u32 {
    return row / p.inner * p.n * p.inner + row % p.inner;
}

// The term of an element in the sum over its row; see fold.wgsl for log_softmax.
fn term(at: u32, largest: f32) -> vec2<f32> {
    if (OP == SOFTMAX) {
        return vec2<f32>(exp_of(x[p.x + at] - largest), 0.0);
    }
    if (OP == LOG_SOFTMAX) {
        return below_and_tie(x[p.x + at], largest);
    }
    if (OP == SOFTMAX_GRAD) {
        return vec2<f32>(g[p.g + at] * x[p.x + at], 0.0);
    }
    return vec2<f32>(g[p.g + at], 0.0);
}

// The number that all elements of a row need, from the sum of their terms.
fn finish(sum: vec2<f32>, largest: f32) -> f32 {
    if (OP == LOG_SOFTMAX) {
        return log1p_of(rest_of(sum, largest));
    }
    return sum.x;
}

fn result(at: u32, largest: f32, sum: f32) -> f32 {
    let value = x[p.x + at];
    switch (OP) {
        case SOFTMAX: { return exp_of(value - largest) / sum; }
        case LOG_SOFTMAX: { return value - largest - sum; }
        case SOFTMAX_GRAD: { return value * (g[p.g + at] - sum); }
        default: { return g[p.g + at] - exp_of(value) * sum; }
    }
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = group.y * groups.x + group.x; row < p.rows; row += groups.x * groups.y) {
        let start = row_start(row);
        var largest = -infinity();
        if (OP <= LOG_SOFTMAX) {
            for (var i = local; i < p.n; i += 256u) {
                largest = larger(largest, x[p.x + start + i * p.inner]);
            }
            largest = workgroup_max(largest, local);
        }
        var terms = vec2<f32>();
        for (var i = local; i < p.n; i += 256u) {
            terms += term(start + i * p.inner, largest);
        }
        terms.x = workgroup_sum(terms.x, local);
        if (OP == LOG_SOFTMAX) {
            terms.y = workgroup_sum(terms.y, local);
        }
        let sum = finish(terms, largest);
        for (var i = local; i < p.n; i += 256u) {
            let at = start + i * p.inner;
            out[at] = result(at, largest, sum);
        }
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = thread_index(group, groups, local); row < p.rows; row += thread_count(groups)) {
        let start = row_start(row);
        var largest = -infinity();
        if (OP <= LOG_SOFTMAX) {
            for (var i = 0u; i < p.n; i++) {
                largest = larger(largest, x[p.x + start + i * p.inner]);
            }
        }
        var terms = vec2<f32>();
        for (var i = 0u; i < p.n; i++) {
            terms += term(start + i * p.inner, largest);
        }
        let sum = finish(terms, largest);
        for (var i = 0u; i < p.n; i++) {
            let at = start + i * p.inner;
            out[at] = result(at, largest, sum);
        }
    }
}
