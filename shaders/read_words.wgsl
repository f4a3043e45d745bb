// Elements that are read have 32 bits: f32, or others as a u32.
alias FloatIn = f32;
alias WordIn = u32;
fn float_in(element: FloatIn) -> f32 {
    return element;
}
fn word_in(element: WordIn) -> u32 {
    return element;
}
