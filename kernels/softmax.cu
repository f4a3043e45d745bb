// Softmax, its logarithm and their gradients along one dimension of [outer, n, inner].
//
//   softmax_MAP_KIND_TYPE
//
//   forward   out[i] = exp(x[i] - max) / sum, the sum of exp(x - max)
//   log       out[i] = x[i] - max - log1p(rest), the sum of exp(x - max) without one of the largest
//   grad      out[i] = y[i] (g[i] - sum(g y))           y is in x
//   loggrad   out[i] = g[i] - exp(y[i]) sum(g)          y is in x
//
//   small     inner = 1: 2^team_log threads of a warp per row, 4 elements each in registers
//   row       inner = 1: a warp per row, 128 bytes of it in each thread's registers
//   long      inner = 1: a block of 512 threads per row, which is read twice, the second time from the cache
//   columns   inner > 1: 2^width_log neighbouring columns per block of 256 threads, the rest of them along n; read twice
//
// All tensors are contiguous. A row that holds NaN or infinity, or only -inf, is NaN. Cost: one read of x (and g) and one write
// per element beyond the caches, one or two exponentials. Overwrites out.
// Budget: 128 registers, 6144 bytes of shared memory.
#include "rows.cuh"
#include "softmax.cuh"

#define LONG 512

// Mirrors `SoftmaxParams` in softmax.rs.
struct SoftmaxParams {
  const void* x;  // [outer][n][inner]
  const void* g;  // [outer][n][inner], of a gradient
  void* out;      // [outer][n][inner]
  u64 outer;
  u64 n;
  u64 inner;
  u32 team_log;
  u32 width_log;
  u32 packed;     // whether all rows begin at packs of four and hold whole ones
  u32 unused;
};

enum Map { FORWARD, LOG, GRAD, LOGGRAD };

// What all elements of a row share: its maximum, and a number of its exponentials; or a gradient's sum alone.
template <typename T>
struct Shared {
  T max;
  T sum;
};

// 1 / sum or log(sum) of exp(x - max), from the rest.
template <Map MAP, typename T>
__device__ __forceinline__ T finish(T rest) { return MAP == FORWARD ? T(1) / (T(1) + rest) : log1p_of(rest); }

template <Map MAP, typename T>
__device__ __forceinline__ T apply(T x, T g, Shared<T> a) {
  if (MAP == FORWARD) return exp_of(x - a.max) * a.sum;
  if (MAP == LOG) return x - a.max - a.sum;
  if (MAP == GRAD) return x * (g - a.sum);
  return g - exp_of(x) * a.sum;
}

template <Map MAP, typename T>
__device__ __forceinline__ T term(T x, T g) { return MAP == GRAD ? g * x : g; }

template <Map MAP, typename T, int ITEMS>
__device__ __forceinline__ void in_registers(const SoftmaxParams& p) {
  const u32 team = 1u << p.team_log, lane = threadIdx.x & (team - 1);
  const u64 row = thread_index() >> p.team_log, at = row * p.n;
  const bool exists = row < p.outer;
  T x[ITEMS];
  Shared<T> a = {T(0), T(0)};
  const T nothing = MAP == FORWARD || MAP == LOG ? T(-INFINITY) : T(0);
  load_part<T, ITEMS>(static_cast<const T*>(p.x) + at, exists ? u32(p.n) : 0, p.packed, lane, team, nothing, x);
  if (MAP == FORWARD || MAP == LOG) {
    T max = x[0];
#pragma unroll
    for (int i = 1; i < ITEMS; ++i) max = maximum(max, x[i]);
    a.max = team_max(max, team);
    // exp(inf - inf) is NaN, and so is the sum of a row with an infinite maximum.
    T e[ITEMS], ties = T(0);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const bool tie = MAP == LOG && x[i] == a.max;
      e[i] = exp_of(x[i] - a.max);
      a.sum += tie ? T(0) : e[i];
      ties += tie ? T(1) : T(0);
    }
    a.sum = team_sum(a.sum, team);
    if (MAP == FORWARD)
      a.sum = T(1) / a.sum;
    else
      a.sum = finish<MAP, T>(rest_of(Online<T>{a.max, a.sum + (team_sum(ties, team) - T(1))}));
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] = MAP == FORWARD ? e[i] * a.sum : apply<MAP, T>(x[i], T(0), a);
  } else {
    T g[ITEMS];
    load_part<T, ITEMS>(static_cast<const T*>(p.g) + at, exists ? u32(p.n) : 0, p.packed, lane, team, T(0), g);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) a.sum += term<MAP, T>(x[i], g[i]);
    a.sum = team_sum(a.sum, team);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] = apply<MAP, T>(x[i], g[i], a);
  }
  store_part<T, ITEMS>(static_cast<T*>(p.out) + at, exists ? u32(p.n) : 0, p.packed, lane, team, x);
}

template <Map MAP, typename T>
__device__ __forceinline__ void long_row(const SoftmaxParams& p) {
  const u64 at = blockIdx.x * p.n;
  const T* x = static_cast<const T*>(p.x) + at;
  const T* g = static_cast<const T*>(p.g) + at;
  T* out = static_cast<T*>(p.out) + at;
  const u64 packs = p.packed ? p.n / 4 : 0;
  Shared<T> a = {T(0), T(0)};
  if (MAP == FORWARD || MAP == LOG) {
    const Online<T> row = online_block<LONG>(online_row(x, p.n, threadIdx.x, LONG));
    a = {row.max, finish<MAP, T>(rest_of(row))};
  } else {
    T sum[4] = {};
#pragma unroll 2
    for (u64 i = threadIdx.x; i < packs; i += LONG) {
      const Pack<T> px = reinterpret_cast<const Pack<T>*>(x)[i], pg = reinterpret_cast<const Pack<T>*>(g)[i];
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] += term<MAP, T>(px.v[k], pg.v[k]);
    }
#pragma unroll 2
    for (u64 i = 4 * packs + threadIdx.x; i < p.n; i += LONG) sum[0] += term<MAP, T>(x[i], g[i]);
    a.sum = block_reduce<LONG>((sum[0] + sum[1]) + (sum[2] + sum[3]), T(0), Sum());
  }
#pragma unroll 1
  for (u64 i = threadIdx.x; i < packs; i += LONG) {
    Pack<T> px = reinterpret_cast<const Pack<T>*>(x)[i], pg = {};
    if (MAP == GRAD || MAP == LOGGRAD) pg = reinterpret_cast<const Pack<T>*>(g)[i];
#pragma unroll
    for (int k = 0; k < 4; ++k) px.v[k] = apply<MAP, T>(px.v[k], pg.v[k], a);
    reinterpret_cast<Pack<T>*>(out)[i] = px;
  }
#pragma unroll 1
  for (u64 i = 4 * packs + threadIdx.x; i < p.n; i += LONG)
    out[i] = apply<MAP, T>(x[i], MAP == GRAD || MAP == LOGGRAD ? g[i] : T(0), a);
}

template <Map MAP, typename T>
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
  constexpr bool FROM_X = MAP == FORWARD || MAP == LOG;
  Online<T> a = {FROM_X ? T(-INFINITY) : T(0), T(0)};  // of a gradient the sum, in rest
  for (u64 i = row; i < n; i += 4 * rows) {
    T v[4];
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
      const u64 j = i + k * rows;
      v[k] = FROM_X ? T(-INFINITY) : T(0);
      if (j < n) v[k] = FROM_X ? x[j * p.inner] : term<MAP, T>(MAP == GRAD ? x[j * p.inner] : T(0), g[j * p.inner]);
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
      a = FROM_X ? online_join(a, b) : Online<T>{T(0), a.rest + b.rest};
      maxima[threadIdx.x] = a.max;
      sums[threadIdx.x] = a.rest;
    }
    __syncthreads();
  }
  if (FROM_X && row == 0) sums[threadIdx.x] = finish<MAP, T>(rest_of(a));
  __syncthreads();
  const Shared<T> all = {maxima[threadIdx.x & (width - 1)], sums[threadIdx.x & (width - 1)]};
#pragma unroll 2
  for (u64 i = row; i < n; i += rows)
    out[i * p.inner] = apply<MAP, T>(x[i * p.inner], FROM_X ? T(0) : g[i * p.inner], all);
}

#define KERNEL(map, kind, suffix, bounds, ...)                                          \
  extern "C" __global__ void __launch_bounds__ bounds                                 \
      softmax_##map##_##kind##_##suffix(const __grid_constant__ SoftmaxParams p) {        \
    __VA_ARGS__(p);                                                                     \
  }
#define SOFTMAX(map, MAP, suffix, T)                                                           \
  KERNEL(map, small, suffix, (THREADS), in_registers<MAP, T, 4>)                                 \
  KERNEL(map, row, suffix, (THREADS), in_registers<MAP, T, int(128 / sizeof(T))>)                \
  KERNEL(map, long, suffix, (LONG, 1), long_row<MAP, T>)                                            \
  KERNEL(map, columns, suffix, (THREADS, 1), columns<MAP, T>)
#define FLOATS(map, MAP) SOFTMAX(map, MAP, f32, float) SOFTMAX(map, MAP, f64, double)

FLOATS(forward, FORWARD)
FLOATS(log, LOG)
FLOATS(grad, GRAD)
FLOATS(loggrad, LOGGRAD)
