// Elements that are read are f16; each converts to an f32 exactly.
alias FloatIn = f16;
alias WordIn = f16;
fn float_in(element: FloatIn) -> f32 {
    return f32(element);
}
fn word_in(element: WordIn) -> u32 {
    return bitcast<u32>(f32(element));
}
