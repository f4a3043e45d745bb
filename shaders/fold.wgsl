// Reduction operators on the 32 bits of an element, so that one loop serves f32, i32 and bool. Sums and products of u32 are those of
// i32 bit for bit. An extreme is the largest of keys: u32 in the order of the values, or in the reverse order for a minimum.
// product.wgsl has the product of f32. shader.rs generates the constants SUM_F32, ..

// The key of NaN, above all others: an extreme of anything with NaN is NaN.
const NAN_KEY: u32 = 0xffffffffu;

// The operand of an element: its bits, or its key for an extreme.
fn encode(op: u32, bits: u32) -> u32 {
    switch (op) {
        case MAX_F32, MIN_F32: {
            if ((bits & 0x7fffffffu) > 0x7f800000u) {
                return NAN_KEY;
            }
            // The bits of negative numbers are in reverse order.
            let key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
            return select(key, ~key, op == MIN_F32);
        }
        case MAX_I32: { return bits ^ 0x80000000u; }
        case MIN_I32: { return ~(bits ^ 0x80000000u); }
        default: { return bits; }
    }
}

// The bits of a result, the inverse of encode.
fn decode(op: u32, result: u32) -> u32 {
    switch (op) {
        case MAX_F32, MIN_F32: {
            if (result == NAN_KEY) {
                return 0x7fc00000u;
            }
            let key = select(result, ~result, op == MIN_F32);
            return select(~key, key & 0x7fffffffu, (key >> 31u) == 1u);
        }
        case MAX_I32: { return result ^ 0x80000000u; }
        case MIN_I32: { return ~result ^ 0x80000000u; }
        default: { return result; }
    }
}

// The identity element.
fn identity(op: u32) -> u32 {
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

// The sum and the maximum of one f32 of each invocation of a workgroup, in every invocation.
fn workgroup_sum(x: f32, local: u32) -> f32 {
    return bitcast<f32>(reduce_workgroup(SUM_F32, bitcast<u32>(x), local));
}
fn workgroup_max(x: f32, local: u32) -> f32 {
    return bitcast<f32>(decode(MAX_F32, reduce_workgroup(MAX_F32, encode(MAX_F32, bitcast<u32>(x)), local)));
}

// The maximum; NaN if either is NaN.
fn larger(a: f32, b: f32) -> f32 {
    return or_nan(a, or_nan(b, select(b, a, a > b)));
}

// The terms of a log-sum-exp: exp(x - largest) of an element below the largest, and 1 in the second component of one that equals it.
fn below_and_tie(x: f32, largest: f32) -> vec2<f32> {
    return select(vec2<f32>(exp_of(x - largest), 0.0), vec2<f32>(0.0, 1.0), x == largest);
}

// The sum of exp(x - largest) over all elements but one of the largest, from the sum of their terms; NaN if the largest is NaN or
// infinite. Without that one, whose exponential is 1, small terms keep their precision.
fn rest_of(sum: vec2<f32>, largest: f32) -> f32 {
    return select(sum.x + (sum.y - 1.0), nan(), is_nan(largest) || is_infinite(largest));
}
