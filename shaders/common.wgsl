// What every shader begins with: places in a strided tensor, the index of an invocation, numbers from bits. The backend puts
// this text before each file.
//
// Elements take 32 bits: f32, i32, or bool as a u32 of 0 or 1. WGSL lets an implementation assume that there is no NaN and no
// infinity, and drivers do: `select(x, 0.0, x < 0.0)` of NaN becomes `max(x, 0.0)`, which is 0, and `s <= 0.0` becomes
// `!(s > 0.0)`. So a test for them looks at the bits, and no comparison decides about a NaN: see `or_nan`.

// Invocations of a workgroup of an element-wise shader.
const THREADS: u32 = 256u;

// Where a tensor's elements lie along a walk over a shape. Dimensions are counted from the innermost: `near` holds the strides
// of the last four, `far` of the two before. Mirrors `Operand` in params.rs.
struct Operand {
    near: vec4<u32>,
    far: vec2<u32>,
    // The first element.
    offset: u32,
    // Whether the elements lie in the walk's order.
    ordered: u32,
}

// A shape, innermost dimension first; sizes beyond the rank are 1. Mirrors `Walk` in params.rs.
struct Walk {
    near: vec4<u32>,
    far: vec2<u32>,
    numel: u32,
    rank: u32,
}

// The position of element i of a walk.
fn place(walk: Walk, x: Operand, i: u32) -> u32 {
    if (x.ordered != 0u) {
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

// The index of this invocation among all, and their number. A grid has at most 65,535 workgroups in a dimension: large ones are
// folded into two.
fn thread_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * THREADS + local;
}
fn thread_count(groups: vec3<u32>) -> u32 {
    return groups.x * groups.y * THREADS;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
// y, which was computed from x by comparisons; NaN if x is.
fn or_nan(x: f32, y: f32) -> f32 {
    return select(y, x, is_nan(x));
}
fn is_zero(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0u;
}
fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}
// Not constants: WGSL has no literal for either.
fn nan() -> f32 {
    return bitcast<f32>(0x7fc00000u | (bitcast<u32>(f32(THREADS)) & 0u));
}
fn infinity() -> f32 {
    return bitcast<f32>(0x7f800000u | (bitcast<u32>(f32(THREADS)) & 0u));
}
