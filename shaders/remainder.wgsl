// remainder(a, b) = a - b floor(a / b), with the sign of b. Precedes the files that use it.

// |a| mod |b| on the bits of finite magnitudes, b not 0: long division of the mantissas as integers. It is exact, also for subnormal
// numbers, which a device may flush to 0 in float arithmetic. Each iteration divides 8 of at most 253 binary digits, so there are at
// most 32 iterations.
fn remainder_bits(a: u32, b: u32) -> u32 {
    if (a < b) {
        return a;
    }
    let exponent = max(b >> 23u, 1u);
    let step = select(b, (b & 0x7fffffu) | 0x800000u, b >= 0x800000u);
    var rest = select(a, (a & 0x7fffffu) | 0x800000u, a >= 0x800000u) % step;
    for (var digits = max(a >> 23u, 1u) - exponent; digits > 0u; digits -= min(digits, 8u)) {
        rest = (rest << min(digits, 8u)) % step; // rest has at most 24 bits before the shift
    }
    if (rest == 0u) {
        return 0u;
    }
    // Normalizes. The implicit bit of a normal number adds 1 to the exponent field, so the field is one less.
    let shift = min(countLeadingZeros(rest) - 8u, exponent - 1u);
    return (rest << shift) + ((exponent - 1u - shift) << 23u);
}

fn remainder(a: f32, b: f32) -> f32 {
    if (is_nan(a) || is_nan(b) || is_infinite(a) || is_zero(b)) {
        return nan();
    }
    let sizes = vec2(bitcast<u32>(a), bitcast<u32>(b)) & vec2(0x7fffffffu);
    let rest = with_sign(bitcast<f32>(remainder_bits(sizes.x, sizes.y)), a);
    let signs_differ = ((bitcast<u32>(a) ^ bitcast<u32>(b)) >> 31u) != 0u;
    return select(rest, rest + b, !is_zero(rest) && signs_differ);
}

fn remainder_i32(a: i32, b: i32) -> i32 {
    if (b == 0 || b == -1) {
        return 0; // -1 divides everything; i32::MIN % -1 overflows
    }
    let rest = a % b;
    return select(rest, rest + b, rest != 0 && (rest < 0) != (b < 0));
}
