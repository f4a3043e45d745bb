// Exponentials, logarithms, trigonometric functions and what builds on them, computed with basic arithmetic: WGSL's built-in functions
// guarantee about two digits of a sine and five of a hyperbolic tangent. Precedes every file, after common.wgsl.
//
// exp to erfc use the polynomials of backend-cpu/src/approx.rs, so that both backends differ by rounding alone. Sine, cosine and arc
// tangent use those of Moshier's Cephes library (sinf, atanf), pow a logarithm in two parts. No result relies on the order of
// operations, which a compiler may change, but for `round` and bit masks, which are exact.

const LOG2_E: f32 = 1.4426950408889634;
const LN2: f32 = 0.6931471805599453;
// ln 2 = LN2_HIGH + LN2_LOW. LN2_HIGH has eight significant bits, so its product with any exponent is exact.
const LN2_HIGH: f32 = 0.6933594;
const LN2_LOW: f32 = -2.1219444e-4;

// e^r - 1 for |r| at most ln(2) / 2: r + r² q(r).
fn expm1_reduced(r: f32) -> f32 {
    var q = 1.9919922e-4;
    q = q * r + 1.3947212e-3;
    q = q * r + 8.333261e-3;
    q = q * r + 4.1666254e-2;
    q = q * r + 1.6666667e-1;
    q = q * r + 0.5;
    return r + r * r * q;
}

// 2^n for n in -126..=127.
fn power_of_two(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}

// y 2^n, through y's exponent field. 2^n may be out of range where the result is not, and in a product with two powers of two a
// compiler may multiply those first.
fn shifted(y: f32, n: i32) -> f32 {
    let tiny = (bitcast<u32>(y) & 0x7f800000u) == 0u; // 0 or subnormal
    let bits = bitcast<u32>(select(y, y * 16777216.0, tiny));
    let exponent = i32((bits >> 23u) & 255u);
    if (exponent == 0 || exponent == 255) {
        return y;
    }
    let to = n + exponent - select(0, 24, tiny);
    if (to > 254) {
        return with_sign(infinity(), y);
    }
    // A subnormal result is one product of a number in [2^-126, 2^-125).
    let least = bitcast<f32>((bits & 0x807fffffu) | 0x00800000u) * power_of_two(clamp(to - 1, -126, 0));
    return select(least, bitcast<f32>((bits & 0x807fffffu) | (u32(max(to, 1)) << 23u)), to >= 1);
}

// y 2^n, as a product with two powers: 2^n alone may be out of range where the result is not.
fn scaled(y: f32, n: i32) -> f32 {
    let half = n >> 1u;
    return y * power_of_two(half) * power_of_two(n - half);
}

fn exp_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    if (x > 88.75) {
        return infinity();
    }
    let clamped = max(x, -104.0);
    let n = round(clamped * LOG2_E);
    return scaled(expm1_reduced(clamped - n * LN2_HIGH - n * LN2_LOW) + 1.0, i32(n));
}

fn expm1_of(x: f32) -> f32 {
    if (is_nan(x) || is_zero(x)) {
        return x;
    }
    if (x > 88.75) {
        return infinity();
    }
    let clamped = max(x, -20.0);
    let n = round(clamped * LOG2_E);
    // 2^n (e^r - 1) + 2^n - 1, as twice its half: 2^128 is out of range.
    let half = power_of_two(i32(n) - 1);
    return (half * expm1_reduced(clamped - n * LN2_HIGH - n * LN2_LOW) + (half - 0.5)) * 2.0;
}

// log(1 + f) - f + f²/2 for 1 + f in [sqrt(1/2), sqrt(2)).
fn log_rest(f: f32) -> f32 {
    var q = 6.7466386e-2;
    q = q * f - 1.1675651e-1;
    q = q * f + 1.1888163e-1;
    q = q * f - 1.2405589e-1;
    q = q * f + 1.4219552e-1;
    q = q * f - 1.6667996e-1;
    q = q * f + 2.0002119e-1;
    q = q * f - 2.500001e-1;
    q = q * f + 3.3333313e-1;
    return f * f * f * q;
}

// x = (1 + f) 2^e with 1 + f in [sqrt(1/2), sqrt(2)): f and e. For x above 0 and finite.
fn log_parts(x: f32) -> vec2<f32> {
    // Subnormal numbers are scaled into the normal range.
    let tiny = x < 1.17549435e-38;
    let bits = bitcast<i32>(select(x, x * 8388608.0, tiny));
    let e = (bits - 0x3f3504f3) >> 23u;
    let f = bitcast<f32>(bits - (e << 23u)) - 1.0;
    return vec2(f, f32(e) - select(0.0, 23.0, tiny));
}

// Whether the logarithm of x is finite; else it is log_edge(x).
fn has_log(x: f32) -> bool {
    return x > 0.0 && !is_infinite(x) && !is_nan(x);
}
fn log_edge(x: f32) -> f32 {
    if (is_zero(x)) {
        return -infinity();
    }
    return select(nan(), x, bitcast<u32>(x) == 0x7f800000u);
}

fn log_of(x: f32) -> f32 {
    if (!has_log(x)) {
        return log_edge(x);
    }
    let p = log_parts(x);
    return (log_rest(p.x) + p.y * LN2_LOW - 0.5 * (p.x * p.x)) + p.x + p.y * LN2_HIGH;
}

fn log2_of(x: f32) -> f32 {
    if (!has_log(x)) {
        return log_edge(x);
    }
    let p = log_parts(x);
    let low = log_rest(p.x) - 0.5 * (p.x * p.x);
    return low * (LOG2_E - 1.0) + p.x * (LOG2_E - 1.0) + low + p.x + p.y;
}

fn log1p_of(x: f32) -> f32 {
    // Near 0 the polynomial is evaluated at x itself: 1 + x would round it.
    if (x > -0.29 && x < 0.41) {
        return log_rest(x) - 0.5 * (x * x) + x;
    }
    return log_of(1.0 + x);
}

fn with_sign(y: f32, x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(y) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}

fn tanh_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let m = expm1_of(-2.0 * abs(x));
    return with_sign(-m / (2.0 + m), x);
}

// Where e^a may overflow, the result is (e^(a/2) / 2) e^(a/2).
fn sinh_of(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) {
        return x;
    }
    let a = abs(x);
    if (a > 80.0) {
        let half = exp_of(0.5 * a);
        return with_sign(0.5 * half * half, x);
    }
    let m = expm1_of(a);
    return with_sign(0.5 * (m + m / (m + 1.0)), x);
}

fn cosh_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let a = abs(x);
    if (a > 80.0) {
        let half = exp_of(0.5 * a);
        return 0.5 * half * half;
    }
    let e = exp_of(a);
    return 0.5 * e + 0.5 / e;
}

// erfc(t) for t >= 0; see approx.rs.
fn erfc_positive(t: f32) -> f32 {
    let clamped = min(t, 10.5); // erfc is 0 in f32 from here on
    // t² in two parts, the first exact: the exponential would amplify its rounding error by 2 t².
    let cut = bitcast<f32>(bitcast<u32>(clamped) & 0xfffff000u);
    let square = -(cut * cut);
    let n = round(square * LOG2_E);
    let r = square - n * LN2_HIGH - n * LN2_LOW - (clamped - cut) * (clamped + cut);
    let e = scaled(expm1_reduced(r) + 1.0, i32(n));
    let u = (clamped - 2.0) / (clamped + 2.0);
    var q = 1.677e-5;
    q = q * u + 1.1411231e-4;
    q = q * u + 1.6705206e-4;
    q = q * u - 4.4283128e-4;
    q = q * u - 1.4332323e-3;
    q = q * u + 1.2713936e-3;
    q = q * u + 8.716307e-3;
    q = q * u - 8.034569e-3;
    q = q * u - 5.4219216e-2;
    q = q * u + 1.6405135e-1;
    q = q * u - 1.6603044e-1;
    q = q * u - 9.2763826e-2;
    q = q * u + 1.2769784;
    return e * (q / (1.0 + 2.0 * clamped));
}

fn erfc_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let y = erfc_positive(abs(x));
    return select(y, 2.0 - y, x < 0.0);
}

fn erf_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    if (abs(x) >= 1.0) {
        return with_sign(1.0 - erfc_positive(abs(x)), x);
    }
    let square = x * x;
    var q = -9.641518e-6;
    q = q * square + 1.1256948e-4;
    q = q * square - 8.482829e-4;
    q = q * square + 5.2209455e-3;
    q = q * square - 2.68654e-2;
    q = q * square + 1.1283782e-1;
    q = q * square - 3.7612638e-1;
    q = q * square + 1.2837917e-1;
    return x + x * q;
}

fn sigmoid_of(x: f32) -> f32 {
    let e = exp_of(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn softplus_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    return max(x, 0.0) + log1p_of(exp_of(-abs(x)));
}

// ---- trigonometric functions ----

// Cody-Waite reduction: x = k pi/2 + r with |r| <= pi/4; returns r and k mod 4. pi/2 is split into four parts of nine bits and a rest,
// whose products with k are exact for |x| up to 5e4; beyond, precision is lost.
fn reduce_angle(x: f32) -> vec2<f32> {
    let k = round(x * 0.6366197723675814);
    var r = x - k * 1.5703125;
    r -= k * 0.00048351287841796875;
    r -= k * 3.1385570764541626e-07;
    r -= k * 6.070877134334296e-11;
    r -= k * 6.223372171896613e-14;
    return vec2(r, k - 4.0 * floor(k * 0.25));
}

fn sine(r: f32) -> f32 {
    let z = r * r;
    return r + r * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
}

fn cosine(r: f32) -> f32 {
    let z = r * r;
    return 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
}

fn sin_of(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) {
        return nan();
    }
    let reduced = reduce_angle(x);
    let y = select(sine(reduced.x), cosine(reduced.x), reduced.y == 1.0 || reduced.y == 3.0);
    return select(y, -y, reduced.y >= 2.0);
}

fn cos_of(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) {
        return nan();
    }
    let reduced = reduce_angle(x);
    let y = select(cosine(reduced.x), sine(reduced.x), reduced.y == 1.0 || reduced.y == 3.0);
    return select(y, -y, reduced.y == 1.0 || reduced.y == 2.0);
}

fn tan_of(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x)) {
        return nan();
    }
    let reduced = reduce_angle(x);
    let s = sine(reduced.x);
    let c = cosine(reduced.x);
    return select(s / c, -c / s, reduced.y == 1.0 || reduced.y == 3.0);
}

fn atan_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    var t = abs(x);
    var base = 0.0;
    if (t > 2.414213562373095) {
        base = 1.5707963267948966;
        t = select(-1.0 / t, 0.0, is_infinite(t));
    } else if (t > 0.4142135623730950) {
        base = 0.7853981633974483;
        t = (t - 1.0) / (t + 1.0);
    }
    let z = t * t;
    let y = (((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1) * z * t + t;
    return with_sign(base + y, x);
}

// ---- powers ----

// x^y, as C's pow defines it.
fn power(x: f32, y: f32) -> f32 {
    if (is_zero(y) || bitcast<u32>(x) == 0x3f800000u) {
        return 1.0;
    }
    if (is_nan(x) || is_nan(y)) {
        return nan();
    }
    let whole = is_infinite(y) || floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && (i32(y) & 1) != 0;
    let negative = (bitcast<u32>(x) >> 31u) != 0u;
    let size = abs(x);
    var result: f32;
    if (size == 0.0 || is_infinite(size) || is_infinite(y)) {
        // The result is 0, 1 or infinite, by the signs of log(size) and y.
        let grows = (size > 1.0) == (y > 0.0);
        result = select(select(0.0, infinity(), grows), 1.0, size == 1.0);
    } else if (negative && !whole) {
        return nan();
    } else {
        result = power_of(size, y);
    }
    return select(result, -result, negative && odd);
}

// size^y for finite size > 0 and finite y: 2^(y log2(size)), with the logarithm in two parts, as its error is multiplied by y.
fn power_of(size: f32, y: f32) -> f32 {
    let p = log_parts(size);
    let f = p.x;
    // log(1 + f) = f - f²/2 + rest, exact in the upper bits of f.
    let upper = bitcast<f32>(bitcast<u32>(f) & 0xfffff000u);
    let first = upper - 0.5 * upper * upper;
    let natural = bitcast<f32>(bitcast<u32>(first) & 0xfffff000u);
    let low_part = (upper - natural) - 0.5 * upper * upper + (f - upper) - 0.5 * (f - upper) * (f + upper) + log_rest(f);
    // Times log2(e), split into parts of twelve bits.
    const E_HIGH: f32 = 1.4423828125;
    const E_LOW: f32 = 0.00031222838896340733;
    let high = natural * E_HIGH;
    let low = natural * E_LOW + low_part * LOG2_E;
    // y (e + high + low), with y split into two parts.
    let y_high = bitcast<f32>(bitcast<u32>(y) & 0xfffff000u);
    let y_low = y - y_high;
    let log_high = bitcast<f32>(bitcast<u32>(p.y + high) & 0xfffff000u);
    let log_low = (p.y - log_high) + high + low;
    let t = y_high * log_high;
    let rest = y_high * log_low + y_low * log_high + y_low * log_low;
    if (t + rest > 129.0) {
        return infinity();
    }
    if (t + rest < -151.0) {
        return 0.0;
    }
    let n = round(t + rest);
    let r = ((t - n) + rest) * LN2;
    return scaled(expm1_reduced(r) + 1.0, i32(n));
}
