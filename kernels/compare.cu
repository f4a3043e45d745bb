// Comparisons; the result is bool, one byte of 0 or 1.
//
//   compare_NAME_TYPE         out[i] = a[i] ~ b[i]       in[0] = a, in[1] = b, of one type
//   compare_scalar_NAME_TYPE  out[i] = a[i] ~ number     in[0] = a; the number takes a float's type, and beside whole numbers
//                                                        and bool it stays what it is
//
// Launch: blocks of 256 threads, four elements per thread and turn. Cost: one or two reads and one byte written per element.
// Budget: 48 registers, 0 bytes of shared memory.
#include "map.cuh"

#define COMPARE(name, suffix, T, C, op)                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS) compare_##name##_##suffix(const __grid_constant__ MapParams p) { \
    map2<T, T, u8>(p, [=](T a, T b) -> u8 { return a op b; });                                                           \
  }                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                  \
      compare_scalar_##name##_##suffix(const __grid_constant__ MapParams p) {                                            \
    const C b = C(p.a);                                                                                                  \
    map1<T, u8>(p, [=](T a) -> u8 { return C(a) op b; });                                                                \
  }
#define ALL(name, op)                    \
  COMPARE(name, f32, float, float, op)   \
  COMPARE(name, f64, double, double, op) \
  COMPARE(name, i32, i32, double, op)    \
  COMPARE(name, bool, u8, double, op)

ALL(eq, ==)
ALL(ne, !=)
ALL(lt, <)
ALL(le, <=)
ALL(gt, >)
ALL(ge, >=)
