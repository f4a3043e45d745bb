// The gradients of normalisation, with h = (x - mean) / sqrt(var + eps) and means over the elements of one mean:
//
//   in x        (g w - mean(g w) - h mean(g w h)) / sqrt(var + eps)
//   in w, in b  sum of g h, sum of g
//
//   norm_grad_small_TYPE    layer, in x: 2^team_log threads of a warp per row, 4 elements each in registers
//   norm_grad_row_TYPE      layer, in x: a warp per row, 128 bytes of x and of g in each thread's registers
//   norm_grad_long_TYPE     layer, in x: a block of 512 threads per row, read twice, the second time from the cache
//   norm_grad_columns_TYPE  layer, and batch of size 1: the sums in w and b, for 2^width_log neighbouring columns per block
//   norm_grad_sums_TYPE     batch and group: sums of g and g h, or of g w and g w h, over a set: a block of 256 threads per set
//                           and piece, grid [sets, pieces]
//   norm_grad_map_TYPE      batch and group, in x, from those sums; a walk over all elements
//
// Pieces are joined by the last block, in order. Cost: layer three reads and one write, batch four reads and one write, group
// six and one. Overwrites its outputs.
// Budget: 128 registers, 4224 bytes of shared memory.
#include "norm.cuh"

#define LONG 512

template <typename T, int ITEMS>
__device__ __forceinline__ void row(const NormParams& p) {
  const u32 team = 1u << p.team_log, lane = threadIdx.x & (team - 1), d = u32(p.walk.sizes[3]);
  const u64 row = thread_index() >> p.team_log;
  const u32 n = row < p.walk.sizes[1] ? d : 0;
  T g[ITEMS];
  load_part<T, ITEMS>(static_cast<const T*>(p.g) + row * d, n, p.packed, lane, team, T(0), g);
  if (p.w) {
    T w[ITEMS];
    load_part<T, ITEMS>(static_cast<const T*>(p.w), n, p.packed, lane, team, T(0), w);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) g[i] *= w[i];
  }
  Statistics<T> of = {};
  if (n > 0) of = read_statistics<T>(p, row);
  T h[ITEMS];
  load_part<T, ITEMS>(static_cast<const T*>(p.x) + row * d, n, p.packed, lane, team, of.mean, h);
  T shift = T(0), slope = T(0);
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    h[i] = of.normalized(h[i]);
    shift += g[i];
    slope += g[i] * h[i];
  }
  shift = team_sum(shift, team) / T(d);
  slope = team_sum(slope, team) / T(d);
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) g[i] = (g[i] - shift - h[i] * slope) * of.root;
  store_part<T, ITEMS>(static_cast<T*>(p.out) + row * d, n, p.packed, lane, team, g);
}

template <typename T>
__device__ __forceinline__ void long_row(const NormParams& p) {
  const u64 row = blockIdx.x, d = p.walk.sizes[3];
  const T* x = static_cast<const T*>(p.x) + row * d;
  const T* g = static_cast<const T*>(p.g) + row * d;
  T* out = static_cast<T*>(p.out) + row * d;
  const Statistics<T> of = read_statistics<T>(p, row);
  T shift = T(0), slope = T(0);
#pragma unroll 4
  for (u64 i = threadIdx.x; i < d; i += LONG) {
    const T gw = g[i] * at_or(p.w, i, T(1));
    shift += gw;
    slope += gw * of.normalized(x[i]);
  }
  sum_both<LONG>(shift, slope);
  shift /= T(d);
  slope /= T(d);
#pragma unroll 4
  for (u64 i = threadIdx.x; i < d; i += LONG)
    out[i] = (g[i] * at_or(p.w, i, T(1)) - shift - of.normalized(x[i]) * slope) * of.root;
}

template <typename T>
__device__ __forceinline__ T* partial_of(const NormParams& p, u64 set, u32 piece) {
  return static_cast<T*>(p.partial) + (set * gridDim.y + piece) * 3;
}
template <typename T>
__device__ __forceinline__ void write_sums(const NormParams& p, u64 set, T sum, T slope) {
  static_cast<T*>(p.first)[set] = sum;
  static_cast<T*>(p.second)[set] = slope;
}

template <typename T>
__device__ __forceinline__ void sums(const NormParams& p) {
  const u64 set = blockIdx.x;
  const T* x = static_cast<const T*>(p.x);
  const T* g = static_cast<const T*>(p.g);
  T sum = T(0), slope = T(0);
  each_of_set(p, set, [&](u64 i, u64 number) {
    const Run run = run_of(p, number);
    const Statistics<T> of = read_statistics<T>(p, run.mean);
    const T factor = p.weighted ? at_or(p.w, run.channel, T(1)) : T(1);
    if (p.packed) {
      const Pack<T> px = *reinterpret_cast<const Pack<T>*>(x + i), pg = *reinterpret_cast<const Pack<T>*>(g + i);
      sum += factor * ((pg.v[0] + pg.v[1]) + (pg.v[2] + pg.v[3]));
      slope += factor * ((pg.v[0] * of.normalized(px.v[0]) + pg.v[1] * of.normalized(px.v[1])) +
                         (pg.v[2] * of.normalized(px.v[2]) + pg.v[3] * of.normalized(px.v[3])));
    } else {
      sum += factor * g[i];
      slope += factor * (g[i] * of.normalized(x[i]));
    }
  });
  sum_both<THREADS>(sum, slope);
  if (gridDim.y > 1) {
    if (threadIdx.x == 0) {
      partial_of<T>(p, set, blockIdx.y)[0] = sum;
      partial_of<T>(p, set, blockIdx.y)[1] = slope;
    }
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    sum = slope = T(0);
    for (u32 piece = threadIdx.x; piece < gridDim.y; piece += THREADS) {
      sum += partial_of<T>(p, set, piece)[0];
      slope += partial_of<T>(p, set, piece)[1];
    }
    sum_both<THREADS>(sum, slope);
  }
  if (threadIdx.x == 0) write_sums(p, set, sum, slope);
}

// Over the threads of a column, in those of the first row.
template <typename T>
__device__ __forceinline__ void sum_column(T& a, T& b, u32 width) {
  __shared__ T firsts[THREADS];
  __shared__ T seconds[THREADS];
  const u32 t = threadIdx.x;
#pragma unroll 1
  for (u32 half = THREADS / 2; half >= width; half /= 2) {
    firsts[t] = a;
    seconds[t] = b;
    __syncthreads();
    if (t < half) {
      a += firsts[t + half];
      b += seconds[t + half];
    }
    __syncthreads();
  }
}

// x is [rows, columns]: [rows, d] of a layer with a mean per row, or [n, c] of a batch with a mean per column.
template <typename T>
__device__ __forceinline__ void columns(const NormParams& p) {
  const u32 width = 1u << p.width_log, row = threadIdx.x >> p.width_log, rows = THREADS >> p.width_log;
  const u64 column = u64(blockIdx.x) * width + (threadIdx.x & (width - 1));
  const u64 columns = p.per_channel ? p.walk.sizes[1] : p.walk.sizes[3];
  const u64 first = blockIdx.y * p.chunk, end = p.set - first < p.chunk ? p.set : first + p.chunk;
  const bool exists = column < columns;
  const T* x = static_cast<const T*>(p.x) + column;
  const T* g = static_cast<const T*>(p.g) + column;
  T sum = T(0), slope = T(0);
  if (exists) {
#pragma unroll 4
    for (u64 i = first + row; i < end; i += rows) {
      sum += g[i * columns];
      slope += g[i * columns] * read_statistics<T>(p, p.per_channel ? column : i).normalized(x[i * columns]);
    }
  }
  sum_column(sum, slope, width);
  if (gridDim.y > 1) {
    if (row == 0 && exists) {
      partial_of<T>(p, column, blockIdx.y)[0] = sum;
      partial_of<T>(p, column, blockIdx.y)[1] = slope;
    }
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    sum = slope = T(0);
    if (exists) {
      for (u32 piece = row; piece < gridDim.y; piece += rows) {
        sum += partial_of<T>(p, column, piece)[0];
        slope += partial_of<T>(p, column, piece)[1];
      }
    }
    sum_column(sum, slope, width);
  }
  if (row == 0 && exists) write_sums(p, column, sum, slope);
}

template <typename T>
__device__ __forceinline__ void map(const NormParams& p) {
  const T* x = static_cast<const T*>(p.x);
  const T* g = static_cast<const T*>(p.g);
  T* out = static_cast<T*>(p.out);
  const u32 step = p.packed ? 4 : 1;
#pragma unroll 1
  for (u64 i = thread_index() * step; i < p.walk.numel; i += thread_count() * step) {
    const Run run = run_of(p, divide(p.walk, 3, i));
    const Statistics<T> of = read_statistics<T>(p, run.mean);
    const T w = at_or(p.w, run.channel, T(1));
    // A group's sums have the weights in them; a batch's mean has one weight.
    const T share = (p.weighted ? T(1) : w) / T(p.count);
    const T shift = static_cast<const T*>(p.first)[run.mean] * share;
    const T slope = static_cast<const T*>(p.second)[run.mean] * share;
    if (p.packed) {
      const Pack<T> px = *reinterpret_cast<const Pack<T>*>(x + i);
      Pack<T> pg = *reinterpret_cast<const Pack<T>*>(g + i);
#pragma unroll
      for (int k = 0; k < 4; ++k) pg.v[k] = (pg.v[k] * w - shift - of.normalized(px.v[k]) * slope) * of.root;
      *reinterpret_cast<Pack<T>*>(out + i) = pg;
    } else {
      out[i] = (g[i] * w - shift - of.normalized(x[i]) * slope) * of.root;
    }
  }
}

#define KERNEL(kind, suffix, bounds, ...)                              \
  extern "C" __global__ void __launch_bounds__ bounds                  \
      norm_grad_##kind##_##suffix(const __grid_constant__ NormParams p) { \
    __VA_ARGS__(p);                                                    \
  }
#define NORM_GRAD(suffix, T)                                   \
  KERNEL(small, suffix, (THREADS), row<T, 4>)                  \
  KERNEL(row, suffix, (THREADS), row<T, int(128 / sizeof(T))>) \
  KERNEL(long, suffix, (LONG, 1), long_row<T>)                 \
  KERNEL(columns, suffix, (THREADS), columns<T>)               \
  KERNEL(sums, suffix, (THREADS), sums<T>)                     \
  KERNEL(map, suffix, (THREADS), map<T>)
NORM_GRAD(f32, float)
NORM_GRAD(f64, double)
