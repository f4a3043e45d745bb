// Cumulative sums along one dimension of [outer, n, inner], in ascending or descending order.
//
//   scan_rows_TYPE     inner = 1: a warp per row, 128 elements per iteration
//   scan_long_TYPE     inner = 1: a block of 256 threads per row and chunk, 1024 elements per iteration: grid [outer, chunks]
//   scan_columns_TYPE  inner > 1: a thread per column and chunk: grid [groups of 256 columns, chunks]
//   scan_sums_TYPE     before the last two, if there are several chunks: the sum of every chunk, and then, by the last block of a
//                      row or of a group of columns, the sum of all elements before each chunk
//
// Sums within an iteration are a tree; the carry between iterations is f64 for f32, which keeps long rows accurate. I32 wraps.
// Cost: one read and one write per element, and a second read if there are several chunks. Overwrites out.
// Budget: 64 registers, 256 bytes of shared memory.
#include "common.cuh"

// Mirrors `ScanParams` in scan.rs.
struct ScanParams {
  const void* x;    // [outer][n][inner]
  void* out;        // [outer][n][inner]
  void* before;     // [outer][inner][chunks] of 8 bytes: the sum of a chunk, then of all before it
  u32* counters;    // one per block of the grid's x
  u64 outer;
  u64 n;
  u64 inner;
  u64 chunk;        // elements of a chunk
  u32 reverse;
  u32 packed;       // whether rows consist of aligned packs of four
};

// The type of the carry.
template <typename T>
struct Wide {
  typedef T Type;
};
template <>
struct Wide<float> {
  typedef double Type;
};

// The position of element i in the order of the sums.
__device__ __forceinline__ u64 position(const ScanParams& p, u64 i) { return p.reverse ? p.n - 1 - i : i; }

// The inclusive scan of a warp's values.
template <typename T>
__device__ __forceinline__ T warp_scan(T v) {
  const u32 lane = threadIdx.x % WARP;
#pragma unroll
  for (u32 d = 1; d < WARP; d *= 2) {
    const T below = __shfl_up_sync(FULL_WARP, v, d);
    if (lane >= d) v = sum_of(v, below);
  }
  return v;
}

// Loads and stores four elements, from `at` on in the order of the sums; elements beyond the end are 0.
template <typename T>
__device__ __forceinline__ void load_four(const ScanParams& p, const T* x, u64 at, u64 end, T (&v)[4]) {
  if (p.packed && at < end) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + (p.reverse ? p.n - 4 - at : at));
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = p.reverse ? pack.v[3 - k] : pack.v[k];
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = at + k < end ? x[position(p, at + k)] : T(0);
  }
}
template <typename T>
__device__ __forceinline__ void store_four(const ScanParams& p, T* out, u64 at, u64 end, typename Wide<T>::Type carry,
                                           const T (&v)[4]) {
  typedef typename Wide<T>::Type W;
  if (p.packed && at < end) {
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < 4; ++k) pack.v[k] = T(sum_of(carry, W(p.reverse ? v[3 - k] : v[k])));
    *reinterpret_cast<Pack<T>*>(out + (p.reverse ? p.n - 4 - at : at)) = pack;
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (at + k < end) out[position(p, at + k)] = T(sum_of(carry, W(v[k])));
  }
}

// The inclusive scan of a thread's elements; returns the total.
template <typename T>
__device__ __forceinline__ T scan_four(T (&v)[4]) {
  const T a = sum_of(v[0], v[1]), b = sum_of(v[2], v[3]);
  v[1] = a;
  v[2] = sum_of(a, v[2]);
  v[3] = sum_of(a, b);
  return v[3];
}

template <typename T>
__device__ __forceinline__ void rows(const ScanParams& p) {
  typedef typename Wide<T>::Type W;
  const u32 lane = threadIdx.x % WARP;
  const u64 row = thread_index() / WARP;
  const u64 n = row < p.outer ? p.n : 0;
  const T* x = static_cast<const T*>(p.x) + row * p.n;
  T* out = static_cast<T*>(p.out) + row * p.n;
  W carry = W(0);
  for (u64 first = 0; first < n; first += 4 * WARP) {  // n is uniform in the warp
    T v[4];
    load_four(p, x, first + 4 * lane, n, v);
    const T own = scan_four(v), sum = warp_scan(own);
    T below = __shfl_up_sync(FULL_WARP, sum, 1);
    if (lane == 0) below = T(0);
    store_four(p, out, first + 4 * lane, n, sum_of(carry, W(below)), v);
    carry = sum_of(carry, W(__shfl_sync(FULL_WARP, sum, WARP - 1)));
  }
}

template <typename T>
__device__ __forceinline__ void long_row(const ScanParams& p) {
  typedef typename Wide<T>::Type W;
  constexpr u32 WARPS = THREADS / WARP;
  __shared__ T sums[WARPS];
  const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const u64 row = blockIdx.x, begin = blockIdx.y * p.chunk;
  const u64 end = p.n - begin < p.chunk ? p.n : begin + p.chunk;
  const T* x = static_cast<const T*>(p.x) + row * p.n;
  T* out = static_cast<T*>(p.out) + row * p.n;
  W carry = gridDim.y > 1 ? static_cast<const W*>(p.before)[row * gridDim.y + blockIdx.y] : W(0);
  for (u64 first = begin; first < end; first += 4 * THREADS) {
    T v[4];
    load_four(p, x, first + 4 * threadIdx.x, end, v);
    const T own = scan_four(v), sum = warp_scan(own);
    T below = __shfl_up_sync(FULL_WARP, sum, 1);
    if (lane == 0) below = T(0);
    if (lane == WARP - 1) sums[warp] = sum;
    __syncthreads();
    // Every warp scans the sums of all warps.
    const T warps = warp_scan(lane < WARPS ? sums[lane] : T(0));
    const T before_warp = __shfl_sync(FULL_WARP, warps, warp == 0 ? 0 : warp - 1);
    if (warp > 0) below = sum_of(before_warp, below);
    store_four(p, out, first + 4 * threadIdx.x, end, sum_of(carry, W(below)), v);
    carry = sum_of(carry, W(__shfl_sync(FULL_WARP, warps, WARPS - 1)));
    __syncthreads();  // the next iteration writes `sums`
  }
}

template <typename T>
__device__ __forceinline__ void columns(const ScanParams& p) {
  typedef typename Wide<T>::Type W;
  const u64 column = thread_index(), begin = blockIdx.y * p.chunk;
  if (column >= p.outer * p.inner) return;
  const u64 end = p.n - begin < p.chunk ? p.n : begin + p.chunk;
  const u64 plane = column / p.inner, at = plane * p.n * p.inner + (column - plane * p.inner);
  const T* x = static_cast<const T*>(p.x) + at;
  T* out = static_cast<T*>(p.out) + at;
  W sum = gridDim.y > 1 ? static_cast<const W*>(p.before)[column * gridDim.y + blockIdx.y] : W(0);
#pragma unroll 4
  for (u64 i = begin; i < end; ++i) {
    const u64 offset = position(p, i) * p.inner;
    sum = sum_of(sum, W(x[offset]));
    out[offset] = T(sum);
  }
}

// The sum of a chunk: of a row by a block, of a column by a thread.
template <typename T>
__device__ __forceinline__ void sums(const ScanParams& p) {
  typedef typename Wide<T>::Type W;
  const bool rows = p.inner == 1;
  const u64 column = rows ? blockIdx.x : thread_index(), begin = blockIdx.y * p.chunk;
  const u64 end = p.n - begin < p.chunk ? p.n : begin + p.chunk;
  const bool exists = column < p.outer * p.inner;
  W* before = static_cast<W*>(p.before) + column * gridDim.y;
  const u64 plane = column / p.inner, at = plane * p.n * p.inner + (column - plane * p.inner);
  const T* x = static_cast<const T*>(p.x) + at;
  W sum = W(0);
  if (exists) {
#pragma unroll 4
    for (u64 i = begin + (rows ? threadIdx.x : 0); i < end; i += rows ? THREADS : 1)
      sum = sum_of(sum, W(x[position(p, i) * p.inner]));
  }
  if (rows) sum = block_reduce<THREADS>(sum, W(0), Sum());
  if (exists && (!rows || threadIdx.x == 0)) before[blockIdx.y] = sum;
  if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
  if (rows) {
    // The exclusive scan over chunks, as in long_row; a thread takes several adjacent chunks.
    constexpr u32 WARPS = THREADS / WARP;
    __shared__ W warp_sums[WARPS];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 share = (gridDim.y + THREADS - 1) / THREADS, first = threadIdx.x * share;
    sum = W(0);
    for (u32 i = first; i < first + share && i < gridDim.y; ++i) sum = sum_of(sum, before[i]);
    const W up_to = warp_scan(sum);
    W below = __shfl_up_sync(FULL_WARP, up_to, 1);
    if (lane == 0) below = W(0);
    if (lane == WARP - 1) warp_sums[warp] = up_to;
    __syncthreads();
    for (u32 i = 0; i < warp; ++i) below = sum_of(below, warp_sums[i]);
    for (u32 i = first; i < first + share && i < gridDim.y; ++i) {
      const W own = before[i];
      before[i] = below;
      below = sum_of(below, own);
    }
  } else if (exists) {
    sum = W(0);
    for (u32 first = 0; first < gridDim.y; first += 8) {
      W own[8];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) own[k] = first + k < gridDim.y ? before[first + k] : W(0);
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        if (first + k < gridDim.y) before[first + k] = sum;
        sum = sum_of(sum, own[k]);
      }
    }
  }
}

#define SCAN(suffix, T)                                                   \
  KERNEL(scan_rows_##suffix, ScanParams, THREADS) { rows<T>(p); }         \
  KERNEL(scan_long_##suffix, ScanParams, THREADS) { long_row<T>(p); }     \
  KERNEL(scan_columns_##suffix, ScanParams, THREADS) { columns<T>(p); }   \
  KERNEL(scan_sums_##suffix, ScanParams, THREADS) { sums<T>(p); }
SCAN(f32, float)
SCAN(f64, double)
SCAN(i32, i32)
