// CUDA's math functions: those of C with CUDA's overloads, conversions, bit operations, and intrinsics.
#pragma once

// Functions of libm: both of C's names, and the overload for float as in C++ and CUDA.

#define EMULATED_UNARY(name)                   \
  extern "C" double name(double) noexcept;     \
  extern "C" float name##f(float) noexcept;    \
  inline float name(float x) { return name##f(x); }
#define EMULATED_BINARY(name)                          \
  extern "C" double name(double, double) noexcept;     \
  extern "C" float name##f(float, float) noexcept;     \
  inline float name(float x, float y) { return name##f(x, y); }

EMULATED_UNARY(acos)
EMULATED_UNARY(acosh)
EMULATED_UNARY(asin)
EMULATED_UNARY(asinh)
EMULATED_UNARY(atan)
EMULATED_UNARY(atanh)
EMULATED_UNARY(cbrt)
EMULATED_UNARY(ceil)
EMULATED_UNARY(cos)
EMULATED_UNARY(cosh)
EMULATED_UNARY(erf)
EMULATED_UNARY(erfc)
EMULATED_UNARY(exp)
EMULATED_UNARY(exp10)
EMULATED_UNARY(exp2)
EMULATED_UNARY(expm1)
EMULATED_UNARY(fabs)
EMULATED_UNARY(floor)
EMULATED_UNARY(lgamma)
EMULATED_UNARY(log)
EMULATED_UNARY(log10)
EMULATED_UNARY(log1p)
EMULATED_UNARY(log2)
EMULATED_UNARY(nearbyint)
EMULATED_UNARY(rint)
EMULATED_UNARY(round)
EMULATED_UNARY(sin)
EMULATED_UNARY(sinh)
EMULATED_UNARY(sqrt)
EMULATED_UNARY(tan)
EMULATED_UNARY(tanh)
EMULATED_UNARY(tgamma)
EMULATED_UNARY(trunc)
EMULATED_BINARY(atan2)
EMULATED_BINARY(copysign)
EMULATED_BINARY(fdim)
EMULATED_BINARY(fmax)
EMULATED_BINARY(fmin)
EMULATED_BINARY(fmod)
EMULATED_BINARY(hypot)
EMULATED_BINARY(nextafter)
EMULATED_BINARY(pow)
EMULATED_BINARY(remainder)
#undef EMULATED_UNARY
#undef EMULATED_BINARY

// Fused multiply-add with one rounding, also where libm has to emulate it.
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }

extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" double frexp(double, int*) noexcept;
extern "C" float frexpf(float, int*) noexcept;
extern "C" double modf(double, double*) noexcept;
extern "C" float modff(float, float*) noexcept;

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline void sincosf(float x, float* sine, float* cosine) { *sine = sinf(x), *cosine = cosf(x); }
inline void sincos(double x, double* sine, double* cosine) { *sine = sin(x), *cosine = cos(x); }

inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool signbit(float x) { return __builtin_signbit(x); }
inline bool signbit(double x) { return __builtin_signbit(x); }

// As in CUDA: if one floating-point argument is NaN, the other is returned; mixed signedness compares as unsigned.

#define EMULATED_ORDER(R, A, B)                                  \
  inline R min(A a, B b) { return (R)a < (R)b ? (R)a : (R)b; }   \
  inline R max(A a, B b) { return (R)a > (R)b ? (R)a : (R)b; }
#define EMULATED_ORDERS(S, U)  \
  EMULATED_ORDER(S, S, S)      \
  EMULATED_ORDER(U, U, U)      \
  EMULATED_ORDER(U, S, U)      \
  EMULATED_ORDER(U, U, S)
EMULATED_ORDERS(int, unsigned)
EMULATED_ORDERS(long, unsigned long)
EMULATED_ORDERS(long long, unsigned long long)
#undef EMULATED_ORDERS
#undef EMULATED_ORDER
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

inline int abs(int x) { return x < 0 ? -x : x; }
inline long abs(long x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }

// Fast approximations, computed accurately here. Macros, since names like __expf are reserved by the C library.

#define __expf emulated_expf
#define __exp10f emulated_exp10f
#define __logf emulated_logf
#define __log2f emulated_log2f
#define __log10f emulated_log10f
#define __powf emulated_powf
#define __sinf emulated_sinf
#define __cosf emulated_cosf
#define __tanf emulated_tanf
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

// Rounded to nearest and never contracted, as all operations with -ffp-contract=off.

inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline double __dsqrt_rn(double x) { return sqrt(x); }

// Bit casts.

template <class To, class From>
To emulated_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits of the same number");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }

// Conversions between float and int. As on a GPU and unlike a C++ cast, they saturate, and NaN becomes 0.

inline int emulated_to_int(float x) {
  if (isnan(x)) return 0;
  if (x >= 2147483648.0f) return 2147483647;
  return x <= -2147483648.0f ? -2147483647 - 1 : (int)x;
}
inline int __float2int_rn(float x) { return emulated_to_int(rintf(x)); }
inline int __float2int_rz(float x) { return emulated_to_int(x); }
inline int __float2int_rd(float x) { return emulated_to_int(floorf(x)); }
inline int __float2int_ru(float x) { return emulated_to_int(ceilf(x)); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }

// Bit operations.

inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
inline int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1u) << (31 - bit);
  return reversed;
}
