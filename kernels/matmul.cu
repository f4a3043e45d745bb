// Matrix products.
//
//   matmul_tile_SIZE_TYPE  out[b, i, j] = sum over k of a[b, i, k] b[b, k, j]  (+ bias[j], relu)   a [.., m, k], b [.., k, n]: any strides
//                          One tile of SIZE x SIZE per block of 256 threads (gemm.cuh). Grid: x = tiles of m, times tiles of n,
//                          times splits of k; y and z = batch. Cost: 2 m n k flops; each operand is read n / SIZE or m / SIZE
//                          times, mostly from the cache. Overwrites out.
//   matmul_vector_TYPE     out[i] = sum over k of x[i, k] v[k]  (+ bias[i], relu)  for a matrix whose k lies in order: a warp per line,
//                          8 lines per block of 256 threads. Cost: the matrix is read once.
//   matmul_columns_TYPE    the same for a matrix whose lines lie side by side: blocks of 32 lines x 8 parts of k.
//
// Sums run in one order, whatever the card. Numbers are full f32 or f64: no tensor cores, no rounding to fewer bits.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of matmul_tile_64: 112 registers, 34820 bytes of shared memory.
// Budget of matmul_tile_32: 120 registers, 36868 bytes of shared memory.
#include "matmul.cuh"

// A matrix times a vector. Mirrors `VectorParams` in matmul.rs.
struct VectorParams {
  // [lines, k]
  const void* x;
  // [k]
  const void* v;
  // [lines], or null
  const void* bias;
  // [lines]
  void* out;
  u64 lines;
  u64 k;
  u64 line_stride;
  u64 k_stride;
  u64 v_stride;
  // 0 or RELU
  u32 activation;
  u32 unused;
};

template <typename T>
__device__ __forceinline__ void finish(const VectorParams& p, u64 line, T sum) {
  const T v = sum + (p.bias ? static_cast<const T*>(p.bias)[line] : T(0));
  static_cast<T*>(p.out)[line] = p.activation == RELU ? relu_of(v) : v;
}

template <typename T>
__device__ __forceinline__ void vector(const VectorParams& p) {
  const u64 line = u64(blockIdx.x) * 8 + threadIdx.x / WARP;
  if (line >= p.lines) return;  // whole warps
  const T* x = static_cast<const T*>(p.x) + line * p.line_stride;
  const T* v = static_cast<const T*>(p.v);
  T sum = T(0);
#pragma unroll 4
  for (u64 k = threadIdx.x % WARP; k < p.k; k += WARP) sum = fma_of(x[k * p.k_stride], v[k * p.v_stride], sum);
  sum = warp_reduce(sum, Sum());
  if (threadIdx.x % WARP == 0) finish(p, line, sum);
}

template <typename T>
__device__ __forceinline__ void columns(const VectorParams& p) {
  __shared__ T parts[8][WARP];
  const u64 line = u64(blockIdx.x) * WARP + threadIdx.x;
  const T* x = static_cast<const T*>(p.x) + line * p.line_stride;
  const T* v = static_cast<const T*>(p.v);
  T sum = T(0);
  if (line < p.lines)
    for (u64 k = threadIdx.y; k < p.k; k += 8) sum = fma_of(x[k * p.k_stride], v[k * p.v_stride], sum);
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || line >= p.lines) return;
#pragma unroll
  for (int i = 1; i < 8; ++i) sum += parts[i][threadIdx.x];
  finish(p, line, sum);
}

TILES(tile, false)

#define VECTOR(suffix, T)                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS) matmul_vector_##suffix(const __grid_constant__ VectorParams p) {  \
    vector<T>(p);                                                                                                    \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS) matmul_columns_##suffix(const __grid_constant__ VectorParams p) { \
    columns<T>(p);                                                                                                   \
  }
VECTOR(f32, float)
VECTOR(f64, double)
