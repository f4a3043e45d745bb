// Softmax, log-softmax and their gradients along one dimension of [outer, n, inner].
//
//   softmax_OP_KIND_TYPE
//
//   OP: forward   out[i] = exp(x[i] - max) / sum of exp(x - max)
//       log       out[i] = x[i] - max - log1p(rest), rest = the sum of exp(x - max) without one maximum
//       grad      out[i] = y[i] (g[i] - sum(g y))           y is passed as x
//       loggrad   out[i] = g[i] - exp(y[i]) sum(g)          y is passed as x
//
//   KIND: small   inner = 1: 2^team_log lanes of a warp per row, 4 elements in each lane's registers
//         row     inner = 1: a warp per row, 128 bytes in each lane's registers
//         long    inner = 1: a block of 512 threads per row, which is read twice, the second time from cache
//         columns inner > 1: 2^width_log adjacent columns per block of 256 threads, whose other threads are along n; read twice
//
// All tensors are contiguous. A row that contains NaN or infinity, or only -inf, is NaN. Cost: one read of x (and g) from memory
// and one write per element, one or two exponentials. Overwrites out.
// Budget: 128 registers, 6144 bytes of shared memory.
#include "rows.cuh"
#include "softmax.cuh"

// Mirrors `SoftmaxParams` in softmax.rs.
struct SoftmaxParams {
  const void* x;  // [outer][n][inner]
  const void* g;  // [outer][n][inner], for a gradient
  void* out;      // [outer][n][inner]
  u64 outer;
  u64 n;
  u64 inner;
  u32 team_log;
  u32 width_log;
  u32 packed;     // whether rows consist of aligned packs of four
  u32 unused;
};

enum SoftmaxOp { FORWARD, LOG, GRAD, LOGGRAD };

// The statistics of a row: its maximum and 1 / sum or log(sum) of the exponentials; for a gradient, the sum alone.
template <typename T>
struct RowStatistics {
  T max;
  T sum;
};

// 1 / sum or log(sum) of exp(x - max) from the rest.
template <SoftmaxOp OP, typename T>
__device__ __forceinline__ T statistic_of(T rest) { return OP == FORWARD ? T(1) / (T(1) + rest) : log1p_of(rest); }

template <SoftmaxOp OP, typename T>
__device__ __forceinline__ T apply(T x, T g, RowStatistics<T> a) {
  if (OP == FORWARD) return exp_of(x - a.max) * a.sum;
  if (OP == LOG) return x - a.max - a.sum;
  if (OP == GRAD) return x * (g - a.sum);
  return g - exp_of(x) * a.sum;
}

template <SoftmaxOp OP, typename T>
__device__ __forceinline__ T term(T x, T g) { return OP == GRAD ? g * x : g; }

template <SoftmaxOp OP, typename T, int ITEMS>
__device__ __forceinline__ void in_registers(const SoftmaxParams& p) {
  const u32 team = 1u << p.team_log, lane = threadIdx.x & (team - 1);
  const u64 row = thread_index() >> p.team_log, at = row * p.n;
  const bool exists = row < p.outer;
  T x[ITEMS];
  RowStatistics<T> a = {T(0), T(0)};
  const T fill = OP == FORWARD || OP == LOG ? T(-INFINITY) : T(0);
  load_part<T, ITEMS>(static_cast<const T*>(p.x) + at, exists ? u32(p.n) : 0, p.packed, lane, team, fill, x);
  if (OP == FORWARD || OP == LOG) {
    T max = x[0];
#pragma unroll
    for (int i = 1; i < ITEMS; ++i) max = maximum(max, x[i]);
    a.max = team_reduce(max, team, Maximum());
    // exp(inf - inf) is NaN, so the sum of a row with an infinite maximum is NaN.
    T e[ITEMS], ties = T(0);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const bool tie = OP == LOG && x[i] == a.max;
      e[i] = exp_of(x[i] - a.max);
      a.sum += tie ? T(0) : e[i];
      ties += tie ? T(1) : T(0);
    }
    a.sum = team_reduce(a.sum, team, Sum());
    if (OP == FORWARD)
      a.sum = T(1) / a.sum;
    else
      a.sum = statistic_of<OP, T>(rest_of(Online<T>{a.max, a.sum + (team_reduce(ties, team, Sum()) - T(1))}));
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] = OP == FORWARD ? e[i] * a.sum : apply<OP, T>(x[i], T(0), a);
  } else {
    T g[ITEMS];
    load_part<T, ITEMS>(static_cast<const T*>(p.g) + at, exists ? u32(p.n) : 0, p.packed, lane, team, T(0), g);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) a.sum += term<OP, T>(x[i], g[i]);
    a.sum = team_reduce(a.sum, team, Sum());
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] = apply<OP, T>(x[i], g[i], a);
  }
  store_part<T, ITEMS>(static_cast<T*>(p.out) + at, exists ? u32(p.n) : 0, p.packed, lane, team, x);
}

template <SoftmaxOp OP, typename T>
__device__ __forceinline__ void long_row(const SoftmaxParams& p) {
  const u64 at = blockIdx.x * p.n;
  const T* x = static_cast<const T*>(p.x) + at;
  const T* g = static_cast<const T*>(p.g) + at;
  T* out = static_cast<T*>(p.out) + at;
  const u64 packs = p.packed ? p.n / 4 : 0;
  RowStatistics<T> a = {T(0), T(0)};
  if (OP == FORWARD || OP == LOG) {
    const Online<T> row = block_merge<LONG>(online_row(x, p.n, threadIdx.x, LONG), OnlineMerge());
    a = {row.max, statistic_of<OP, T>(rest_of(row))};
  } else {
    T sum[4] = {};
#pragma unroll 2
    for (u64 i = threadIdx.x; i < packs; i += LONG) {
      const Pack<T> px = reinterpret_cast<const Pack<T>*>(x)[i], pg = reinterpret_cast<const Pack<T>*>(g)[i];
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += term<OP, T>(px.v[k], pg.v[k]);
    }
#pragma unroll 2
    for (u64 i = 4 * packs + threadIdx.x; i < p.n; i += LONG) sum[0] += term<OP, T>(x[i], g[i]);
    a.sum = block_reduce<LONG>((sum[0] + sum[1]) + (sum[2] + sum[3]), T(0), Sum());
  }
#pragma unroll 1
  for (u64 i = threadIdx.x; i < packs; i += LONG) {
    Pack<T> px = reinterpret_cast<const Pack<T>*>(x)[i], pg = {};
    if (OP == GRAD || OP == LOGGRAD) pg = reinterpret_cast<const Pack<T>*>(g)[i];
#pragma unroll
    for (int k = 0; k < 4; ++k) px.v[k] = apply<OP, T>(px.v[k], pg.v[k], a);
    reinterpret_cast<Pack<T>*>(out)[i] = px;
  }
#pragma unroll 1
  for (u64 i = 4 * packs + threadIdx.x; i < p.n; i += LONG)
    out[i] = apply<OP, T>(x[i], OP == GRAD || OP == LOGGRAD ? g[i] : T(0), a);
}

template <SoftmaxOp OP, typename T>
__device__ __forceinline__ void columns(const SoftmaxParams& p) {
  __shared__ T maxima[THREADS];
  __shared__ T sums[THREADS];
  const u32 width = 1u << p.width_log, row = threadIdx.x >> p.width_log, rows = THREADS >> p.width_log;
  const u64 column = u64(blockIdx.x) * width + (threadIdx.x & (width - 1));
  const u64 n = column < p.outer * p.inner ? p.n : 0;
  const u64 plane = column / p.inner, at = plane * p.n * p.inner + (column - plane * p.inner);
  const T* x = static_cast<const T*>(p.x) + at;
  const T* g = static_cast<const T*>(p.g) + at;
  T* out = static_cast<T*>(p.out) + at;
  constexpr bool FROM_X = OP == FORWARD || OP == LOG;
  Online<T> a = {FROM_X ? T(-INFINITY) : T(0), T(0)};  // for a gradient, rest is the sum
  for (u64 i = row; i < n; i += 4 * rows) {
    T v[4];
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
      const u64 j = i + k * rows;
      v[k] = FROM_X ? T(-INFINITY) : T(0);
      if (j < n) v[k] = FROM_X ? x[j * p.inner] : term<OP, T>(OP == GRAD ? x[j * p.inner] : T(0), g[j * p.inner]);
    }
    if (FROM_X)
      a = online_add(a, v);
    else
      a.rest += (v[0] + v[1]) + (v[2] + v[3]);
  }
  maxima[threadIdx.x] = a.max;
  sums[threadIdx.x] = a.rest;
  __syncthreads();
#pragma unroll 1
  for (u32 half = THREADS / 2; half >= width; half /= 2) {
    if (threadIdx.x < half) {
      const Online<T> b = {maxima[threadIdx.x + half], sums[threadIdx.x + half]};
      a = FROM_X ? online_merge(a, b) : Online<T>{T(0), a.rest + b.rest};
      maxima[threadIdx.x] = a.max;
      sums[threadIdx.x] = a.rest;
    }
    __syncthreads();
  }
  if (FROM_X && row == 0) sums[threadIdx.x] = statistic_of<OP, T>(rest_of(a));
  __syncthreads();
  const RowStatistics<T> all = {maxima[threadIdx.x & (width - 1)], sums[threadIdx.x & (width - 1)]};
#pragma unroll 2
  for (u64 i = row; i < n; i += rows)
    out[i * p.inner] = apply<OP, T>(x[i * p.inner], FROM_X ? T(0) : g[i * p.inner], all);
}

#define SOFTMAX(op, OP, suffix, T)                                                                                    \
  KERNEL(softmax_##op##_small_##suffix, SoftmaxParams, THREADS) { in_registers<OP, T, 4>(p); }                        \
  KERNEL(softmax_##op##_row_##suffix, SoftmaxParams, THREADS) { in_registers<OP, T, int(128 / sizeof(T))>(p); }       \
  KERNEL(softmax_##op##_long_##suffix, SoftmaxParams, LONG, 1) { long_row<OP, T>(p); }                                \
  KERNEL(softmax_##op##_columns_##suffix, SoftmaxParams, THREADS, 1) { columns<OP, T>(p); }
#define FLOATS(op, OP) SOFTMAX(op, OP, f32, float) SOFTMAX(op, OP, f64, double)

FLOATS(forward, FORWARD)
FLOATS(log, LOG)
FLOATS(grad, GRAD)
FLOATS(loggrad, LOGGRAD)
