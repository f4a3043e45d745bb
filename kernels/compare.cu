// Comparisons, whose result is bool (one byte, 0 or 1), and selection.
//
//   compare_OP_TYPE         out[i] = a[i] OP b[i]        in[0] = a, in[1] = b, of one type
//   compare_scalar_OP_TYPE  out[i] = a[i] OP number      in[0] = a; the number is converted to a float type; i32 and bool are
//                                                        converted to double, which is exact
//   compare_where_BYTES     out[i] = c[i] ? x[i] : y[i]  in[0] = c (bool), in[1] = x, in[2] = y, of 1, 4 or 8 bytes
//
// Launch: a grid-stride loop of blocks of 256 threads, four elements per thread and iteration. Cost: every input is read and the
// output written once. Overwrites out.
// Budget: 48 registers, 0 bytes of shared memory.
// Budget of compare_where: 64 registers, 0 bytes of shared memory.
#include "elementwise.cuh"

#define COMPARE(name, suffix, T, C, op)                                    \
  KERNEL(compare_##name##_##suffix, ElementwiseParams, THREADS) {          \
    map2<T, T, u8>(p, [=](T a, T b) -> u8 { return a op b; });             \
  }                                                                        \
  KERNEL(compare_scalar_##name##_##suffix, ElementwiseParams, THREADS) {   \
    const C b = C(p.a);                                                    \
    map1<T, u8>(p, [=](T a) -> u8 { return C(a) op b; });                  \
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

#define WHERE(bytes, T)                                                     \
  KERNEL(compare_where_##bytes, ElementwiseParams, THREADS) {               \
    map3<u8, T, T, T>(p, [=](u8 c, T x, T y) -> T { return c ? x : y; });   \
  }
WHERE(1, u8)
WHERE(4, u32)
WHERE(8, u64)
