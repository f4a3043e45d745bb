// Precedes every shader: element offsets in a strided tensor, the index of an invocation, bit tests and constants of f32.
//
// Elements have 32 bits: f32, i32, or bool as a u32 of 0 or 1. WGSL lets an implementation assume that there is no NaN and no
// infinity, and drivers do: `select(x, 0.0, x < 0.0)` may become `max(x, 0.0)`, which is 0 for NaN, and `s <= 0.0` may become
// `!(s > 0.0)`. So tests for NaN and infinity look at the bits, and `or_nan` restores a NaN that a comparison may have dropped.

// Invocations of a workgroup of an element-wise shader.
const THREADS: u32 = 256u;

// Elements that such a workgroup handles per iteration, four per invocation; and the blocks of so many elements.
const BLOCK: u32 = 1024u;
fn blocks(numel: u32) -> u32 {
    return numel / BLOCK + select(0u, 1u, numel % BLOCK != 0u);
}

// The strides of a tensor along a Walk, innermost dimension first: `near` of the last four dimensions, `far` of the two before.
// Mirrors `Strides` in params.rs.
struct Strides {
    near: vec4<u32>,
    far: vec2<u32>,
    // The first element.
    offset: u32,
    // Whether the elements are contiguous in row-major order.
    contiguous: u32,
}

// A shape to iterate over in row-major order, innermost dimension first; sizes beyond the rank are 1. Mirrors `Walk` in
// params.rs.
struct Walk {
    near: vec4<u32>,
    far: vec2<u32>,
    numel: u32,
    rank: u32,
}

// The offset of element i: i is split into coordinates, innermost first.
fn offset_of(walk: Walk, x: Strides, i: u32) -> u32 {
    if (x.contiguous != 0u) {
        return x.offset + i;
    }
    if (walk.rank < 2u) {
        return x.offset + i * x.near.x;
    }
    var rest = i / walk.near.x;
    var at = x.offset + (i - rest * walk.near.x) * x.near.x;
    var next = rest / walk.near.y;
    at += (rest - next * walk.near.y) * x.near.y;
    rest = next;
    if (walk.rank > 2u) {
        next = rest / walk.near.z;
        at += (rest - next * walk.near.z) * x.near.z;
        rest = next;
        if (walk.rank > 3u) {
            next = rest / walk.near.w;
            at += (rest - next * walk.near.w) * x.near.w;
            rest = next;
            if (walk.rank > 4u) {
                next = rest / walk.far.x;
                at += (rest - next * walk.far.x) * x.far.x + next * x.far.y;
            }
        }
    }
    return at;
}

// The index of this invocation in the grid, and the number of invocations: the start and the step of a grid-stride loop. A grid
// has at most 65,535 workgroups along a dimension; larger ones are folded into two dimensions.
fn thread_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * THREADS + local;
}
fn thread_count(groups: vec3<u32>) -> u32 {
    return groups.x * groups.y * THREADS;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
// y, a result of comparisons with x; but NaN if x is NaN.
fn or_nan(x: f32, y: f32) -> f32 {
    return select(y, x, is_nan(x));
}
fn is_zero(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0u;
}
fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}
// WGSL has no literals for NaN and infinity, and a constant expression must not have such a value.
fn nan() -> f32 {
    return bitcast<f32>(0x7fc00000u | (bitcast<u32>(f32(THREADS)) & 0u));
}
fn infinity() -> f32 {
    return bitcast<f32>(0x7f800000u | (bitcast<u32>(f32(THREADS)) & 0u));
}
