// The tiled matrix product of matmul.cu and matmul_grad.cu.
#pragma once
#include "gemm.cuh"

// Mirrors `MatmulParams` in matmul.rs.
struct MatmulParams {
  // [.., m, k]
  const void* a;
  // [.., k, n]
  const void* b;
  // [n], or null
  const void* bias;
  // [.., m, n], contiguous
  void* out;
  // [m]: receives the sums of A's rows; or null. Only without a batch.
  void* sums;
  // The output of a relu, with A's layout: A is masked by it; or null.
  const void* mask;
  // [tiles, splits, tile (+ 256)], if k is split
  void* partials;
  // [tiles, 1 + groups], all 0; see gemm_combine_splits
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
  // 0 or RELU
  u32 activation;
};

// The tile of this block. GRAD: with the mask of A and the sums of A's rows, if they are wanted.
template <typename T, int B, int BK, int PER, bool GRAD>
__device__ __forceinline__ void tile(const MatmulParams& p) {
  const u64 tiles_m = (p.m + B - 1) / B;
  const u32 split = blockIdx.x % p.splits;
  const u64 at = blockIdx.x / p.splits;
  const u64 row = at % tiles_m * B, column = at / tiles_m * B;
  const u64 batch = u64(blockIdx.z) * gridDim.y + blockIdx.y;
  if (batch >= p.batch.numel) return;  // all of the block
  const u64 a_at = offset_of(p.batch, p.a_batch, batch) + row * p.a_row;
  const T* b = static_cast<const T*>(p.b) + offset_of(p.batch, p.b_batch, batch);
  // A split is a multiple of BK.
  const u64 steps = (p.k + BK - 1) / BK;
  const u64 first = steps * split / p.splits * BK, end = steps * (split + 1) / p.splits * BK;
  const u64 last = end < p.k ? end : p.k;
  const T* mask = GRAD && p.mask ? static_cast<const T*>(p.mask) + a_at : nullptr;
  MatrixLoader<T, B, BK, GRAD> load_a(static_cast<const T*>(p.a) + a_at, p.a_row, p.a_k, p.m - row, first, p.a_mode, mask);
  MatrixLoader<T, B, BK> load_b(b + column * p.b_column, p.b_column, p.b_k, p.n - column, first, p.b_mode);
  constexpr int UNROLL = GEMM_UNROLL<T, PER, 2>;
  T sum[PER][PER];
  if constexpr (GRAD) {
    RowSums<T, B, BK> rows(p.sums && column == 0);
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_a, load_b, first, last, sum, rows);
    if (!gemm_combine_splits(static_cast<T*>(p.partials), p.counters, at, split, p.splits, sum, &rows.sum)) return;
    rows.store(static_cast<T*>(p.sums) + row, p.m - row);
  } else {
    NoSums none;
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_a, load_b, first, last, sum, none);
    if (!gemm_combine_splits(static_cast<T*>(p.partials), p.counters, at, split, p.splits, sum)) return;
  }
  T* out = static_cast<T*>(p.out) + batch * p.m * p.n;
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const u64 y = row + gemm_offset<B, PER>(gemm_row(), i);
#pragma unroll
    for (int j = 0; j < PER; ++j) {
      const u64 x = column + gemm_offset<B, PER>(gemm_column(), j);
      if (y >= p.m || x >= p.n) continue;
      const T v = sum[i][j] + (p.bias ? static_cast<const T*>(p.bias)[x] : T(0));
      out[y * p.n + x] = p.activation == RELU ? relu_of(v) : v;
    }
  }
}
