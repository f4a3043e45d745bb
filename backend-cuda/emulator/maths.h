// The math functions of CUDA that the kernels call: those of C with CUDA's overloads, bit casts and bit operations.
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

EMULATED_UNARY(atan)
EMULATED_UNARY(ceil)
EMULATED_UNARY(cos)
EMULATED_UNARY(cosh)
EMULATED_UNARY(erf)
EMULATED_UNARY(erfc)
EMULATED_UNARY(exp)
EMULATED_UNARY(expm1)
EMULATED_UNARY(fabs)
EMULATED_UNARY(floor)
EMULATED_UNARY(log)
EMULATED_UNARY(log1p)
EMULATED_UNARY(log2)
EMULATED_UNARY(rint)
EMULATED_UNARY(sin)
EMULATED_UNARY(sinh)
EMULATED_UNARY(sqrt)
EMULATED_UNARY(tan)
EMULATED_UNARY(tanh)
EMULATED_UNARY(trunc)
EMULATED_BINARY(fmod)
EMULATED_BINARY(pow)
#undef EMULATED_UNARY
#undef EMULATED_BINARY

// Fused multiply-add with one rounding, also where libm has to emulate it.
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }

// Bit casts.

template <class To, class From>
To emulated_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits of the same number");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }

// Bit operations.

inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
