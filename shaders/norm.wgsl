// Normalization over any dimensions, and its gradient. The shape is split into the kept and the reduced dimensions, with strides of their
// own: a mean is over the reduced elements of one kept index, and statistics are contiguous over the kept ones. x and g are
// contiguous; w and b have x's rank, with stride 0 where they repeat. Elements are accessed through vec4.wgsl or scalars.wgsl.
//
//   moments           statistics = (mean, its rounding error, var, 1 / sqrt(var + eps)), a workgroup of 256 invocations per mean. The
//                     second pass sums differences from the mean, so that a large mean costs no precision, scaled by a power of
//                     two near the largest magnitude, so that no square overflows or underflows
//   partial_moments   the sums of moments for chunks of long means: out = [kept, chunks], a workgroup per chunk
//   combine_moments   statistics from those, a workgroup per mean: sums around the chunks' means are shifted to the mean of all
//   apply             out = (x - mean) / sqrt(var + eps) w + b from the statistics; four elements per invocation
//   sums              out = [chunks, (shift, slope), kept] with shift = sum(g w), slope = sum(g w h), where h is the normalized x;
//                     a workgroup per mean and chunk
//   grad              out = (g w - shift / count - h slope / count) / sqrt(var + eps); four elements per invocation
//   affine            out = [(gw, gb), weights] with gw = sum(g h), gb = sum(g) over all elements that share a weight: the kept
//                     dimensions are the weight's; a workgroup per weight
//
// If all elements of a mean share one weight, sums leaves it out, so that the sums are gw and gb, and grad applies it as a factor.
// Grids: x and y = means times chunks, or 1024 elements per workgroup, grid-stride. Cost: moments reads x twice, the second time from a
// cache if it fits; the others read each operand once.
struct NormParams {
    kept: Walk,
    reduced: Walk,
    // x's strides along both; for apply and grad, where kept is the whole shape, only the offset is used.
    x_kept: Strides,
    x_reduced: Strides,
    w_kept: Strides,
    w_reduced: Strides,
    // The strides of the statistics along the kept dimensions, for apply, grad and affine.
    m_kept: Strides,
    eps: f32,
    // The first elements of g and b.
    g_offset: u32,
    // 0, or one of the constants below.
    weights: u32,
    b_offset: u32,
    // Chunks of a mean, and elements of one.
    chunks: u32,
    chunk: u32,
    // The number of means.
    means: u32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: NormParams;
// Bindings 1 to 3 are those of vec4.wgsl: out, x and y = g.
@group(0) @binding(1) var<storage, read_write> sums_out: array<f32>;
@group(0) @binding(1) var<storage, read_write> vec4_out: array<vec4<f32>>;
// Statistics, or for combine_moments those of the chunks.
@group(0) @binding(4) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
// b, or for grad the shifts and slopes.
@group(0) @binding(6) var<storage, read> b: array<f32>;

// WITHIN: a weight, for sums within them. BIAS: a weight and a bias, for apply. FACTOR: a weight that all elements of a mean share.
const WITHIN: u32 = 1u;
const BIAS: u32 = 2u;
const FACTOR: u32 = 3u;

// The elements of apply and grad.
fn items() -> u32 {
    return p.kept.numel;
}

fn x_f32(at: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(x_bits(at));
}
fn g_f32(at: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(y_bits(at));
}

// Drivers' compilers may reassociate sums as in exact arithmetic, which would cancel the rounding error that is computed here. This
// returns the rounded sum through an operation that they cannot see through: the mask is 0, as there are less than 2^31 means.
fn rounded(sum: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(sum) ^ vec4(p.means >> 31u));
}

fn sum_of(four: vec4<f32>) -> f32 {
    return (four.x + four.y) + (four.z + four.w);
}
fn largest_of(four: vec4<u32>) -> u32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}

// (2^-e, 2^e) for the bits of a magnitude in [2^e, 2^(e + 1)), with e clamped so that both are normal numbers.
fn scales(bits: u32) -> vec2<f32> {
    let e = clamp(bits >> 23u, 1u, 253u);
    return vec2(bitcast<f32>((254u - e) << 23u), bitcast<f32>(e << 23u));
}

// An invocation sums the terms of this many iterations before it adds them to its total, to bound the rounding error.
const BATCH: u32 = 32u;

// Moments of some elements: their rounded mean (the center); the bits of their largest magnitude, or of sqrt(eps) if that is larger; and
// the sums of differences from the center and of their squares, scaled by s and s², where s = scales(largest).x.
struct Moments {
    center: f32,
    largest: u32,
    sum: f32,
    squares: f32,
}

fn moments_of(base: u32, first: u32, last: u32, local: u32) -> Moments {
    let count = f32(last - first);
    // Terms are divided by a power of two near the count, so that the sum does not overflow.
    let share = scales(bitcast<u32>(count)).x;
    var total = vec4(0.0);
    // The scale suits eps, too.
    var largest = vec4(bitcast<u32>(sqrt(max(p.eps, 0.0))));
    var i = first + first_index(local);
    while (i < last) {
        var part = vec4(0.0);
        for (var k = 0u; k < BATCH && i < last; k++) {
            let four = x_f32(base + offsets_of(p.reduced, p.x_reduced, indices(i, last)));
            let value = select(vec4(0.0), four, mask_of(i, last));
            part += value * share;
            largest = max(largest, bitcast<vec4<u32>>(value) & vec4(0x7fffffffu));
            i += BLOCK;
        }
        total += part;
    }
    let center = workgroup_sum(sum_of(total), local) / (count * share);
    let most = reduce_workgroup(MAX_I32, largest_of(largest), local);
    let scale = scales(most).x;
    var sum = vec4(0.0);
    var squares = vec4(0.0);
    i = first + first_index(local);
    while (i < last) {
        var part = vec4(0.0);
        var part_squares = vec4(0.0);
        for (var k = 0u; k < BATCH && i < last; k++) {
            let four = x_f32(base + offsets_of(p.reduced, p.x_reduced, indices(i, last)));
            let d = select(vec4(0.0), four * scale - center * scale, mask_of(i, last));
            part += d;
            part_squares += d * d;
            i += BLOCK;
        }
        sum += part;
        squares += part_squares;
    }
    return Moments(center, most, workgroup_sum(sum_of(sum), local), workgroup_sum(sum_of(squares), local));
}

// The statistics of a mean of `count` elements.
fn statistics_of(x: Moments, count: f32) -> vec4<f32> {
    let scale = scales(x.largest);
    // The sum of differences is not 0, as the center is rounded: its mean corrects the center.
    let left = x.sum / count;
    let variance = x.squares / count - left * left;
    let spread = or_nan(variance, max(variance, 0.0));
    // The square of the scale may be out of range; the exponent of it is not.
    let twice = 2 * (i32(bitcast<u32>(scale.y) >> 23u) - 127);
    let root = scale.x / sqrt(spread + shifted(p.eps, -twice));
    let rest = left * scale.y;
    let whole = rounded(vec4(x.center + rest)).x;
    return vec4(whole, (x.center - whole) + rest, shifted(spread, twice), root);
}

@compute @workgroup_size(256)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let part = moments_of(offset_of(p.kept, p.x_kept, kept), 0u, p.reduced.numel, local);
        if (local == 0u) {
            vec4_out[kept] = statistics_of(part, f32(p.reduced.numel));
        }
    }
}

@compute @workgroup_size(256)
fn partial_moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var at = group.y * groups.x + group.x; at < p.kept.numel * p.chunks; at += groups.x * groups.y) {
        let kept = at / p.chunks;
        let first = (at - kept * p.chunks) * p.chunk;
        let last = min(first + p.chunk, p.reduced.numel);
        let part = moments_of(offset_of(p.kept, p.x_kept, kept), first, last, local);
        if (local == 0u) {
            vec4_out[at] = vec4(part.center, bitcast<f32>(part.largest), part.sum, part.squares);
        }
    }
}

@compute @workgroup_size(256)
fn combine_moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    let share = scales(bitcast<u32>(count)).x;
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        var total = 0.0;
        var largest = 0u;
        for (var i = local; i < p.chunks; i += 256u) {
            let part = statistics[kept * p.chunks + i];
            total += part.x * (f32(min(p.chunk, p.reduced.numel - i * p.chunk)) * share);
            largest = max(largest, bitcast<u32>(part.y));
        }
        let center = workgroup_sum(total, local) / (count * share);
        largest = reduce_workgroup(MAX_I32, largest, local);
        let scale = scales(largest).x;
        var sum = 0.0;
        var squares = 0.0;
        for (var i = local; i < p.chunks; i += 256u) {
            let part = statistics[kept * p.chunks + i];
            let n = f32(min(p.chunk, p.reduced.numel - i * p.chunk));
            // From the chunk's scale and center to those of all.
            let ratio = scales(bitcast<u32>(part.y)).y * scale;
            let own = part.z * ratio;
            let d = part.x * scale - center * scale;
            sum += own + n * d;
            squares += part.w * ratio * ratio + d * (2.0 * own + n * d);
        }
        sum = workgroup_sum(sum, local);
        squares = workgroup_sum(squares, local);
        if (local == 0u) {
            vec4_out[kept] = statistics_of(Moments(center, largest, sum, squares), count);
        }
    }
}

// The statistics of four elements.
struct Means {
    mean: vec4<f32>,
    left: vec4<f32>,
    root: vec4<f32>,
}
fn means_of(m: vec4<u32>) -> Means {
    let one = statistics[m.x];
    if (all(m == vec4(m.x))) {
        return Means(vec4(one.x), vec4(one.y), vec4(one.w));
    }
    let two = statistics[m.y];
    let three = statistics[m.z];
    let four = statistics[m.w];
    return Means(
        vec4(one.x, two.x, three.x, four.x),
        vec4(one.y, two.y, three.y, four.y),
        vec4(one.w, two.w, three.w, four.w),
    );
}
// The normalized x.
fn normalized(value: vec4<f32>, by: Means) -> vec4<f32> {
    return (rounded(value - by.mean) - by.left) * by.root;
}
fn four_w(at: vec4<u32>) -> vec4<f32> {
    let one = w[at.x];
    if (all(at == vec4(at.x))) {
        return vec4(one);
    }
    return vec4(one, w[at.y], w[at.z], w[at.w]);
}
fn four_b(at: vec4<u32>) -> vec4<f32> {
    let one = b[at.x];
    if (all(at == vec4(at.x))) {
        return vec4(one);
    }
    return vec4(one, b[at.y], b[at.z], b[at.w]);
}

fn apply_at(at: vec4<u32>, mask: vec4<bool>) {
    var y = normalized(x_f32(p.x_kept.offset + at), means_of(offsets_of(p.kept, p.m_kept, at)));
    if (p.weights != 0u) {
        let source = offsets_of(p.kept, p.w_kept, at);
        y *= four_w(source);
        if (p.weights == BIAS) {
            y += four_b(source - p.w_kept.offset + p.b_offset);
        }
    }
    store_bits(at, mask, bitcast<vec4<u32>>(y));
}

@compute @workgroup_size(256)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var at = group.y * groups.x + group.x; at < p.kept.numel * p.chunks; at += groups.x * groups.y) {
        let chunk = at / p.kept.numel;
        let kept = at - chunk * p.kept.numel;
        let base = offset_of(p.kept, p.x_kept, kept);
        let w_base = offset_of(p.kept, p.w_kept, kept);
        let by = means_of(vec4(kept));
        let last = min((chunk + 1u) * p.chunk, p.reduced.numel);
        var shift = vec4(0.0);
        var slope = vec4(0.0);
        for (var i = chunk * p.chunk + first_index(local); i < last; i += BLOCK) {
            let four = indices(i, last);
            let source = base + offsets_of(p.reduced, p.x_reduced, four);
            var gradient = select(vec4(0.0), g_f32(source - p.x_kept.offset + p.g_offset), mask_of(i, last));
            if (p.weights == WITHIN) {
                gradient *= four_w(w_base + offsets_of(p.reduced, p.w_reduced, four));
            }
            shift += gradient;
            slope += gradient * normalized(x_f32(source), by);
        }
        put_sums(chunk, kept, workgroup_sum(sum_of(shift), local), workgroup_sum(sum_of(slope), local), local);
    }
}

fn put_sums(chunk: u32, kept: u32, one: f32, two: f32, local: u32) {
    if (local == 0u) {
        sums_out[2u * chunk * p.kept.numel + kept] = one;
        sums_out[(2u * chunk + 1u) * p.kept.numel + kept] = two;
    }
}

fn grad_at(at: vec4<u32>, mask: vec4<bool>) {
    let count = f32(p.reduced.numel);
    let m = offsets_of(p.kept, p.m_kept, at);
    let by = means_of(m);
    let h = normalized(x_f32(p.x_kept.offset + at), by);
    var gradient = g_f32(p.g_offset + at);
    var factor = by.root;
    if (p.weights != 0u) {
        let weight = four_w(offsets_of(p.kept, p.w_kept, at));
        if (p.weights == FACTOR) {
            factor *= weight;
        } else {
            gradient *= weight;
        }
    }
    let gx = (gradient - four_b(m) / count - h * (four_b(p.means + m) / count)) * factor;
    store_bits(at, mask, bitcast<vec4<u32>>(gx));
}

// m_kept and w_reduced are the strides of the statistics along the kept and the reduced dimensions.
@compute @workgroup_size(256)
fn affine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let base = offset_of(p.kept, p.x_kept, kept);
        let m_base = offset_of(p.kept, p.m_kept, kept);
        let last = p.reduced.numel;
        var gw = vec4(0.0);
        var gb = vec4(0.0);
        for (var i = first_index(local); i < last; i += BLOCK) {
            let four = indices(i, last);
            let source = base + offsets_of(p.reduced, p.x_reduced, four);
            let by = means_of(m_base + offsets_of(p.reduced, p.w_reduced, four));
            let gradient = select(vec4(0.0), g_f32(source - p.x_kept.offset + p.g_offset), mask_of(i, last));
            gw += gradient * normalized(x_f32(source), by);
            gb += gradient;
        }
        put_sums(0u, kept, workgroup_sum(sum_of(gw), local), workgroup_sum(sum_of(gb), local), local);
    }
}
