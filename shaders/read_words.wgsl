// Elements that are read: 32 bits, f32 or others.
alias FloatIn = f32;
alias WordIn = u32;
fn float_in(element: FloatIn) -> f32 {
    return element;
}
fn word_in(element: WordIn) -> u32 {
    return element;
}
