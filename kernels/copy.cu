// Copies, fills and casts.
//
//   copy_BYTES             out[i] = x[i]           in[0] = x. Both may be strided, so this also writes into a part of a tensor
//   copy_transposed_BYTES  the same for a shape [batch, rows, columns] where x has stride 1 along the rows: through tiles in shared
//                          memory, so that reads and writes coalesce
//   copy_fill_TYPE         out[i] = a
//   copy_FROM_TO           out[i] = convert(x[i])  in[0] = x
//
// Copies depend on the size of an element only: 1, 4 or 8 bytes. Launch: a grid-stride loop of blocks of 256 threads, four
// elements per thread and iteration; copy_transposed: blocks of 32 x 8 threads, a tile of 32 x 32 each. Cost: every element is
// read and written once. Overwrites out.
// Budget: 64 registers, 8448 bytes of shared memory.
#include "elementwise.cuh"

#define COPY(suffix, T)                                                                           \
  KERNEL(copy_##suffix, ElementwiseParams, THREADS) { map1<T, T>(p, [=](T x) -> T { return x; }); } \
  KERNEL(copy_transposed_##suffix, ElementwiseParams, THREADS) { transpose<T>(p); }
#define FILL(suffix, T)                                      \
  KERNEL(copy_fill_##suffix, ElementwiseParams, THREADS) {   \
    const T value = convert<T>(p.a);                         \
    map0<T>(p, [=]() -> T { return value; });                \
  }
#define CAST(from, to, A, R)                                   \
  KERNEL(copy_##from##_##to, ElementwiseParams, THREADS) {     \
    map1<A, R>(p, [=](A x) -> R { return convert<R>(x); });    \
  }

// Float to i32 truncates and saturates, and NaN becomes 0. To bool is `x != 0`, which is true for NaN.
template <typename R, typename A>
struct Convert {
  static __device__ __forceinline__ R from(A x) { return R(x); }
};
template <typename A>
struct Convert<u8, A> {
  static __device__ __forceinline__ u8 from(A x) { return x != A(0); }
};
template <typename A>
__device__ __forceinline__ i32 saturate(A x) {
  if (!(x > A(-2147483648.0))) return x != x ? 0 : -2147483647 - 1;
  return x >= A(2147483648.0) ? 2147483647 : i32(x);
}
template <>
struct Convert<i32, float> {
  static __device__ __forceinline__ i32 from(float x) { return saturate(x); }
};
template <>
struct Convert<i32, double> {
  static __device__ __forceinline__ i32 from(double x) { return saturate(x); }
};
template <typename R, typename A>
__device__ __forceinline__ R convert(A x) { return Convert<R, A>::from(x); }

#define TILE 32

// The walk is [batch, rows, columns]; x has stride 1 along the rows, and out is contiguous.
template <typename T>
__device__ __forceinline__ void transpose(const ElementwiseParams& p) {
  __shared__ T tile[TILE][TILE + 1];  // the padding puts the elements of a column into different banks
  const T* x = static_cast<const T*>(p.in[0].data) + u64(blockIdx.z) * p.in[0].strides[0];
  T* out = static_cast<T*>(p.out.data) + u64(blockIdx.z) * p.out.strides[0];
  const u64 rows = p.walk.sizes[1], columns = p.walk.sizes[2];
  // The grid's x counts tiles of rows, of which there may be more than y allows.
  const u64 row = u64(blockIdx.x) * TILE, column = u64(blockIdx.y) * TILE;
  for (int j = threadIdx.y; j < TILE; j += 8)
    if (column + j < columns && row + threadIdx.x < rows)
      tile[j][threadIdx.x] = x[(column + j) * p.in[0].strides[2] + row + threadIdx.x];
  __syncthreads();
  for (int j = threadIdx.y; j < TILE; j += 8)
    if (row + j < rows && column + threadIdx.x < columns)
      out[(row + j) * columns + column + threadIdx.x] = tile[threadIdx.x][j];
}

COPY(1, u8)
COPY(4, u32)
COPY(8, u64)

FILL(f32, float)
FILL(f64, double)
FILL(i32, i32)
FILL(bool, u8)

CAST(f32, f64, float, double)
CAST(f32, i32, float, i32)
CAST(f32, bool, float, u8)
CAST(f64, f32, double, float)
CAST(f64, i32, double, i32)
CAST(f64, bool, double, u8)
CAST(i32, f32, i32, float)
CAST(i32, f64, i32, double)
CAST(i32, bool, i32, u8)
CAST(bool, f32, u8, float)
CAST(bool, f64, u8, double)
CAST(bool, i32, u8, i32)
