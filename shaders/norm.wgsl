// Normalisation and its gradient, over any dimensions. The shape is seen as [kept, reduced], two walks with strides of their own;
// statistics per kept place, in order. x and g lie in order; w and b have x's rank, with stride 0 where they repeat. Elements are
// taken by fours (quads.wgsl, singles.wgsl).
//
// moments: statistics = (mean, what its rounding left, var, 1 / sqrt(var + eps)), a workgroup of 256 invocations per kept place. The
//          second pass takes differences from the mean, so that a large mean costs no digits, and in them a power of two near the
//          largest magnitude out of the squares, so that none overflows or vanishes
// parts:   the same of pieces of a long kept place, out = parts [kept, pieces]: a workgroup per piece
// joined:  statistics from parts, a workgroup per kept place: the sums around the parts' means, moved to the mean of all
// apply:   y = (x - mean) / sqrt(var + eps) w + b by statistics, an invocation per four elements
// sums:    out = [pieces, (shift, slope), kept]: shift = sum(g w), slope = sum(g w h), h the normalised x; a workgroup per kept place
//          and piece
// grad:    gx = (g w - shift / count - h slope / count) / sqrt(var + eps), an invocation per four elements
// affine:  out = [(gw, gb), weights]: gw = sum(g h), gb = sum(g) over all that shares a weight: here `kept` is the weight's places; a
//          workgroup per weight
// Where all of a mean has one weight, sums take none, and are the gradients of w and b; grad takes the weight as a factor.
// Grids: x and y = kept places, times pieces, or 1024 elements each, which walk. Cost: moments reads x twice, the second time from a
// cache where it is long; the others read each operand once.
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
    // eps; the first elements of g and b; which of w and b there are: see below.
    eps: f32,
    g_offset: u32,
    weights: u32,
    b_offset: u32,
    // Pieces of a kept place, and elements of one; kept places, for grad.
    pieces: u32,
    piece: u32,
    means: u32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: NormParams;
// Bindings 1 to 3 are those of quads.wgsl: out, x and g.
@group(0) @binding(1) var<storage, read_write> sums_out: array<f32>;
@group(0) @binding(1) var<storage, read_write> fours_out: array<vec4<f32>>;
// Statistics, or for joined the parts.
@group(0) @binding(4) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
// For grad shifts and slopes.
@group(0) @binding(6) var<storage, read> b: array<f32>;

// `weights`: none, within the sums, as a factor of a mean's sums; for apply a weight, and a bias too.
const WITHIN: u32 = 1u;
const BIAS: u32 = 2u;
const FACTOR: u32 = 3u;

// Compilers of drivers reorder sums as if numbers were exact, which loses what rounding left of a mean. This is the sum as it was
// rounded: there are less than 2^31 means, but no compiler knows that.
fn rounded(sum: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(sum) ^ vec4(p.means >> 31u));
}

fn sum_of(four: vec4<f32>) -> f32 {
    return (four.x + four.y) + (four.z + four.w);
}
fn largest_of(four: vec4<u32>) -> u32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}

// 2^-e for a magnitude from 2^e to 2^(e + 1) whose bits these are, and 2^e; of the ends of the range what is a normal number.
fn scales(bits: u32) -> vec2<f32> {
    let e = clamp(bits >> 23u, 1u, 253u);
    return vec2(bitcast<f32>((254u - e) << 23u), bitcast<f32>(e << 23u));
}

// Terms that an invocation adds one by one before it adds their sum to the others.
const SOME: u32 = 32u;

// Of some elements of a kept place: the mean, rounded; the bits of the largest magnitude, or of the root of eps if that is larger;
// and around the mean the sums of differences and of their squares, both divided by powers of that magnitude's power of two.
struct Part {
    centre: f32,
    largest: u32,
    sum: f32,
    squares: f32,
}

fn part_of(corner: u32, first: u32, last: u32, local: u32) -> Part {
    let count = f32(last - first);
    // Divided by a power of two near the count, a sum does not overflow.
    let share = scales(bitcast<u32>(count)).x;
    var total = vec4(0.0);
    // With eps, which is divided by the scale too.
    var largest = vec4(bitcast<u32>(sqrt(max(p.eps, 0.0))));
    var i = first + first_of(local);
    while (i < last) {
        var part = vec4(0.0);
        for (var k = 0u; k < SOME && i < last; k++) {
            let four = x_f32(corner + places(p.reduced, p.x_reduced, items(i, last)));
            let value = select(vec4(0.0), four, valid(i, last));
            part += value * share;
            largest = max(largest, bitcast<vec4<u32>>(value) & vec4(0x7fffffffu));
            i += BLOCK;
        }
        total += part;
    }
    let centre = join_sum(sum_of(total), local) / (count * share);
    let most = join(MAX_I32, largest_of(largest), local);
    let scale = scales(most).x;
    var sum = vec4(0.0);
    var squares = vec4(0.0);
    i = first + first_of(local);
    while (i < last) {
        var part = vec4(0.0);
        var part_squares = vec4(0.0);
        for (var k = 0u; k < SOME && i < last; k++) {
            let four = x_f32(corner + places(p.reduced, p.x_reduced, items(i, last)));
            let d = select(vec4(0.0), four * scale - centre * scale, valid(i, last));
            part += d;
            part_squares += d * d;
            i += BLOCK;
        }
        sum += part;
        squares += part_squares;
    }
    return Part(centre, most, join_sum(sum_of(sum), local), join_sum(sum_of(squares), local));
}

// What is kept of the mean of `count` elements.
fn statistics_of(x: Part, count: f32) -> vec4<f32> {
    let scale = scales(x.largest);
    // What rounding left of the sum of differences belongs to the mean.
    let left = x.sum / count;
    let around = x.squares / count - left * left;
    let spread = or_nan(around, max(around, 0.0));
    // Squares of the scale need not be numbers.
    let twice = 2 * (i32(bitcast<u32>(scale.y) >> 23u) - 127);
    let root = scale.x / sqrt(spread + shifted(p.eps, -twice));
    let rest = left * scale.y;
    let whole = rounded(vec4(x.centre + rest)).x;
    return vec4(whole, (x.centre - whole) + rest, shifted(spread, twice), root);
}

@compute @workgroup_size(256)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let part = part_of(place(p.kept, p.x_kept, kept), 0u, p.reduced.numel, local);
        if (local == 0u) {
            fours_out[kept] = statistics_of(part, f32(p.reduced.numel));
        }
    }
}

@compute @workgroup_size(256)
fn parts(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var at = group.y * groups.x + group.x; at < p.kept.numel * p.pieces; at += groups.x * groups.y) {
        let kept = at / p.pieces;
        let first = (at - kept * p.pieces) * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        let part = part_of(place(p.kept, p.x_kept, kept), first, last, local);
        if (local == 0u) {
            fours_out[at] = vec4(part.centre, bitcast<f32>(part.largest), part.sum, part.squares);
        }
    }
}

@compute @workgroup_size(256)
fn joined(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    let share = scales(bitcast<u32>(count)).x;
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        var total = 0.0;
        var largest = 0u;
        for (var i = local; i < p.pieces; i += 256u) {
            let part = statistics[kept * p.pieces + i];
            total += part.x * (f32(min(p.piece, p.reduced.numel - i * p.piece)) * share);
            largest = max(largest, bitcast<u32>(part.y));
        }
        let centre = join_sum(total, local) / (count * share);
        largest = join(MAX_I32, largest, local);
        let scale = scales(largest).x;
        var sum = 0.0;
        var squares = 0.0;
        for (var i = local; i < p.pieces; i += 256u) {
            let part = statistics[kept * p.pieces + i];
            let n = f32(min(p.piece, p.reduced.numel - i * p.piece));
            // From the part's scale to that of all, and from its centre.
            let ratio = scales(bitcast<u32>(part.y)).y * scale;
            let own = part.z * ratio;
            let d = part.x * scale - centre * scale;
            sum += own + n * d;
            squares += part.w * ratio * ratio + d * (2.0 * own + n * d);
        }
        sum = join_sum(sum, local);
        squares = join_sum(squares, local);
        if (local == 0u) {
            fours_out[kept] = statistics_of(Part(centre, largest, sum, squares), count);
        }
    }
}

// The statistics of four elements: each number of theirs.
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
// The normalised x by these statistics.
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

@compute @workgroup_size(256)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.kept.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.kept.numel) {
            let at = items(i, p.kept.numel);
            var y = normalized(x_f32(p.x_kept.offset + at), means_of(places(p.kept, p.m_kept, at)));
            if (p.weights != 0u) {
                let source = places(p.kept, p.w_kept, at);
                y *= four_w(source);
                if (p.weights == BIAS) {
                    y += four_b(source - p.w_kept.offset + p.b_offset);
                }
            }
            put_f32(at, valid(i, p.kept.numel), y);
        }
    }
}

@compute @workgroup_size(256)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var at = group.y * groups.x + group.x; at < p.kept.numel * p.pieces; at += groups.x * groups.y) {
        let piece = at / p.kept.numel;
        let kept = at - piece * p.kept.numel;
        let corner = place(p.kept, p.x_kept, kept);
        let w_corner = place(p.kept, p.w_kept, kept);
        let by = means_of(vec4(kept));
        let last = min((piece + 1u) * p.piece, p.reduced.numel);
        var shift = vec4(0.0);
        var slope = vec4(0.0);
        for (var i = piece * p.piece + first_of(local); i < last; i += BLOCK) {
            let four = items(i, last);
            let source = corner + places(p.reduced, p.x_reduced, four);
            var gradient = select(vec4(0.0), y_f32(source - p.x_kept.offset + p.g_offset), valid(i, last));
            if (p.weights == WITHIN) {
                gradient *= four_w(w_corner + places(p.reduced, p.w_reduced, four));
            }
            shift += gradient;
            slope += gradient * normalized(x_f32(source), by);
        }
        put_sums(piece, kept, join_sum(sum_of(shift), local), join_sum(sum_of(slope), local), local);
    }
}

fn put_sums(piece: u32, kept: u32, one: f32, two: f32, local: u32) {
    if (local == 0u) {
        sums_out[2u * piece * p.kept.numel + kept] = one;
        sums_out[(2u * piece + 1u) * p.kept.numel + kept] = two;
    }
}

// b = shifts and slopes.
@compute @workgroup_size(256)
fn grad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let count = f32(p.reduced.numel);
    for (var block = group.y * groups.x + group.x; block < blocks(p.kept.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_of(local);
        if (i < p.kept.numel) {
            let at = items(i, p.kept.numel);
            let m = places(p.kept, p.m_kept, at);
            let by = means_of(m);
            let h = normalized(x_f32(p.x_kept.offset + at), by);
            var gradient = y_f32(p.g_offset + at);
            var factor = by.root;
            if (p.weights != 0u) {
                let weight = four_w(places(p.kept, p.w_kept, at));
                if (p.weights == FACTOR) {
                    factor *= weight;
                } else {
                    gradient *= weight;
                }
            }
            put_f32(
                at,
                valid(i, p.kept.numel),
                (gradient - four_b(m) / count - h * (four_b(p.means + m) / count)) * factor,
            );
        }
    }
}

// kept = the weight's places, reduced = all that shares one; m_kept and w_reduced: where statistics lie along both.
@compute @workgroup_size(256)
fn affine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var kept = group.y * groups.x + group.x; kept < p.kept.numel; kept += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, kept);
        let m_corner = place(p.kept, p.m_kept, kept);
        let last = p.reduced.numel;
        var gw = vec4(0.0);
        var gb = vec4(0.0);
        for (var i = first_of(local); i < last; i += BLOCK) {
            let four = items(i, last);
            let source = corner + places(p.reduced, p.x_reduced, four);
            let by = means_of(m_corner + places(p.reduced, p.w_reduced, four));
            let gradient = select(vec4(0.0), y_f32(source - p.x_kept.offset + p.g_offset), valid(i, last));
            gw += gradient * normalized(x_f32(source), by);
            gb += gradient;
        }
        put_sums(0u, kept, join_sum(sum_of(gw), local), join_sum(sum_of(gb), local), local);
    }
}
