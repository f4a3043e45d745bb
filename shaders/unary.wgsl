// Element-wise functions of one tensor, and their gradients. The formulas and edge cases are stated at the methods of `Tensor`.
//
//   unary_TYPE       out[i] = f(x[i])
//   unary_mut_TYPE   out[i] = f(out[i])
//   unary_grad       out[i] = y[i] f'(x[i]): x is the saved input or output (`UnaryOp::saves`), y the gradient g
//
// a and b are the constants of f. Cost: one read and one write per element, two reads for a gradient.

// The kernel: its position in `UnaryOp::KERNELS`, from which shader.rs generates the constants ADD, MUL, ..
override OP: u32 = 0u;

const SQRT_HALF: f32 = 0.7071067811865476;
const TWO_OVER_SQRT_PI: f32 = 1.1283791670955126;
// sqrt(2 / pi) and the cubic coefficient of gelu's approximation by tanh.
const GELU_SCALE: f32 = 0.7978845608028654;
const GELU_CUBIC: f32 = 0.044715;

// NaN stays NaN; -0 becomes 0.
fn sign_of(x: f32) -> f32 {
    return or_nan(x, select(select(0.0, -1.0, x < 0.0), 1.0, x > 0.0));
}

fn clamp_to(x: f32, low: f32, high: f32) -> f32 {
    return or_nan(x, select(select(x, high, x > high), low, x < low));
}

// x gate, and the limit 0 where the gate is 0: -inf * 0 would be NaN.
fn gated(x: f32, gate: f32) -> f32 {
    return select(x * gate, 0.0, is_zero(gate));
}

// The cumulative distribution function of the standard normal. erfc keeps its relative precision where the result is small.
fn normal(x: f32) -> f32 {
    return 0.5 * erfc_of(-x * SQRT_HALF);
}

fn gelu_inner(x: f32) -> f32 {
    return GELU_SCALE * (x + GELU_CUBIC * (x * x * x));
}

fn apply_f32(x: f32) -> f32 {
    let a = bitcast<f32>(p.a);
    let b = bitcast<f32>(p.b);
    switch (OP) {
        case ADD: { return x + a; }
        case MUL: { return x * a; }
        case RSUB: { return a - x; }
        case NEG: { return -x; }
        case ABS: { return abs(x); }
        case SIGN: { return sign_of(x); }
        case REMAINDER: { return remainder(x, a); }
        case CLAMP: { return clamp_to(x, a, b); }
        case DIV: { return x / a; }
        case RDIV: { return a / x; }
        case SQUARE: { return x * x; }
        case ONE: { return 1.0; }
        case IDENTITY: { return x; }
        case CUBE: { return x * x * x; }
        case POWF: { return power(x, a); }
        case SQRT: { return sqrt(x); }
        case RSQRT: { return 1.0 / sqrt(x); }
        case EXP: { return exp_of(x); }
        case EXPM1: { return expm1_of(x); }
        case LOG: { return log_of(x); }
        case LOG1P: { return log1p_of(x); }
        case LOG2: { return log2_of(x); }
        case SIN: { return sin_of(x); }
        case COS: { return cos_of(x); }
        case TAN: { return tan_of(x); }
        case ATAN: { return atan_of(x); }
        case SINH: { return sinh_of(x); }
        case COSH: { return cosh_of(x); }
        case TANH: { return tanh_of(x); }
        case ERF: { return erf_of(x); }
        case SIGMOID: { return sigmoid_of(x); }
        case RELU: { return or_nan(x, select(x, 0.0, x < 0.0)); }
        case LEAKY_RELU: { return or_nan(x, select(a * x, x, x > 0.0)); }
        case ELU: { return select(a * expm1_of(x), x, x > 0.0); }
        case GELU: { return gated(x, normal(x)); }
        case GELU_TANH: { return gated(x, 0.5 * (1.0 + tanh_of(gelu_inner(x)))); }
        case SILU: { return gated(x, sigmoid_of(x)); }
        case HARDSWISH: { return gated(x, clamp_to(x + 3.0, 0.0, 6.0) / 6.0); }
        case SOFTPLUS: { return softplus_of(x); }
        case FLOOR: { return floor(x); }
        case CEIL: { return ceil(x); }
        case ROUND: { return round(x); }
        case TRUNC: { return trunc(x); }
        default: { return nan(); }
    }
}

// I32 wraps.
fn apply_i32(x: i32) -> i32 {
    let a = bitcast<i32>(p.a);
    let b = bitcast<i32>(p.b);
    switch (OP) {
        case ADD: { return x + a; }
        case MUL: { return x * a; }
        case RSUB: { return a - x; }
        case NEG: { return -x; }
        case ABS: { return abs(x); }
        case SIGN: { return sign(x); }
        case REMAINDER: { return remainder_i32(x, a); }
        case CLAMP: { return select(select(x, b, x > b), a, x < a); }
        default: { return select(0, 1, x == 0); } // LOGICAL_NOT
    }
}

// f'(s) g, where s is the input down to CLAMP, and the output below.
fn gradient(s: f32, g: f32) -> f32 {
    let a = bitcast<f32>(p.a);
    let b = bitcast<f32>(p.b);
    switch (OP) {
        case ABS: { return g * sign_of(s); }
        case SQUARE: { return (s + s) * g; }
        case CUBE: { return 3.0 * s * s * g; }
        case POWF: { return g * (power(s, a - 1.0) * a); }
        // -a g / s². The square may overflow or underflow, so exponents are handled apart.
        case RDIV: {
            let bits = bitcast<u32>(s);
            let exponent = i32((bits >> 23u) & 255u);
            if (exponent == 0 || exponent == 255) {
                let r = 1.0 / s;
                return g * (-a * r * r);
            }
            let mantissa = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
            return g * shifted(-a / (mantissa * mantissa), 2 * (127 - exponent));
        }
        case LOG: { return g / s; }
        case LOG1P: { return g / (s + 1.0); }
        case LOG2: { return g * LOG2_E / s; }
        case SIN: { return g * cos_of(s); }
        case COS: { return g * -sin_of(s); }
        case ATAN: { return g / (s * s + 1.0); }
        case SINH: { return g * cosh_of(s); }
        case COSH: { return g * sinh_of(s); }
        case ERF: { return g * TWO_OVER_SQRT_PI * exp_of(-(s * s)); }
        case LEAKY_RELU: { return select(g * a, g, s > 0.0); }
        case ELU: { return select(g * a * exp_of(s), g, s > 0.0); }
        case GELU: { return g * (normal(s) + gated(s, (0.5 * GELU_SCALE) * exp_of(-0.5 * s * s))); }
        // (1 + t) / 2 + s / 2 (1 - t²) u' with t = tanh(u), u = k (s + c s³)
        case GELU_TANH: {
            let t = tanh_of(gelu_inner(s));
            let slope = GELU_SCALE * (1.0 + (3.0 * GELU_CUBIC) * (s * s));
            return g * 0.5 * (1.0 + t + gated(s * slope, 1.0 - t * t));
        }
        // y (1 + s (1 - y))
        case SILU: {
            let y = sigmoid_of(s);
            return g * gated(1.0 + gated(s, 1.0 - y), y);
        }
        case HARDSWISH: {
            let slope = or_nan(s, select(s * (1.0 / 3.0) + 0.5, 1.0, s >= 3.0));
            return select(g * slope, 0.0, s <= -3.0 && !is_nan(s));
        }
        case SOFTPLUS: { return g * sigmoid_of(s); }
        case CLAMP: { return select(0.0, g, s > a && s < b && !is_nan(s)); }
        case SQRT: { return 0.5 * g / s; }
        case RSQRT: { return g * (-0.5 * s * s * s); }
        case EXP: { return g * s; }
        case EXPM1: { return g * (s + 1.0); }
        case TAN: { return g * (s * s + 1.0); }
        case TANH: { return g * (1.0 - s * s); }
        case SIGMOID: { return g * (s * (1.0 - s)); }
        default: { return select(g, 0.0, s <= 0.0 && !is_nan(s)); } // RELU
    }
}

fn all_f32(bits: vec4<u32>) -> vec4<u32> {
    let x = bitcast<vec4<f32>>(bits);
    return bitcast<vec4<u32>>(vec4(apply_f32(x.x), apply_f32(x.y), apply_f32(x.z), apply_f32(x.w)));
}
fn all_i32(bits: vec4<u32>) -> vec4<u32> {
    let x = bitcast<vec4<i32>>(bits);
    return bitcast<vec4<u32>>(vec4(apply_i32(x.x), apply_i32(x.y), apply_i32(x.z), apply_i32(x.w)));
}

fn unary_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_f32(x_at(at)));
}
fn unary_mut_f32_at(at: vec4<u32>, mask: vec4<bool>) {
    let to = offsets_of(p.walk, p.out, at);
    store_bits(to, mask, all_f32(out_bits(to)));
}
fn unary_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    put_at(at, mask, all_i32(x_at(at)));
}
fn unary_mut_i32_at(at: vec4<u32>, mask: vec4<bool>) {
    let to = offsets_of(p.walk, p.out, at);
    store_bits(to, mask, all_i32(out_bits(to)));
}
fn unary_grad_at(at: vec4<u32>, mask: vec4<bool>) {
    let s = bitcast<vec4<f32>>(x_at(at));
    let g = bitcast<vec4<f32>>(y_at(at));
    let gx = vec4(gradient(s.x, g.x), gradient(s.y, g.y), gradient(s.z, g.z), gradient(s.w, g.w));
    put_at(at, mask, bitcast<vec4<u32>>(gx));
}
