// Elements that are written: f16. Adapters may round either way, and need not reach infinity, so that the number is first rounded
// here, to nearest and ties to even: what is left to convert is an f16 already.
alias FloatOut = f16;
alias WordOut = f16;
fn float_out(x: f32) -> FloatOut {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    var rounded = bits;
    if (size < 0x38800000u) {
        // Below the normal numbers, of which 2^-14 is the least, they are 2^-24 apart.
        let steps = round(bitcast<f32>(size) * 16777216.0);
        rounded = bits & 0x80000000u | bitcast<u32>(steps * 5.9604644775390625e-8);
    } else if (size < 0x477ff000u) {
        rounded = (bits + 0xfffu + (bits >> 13u & 1u)) & 0xffffe000u;
    } else if (size <= 0x7f800000u) {
        // From halfway between the largest, 65504, and the next step.
        rounded = bits & 0x80000000u | 0x7f800000u;
    }
    return f16(bitcast<f32>(rounded));
}
fn word_out(bits: u32) -> WordOut {
    return float_out(bitcast<f32>(bits));
}
// What was written, read again.
fn float_back(element: FloatOut) -> f32 {
    return f32(element);
}
