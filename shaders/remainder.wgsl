// What is left of a after whole steps of b, with the sign of b. The backend puts this text before the files that need it.

// |a| mod |b| for bits of finite magnitudes, b not 0. Long division of the mantissas as whole numbers: exact, subnormal numbers
// included, which a device may take for 0 in arithmetic of floats, and over after 32 turns at most, as each takes 8 of at most
// 253 binary places.
fn remainder_bits(a: u32, b: u32) -> u32 {
    if (a < b) {
        return a;
    }
    let exponent = max(b >> 23u, 1u);
    let step = select(b, (b & 0x7fffffu) | 0x800000u, b >= 0x800000u);
    var rest = select(a, (a & 0x7fffffu) | 0x800000u, a >= 0x800000u) % step;
    for (var places = max(a >> 23u, 1u) - exponent; places > 0u; places -= min(places, 8u)) {
        rest = (rest << min(places, 8u)) % step; // the rest has at most 24 bits
    }
    if (rest == 0u) {
        return 0u;
    }
    // The highest bit of a normal number's mantissa counts as one exponent.
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
        return 0; // -1 divides everything, and the smallest number by it overflows
    }
    let rest = a % b;
    return select(rest, rest + b, rest != 0 && (rest < 0) != (b < 0));
}
