// Element access as vec4: an invocation handles four consecutive elements per iteration. The innermost dimension of the walk is a
// multiple of 4; along it an operand has stride 1, with its other strides and its offset multiples of 4, or stride 0.
// scalars.wgsl has the same functions for other layouts. Elements are handled as their 32 bits, f16 as those of its f32.

// The first element of an invocation in a block.
fn first_index(local: u32) -> u32 {
    return 4u * local;
}
// The four elements of an invocation whose first is i, and which of them are below the end; i is.
fn indices(i: u32, end: u32) -> vec4<u32> {
    return i + vec4(0u, 1u, 2u, 3u);
}
fn mask_of(i: u32, end: u32) -> vec4<bool> {
    return vec4(true);
}
// The offsets of four elements.
fn offsets_of(walk: Walk, x: Strides, at: vec4<u32>) -> vec4<u32> {
    return offset_of(walk, x, at.x) + x.near.x * vec4(0u, 1u, 2u, 3u);
}

@group(0) @binding(1) var<storage, read_write> out_words: array<vec4<WordOut>>;
@group(0) @binding(2) var<storage, read> x_words: array<vec4<WordIn>>;
@group(0) @binding(2) var<storage, read> x_bools: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> y_words: array<vec4<WordIn>>;
@group(0) @binding(4) var<storage, read> z_words: array<vec4<WordIn>>;

// The vec4, or one of its elements repeated if the offsets are equal, as they are with stride 0.
fn words_of(four: vec4<WordIn>, at: vec4<u32>) -> vec4<u32> {
    let words = vec4(word_in(four.x), word_in(four.y), word_in(four.z), word_in(four.w));
    return select(words, vec4(words[at.x & 3u]), at.x == at.y);
}

// The elements at four offsets.
fn x_bits(at: vec4<u32>) -> vec4<u32> {
    return words_of(x_words[at.x / 4u], at);
}
fn y_bits(at: vec4<u32>) -> vec4<u32> {
    return words_of(y_words[at.x / 4u], at);
}
fn z_bits(at: vec4<u32>) -> vec4<u32> {
    return words_of(z_words[at.x / 4u], at);
}
fn x_bool(at: vec4<u32>) -> vec4<bool> {
    let four = x_bools[at.x / 4u];
    return select(four, vec4(four[at.x & 3u]), at.x == at.y) != vec4(0u);
}
fn out_bits(at: vec4<u32>) -> vec4<u32> {
    let four = out_words[at.x / 4u];
    return vec4(word_back(four.x), word_back(four.y), word_back(four.z), word_back(four.w));
}

// Stores four elements.
fn store_bits(at: vec4<u32>, mask: vec4<bool>, four: vec4<u32>) {
    out_words[at.x / 4u] = vec4<WordOut>(word_out(four.x), word_out(four.y), word_out(four.z), word_out(four.w));
}
