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
// tile_64 and tile_32 make square tiles, tile_8 makes tiles of 8 x 128 for few channels; not for grad_weight.
// Grid: x and y = tiles (grad_weight: times splits of k); z = groups (grad_input: times phases), which walks. A phase is the set of
// input pixels with equal remainders by the stride: only some taps reach them. If grad_weight's k is split, out is parts
// [splits, weights], which a reduction adds. Cost: 2 n co ci / groups kh kw oh ow flops. All overwrite. Layouts: x [n, ci, h, w],
// w [co, ci / groups, kh, kw], y and g [n, co, oh, ow], in order.
struct ConvParams {
    // x, or for OP 1 gx: n, ci, h, w.
    image: vec4<u32>,
    // co, oh, ow, groups.
    result: vec4<u32>,
    // kh, kw, unused, splits.
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

// What an invocation's four lines of A and of B have in common for all k: where they begin, and at B the row and the column that
// tap 0 (or, for grad_weight, output pixel 0) reads. A line that there is not has a row out of reach.
var<private> a_at: vec4<u32>;
var<private> a_has: vec4<bool>;
var<private> b_at: vec4<u32>;
var<private> b_row: vec4<u32>;
var<private> b_column: vec4<u32>;

// Far from all images, also after strides and dilations were added.
const NOWHERE: u32 = 0x80000000u;

// m and n of the product.
var<private> lines: vec2<u32>;

// The numbers that k is made of: the channel (grad_weight: the image), the row and the column of a tap (an output pixel); how many
// rows and columns there are, at least 1.
var<private> radix: vec2<u32>;
// Those of an invocation's k at A and at B, and of the step to its next.
var<private> a_digits: vec3<u32>;
var<private> a_step: vec3<u32>;
var<private> a_k: u32;
var<private> a_jump: u32;
var<private> b_digits: vec3<u32>;
var<private> b_step: vec3<u32>;

fn digits_of(k: u32) -> vec3<u32> {
    let row = k / radix.y;
    let high = row / radix.x;
    return vec3(high, row - high * radix.x, k - row * radix.y);
}

// The digits of a sum, by carries instead of divisions.
fn sum_of(x: vec3<u32>, y: vec3<u32>) -> vec3<u32> {
    var sum = x + y;
    if (sum.z >= radix.y) {
        sum -= vec3(0u, 0u, radix.y);
        sum.y += 1u;
    }
    if (sum.y >= radix.x) {
        sum -= vec3(0u, radix.x, 0u);
        sum.x += 1u;
    }
    return sum;
}

fn seek_a(k: u32, step: u32) {
    a_k = k;
    a_jump = step;
    a_digits = digits_of(k);
    a_step = digits_of(step);
}
fn seek_b(k: u32, step: u32) {
    b_digits = digits_of(k);
    b_step = digits_of(step);
}

fn lines_a(line: u32) {
    let four = line + vec4(0u, 1u, 2u, 3u);
    a_has = four < vec4(lines.x);
    if (OP == FORWARD) {
        a_at = p.place.x + (which * group_out() + four) * group_in() * taps();
    } else if (OP == GRAD_INPUT) {
        a_at = p.place.x + (which * group_out() * group_in() + four) * taps();
    } else {
        a_at = p.place.x + (which * group_out() + four) * p.result.y * p.result.z;
    }
}

fn lines_b(line: u32) {
    let four = line + vec4(0u, 1u, 2u, 3u);
    let has = four < vec4(lines.y);
    if (OP == FORWARD) {
        let plane = p.result.y * p.result.z;
        let image = four / plane;
        let at = four - image * plane;
        let row = at / p.result.z;
        b_at = p.place.y + (image * p.image.y + which * group_in()) * p.image.z * p.image.w;
        b_row = row * p.step.x - p.step.z;
        b_column = (at - row * p.result.z) * p.step.y - p.step.w;
    } else if (OP == GRAD_INPUT) {
        let plane = down.count * right.count;
        let image = four / plane;
        let at = four - image * plane;
        let row = at / right.count;
        b_at = p.place.y + (image * p.result.x + which * group_out()) * p.result.y * p.result.z;
        b_row = row + u32(down.start);
        b_column = at - row * right.count + u32(right.start);
    } else {
        let channel = four / taps();
        let tap = four - channel * taps();
        let row = tap / p.kernel.y;
        b_at = p.place.y + (which * group_in() + channel) * p.image.z * p.image.w;
        b_row = row * p.spread.x - p.step.z;
        b_column = (tap - row * p.kernel.y) * p.spread.y - p.step.w;
    }
    b_row = select(vec4(NOWHERE), b_row, has);
}

fn fetch_a() -> vec4<f32> {
    var at = a_at + a_k;
    if (OP == GRAD_INPUT) {
        let tap = vec2(down.tap + a_digits.y * down.tap_step, right.tap + a_digits.z * right.tap_step);
        at = a_at + a_digits.x * group_in() * taps() + tap.x * p.kernel.y + tap.y;
    } else if (OP > GRAD_INPUT) {
        at = a_at + a_digits.x * (p.result.x - 1u) * p.result.y * p.result.z + a_k;
    }
    a_k += a_jump;
    a_digits = sum_of(a_digits, a_step);
    var four = vec4(0.0);
    if (a_has.x) {
        four.x = a[at.x];
    }
    if (a_has.y) {
        four.y = a[at.y];
    }
    if (a_has.z) {
        four.z = a[at.z];
    }
    if (a_has.w) {
        four.w = a[at.w];
    }
    return four;
}

fn fetch_b() -> vec4<f32> {
    // How far k moves the rows and the columns that are read; where the planes begin; the size of a plane.
    var size = p.image.zw;
    var row = b_digits.y * p.spread.x;
    var column = b_digits.z * p.spread.y;
    var start = b_digits.x * size.x * size.y;
    if (OP == GRAD_INPUT) {
        size = p.result.yz;
        row = 0u - b_digits.y * down.out_step;
        column = 0u - b_digits.z * right.out_step;
        start = b_digits.x * size.x * size.y;
    } else if (OP > GRAD_INPUT) {
        row = b_digits.y * p.step.x;
        column = b_digits.z * p.step.y;
        start *= p.image.y;
    }
    b_digits = sum_of(b_digits, b_step);
    let rows = b_row + row;
    let columns = b_column + column;
    let inside = (rows < vec4(size.x)) & (columns < vec4(size.y)); // what is below 0 is large
    let at = b_at + start + rows * size.y + columns;
    var four = vec4(0.0);
    if (inside.x) {
        four.x = b[at.x];
    }
    if (inside.y) {
        four.y = b[at.y];
    }
    if (inside.z) {
        four.z = b[at.z];
    }
    if (inside.w) {
        four.w = b[at.w];
    }
    return four;
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
fn tile_64(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    conv(group, groups, local, 16u, 16u);
}

@compute @workgroup_size(64)
fn tile_32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    conv(group, groups, local, 8u, 8u);
}

@compute @workgroup_size(64)
fn tile_8(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    conv(group, groups, local, 2u, 32u);
}

// A tile of so many quads of lines and of columns.
fn conv(group: vec3<u32>, groups: vec3<u32>, local: u32, quads_m: u32, quads_n: u32) {
    let number = group.y * groups.x + group.x;
    let split = select(0u, number % p.kernel.w, OP > GRAD_INPUT);
    let at = select(number, number / p.kernel.w, OP > GRAD_INPUT);
    let phases = select(1u, p.step.x * p.step.y, OP == GRAD_INPUT);
    for (var z = group.z; z < p.result.w * phases; z += groups.z) {
        which = z / phases;
        var m = group_out();
        var n = p.image.x * p.result.y * p.result.z;
        var k = group_in() * taps();
        radix = p.kernel.xy;
        if (OP == GRAD_INPUT) {
            down = phase_of(p.image.z, p.kernel.x, p.step.x, p.step.z, p.spread.x, z % phases / p.step.y);
            right = phase_of(p.image.w, p.kernel.y, p.step.y, p.step.w, p.spread.y, z % phases % p.step.y);
            m = group_in();
            n = p.image.x * down.count * right.count;
            k = group_out() * down.taps * right.taps;
            radix = max(vec2(down.taps, right.taps), vec2(1u));
        } else if (OP > GRAD_INPUT) {
            k = n;
            n = group_in() * taps();
            radix = p.result.yz;
        }
        let tiles_m = (m + 4u * quads_m - 1u) / (4u * quads_m);
        let row = at % tiles_m * 4u * quads_m;
        let column = at / tiles_m * 4u * quads_n;
        let steps = (k + 15u) / 16u;
        let first = select(0u, steps * split / p.kernel.w * 16u, OP > GRAD_INPUT);
        let last = select(k, min(steps * (split + 1u) / p.kernel.w * 16u, k), OP > GRAD_INPUT);
        if (column < n) {
            lines = vec2(m, n);
            if (quads_m == quads_n) {
                gemm(local, quads_m, row, column, first, last, OP != GRAD_INPUT, OP > GRAD_INPUT);
            } else {
                gemm_wide(local, row, column, first, last);
            }
            let y = row + local / quads_n * 4u;
            let x = column + local % quads_n * 4u;
            for (var i = 0u; i < min(n - min(x, n), 4u); i++) {
                if (y < m) {
                    store(y, x + i, split, sum[0][i]);
                }
                if (y + 1u < m) {
                    store(y + 1u, x + i, split, sum[1][i]);
                }
                if (y + 2u < m) {
                    store(y + 2u, x + i, split, sum[2][i]);
                }
                if (y + 3u < m) {
                    store(y + 3u, x + i, split, sum[3][i]);
                }
            }
        }
    }
}
