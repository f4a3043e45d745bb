// Random elements of one draw, and dropout.
//
//   random    OP 0  BITS      out[i] = bits[i], as i32
//             OP 1  UNIFORM   out[i] = (bits[i] >> 8) 2^-24: uniform in [0, 1)
//             OP 2  KEEP      out[i] = bits[i] >= threshold, as bool
//   dropout   out[i] = bits[i] >= threshold ? x[i] scale : 0; a dropped NaN or infinity is 0, too
//
// out is contiguous; x has the walk's shape, strided. bits[i] are the draw's 32 bits of element i, numbered in row-major order of the shape
// for any layout of x. An invocation computes one Philox block, four elements, per iteration. Cost: one write per element (and one read of x), and about 40 instructions of Philox.
struct RandomParams {
    walk: Walk,
    x: Strides,
    // Low words first.
    seed: vec2<u32>,
    draw: vec2<u32>,
    threshold: u32,
    // Whether the threshold is 2^32: every element is dropped.
    drop_all: u32,
    scale: f32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: RandomParams;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<storage, read_write> out_f32: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;

override OP: u32 = 0u;
const UNIFORM: u32 = 1u;
const KEEP: u32 = 2u;

// The upper 32 bits of a 64-bit product, from products of 16-bit halves: WGSL has no 64-bit integers.
fn high_product(a: u32, b: u32) -> u32 {
    let low_a = a & 0xffffu;
    let high_a = a >> 16u;
    let low_b = b & 0xffffu;
    let high_b = b >> 16u;
    let cross = high_a * low_b + (low_a * low_b >> 16u); // at most (2^16 - 1) 2^16: it does not overflow
    let middle = low_a * high_b + (cross & 0xffffu); // likewise
    return high_a * high_b + (cross >> 16u) + (middle >> 16u);
}

// Philox4x32-10, as in core/src/random.rs: the four words of one block. Element i of a draw is word i % 4 of the block with key = seed
// and counter = (draw, i / 4).
fn philox(block: u32) -> vec4<u32> {
    var key = p.seed;
    var c = vec4(p.draw, block, 0u);
    for (var round = 0u; round < 10u; round++) {
        c = vec4(
            high_product(0xcd9e8d57u, c.z) ^ c.y ^ key.x,
            0xcd9e8d57u * c.z,
            high_product(0xd2511f53u, c.x) ^ c.w ^ key.y,
            0xd2511f53u * c.x,
        );
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

fn kept(bits: u32) -> bool {
    return p.drop_all == 0u && bits >= p.threshold;
}

// An item is a block.
fn items() -> u32 {
    return (p.walk.numel + 3u) / 4u;
}
fn block_end(block: u32) -> u32 {
    return min(4u, p.walk.numel - 4u * block);
}

fn random_item(block: u32) {
    var words = philox(block);
    for (var k = 0u; k < block_end(block); k++) {
        var element = words[k];
        if (OP == UNIFORM) {
            element = bitcast<u32>(f32(words[k] >> 8u) * (1.0 / 16777216.0));
        } else if (OP == KEEP) {
            element = select(0u, 1u, kept(words[k]));
        }
        out[4u * block + k] = element;
    }
}

fn dropout_item(block: u32) {
    var words = philox(block);
    for (var k = 0u; k < block_end(block); k++) {
        let i = 4u * block + k;
        out_f32[i] = select(0.0, x[offset_of(p.walk, p.x, i)] * p.scale, kept(words[k]));
    }
}
