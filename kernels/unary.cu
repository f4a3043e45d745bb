// Element-wise functions of one tensor, and their gradients.
//
//   unary_NAME_TYPE       out[i] = f(x[i])         in[0] = x; a and b are the op's numbers
//   unary_grad_NAME_TYPE  out[i] = g[i] f'(s[i])   in[0] = s, the input or the output (`UnaryOp::saves`), in[1] = g
//
// Names and numbers are those of `UnaryOp::kernel` in core; the methods of `Tensor` document formulas and edge cases. Launch: a
// grid-stride loop of blocks of 256 threads, four elements per thread and iteration. Cost: one read and one write per element,
// two reads for a gradient. Overwrites out, which may be x.
// Budget: 64 registers, 0 bytes of shared memory.
#include "elementwise.cuh"

#define UNARY(name, suffix, Type, ...)                           \
  KERNEL(unary_##name##_##suffix, ElementwiseParams, THREADS) {  \
    typedef Type T;                                              \
    const T a = T(p.a), b = T(p.b);                              \
    (void)a, (void)b;                                            \
    map1<T, T>(p, [=](T x) -> T { __VA_ARGS__ });                \
  }
#define UNARY_GRAD(name, suffix, Type, ...)                          \
  KERNEL(unary_grad_##name##_##suffix, ElementwiseParams, THREADS) { \
    typedef Type T;                                                  \
    const T a = T(p.a), b = T(p.b);                                  \
    (void)a, (void)b;                                                \
    map2<T, T, T>(p, [=](T s, T g) -> T { __VA_ARGS__ });            \
  }
// The body is a function of x (or s and g), a and b, all of type T.
#define FLOATS(name, ...) UNARY(name, f32, float, __VA_ARGS__) UNARY(name, f64, double, __VA_ARGS__)
#define INTS(name, ...) UNARY(name, i32, i32, __VA_ARGS__)
#define GRAD(name, ...) UNARY_GRAD(name, f32, float, __VA_ARGS__) UNARY_GRAD(name, f64, double, __VA_ARGS__)

#define SQRT_HALF 0.70710678118654752440
#define TWO_OVER_SQRT_PI 1.12837916709551257390
#define LOG2_E 1.44269504088896340736
// sqrt(2 / pi) and the coefficient of the cubic term in the tanh approximation of gelu.
#define GELU_SCALE 0.79788456080286535588
#define GELU_CUBIC 0.044715

template <typename T>
__device__ __forceinline__ T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x + T(0);  // NaN propagates, -0 becomes 0
}

template <typename T>
__device__ __forceinline__ T clamp(T x, T low, T high) {
  return x < low ? low : x > high ? high : x;
}

// x gate, and 0 where the gate is 0: the limit for x = -inf, where the product would be NaN.
template <typename T>
__device__ __forceinline__ T gated(T x, T gate) {
  return gate == T(0) ? T(0) : x * gate;
}

template <typename T>
__device__ __forceinline__ T sigmoid(T x) {
  const T e = exp_of(-fabs_of(x));
  return (x >= T(0) ? T(1) : e) / (T(1) + e);
}

template <typename T>
__device__ __forceinline__ T softplus(T x) {
  // The comparison is false for NaN, which propagates.
  return (x < T(0) ? T(0) : x) + log1p_of(exp_of(-fabs_of(x)));
}

// The cumulative distribution function of the normal distribution. erfc is accurate where the result is small.
template <typename T>
__device__ __forceinline__ T normal(T x) {
  return T(0.5) * erfc_of(-x * T(SQRT_HALF));
}

template <typename T>
__device__ __forceinline__ T gelu_inner(T x) {
  return T(GELU_SCALE) * (x + T(GELU_CUBIC) * (x * x * x));
}

FLOATS(add, return x + a;)
FLOATS(mul, return x * a;)
FLOATS(rsub, return a - x;)
FLOATS(div, return x / a;)
FLOATS(rdiv, return a / x;)
FLOATS(neg, return -x;)
FLOATS(abs, return fabs_of(x);)
FLOATS(sign, return sign(x);)
FLOATS(remainder, return remainder_by(x, a);)
FLOATS(clamp, return clamp(x, a, b);)
FLOATS(square, return x * x;)
// Powers without pow; see `UnaryOp::kernel`.
FLOATS(one, return T(1);)
FLOATS(identity, return x;)
FLOATS(cube, return x * x * x;)
FLOATS(powf, return pow_of(x, a);)
FLOATS(sqrt, return sqrt_of(x);)
FLOATS(rsqrt, return T(1) / sqrt_of(x);)
FLOATS(exp, return exp_of(x);)
FLOATS(expm1, return expm1_of(x);)
FLOATS(log, return log_of(x);)
FLOATS(log1p, return log1p_of(x);)
FLOATS(log2, return log2_of(x);)
FLOATS(sin, return sin_of(x);)
FLOATS(cos, return cos_of(x);)
FLOATS(tan, return tan_of(x);)
FLOATS(atan, return atan_of(x);)
FLOATS(sinh, return sinh_of(x);)
FLOATS(cosh, return cosh_of(x);)
FLOATS(tanh, return tanh_of(x);)
FLOATS(erf, return erf_of(x);)
FLOATS(sigmoid, return sigmoid(x);)
FLOATS(relu, return relu_of(x);)
FLOATS(leaky_relu, return x > T(0) ? x : a * x;)
FLOATS(elu, return x > T(0) ? x : a * expm1_of(x);)
FLOATS(gelu, return gated(x, normal(x));)
FLOATS(gelu_tanh, return gated(x, T(0.5) * (T(1) + tanh_of(gelu_inner(x))));)
FLOATS(silu, return gated(x, sigmoid(x));)
FLOATS(hardswish, return gated(x, clamp(x + T(3), T(0), T(6)) / T(6));)
FLOATS(softplus, return softplus(x);)
FLOATS(floor, return floor_of(x);)
FLOATS(ceil, return ceil_of(x);)
FLOATS(round, return rint_of(x);)  // ties to even
FLOATS(trunc, return trunc_of(x);)

INTS(add, return sum_of(x, a);)
INTS(mul, return product_of(x, a);)
INTS(rsub, return i32(u32(a) - u32(x));)
INTS(neg, return i32(0u - u32(x));)
INTS(abs, return x < 0 ? i32(0u - u32(x)) : x;)
INTS(sign, return x > 0 ? 1 : x < 0 ? -1 : 0;)
INTS(remainder, return remainder_by(x, a);)
INTS(clamp, return clamp(x, a, b);)

KERNEL(unary_logical_not_bool, ElementwiseParams, THREADS) {
  map1<u8, u8>(p, [=](u8 x) -> u8 { return x == 0; });
}

// Gradients as functions of the input s.
GRAD(abs, return g * sign(s);)
GRAD(square, return (s + s) * g;)
GRAD(cube, return T(3) * s * s * g;)
GRAD(powf, return g * (pow_of(s, a - T(1)) * a);)
GRAD(rdiv, const T r = T(1) / s; return g * (-a * r * r);)  // s² might overflow or underflow
GRAD(log, return g / s;)
GRAD(log1p, return g / (s + T(1));)
GRAD(log2, return g * T(LOG2_E) / s;)
GRAD(sin, return g * cos_of(s);)
GRAD(cos, return g * -sin_of(s);)
GRAD(atan, return g / (s * s + T(1));)
GRAD(sinh, return g * cosh_of(s);)
GRAD(cosh, return g * sinh_of(s);)
GRAD(erf, return g * T(TWO_OVER_SQRT_PI) * exp_of(-(s * s));)
GRAD(leaky_relu, return s > T(0) ? g : g * a;)
GRAD(elu, return s > T(0) ? g : g * a * exp_of(s);)
// Phi(s) + s phi(s)
GRAD(gelu, return g * (normal(s) + gated(s, T(0.5 * GELU_SCALE) * exp_of(T(-0.5) * s * s)));)
// (1 + t) / 2 + s / 2 (1 - t²) u' with t = tanh(u), u = k (s + c s³)
GRAD(gelu_tanh, const T t = tanh_of(gelu_inner(s)); const T slope = T(GELU_SCALE) * (T(1) + T(3 * GELU_CUBIC) * (s * s));
     return g * T(0.5) * (T(1) + t + gated(s * slope, T(1) - t * t));)
// y (1 + s (1 - y))
GRAD(silu, const T y = sigmoid(s); return g * gated(T(1) + gated(s, T(1) - y), y);)
GRAD(hardswish, const T slope = s >= T(3) ? T(1) : s * T(1.0 / 3.0) + T(0.5); return s <= T(-3) ? T(0) : g * slope;)
GRAD(softplus, return g * sigmoid(s);)
GRAD(clamp, return s > a && s < b ? g : T(0);)
// Gradients as functions of the output s.
GRAD(sqrt, return T(0.5) * g / s;)
GRAD(rsqrt, return g * (T(-0.5) * s * s * s);)
GRAD(exp, return g * s;)
GRAD(expm1, return g * (s + T(1));)
GRAD(tan, return g * (s * s + T(1));)
GRAD(tanh, return g * (T(1) - s * s);)
GRAD(sigmoid, return g * (s * (T(1) - s));)
GRAD(relu, return relu_grad(g, s);)
