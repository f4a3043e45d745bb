// Element-wise functions of two tensors.
//
//   binary_NAME_TYPE  out[i] = f(a[i], b[i])   in[0] = a, in[1] = b, of one type
//
// Launch: a grid-stride loop of blocks of 256 threads, four elements per thread and iteration. Cost: two reads and one write per
// element. Overwrites out, which may be a.
// Budget: 56 registers, 0 bytes of shared memory.
#include "elementwise.cuh"

#define BINARY(name, suffix, Type, ...)                            \
  KERNEL(binary_##name##_##suffix, ElementwiseParams, THREADS) {   \
    typedef Type T;                                                \
    map2<T, T, T>(p, [=](T a, T b) -> T { __VA_ARGS__ });          \
  }
#define FLOATS(name, ...) BINARY(name, f32, float, __VA_ARGS__) BINARY(name, f64, double, __VA_ARGS__)
#define INTS(name, ...) BINARY(name, i32, i32, __VA_ARGS__)

FLOATS(add, return a + b;)
FLOATS(sub, return a - b;)
FLOATS(mul, return a * b;)
FLOATS(div, return a / b;)
FLOATS(pow, return pow_of(a, b);)
FLOATS(remainder, return remainder_by(a, b);)
FLOATS(maximum, return maximum(a, b);)
FLOATS(minimum, return minimum(a, b);)

INTS(add, return sum_of(a, b);)
INTS(sub, return i32(u32(a) - u32(b));)
INTS(mul, return product_of(a, b);)
INTS(remainder, return remainder_by(a, b);)
INTS(maximum, return maximum(a, b);)
INTS(minimum, return minimum(a, b);)

BINARY(maximum, bool, u8, return a | b;)
BINARY(minimum, bool, u8, return a & b;)
