// Normalization: y = (x - mean) / sqrt(var + eps) w + b, and the statistics. norm.cuh describes layers, batches and groups.
//
//   norm_small_TYPE    layer: 2^team_log lanes of a warp per row, 4 elements in each lane's registers; statistics and y
//   norm_row_TYPE      layer: a warp per row, 128 bytes in each lane's registers; statistics and y
//   norm_long_TYPE     layer: a block of 512 threads per row, which is read twice, the second time from cache; statistics and y
//   norm_moments_TYPE  batch and group: statistics; a block of 256 threads per mean and chunk: grid [means, chunks]
//   norm_columns_TYPE  batch with size 1: statistics; as norm_moments, with 2^width_log adjacent channels per block
//   norm_apply_TYPE    batch and group: y from the statistics; a grid-stride loop over all elements
//   norm_running_TYPE  batch: the update of the running mean and variance; a thread per channel
//
// Moments are computed in double: they are exact to rounding for f32 of any mean, and squares neither overflow nor underflow.
// Rows in registers compute the mean first and then the squared differences. In the other kernels each thread sums relative to
// the first element that it reads, and (count, mean, squared differences) are merged as in Chan, Golub and LeVeque, "Updating
// formulae and a pairwise algorithm for computing sample variances", 1979. The last block merges the chunks. Cost: one read and
// one write for a layer, else two reads and one write. Overwrites its outputs.
// Budget: 128 registers, 6400 bytes of shared memory.
#include "norm.cuh"

struct Moments {
  double count;
  double mean;     // relative to the set's first element, so that a large mean does not round differences of means
  double squares;  // the sum of squared differences from the mean
};

__device__ __forceinline__ Moments merge(Moments a, Moments b) {
  if (a.count == 0) return b;
  if (b.count == 0) return a;
  const double count = a.count + b.count, share = b.count / count, d = b.mean - a.mean;
  return {count, a.mean + d * share, a.squares + b.squares + d * d * (a.count * share)};
}

// The sums of one thread, relative to the first element that it reads.
struct Shifted {
  double origin;
  double sum;
  double squares;
  u32 count;

  __device__ __forceinline__ void add(double x) {
    if (count == 0) origin = x;
    const double d = x - origin;
    sum += d;
    squares += d * d;
    ++count;
  }
  template <typename T>
  __device__ __forceinline__ void add(const T (&x)[4]) {
    if (count == 0) origin = x[0];
    const double a = x[0] - origin, b = x[1] - origin, c = x[2] - origin, d = x[3] - origin;
    sum += (a + b) + (c + d);
    squares += (a * a + b * b) + (c * c + d * d);
    count += 4;
  }
  __device__ __forceinline__ Moments moments(double first) const {
    if (count == 0) return {0, 0, 0};
    const double shift = sum / count, around = squares - sum * shift;
    return {double(count), (origin - first) + shift, around < 0 ? 0 : around};  // NaN propagates
  }
};

__device__ __forceinline__ Moments merge_lanes(Moments a, u32 lanes) {
#pragma unroll 1
  for (u32 d = lanes / 2; d > 0; d /= 2)
    a = merge(a, {__shfl_xor_sync(FULL_WARP, a.count, d), __shfl_xor_sync(FULL_WARP, a.mean, d),
                 __shfl_xor_sync(FULL_WARP, a.squares, d)});
  return a;
}

// Merges the moments of a block of COUNT threads, in every thread.
template <int COUNT>
__device__ __forceinline__ Moments merge_block(Moments a) {
  __shared__ double counts[COUNT / WARP];
  __shared__ double means[COUNT / WARP];
  __shared__ double squares[COUNT / WARP];
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  a = merge_lanes(a, WARP);
  if (lane == 0) {
    counts[warp] = a.count;
    means[warp] = a.mean;
    squares[warp] = a.squares;
  }
  __syncthreads();
  a = {0, 0, 0};
  if (lane < COUNT / WARP) a = {counts[lane], means[lane], squares[lane]};
  a = merge_lanes(a, WARP);
  __syncthreads();  // a second call writes the arrays again
  return a;
}

struct Merge {
  __device__ __forceinline__ Moments operator()(Moments a, Moments b) const { return merge(a, b); }
};

template <typename T>
__device__ __forceinline__ Statistics<T> statistics_of(const NormParams& p, T first, Moments a) {
  return statistics_of<T>(first, a.mean, a.squares / a.count, p.eps);
}

template <typename T, int ITEMS>
__device__ __forceinline__ void row(const NormParams& p) {
  const u32 team = 1u << p.team_log, lane = threadIdx.x & (team - 1), d = u32(p.walk.sizes[3]);
  const u64 row = thread_index() >> p.team_log;
  const bool exists = row < p.walk.sizes[1];
  const u32 n = exists ? d : 0;
  T x[ITEMS];
  load_part<T, ITEMS>(static_cast<const T*>(p.x) + row * d, n, p.packed, lane, team, T(0), x);
  double sum = 0, left = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) sum += x[i];
  const T mean = T(team_reduce(sum, team, Sum()) / d);
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    x[i] -= mean;
    if (part_index<ITEMS>(i, p.packed, lane, team) < n) left += x[i];
  }
  // The rounding error of the mean.
  left = team_reduce(left, team, Sum()) / d;
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    x[i] -= T(left);
    if (part_index<ITEMS>(i, p.packed, lane, team) < n) squares += double(x[i]) * double(x[i]);
  }
  const Statistics<T> of = statistics_of<T>(mean, left, team_reduce(squares, team, Sum()) / d, p.eps);
  if (exists && lane == 0) write_statistics(p, row, of);
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) x[i] *= of.root;
  if (p.w) {
    T w[ITEMS];
    load_part<T, ITEMS>(static_cast<const T*>(p.w), n, p.packed, lane, team, T(0), w);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] *= w[i];
  }
  if (p.b) {
    T b[ITEMS];
    load_part<T, ITEMS>(static_cast<const T*>(p.b), n, p.packed, lane, team, T(0), b);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) x[i] += b[i];
  }
  store_part<T, ITEMS>(static_cast<T*>(p.out) + row * d, n, p.packed, lane, team, x);
}

template <typename T>
__device__ __forceinline__ void long_row(const NormParams& p) {
  const u64 row = blockIdx.x, d = p.walk.sizes[3], packs = p.packed ? d / 4 : 0;
  const T* x = static_cast<const T*>(p.x) + row * d;
  T* out = static_cast<T*>(p.out) + row * d;
  Shifted sums = {};
#pragma unroll 2
  for (u64 i = threadIdx.x; i < packs; i += LONG) sums.add(reinterpret_cast<const Pack<T>*>(x)[i].v);
#pragma unroll 1
  for (u64 i = 4 * packs + threadIdx.x; i < d; i += LONG) sums.add(x[i]);
  const T origin = x[0];
  const Statistics<T> of = statistics_of(p, origin, merge_block<LONG>(sums.moments(origin)));
  if (threadIdx.x == 0) write_statistics(p, row, of);
#pragma unroll 1
  for (u64 i = threadIdx.x; i < packs; i += LONG) {
    Pack<T> y = reinterpret_cast<const Pack<T>*>(x)[i];
    Pack<T> w = {{T(1), T(1), T(1), T(1)}}, b = {};
    if (p.w) w = static_cast<const Pack<T>*>(p.w)[i];
    if (p.b) b = static_cast<const Pack<T>*>(p.b)[i];
#pragma unroll
    for (int k = 0; k < 4; ++k) y.v[k] = of.normalized(y.v[k]) * w.v[k] + b.v[k];
    reinterpret_cast<Pack<T>*>(out)[i] = y;
  }
#pragma unroll 1
  for (u64 i = 4 * packs + threadIdx.x; i < d; i += LONG)
    out[i] = of.normalized(x[i]) * at_or(p.w, i, T(1)) + at_or(p.b, i, T(0));
}

// The moments of a chunk, for the last block.
__device__ __forceinline__ Moments* partial_of(const NormParams& p, u64 set, u32 chunk) {
  return static_cast<Moments*>(p.partial) + (set * gridDim.y + chunk);
}

template <typename T>
__device__ __forceinline__ void moments(const NormParams& p) {
  const u64 set = blockIdx.x;
  const T* x = static_cast<const T*>(p.x);
  Shifted sums = {};
  each_of_set(p, set, [&](u64 i, u64) {
    if (p.packed)
      sums.add(reinterpret_cast<const Pack<T>*>(x + i)->v);
    else
      sums.add(x[i]);
  });
  const T origin = x[set * (p.across ? p.walk.sizes[3] : p.set)];
  Moments a = merge_block<THREADS>(sums.moments(origin));
  if (gridDim.y > 1) {
    if (threadIdx.x == 0) *partial_of(p, set, blockIdx.y) = a;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    a = {0, 0, 0};
    for (u32 chunk = threadIdx.x; chunk < gridDim.y; chunk += THREADS) a = merge(a, *partial_of(p, set, chunk));
    a = merge_block<THREADS>(a);
  }
  if (threadIdx.x == 0) write_statistics(p, set, statistics_of(p, origin, a));
}

template <typename T>
__device__ __forceinline__ void columns(const NormParams& p) {
  const u32 width = 1u << p.width_log, row = threadIdx.x >> p.width_log, rows = THREADS >> p.width_log;
  const u64 column = u64(blockIdx.x) * width + (threadIdx.x & (width - 1)), channels = p.walk.sizes[1];
  const u64 first = blockIdx.y * p.chunk, end = p.set - first < p.chunk ? p.set : first + p.chunk;
  const bool exists = column < channels;
  Shifted sums = {};
  const T* x = static_cast<const T*>(p.x) + column;
  if (exists) {
#pragma unroll 4
    for (u64 i = first + row; i < end; i += rows) sums.add(x[i * channels]);
  }
  const T origin = exists ? x[0] : T(0);
  Moments a = column_merge(sums.moments(origin), width, Merge());
  if (gridDim.y > 1) {
    if (row == 0 && exists) *partial_of(p, column, blockIdx.y) = a;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    a = {0, 0, 0};
    if (exists)
      for (u32 chunk = row; chunk < gridDim.y; chunk += rows) a = merge(a, *partial_of(p, column, chunk));
    a = column_merge(a, width, Merge());
  }
  if (row == 0 && exists) write_statistics(p, column, statistics_of(p, origin, a));
}

template <typename T>
__device__ __forceinline__ void apply(const NormParams& p) {
  const T* x = static_cast<const T*>(p.x);
  T* out = static_cast<T*>(p.out);
  const u32 step = p.packed ? 4 : 1;
#pragma unroll 1
  for (u64 i = thread_index() * step; i < p.walk.numel; i += thread_count() * step) {
    const RowIndex row = row_index(p, divide(p.walk, 3, i));
    const Statistics<T> of = read_statistics<T>(p, row.mean);
    const T factor = of.root * at_or(p.w, row.channel, T(1)), term = at_or(p.b, row.channel, T(0));
    if (p.packed) {
      Pack<T> y = *reinterpret_cast<const Pack<T>*>(x + i);
#pragma unroll
      for (int k = 0; k < 4; ++k) y.v[k] = ((y.v[k] - of.mean) - of.rest) * factor + term;
      *reinterpret_cast<Pack<T>*>(out + i) = y;
    } else {
      out[i] = ((x[i] - of.mean) - of.rest) * factor + term;
    }
  }
}

// Mirrors `RunningParams` in norm.rs.
struct RunningParams {
  const void* mean;        // [channels]
  const void* var;         // [channels]
  const void* statistics;  // [channels][4]: see Statistics
  void* new_mean;          // [channels]
  void* new_var;           // [channels]
  u64 channels;
  double momentum;
  double unbiased;         // m / (m - 1) for m elements per channel
};

template <typename T>
__device__ __forceinline__ void running(const RunningParams& p) {
  const u64 c = thread_index();
  if (c >= p.channels) return;
  const Pack<T> batch = static_cast<const Pack<T>*>(p.statistics)[c];
  const T decay = T(1.0 - p.momentum), weight = T(p.momentum), var_weight = T(p.momentum * p.unbiased);
  static_cast<T*>(p.new_mean)[c] = static_cast<const T*>(p.mean)[c] * decay + batch.v[0] * weight;
  static_cast<T*>(p.new_var)[c] = static_cast<const T*>(p.var)[c] * decay + batch.v[2] * var_weight;
}

#define NORM(suffix, T)                                                                           \
  KERNEL(norm_small_##suffix, NormParams, THREADS) { row<T, 4>(p); }                              \
  KERNEL(norm_row_##suffix, NormParams, THREADS) { row<T, int(128 / sizeof(T))>(p); }             \
  KERNEL(norm_long_##suffix, NormParams, LONG, 1) { long_row<T>(p); }                             \
  KERNEL(norm_moments_##suffix, NormParams, THREADS) { moments<T>(p); }                           \
  KERNEL(norm_columns_##suffix, NormParams, THREADS) { columns<T>(p); }                           \
  KERNEL(norm_apply_##suffix, NormParams, THREADS) { apply<T>(p); }                               \
  KERNEL(norm_running_##suffix, RunningParams, THREADS) { running<T>(p); }
NORM(f32, float)
NORM(f64, double)
