// Elements by fours, of which an invocation takes one four per turn: neighbours. The innermost dimension of the walk is a multiple
// of 4 long; along it an operand has stride 1, its other strides and its offset being multiples of 4, or stride 0. singles.wgsl has the
// same functions for what is arranged otherwise. A workgroup of 256 invocations takes blocks of 1024 elements.
const BLOCK: u32 = 1024u;
fn blocks(numel: u32) -> u32 {
    return numel / BLOCK + select(0u, 1u, numel % BLOCK != 0u);
}

// The first element of this invocation in a block.
fn first_of(local: u32) -> u32 {
    return 4u * local;
}
// The four elements of which i is the first; and which of them come before the end, which i does.
fn items(i: u32, end: u32) -> vec4<u32> {
    return i + vec4(0u, 1u, 2u, 3u);
}
fn valid(i: u32, end: u32) -> vec4<bool> {
    return vec4(true);
}
fn places(walk: Walk, x: Operand, at: vec4<u32>) -> vec4<u32> {
    return place(walk, x, at.x) + x.near.x * vec4(0u, 1u, 2u, 3u);
}

@group(0) @binding(1) var<storage, read_write> out_floats: array<vec4<FloatOut>>;
@group(0) @binding(1) var<storage, read_write> out_words: array<vec4<WordOut>>;
// i32 or bool, where they are read too.
@group(0) @binding(1) var<storage, read_write> out_whole: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x_floats: array<vec4<FloatIn>>;
@group(0) @binding(2) var<storage, read> x_words: array<vec4<WordIn>>;
@group(0) @binding(2) var<storage, read> x_truths: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> y_floats: array<vec4<FloatIn>>;
@group(0) @binding(3) var<storage, read> y_words: array<vec4<WordIn>>;
@group(0) @binding(4) var<storage, read> z_words: array<vec4<WordIn>>;

fn four_floats(four: vec4<FloatIn>, at: vec4<u32>) -> vec4<f32> {
    let floats = vec4(float_in(four.x), float_in(four.y), float_in(four.z), float_in(four.w));
    return select(floats, vec4(floats[at.x & 3u]), at.x == at.y);
}
fn four_words(four: vec4<WordIn>, at: vec4<u32>) -> vec4<u32> {
    let words = vec4(word_in(four.x), word_in(four.y), word_in(four.z), word_in(four.w));
    return select(words, vec4(words[at.x & 3u]), at.x == at.y);
}

// What lies at four places.
fn x_f32(at: vec4<u32>) -> vec4<f32> {
    return four_floats(x_floats[at.x / 4u], at);
}
fn y_f32(at: vec4<u32>) -> vec4<f32> {
    return four_floats(y_floats[at.x / 4u], at);
}
fn x_bits(at: vec4<u32>) -> vec4<u32> {
    return four_words(x_words[at.x / 4u], at);
}
fn y_bits(at: vec4<u32>) -> vec4<u32> {
    return four_words(y_words[at.x / 4u], at);
}
fn z_bits(at: vec4<u32>) -> vec4<u32> {
    return four_words(z_words[at.x / 4u], at);
}
fn x_bool(at: vec4<u32>) -> vec4<bool> {
    let four = x_truths[at.x / 4u];
    return select(four, vec4(four[at.x & 3u]), at.x == at.y) != vec4(0u);
}
fn out_f32(at: vec4<u32>) -> vec4<f32> {
    let four = out_floats[at.x / 4u];
    return vec4(float_back(four.x), float_back(four.y), float_back(four.z), float_back(four.w));
}
fn out_bits(at: vec4<u32>) -> vec4<u32> {
    return out_whole[at.x / 4u];
}

// Writes to four places, those that are valid.
fn put_f32(at: vec4<u32>, has: vec4<bool>, four: vec4<f32>) {
    out_floats[at.x / 4u] = vec4<FloatOut>(float_out(four.x), float_out(four.y), float_out(four.z), float_out(four.w));
}
fn put_whole(at: vec4<u32>, has: vec4<bool>, four: vec4<u32>) {
    out_whole[at.x / 4u] = four;
}
fn put_bits(at: vec4<u32>, has: vec4<bool>, four: vec4<u32>) {
    out_words[at.x / 4u] = vec4<WordOut>(word_out(four.x), word_out(four.y), word_out(four.z), word_out(four.w));
}
