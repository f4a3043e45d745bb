// What reductions fold with. Elements are handled as their 32 bits, so that one loop serves f32, i32 and bool: the sum and the
// product of u32 are those of i32 bit for bit, and extremes are taken of keys, whole numbers in the order of the values. The
// product of f32 is product.wgsl's.
const SUM_F32: u32 = 0u;
const SUM_I32: u32 = 1u;
const PRODUCT_I32: u32 = 2u;
const MAX_F32: u32 = 3u;
const MIN_F32: u32 = 4u;
const MAX_I32: u32 = 5u;
const MIN_I32: u32 = 6u;

// The key of NaN, of which every extreme is NaN. No other f32 has it.
const NAN_KEY: u32 = 0xffffffffu;

// An element's bits as what is folded: of an extreme the key, the larger the better.
fn enter(op: u32, bits: u32) -> u32 {
    switch (op) {
        case MAX_F32, MIN_F32: {
            if ((bits & 0x7fffffffu) > 0x7f800000u) {
                return NAN_KEY;
            }
            // Negative numbers are ordered the other way around.
            let key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
            return select(key, ~key, op == MIN_F32);
        }
        case MAX_I32: { return bits ^ 0x80000000u; }
        case MIN_I32: { return ~(bits ^ 0x80000000u); }
        default: { return bits; }
    }
}

// The bits of what was folded.
fn leave(op: u32, folded: u32) -> u32 {
    switch (op) {
        case MAX_F32, MIN_F32: {
            if (folded == NAN_KEY) {
                return 0x7fc00000u;
            }
            let key = select(folded, ~folded, op == MIN_F32);
            return select(~key, key & 0x7fffffffu, (key >> 31u) == 1u);
        }
        case MAX_I32: { return folded ^ 0x80000000u; }
        case MIN_I32: { return ~folded ^ 0x80000000u; }
        default: { return folded; }
    }
}

// What changes nothing.
fn start(op: u32) -> u32 {
    return select(0u, 1u, op == PRODUCT_I32);
}

fn fold(op: u32, a: u32, b: u32) -> u32 {
    switch (op) {
        case SUM_F32: { return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b)); }
        case SUM_I32: { return a + b; }
        case PRODUCT_I32: { return a * b; }
        default: { return max(a, b); }
    }
}

// The sum and the largest of a workgroup's f32, in every invocation.
fn join_sum(x: f32, local: u32) -> f32 {
    return bitcast<f32>(join(SUM_F32, bitcast<u32>(x), local));
}
fn join_max(x: f32, local: u32) -> f32 {
    return bitcast<f32>(leave(MAX_F32, join(MAX_F32, enter(MAX_F32, bitcast<u32>(x)), local)));
}

// The larger one; NaN if either is.
fn larger(a: f32, b: f32) -> f32 {
    return or_nan(a, or_nan(b, select(b, a, a > b)));
}

// What an element adds to the sum of exp(x - largest) below the largest, and to the number of the largest ones.
fn below_and_tie(x: f32, largest: f32) -> vec2<f32> {
    return select(vec2<f32>(exp_of(x - largest), 0.0), vec2<f32>(0.0, 1.0), x == largest);
}

// The sum of exp(x - largest) over all elements but one of the largest, from what they added; NaN if the largest is NaN or infinite.
fn rest_of(sum: vec2<f32>, largest: f32) -> f32 {
    return select(sum.x + (sum.y - 1.0), nan(), is_nan(largest) || is_infinite(largest));
}
