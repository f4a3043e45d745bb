// Elements that are written have 32 bits: f32, or others as a u32.
alias FloatOut = f32;
alias WordOut = u32;
fn float_out(x: f32) -> FloatOut {
    return x;
}
fn word_out(bits: u32) -> WordOut {
    return bits;
}
// A written element, read again.
fn word_back(element: WordOut) -> u32 {
    return element;
}
