// Elements one by one, of which an invocation takes four per turn: they are 256 apart, so that neighbouring invocations read
// neighbours. quads.wgsl has the same functions for elements that can be read by fours, and says what they do.
const BLOCK: u32 = 1024u;
fn blocks(numel: u32) -> u32 {
    return numel / BLOCK + select(0u, 1u, numel % BLOCK != 0u);
}

fn first_of(local: u32) -> u32 {
    return local;
}
// Behind the end is its last element, which may be read.
fn items(i: u32, end: u32) -> vec4<u32> {
    return min(i + vec4(0u, 256u, 512u, 768u), vec4(end - 1u));
}
fn valid(i: u32, end: u32) -> vec4<bool> {
    return vec4(0u, 256u, 512u, 768u) < vec4(end - i);
}
fn places(walk: Walk, x: Operand, at: vec4<u32>) -> vec4<u32> {
    if (x.ordered != 0u) {
        return x.offset + at;
    }
    return vec4(place(walk, x, at.x), place(walk, x, at.y), place(walk, x, at.z), place(walk, x, at.w));
}

@group(0) @binding(1) var<storage, read_write> out_floats: array<FloatOut>;
@group(0) @binding(1) var<storage, read_write> out_words: array<WordOut>;
@group(0) @binding(1) var<storage, read_write> out_whole: array<u32>;
@group(0) @binding(2) var<storage, read> x_floats: array<FloatIn>;
@group(0) @binding(2) var<storage, read> x_words: array<WordIn>;
@group(0) @binding(2) var<storage, read> x_truths: array<u32>;
@group(0) @binding(3) var<storage, read> y_floats: array<FloatIn>;
@group(0) @binding(3) var<storage, read> y_words: array<WordIn>;
@group(0) @binding(4) var<storage, read> z_words: array<WordIn>;

fn x_f32(at: vec4<u32>) -> vec4<f32> {
    return vec4(float_in(x_floats[at.x]), float_in(x_floats[at.y]), float_in(x_floats[at.z]), float_in(x_floats[at.w]));
}
fn y_f32(at: vec4<u32>) -> vec4<f32> {
    return vec4(float_in(y_floats[at.x]), float_in(y_floats[at.y]), float_in(y_floats[at.z]), float_in(y_floats[at.w]));
}
fn x_bits(at: vec4<u32>) -> vec4<u32> {
    return vec4(word_in(x_words[at.x]), word_in(x_words[at.y]), word_in(x_words[at.z]), word_in(x_words[at.w]));
}
fn y_bits(at: vec4<u32>) -> vec4<u32> {
    return vec4(word_in(y_words[at.x]), word_in(y_words[at.y]), word_in(y_words[at.z]), word_in(y_words[at.w]));
}
fn z_bits(at: vec4<u32>) -> vec4<u32> {
    return vec4(word_in(z_words[at.x]), word_in(z_words[at.y]), word_in(z_words[at.z]), word_in(z_words[at.w]));
}
fn x_bool(at: vec4<u32>) -> vec4<bool> {
    return vec4(x_truths[at.x], x_truths[at.y], x_truths[at.z], x_truths[at.w]) != vec4(0u);
}
fn out_f32(at: vec4<u32>) -> vec4<f32> {
    return vec4(
        float_back(out_floats[at.x]),
        float_back(out_floats[at.y]),
        float_back(out_floats[at.z]),
        float_back(out_floats[at.w]),
    );
}
fn out_bits(at: vec4<u32>) -> vec4<u32> {
    return vec4(out_whole[at.x], out_whole[at.y], out_whole[at.z], out_whole[at.w]);
}

fn put_f32(at: vec4<u32>, has: vec4<bool>, four: vec4<f32>) {
    if (has.x) {
        out_floats[at.x] = float_out(four.x);
    }
    if (has.y) {
        out_floats[at.y] = float_out(four.y);
    }
    if (has.z) {
        out_floats[at.z] = float_out(four.z);
    }
    if (has.w) {
        out_floats[at.w] = float_out(four.w);
    }
}
fn put_whole(at: vec4<u32>, has: vec4<bool>, four: vec4<u32>) {
    if (has.x) {
        out_whole[at.x] = four.x;
    }
    if (has.y) {
        out_whole[at.y] = four.y;
    }
    if (has.z) {
        out_whole[at.z] = four.z;
    }
    if (has.w) {
        out_whole[at.w] = four.w;
    }
}
fn put_bits(at: vec4<u32>, has: vec4<bool>, four: vec4<u32>) {
    if (has.x) {
        out_words[at.x] = word_out(four.x);
    }
    if (has.y) {
        out_words[at.y] = word_out(four.y);
    }
    if (has.z) {
        out_words[at.z] = word_out(four.z);
    }
    if (has.w) {
        out_words[at.w] = word_out(four.w);
    }
}
