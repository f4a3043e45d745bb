// Convolution (cross-correlation) and its two gradients as implicit GEMM (gemm.wgsl): operand matrices are addressed, not stored.
// kernels/conv.cu is the same in CUDA.
//
// OP 0, forward:      y[n, o, i, j] = bias[o] + sum over c, y, x of w[o, c, y, x] x[n, c, i s + y d - p, ..]
//                     m: output channels, n: output pixels of all images, k: (channel, tap); A = w, B = x
// OP 1, grad_input:   gx[n, c, q] = sum over o and the taps that reach q of w[o, c, tap] g[n, o, the pixel whose tap reads q]
//                     m: input channels, n: input pixels of a phase, k: (channel, tap of the phase); A = w, B = g
// OP 2, grad_weight:  gw[o, c, y, x] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + y d - p, ..]
//                     m: output channels, n: (channel, tap), k: output pixels of all images; A = g, B = x
//
// A phase is the set of input pixels with equal coordinates modulo the stride: the same taps reach all of its pixels.
//
// tile_64 and tile_32 compute square tiles, tile_8 tiles of 8 x 128 for few channels, which grad_weight does not use. Grid: x and
// y = tiles (grad_weight: times splits of k); z = groups (grad_input: times phases), grid-stride. If grad_weight's k is split,
// out is [splits, weights], which a reduction sums. Cost: 2 n co ci / groups kh kw oh ow flops. Overwrites out. Layouts,
// contiguous: x [n, ci, h, w], w [co, ci / groups, kh, kw], y and g [n, co, oh, ow].
struct ConvParams {
    // n, ci, h, w of x and gx.
    image: vec4<u32>,
    // co, oh, ow, groups.
    result: vec4<u32>,
    // kh, kw, unused, splits.
    kernel: vec4<u32>,
    // Stride and padding, each of rows and columns.
    stride_padding: vec4<u32>,
    // Dilation of rows and columns, whether there is a bias, the bias's offset.
    dilation_bias: vec4<u32>,
    // Offsets of a and b, elements of out, unused.
    offsets: vec4<u32>,
}
@group(0) @binding(0) var<uniform> p: ConvParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// a and b are at bindings 2 and 3, in gemm.wgsl.
@group(0) @binding(4) var<storage, read> bias: array<f32>;

override OP: u32 = 0u;
const FORWARD: u32 = 0u;
const GRAD_INPUT: u32 = 1u;

// The convolution group of this iteration.
var<private> conv_group: u32;

// One axis of a phase.
struct PhaseAxis {
    // The first input position, and the number of positions, a stride apart.
    first: u32,
    count: u32,
    // The first tap, the number of taps, and the distance between them.
    tap: u32,
    taps: u32,
    tap_step: u32,
    // How far the output position moves back from one tap to the next.
    out_step: u32,
    // The output position whose first tap reads the first input position.
    start: i32,
}
var<private> down: PhaseAxis;
var<private> across: PhaseAxis;

fn phase_of(size: u32, taps: u32, stride: u32, pad: u32, dil: u32, first: u32) -> PhaseAxis {
    var x: PhaseAxis;
    x.first = first;
    x.count = (max(size, first) - first + stride - 1u) / stride;
    // Tap distances repeat modulo the stride after stride / gcd(stride, dilation) taps.
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
    // The first tap at a distance that is a multiple of the stride; distances repeat modulo the stride after tap_step taps.
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

// Of an invocation's four rows of A and four columns of B, for all k: the offset of the first element; for A whether the row
// exists; for B the image row and column that tap 0 (in grad_weight: output pixel 0) reads. The image row of a column that does
// not exist is NOWHERE.
var<private> a_at: vec4<u32>;
var<private> a_has: vec4<bool>;
var<private> b_at: vec4<u32>;
var<private> b_row: vec4<u32>;
var<private> b_column: vec4<u32>;

// A row outside of every image, even after strides and dilations are added.
const NOWHERE: u32 = 0x80000000u;

// m and n of the product.
var<private> extent: vec2<u32>;

// k as digits of a mixed radix: the channel (grad_weight: the image), the row and the column of a tap (grad_weight: of an output
// pixel). The radix is the number of rows and columns, at least 1.
var<private> radix: vec2<u32>;
// The digits of an invocation's k at A and at B, and of the step to its next k.
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

// The digits of a sum, with carries instead of divisions.
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

fn begin_a(row: u32) {
    let rows = row + vec4(0u, 1u, 2u, 3u);
    a_has = rows < vec4(extent.x);
    if (OP == FORWARD) {
        a_at = p.offsets.x + (conv_group * group_out() + rows) * group_in() * taps();
    } else if (OP == GRAD_INPUT) {
        a_at = p.offsets.x + (conv_group * group_out() * group_in() + rows) * taps();
    } else {
        a_at = p.offsets.x + (conv_group * group_out() + rows) * p.result.y * p.result.z;
    }
}

fn begin_b(column: u32) {
    let columns = column + vec4(0u, 1u, 2u, 3u);
    let has = columns < vec4(extent.y);
    if (OP == FORWARD) {
        let plane = p.result.y * p.result.z;
        let image = columns / plane;
        let at = columns - image * plane;
        let row = at / p.result.z;
        b_at = p.offsets.y + (image * p.image.y + conv_group * group_in()) * p.image.z * p.image.w;
        b_row = row * p.stride_padding.x - p.stride_padding.z;
        b_column = (at - row * p.result.z) * p.stride_padding.y - p.stride_padding.w;
    } else if (OP == GRAD_INPUT) {
        let plane = down.count * across.count;
        let image = columns / plane;
        let at = columns - image * plane;
        let row = at / across.count;
        b_at = p.offsets.y + (image * p.result.x + conv_group * group_out()) * p.result.y * p.result.z;
        b_row = row + u32(down.start);
        b_column = at - row * across.count + u32(across.start);
    } else {
        let channel = columns / taps();
        let tap = columns - channel * taps();
        let row = tap / p.kernel.y;
        b_at = p.offsets.y + (conv_group * group_in() + channel) * p.image.z * p.image.w;
        b_row = row * p.dilation_bias.x - p.stride_padding.z;
        b_column = (tap - row * p.kernel.y) * p.dilation_bias.y - p.stride_padding.w;
    }
    b_row = select(vec4(NOWHERE), b_row, has);
}

fn fetch_a() -> vec4<f32> {
    var at = a_at + a_k;
    if (OP == GRAD_INPUT) {
        let tap = vec2(down.tap + a_digits.y * down.tap_step, across.tap + a_digits.z * across.tap_step);
        at = a_at + a_digits.x * group_in() * taps() + tap.x * p.kernel.y + tap.y;
    } else if (OP > GRAD_INPUT) {
        at = a_at + a_digits.x * (p.result.x - 1u) * p.result.y * p.result.z + a_k;
    }
    a_k += a_jump;
    a_digits = sum_of(a_digits, a_step);
    return four_of_a(at, a_has);
}

fn fetch_b() -> vec4<f32> {
    // The size of a plane, the image row and column relative to tap 0 (in grad_weight: output pixel 0), and the plane's first
    // element.
    var size = p.image.zw;
    var row = b_digits.y * p.dilation_bias.x;
    var column = b_digits.z * p.dilation_bias.y;
    var start = b_digits.x * size.x * size.y;
    if (OP == GRAD_INPUT) {
        size = p.result.yz;
        row = 0u - b_digits.y * down.out_step;
        column = 0u - b_digits.z * across.out_step;
        start = b_digits.x * size.x * size.y;
    } else if (OP > GRAD_INPUT) {
        row = b_digits.y * p.stride_padding.x;
        column = b_digits.z * p.stride_padding.y;
        start *= p.image.y;
    }
    b_digits = sum_of(b_digits, b_step);
    let rows = b_row + row;
    let columns = b_column + column;
    let inside = (rows < vec4(size.x)) & (columns < vec4(size.y)); // a negative position wraps to a large one
    return four_of_b(b_at + start + rows * size.y + columns, inside);
}

// Stores the result of a row and a column of the product.
fn store(m: u32, n: u32, split: u32, result: f32) {
    if (OP == FORWARD) {
        let plane = p.result.y * p.result.z;
        let channel = conv_group * group_out() + m;
        var value = result;
        if (p.dilation_bias.z != 0u) {
            value += bias[p.dilation_bias.w + channel];
        }
        out[(n / plane * p.result.x + channel) * plane + n % plane] = value;
    } else if (OP == GRAD_INPUT) {
        let plane = down.count * across.count;
        let at = n % plane;
        let row = down.first + at / across.count * p.stride_padding.x;
        let x = across.first + at % across.count * p.stride_padding.y;
        let channel = n / plane * p.image.y + conv_group * group_in() + m;
        out[(channel * p.image.z + row) * p.image.w + x] = result;
    } else {
        out[split * p.offsets.z + (conv_group * group_out() + m) * group_in() * taps() + n] = result;
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

// Computes a tile of quads_m vec4 of rows and quads_n vec4 of columns.
fn conv(group: vec3<u32>, groups: vec3<u32>, local: u32, quads_m: u32, quads_n: u32) {
    let number = group.y * groups.x + group.x;
    let split = select(0u, number % p.kernel.w, OP > GRAD_INPUT);
    let at = select(number, number / p.kernel.w, OP > GRAD_INPUT);
    let phases = select(1u, p.stride_padding.x * p.stride_padding.y, OP == GRAD_INPUT);
    for (var z = group.z; z < p.result.w * phases; z += groups.z) {
        conv_group = z / phases;
        var m = group_out();
        var n = p.image.x * p.result.y * p.result.z;
        var k = group_in() * taps();
        radix = p.kernel.xy;
        if (OP == GRAD_INPUT) {
            let phase = z % phases;
            let steps = p.stride_padding;
            down = phase_of(p.image.z, p.kernel.x, steps.x, steps.z, p.dilation_bias.x, phase / steps.y);
            across = phase_of(p.image.w, p.kernel.y, steps.y, steps.w, p.dilation_bias.y, phase % steps.y);
            m = group_in();
            n = p.image.x * down.count * across.count;
            k = group_out() * down.taps * across.taps;
            radix = max(vec2(down.taps, across.taps), vec2(1u));
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
            extent = vec2(m, n);
            if (quads_m == quads_n) {
                gemm(local, quads_m, false, row, column, first, last, OP != GRAD_INPUT, OP > GRAD_INPUT);
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
