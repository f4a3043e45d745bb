// Softmax, its logarithm, and their gradients, along one dimension of [outer, n, inner], in order.
//
//   OP 0  y = exp(x) / sum(exp(x))          OP 2  gx = y (g - sum(g y)), x = y of the forward map
//   OP 1  y = x - max - log1p(rest)         OP 3  gx = g - exp(y) sum(g), x = y of the forward map
//
// The rest is the sum of exp(x - max) without one of the largest, whose exponential is 1: what is small keeps its digits.
//
// rows: a workgroup of 256 invocations per line; grid x and y = lines, which walk. columns: an invocation per line, for short ones and
// where neighbours in memory belong to different lines. The largest element is subtracted first, so nothing overflows. Cost: a line
// is read two or three times, from the cache after the first. Overwrites out.
struct SoftmaxParams {
    lines: u32,
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

// Where a line begins.
fn corner(line: u32) -> u32 {
    return line / p.inner * p.n * p.inner + line % p.inner;
}

// What is summed over a line: a number, and for the logarithm how many are the largest.
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

// What the elements of a line share, from the sum of its terms.
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
    for (var line = group.y * groups.x + group.x; line < p.lines; line += groups.x * groups.y) {
        let start = corner(line);
        var largest = -infinity();
        if (OP <= LOG_SOFTMAX) {
            for (var i = local; i < p.n; i += 256u) {
                largest = larger(largest, x[p.x + start + i * p.inner]);
            }
            largest = join_max(largest, local);
        }
        var terms = vec2<f32>();
        for (var i = local; i < p.n; i += 256u) {
            terms += term(start + i * p.inner, largest);
        }
        terms.x = join_sum(terms.x, local);
        if (OP == LOG_SOFTMAX) {
            terms.y = join_sum(terms.y, local);
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
    for (var line = thread_index(group, groups, local); line < p.lines; line += thread_count(groups)) {
        let start = corner(line);
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
