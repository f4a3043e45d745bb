// Matrix products.
//
//   matmul_tile_SIZE_TYPE  out[b, i, j] = sum over k of a[b, i, k] b[b, k, j]  (+ bias[j])     a [.., m, k], b [.., k, n]: any strides
//                          One tile of SIZE x SIZE per block of 256 threads (gemm.cuh). Grid: x = tiles of m, times tiles of n,
//                          times splits of k; y and z = batch. Cost: 2 m n k flops; each operand is read n / SIZE or m / SIZE
//                          times, mostly from the cache. Overwrites out.
//   matmul_vector_TYPE     out[i] = sum over k of x[i, k] v[k]  (+ bias[i])  for a matrix whose k lies in order: a warp per line,
//                          8 lines per block of 256 threads. Cost: the matrix is read once.
//   matmul_columns_TYPE    the same for a matrix whose lines lie side by side: blocks of 32 lines x 8 parts of k.
//
// Sums run in one order, whatever the card. Numbers are full f32 or f64: no tensor cores, no rounding to fewer bits.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of matmul_tile_64: 112 registers, 34820 bytes of shared memory.
// Budget of matmul_tile_32: 120 registers, 36868 bytes of shared memory.
#include "gemm.cuh"

struct MatmulParams {
  // [.., m, k]
  const void* a;
  // [.., k, n]
  const void* b;
  // [n], or null
  const void* bias;
  // [.., m, n], in order
  void* out;
  // [tiles, splits, tile], if k is split
  void* parts;
  // [tiles], all 0
  u32* counters;
  u64 m;
  u64 n;
  u64 k;
  u64 a_row;
  u64 a_k;
  u64 b_k;
  u64 b_column;
  // The batch dimensions, and each operand's strides along them.
  Walk batch;
  u64 a_batch[MAX_RANK];
  u64 b_batch[MAX_RANK];
  u32 a_mode;
  u32 b_mode;
  u32 splits;
  u32 unused;
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void tile(const MatmulParams& p) {
  const u64 tiles_m = (p.m + B - 1) / B;
  const u32 split = blockIdx.x % p.splits;
  const u64 at = blockIdx.x / p.splits;
  const u64 row = at % tiles_m * B, column = at / tiles_m * B;
  const u64 batch = u64(blockIdx.z) * gridDim.y + blockIdx.y;
  if (batch >= p.batch.numel) return;  // all of the block
  const T* a = static_cast<const T*>(p.a) + place(p.batch, p.a_batch, batch);
  const T* b = static_cast<const T*>(p.b) + place(p.batch, p.b_batch, batch);
  // Splits are whole steps of k.
  const u64 steps = (p.k + BK - 1) / BK;
  const u64 first = steps * split / p.splits * BK, end = steps * (split + 1) / p.splits * BK;
  MatrixLoader<T, B, BK> load_a(a + row * p.a_row, p.a_row, p.a_k, p.m - row, first, p.a_mode);
  MatrixLoader<T, B, BK> load_b(b + column * p.b_column, p.b_column, p.b_k, p.n - column, first, p.b_mode);
  T sum[PER][PER];
  gemm<T, B, B, BK, PER, PER, PER == 2 ? 4 : PER == 4 ? 1 : 2>(load_a, load_b, first, end < p.k ? end : p.k, sum);
  if (!gemm_join(static_cast<T*>(p.parts), p.counters, at, split, p.splits, sum)) return;
  T* out = static_cast<T*>(p.out) + batch * p.m * p.n;
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const u64 y = row + gemm_line<B, PER>(gemm_row(), i);
#pragma unroll
    for (int j = 0; j < PER; ++j) {
      const u64 x = column + gemm_line<B, PER>(gemm_column(), j);
      if (y < p.m && x < p.n) out[y * p.n + x] = sum[i][j] + (p.bias ? static_cast<const T*>(p.bias)[x] : T(0));
    }
  }
}

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
};

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
  if (threadIdx.x % WARP == 0)
    static_cast<T*>(p.out)[line] = sum + (p.bias ? static_cast<const T*>(p.bias)[line] : T(0));
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
  static_cast<T*>(p.out)[line] = sum + (p.bias ? static_cast<const T*>(p.bias)[line] : T(0));
}

#define TILE(size, suffix, T, BK, PER)                                                                                   \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)                                         \
      matmul_tile_##size##_##suffix(const __grid_constant__ MatmulParams p) {                                            \
    tile<T, size, BK, PER>(p);                                                                                           \
  }
TILE(128, f32, float, 8, 8)
TILE(64, f32, float, 16, 4)
TILE(32, f32, float, 32, 2)
TILE(64, f64, double, 16, 4)
TILE(32, f64, double, 32, 2)

#define VECTOR(suffix, T)                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS) matmul_vector_##suffix(const __grid_constant__ VectorParams p) {  \
    vector<T>(p);                                                                                                    \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS) matmul_columns_##suffix(const __grid_constant__ VectorParams p) { \
    columns<T>(p);                                                                                                   \
  }
VECTOR(f32, float)
VECTOR(f64, double)
