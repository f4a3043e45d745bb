// Elements that are written are f16. WGSL lets an adapter round a conversion in either direction and need not overflow to infinity,
// so the number is first rounded here, to nearest even, to an f32 that is an f16: what remains to convert is exact.
alias FloatOut = f16;
alias WordOut = f16;
fn float_out(x: f32) -> FloatOut {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    var rounded = bits;
    if (size < 0x38800000u) {
        // Below 2^-14, the least normal f16, the spacing is 2^-24.
        let steps = round(bitcast<f32>(size) * 16777216.0);
        rounded = bits & 0x80000000u | bitcast<u32>(steps * 5.9604644775390625e-8);
    } else if (size < 0x477ff000u) {
        rounded = (bits + 0xfffu + (bits >> 13u & 1u)) & 0xffffe000u;
    } else if (size <= 0x7f800000u) {
        // From halfway between the largest f16, 65504, and the number that would follow it.
        rounded = bits & 0x80000000u | 0x7f800000u;
    }
    return f16(bitcast<f32>(rounded));
}
fn word_out(bits: u32) -> WordOut {
    return float_out(bitcast<f32>(bits));
}
// A written element, read again.
fn word_back(element: WordOut) -> u32 {
    return bitcast<u32>(f32(element));
}
