// Convolution (cross-correlation, as the field means it) and its two gradients, as products of matrices that exist nowhere
// (gemm.wgsl); kernels/conv.cu states the same in CUDA.
//
// OP 0, forward:     y[n, o, i, j] = bias[o] + sum over c, y, x of w[o, c, y, x] x[n, c, i s + y d - p, ..]
//                    lines: output channels, columns: output pixels of all images, k: (channel, tap); a = w, b = x
// OP 1, grad_input:  gx[n, c, q] = sum over o and the taps that reach q of w[o, c, tap] g[n, o, where the tap reads q]
//                    lines: input channels, columns: input pixels of a phase, k: (channel, tap of the phase); a = w, b = g
// OP 2, grad_weight: gw[o, c, y, x] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + y d - p, ..]
//                    lines: output channels, columns: (channel, tap), k: output pixels of all images; a = g, b = x
//
// Grid: x and y = tiles (grad_weight: times splits of k); z = groups (grad_input: times phases), which walks. A phase is the set of
// input pixels with equal remainders by the stride: only some taps reach them. If grad_weight's k is split, out is parts
// [splits, weights], and `join` adds them in order. Cost: 2 n co ci / groups kh kw oh ow flops. All overwrite. Layouts: x [n, ci, h, w],
// w [co, ci / groups, kh, kw], y and g [n, co, oh, ow], in order.
struct ConvParams {
    // x, or for OP 1 gx: n, ci, h, w.
    image: vec4<u32>,
    // co, oh, ow, groups.
    result: vec4<u32>,
    // kh, kw, tile, splits.
    kernel: vec4<u32>,
    // stride and padding.
    step: vec4<u32>,
    // dilation, whether there is a bias, the bias's offset.
    spread: vec4<u32>,
    // Offsets of a and b, elements of out.
    place: vec4<u32>,
}
@group(0) @binding(0) var<uniform> p: ConvParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

override OP: u32 = 0u;
const FORWARD: u32 = 0u;
const GRAD_INPUT: u32 = 1u;

// The group that this workgroup is at.
var<private> which: u32;

// One dimension of a phase: how many input positions and taps; the first tap, from tap to tap, and how far the output position
// that reads moves meanwhile; where tap 0 reads position 0.
struct Phase {
    first: u32,
    count: u32,
    tap: u32,
    taps: u32,
    tap_step: u32,
    out_step: u32,
    start: i32,
}
var<private> down: Phase;
var<private> right: Phase;

fn phase_of(size: u32, taps: u32, stride: u32, pad: u32, dil: u32, first: u32) -> Phase {
    var x: Phase;
    x.first = first;
    x.count = (max(size, first) - first + stride - 1u) / stride;
    // Taps repeat after stride / gcd(stride, dilation).
    var gcd = stride;
    var rest = dil % stride;
    while (rest != 0u) {
        let next = gcd % rest;
        gcd = rest;
        rest = next;
    }
    x.tap_step = stride / gcd;
    x.out_step = dil / gcd;
    x.tap = 0u;
    // The first tap whose distance is a multiple of the stride: taps below stride suffice, as distances repeat.
    while (x.tap < x.tap_step && (i32(first + pad) - i32(x.tap * dil)) % i32(stride) != 0) {
        x.tap += 1u;
    }
    x.taps = 0u;
    if (x.tap < x.tap_step && x.tap < taps) {
        x.taps = (taps - x.tap + x.tap_step - 1u) / x.tap_step;
    }
    x.start = (i32(first + pad) - i32(x.tap * dil)) / i32(stride);
    return x;
}

fn group_in() -> u32 {
    return p.image.y / p.result.w;
}
fn group_out() -> u32 {
    return p.result.x / p.result.w;
}
fn taps() -> u32 {
    return p.kernel.x * p.kernel.y;
}

// An element of x under a tap, at an output pixel; 0 in the padding.
fn window(channel: u32, tap: u32, pixel: u32) -> f32 {
    let plane = p.result.y * p.result.z;
    let image = pixel / plane;
    let at = pixel % plane;
    let row = at / p.result.z * p.step.x + tap / p.kernel.y * p.spread.x - p.step.z;
    let column = at % p.result.z * p.step.y + tap % p.kernel.y * p.spread.y - p.step.w;
    if (row >= p.image.z || column >= p.image.w) {
        return 0.0; // what is below 0 is large
    }
    return b[p.place.y + ((image * p.image.y + which * group_in() + channel) * p.image.z + row) * p.image.w + column];
}

fn load_a(line: u32, k: u32) -> f32 {
    if (OP == FORWARD) {
        return a[p.place.x + (which * group_out() + line) * group_in() * taps() + k];
    }
    if (OP == GRAD_INPUT) {
        let reach = down.taps * right.taps;
        let tap = k % reach;
        let y = down.tap + tap / right.taps * down.tap_step;
        let x = right.tap + tap % right.taps * right.tap_step;
        let channels = (which * group_out() + k / reach) * group_in() + line;
        return a[p.place.x + channels * taps() + y * p.kernel.y + x];
    }
    let plane = p.result.y * p.result.z;
    return a[p.place.x + (k / plane * p.result.x + which * group_out() + line) * plane + k % plane];
}

fn load_b(line: u32, k: u32) -> f32 {
    if (OP == FORWARD) {
        return window(k / taps(), k % taps(), line);
    }
    if (OP == GRAD_INPUT) {
        let reach = down.taps * right.taps;
        let tap = k % reach;
        let plane = down.count * right.count;
        let at = line % plane;
        let row = u32(i32(at / right.count) + down.start - i32(tap / right.taps * down.out_step));
        let column = u32(i32(at % right.count) + right.start - i32(tap % right.taps * right.out_step));
        if (row >= p.result.y || column >= p.result.z) {
            return 0.0;
        }
        let channel = line / plane * p.result.x + which * group_out() + k / reach;
        return b[p.place.y + (channel * p.result.y + row) * p.result.z + column];
    }
    return window(line / taps(), line % taps(), k);
}

// Where a result belongs.
fn store(line: u32, column: u32, split: u32, result: f32) {
    if (OP == FORWARD) {
        let plane = p.result.y * p.result.z;
        let channel = which * group_out() + line;
        var value = result;
        if (p.spread.z != 0u) {
            value += bias[p.spread.w + channel];
        }
        out[(column / plane * p.result.x + channel) * plane + column % plane] = value;
    } else if (OP == GRAD_INPUT) {
        let plane = down.count * right.count;
        let at = column % plane;
        let row = down.first + at / right.count * p.step.x;
        let x = right.first + at % right.count * p.step.y;
        let channel = column / plane * p.image.y + which * group_in() + line;
        out[(channel * p.image.z + row) * p.image.w + x] = result;
    } else {
        out[split * p.place.z + (which * group_out() + line) * group_in() * taps() + column] = result;
    }
}

@compute @workgroup_size(256)
fn conv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let tile = p.kernel.z;
    let per = tile / 16u;
    let number = group.y * groups.x + group.x;
    let split = select(0u, number % p.kernel.w, OP > GRAD_INPUT);
    let at = select(number, number / p.kernel.w, OP > GRAD_INPUT);
    let phases = select(1u, p.step.x * p.step.y, OP == GRAD_INPUT);
    for (var z = group.z; z < p.result.w * phases; z += groups.z) {
        which = z / phases;
        var m = group_out();
        var n = p.image.x * p.result.y * p.result.z;
        var k = group_in() * taps();
        if (OP == GRAD_INPUT) {
            down = phase_of(p.image.z, p.kernel.x, p.step.x, p.step.z, p.spread.x, z % phases / p.step.y);
            right = phase_of(p.image.w, p.kernel.y, p.step.y, p.step.w, p.spread.y, z % phases % p.step.y);
            m = group_in();
            n = p.image.x * down.count * right.count;
            k = group_out() * down.taps * right.taps;
        } else if (OP > GRAD_INPUT) {
            k = n;
            n = group_in() * taps();
        }
        let tiles_m = (m + tile - 1u) / tile;
        let row = at % tiles_m * tile;
        let column = at / tiles_m * tile;
        let steps = (k + BK - 1u) / BK;
        let first = select(0u, steps * split / p.kernel.w * BK, OP > GRAD_INPUT);
        let last = select(k, min(steps * (split + 1u) / p.kernel.w * BK, k), OP > GRAD_INPUT);
        if (column < n) {
            gemm(local, tile, row, column, m, n, first, last, OP == FORWARD || OP > GRAD_INPUT, OP > GRAD_INPUT);
            for (var i = 0u; i < per; i++) {
                let y = row + local / 16u * per + i;
                for (var j = 0u; j < per; j++) {
                    let x = column + local % 16u * per + j;
                    if (y < m && x < n) {
                        store(y, x, split, sum[4u * i + j]);
                    }
                }
            }
        }
    }
}

// a = parts.
@compute @workgroup_size(256)
fn join(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.place.z; i += thread_count(groups)) {
        var result = a[i];
        for (var split = 1u; split < p.kernel.w; split++) {
            result += a[split * p.place.z + i];
        }
        out[i] = result;
    }
}
