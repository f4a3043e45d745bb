// Element access one by one: an invocation handles four elements per iteration, 256 apart, so that neighbouring invocations access
// neighbouring elements. vec4.wgsl has the same functions for elements that can be accessed as vec4.
const BLOCK: u32 = 1024u;
fn blocks(numel: u32) -> u32 {
    return numel / BLOCK + select(0u, 1u, numel % BLOCK != 0u);
}

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

@group(0) @binding(1) var<storage, read_write> out_floats: array<FloatOut>;
@group(0) @binding(1) var<storage, read_write> out_words: array<WordOut>;
@group(0) @binding(1) var<storage, read_write> out_u32: array<u32>;
@group(0) @binding(2) var<storage, read> x_floats: array<FloatIn>;
@group(0) @binding(2) var<storage, read> x_words: array<WordIn>;
@group(0) @binding(2) var<storage, read> x_bools: array<u32>;
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
    return vec4(x_bools[at.x], x_bools[at.y], x_bools[at.z], x_bools[at.w]) != vec4(0u);
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
    return vec4(out_u32[at.x], out_u32[at.y], out_u32[at.z], out_u32[at.w]);
}

fn store_f32(at: vec4<u32>, mask: vec4<bool>, four: vec4<f32>) {
    if (mask.x) {
        out_floats[at.x] = float_out(four.x);
    }
    if (mask.y) {
        out_floats[at.y] = float_out(four.y);
    }
    if (mask.z) {
        out_floats[at.z] = float_out(four.z);
    }
    if (mask.w) {
        out_floats[at.w] = float_out(four.w);
    }
}
fn store_u32(at: vec4<u32>, mask: vec4<bool>, four: vec4<u32>) {
    if (mask.x) {
        out_u32[at.x] = four.x;
    }
    if (mask.y) {
        out_u32[at.y] = four.y;
    }
    if (mask.z) {
        out_u32[at.z] = four.z;
    }
    if (mask.w) {
        out_u32[at.w] = four.w;
    }
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
