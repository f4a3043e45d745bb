// Matrix products.
//
//   matmul_tile_SIZE_TYPE  out[.., i, j] = sum over k of a[.., i, k] b[.., k, j]  (+ bias[j], relu); any strides. A block of 256
//                          threads computes one tile of SIZE x SIZE (gemm.cuh). Grid: x = tiles of m, times tiles of n, times
//                          splits of k; y and z = batch. Cost: 2 m n k flops; each operand is read n / SIZE or m / SIZE times,
//                          mostly from L2.
//   matmul_vector_TYPE     out[i] = sum over k of x[i, k] v[k]  (+ bias[i], relu), where k is contiguous: a warp per row, 8 rows
//                          per block of 256 threads. Cost: the matrix is read once.
//   matmul_columns_TYPE    the same where the rows i are adjacent: blocks of 32 rows x 8 parts of k.
//
// Sums have a fixed order. Arithmetic is full f32 or f64: no tensor cores, no reduced precision. Overwrites out.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of matmul_tile_64: 112 registers, 34820 bytes of shared memory.
// Budget of matmul_tile_32: 120 registers, 36868 bytes of shared memory.
#include "matmul.cuh"

// The matrix-vector kernels. Mirrors `VectorParams` in matmul.rs.
struct VectorParams {
  // [rows, k]
  const void* x;
  // [k]
  const void* v;
  // [rows], or null
  const void* bias;
  // [rows]
  void* out;
  u64 rows;
  u64 k;
  u64 row_stride;
  u64 k_stride;
  u64 v_stride;
  // 0 or RELU
  u32 activation;
  u32 unused;
};

template <typename T>
__device__ __forceinline__ void epilogue(const VectorParams& p, u64 row, T sum) {
  const T v = sum + (p.bias ? static_cast<const T*>(p.bias)[row] : T(0));
  static_cast<T*>(p.out)[row] = p.activation == RELU ? relu_of(v) : v;
}

template <typename T>
__device__ __forceinline__ void vector(const VectorParams& p) {
  const u64 row = u64(blockIdx.x) * 8 + threadIdx.x / WARP;
  if (row >= p.rows) return;  // a whole warp
  const T* x = static_cast<const T*>(p.x) + row * p.row_stride;
  const T* v = static_cast<const T*>(p.v);
  T sum = T(0);
#pragma unroll 4
  for (u64 k = threadIdx.x % WARP; k < p.k; k += WARP) sum = fma_of(x[k * p.k_stride], v[k * p.v_stride], sum);
  sum = warp_reduce(sum, Sum());
  if (threadIdx.x % WARP == 0) epilogue(p, row, sum);
}

template <typename T>
__device__ __forceinline__ void columns(const VectorParams& p) {
  __shared__ T partial[8][WARP];
  const u64 row = u64(blockIdx.x) * WARP + threadIdx.x;
  const T* x = static_cast<const T*>(p.x) + row * p.row_stride;
  const T* v = static_cast<const T*>(p.v);
  T sum = T(0);
  if (row < p.rows)
    for (u64 k = threadIdx.y; k < p.k; k += 8) sum = fma_of(x[k * p.k_stride], v[k * p.v_stride], sum);
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || row >= p.rows) return;
#pragma unroll
  for (int i = 1; i < 8; ++i) sum += partial[i][threadIdx.x];
  epilogue(p, row, sum);
}

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void product(const MatmulParams& p) { tile<T, B, BK, PER, false>(p); }
GEMM_KERNELS(matmul_tile, MatmulParams, product)

#define VECTOR(suffix, T)                                                   \
  KERNEL(matmul_vector_##suffix, VectorParams, THREADS) { vector<T>(p); }   \
  KERNEL(matmul_columns_##suffix, VectorParams, THREADS) { columns<T>(p); }
VECTOR(f32, float)
VECTOR(f64, double)
