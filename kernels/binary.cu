// Functions of two elements.
//
//   binary_NAME_TYPE  out[i] = f(a[i], b[i])   in[0] = a, in[1] = b, of one type
//
// Launch: blocks of 256 threads, four elements per thread and turn. Cost: two reads and one write per element. Overwrites out,
// which may be a itself.
// Budget: 56 registers, 0 bytes of shared memory.
#include "map.cuh"

#define BINARY(name, suffix, Type, ...)                                                                                 \
  extern "C" __global__ void __launch_bounds__(THREADS) binary_##name##_##suffix(const __grid_constant__ MapParams p) { \
    typedef Type T;                                                                                                     \
    map2<T, T, T>(p, [=](T a, T b) -> T { __VA_ARGS__ });                                                               \
  }
#define FLOATS(name, ...) BINARY(name, f32, float, __VA_ARGS__) BINARY(name, f64, double, __VA_ARGS__)
#define WHOLE(name, ...) BINARY(name, i32, i32, __VA_ARGS__)

FLOATS(add, return a + b;)
FLOATS(sub, return a - b;)
FLOATS(mul, return a * b;)
FLOATS(div, return a / b;)
FLOATS(pow, return pow_of(a, b);)
FLOATS(remainder, return remainder_by(a, b);)
FLOATS(maximum, return maximum(a, b);)
FLOATS(minimum, return minimum(a, b);)

WHOLE(add, return sum_of(a, b);)
WHOLE(sub, return i32(u32(a) - u32(b));)
WHOLE(mul, return product_of(a, b);)
WHOLE(remainder, return remainder_by(a, b);)
WHOLE(maximum, return maximum(a, b);)
WHOLE(minimum, return minimum(a, b);)

BINARY(maximum, bool, u8, return a | b;)
BINARY(minimum, bool, u8, return a & b;)
