// Element access one by one: an invocation handles four elements per iteration, 256 apart, so that neighbouring invocations access
// neighbouring elements. vec4.wgsl has the same functions for elements that can be accessed as vec4.
fn first_index(local: u32) -> u32 {
    return local;
}
// Beyond the end the last element is read; the mask keeps it from being stored.
fn indices(i: u32, end: u32) -> vec4<u32> {
    return min(i + vec4(0u, 256u, 512u, 768u), vec4(end - 1u));
}
fn mask_of(i: u32, end: u32) -> vec4<bool> {
    return vec4(0u, 256u, 512u, 768u) < vec4(end - i);
}
fn offsets_of(walk: Walk, x: Strides, at: vec4<u32>) -> vec4<u32> {
    if (x.contiguous != 0u) {
        return x.offset + at;
    }
    return vec4(offset_of(walk, x, at.x), offset_of(walk, x, at.y), offset_of(walk, x, at.z), offset_of(walk, x, at.w));
}

@group(0) @binding(1) var<storage, read_write> out_words: array<WordOut>;
@group(0) @binding(2) var<storage, read> x_words: array<WordIn>;
@group(0) @binding(2) var<storage, read> x_bools: array<u32>;
@group(0) @binding(3) var<storage, read> y_words: array<WordIn>;
@group(0) @binding(4) var<storage, read> z_words: array<WordIn>;

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
    return vec4(x_bools[at.x], x_bools[at.y], x_bools[at.z], x_bools[at.w]) != vec4(0u);
}
fn out_bits(at: vec4<u32>) -> vec4<u32> {
    return vec4(word_back(out_words[at.x]), word_back(out_words[at.y]), word_back(out_words[at.z]), word_back(out_words[at.w]));
}

fn store_bits(at: vec4<u32>, mask: vec4<bool>, four: vec4<u32>) {
    if (mask.x) {
        out_words[at.x] = word_out(four.x);
    }
    if (mask.y) {
        out_words[at.y] = word_out(four.y);
    }
    if (mask.z) {
        out_words[at.z] = word_out(four.z);
    }
    if (mask.w) {
        out_words[at.w] = word_out(four.w);
    }
}
