// The gradients of normalization, with h = (x - mean) / sqrt(var + eps) and averages over the elements of one mean:
//
//   of x         (g w - average(g w) - h average(g w h)) / sqrt(var + eps)
//   of w and b   sum of g h, sum of g
//
//   norm_grad_small_TYPE    layer, of x: 2^team_log lanes of a warp per row, 4 elements in each lane's registers
//   norm_grad_row_TYPE      layer, of x: a warp per row, 128 bytes of x and of g in each lane's registers
//   norm_grad_long_TYPE     layer, of x: a block of 512 threads per row, which is read twice, the second time from cache
//   norm_grad_columns_TYPE  layer, and batch with size 1: the sums of w and b; 2^width_log adjacent columns per block
//   norm_grad_sums_TYPE     batch and group: the sums of g and g h, or of g w and g w h; a block of 256 threads per set and chunk:
//                           grid [sets, chunks]
//   norm_grad_apply_TYPE    batch and group: of x, from those sums; a grid-stride loop over all elements
//
// The last block adds the chunks in order. Cost: three reads and one write for a layer, four and one for a batch, six and one for
// a group. Overwrites its outputs.
// Budget: 128 registers, 4224 bytes of shared memory.
#include "norm.cuh"

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
  shift = team_reduce(shift, team, Sum()) / T(d);
  slope = team_reduce(slope, team, Sum()) / T(d);
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
struct Sums {
  T g;
  T gh;
};
struct AddSums {
  template <typename T>
  __device__ __forceinline__ Sums<T> operator()(Sums<T> a, Sums<T> b) const { return {a.g + b.g, a.gh + b.gh}; }
};

// The sums of a chunk, for the last block.
template <typename T>
__device__ __forceinline__ Sums<T>* partial_of(const NormParams& p, u64 set, u32 chunk) {
  return static_cast<Sums<T>*>(p.partial) + (set * gridDim.y + chunk);
}
template <typename T>
__device__ __forceinline__ void write_sums(const NormParams& p, u64 set, Sums<T> sums) {
  static_cast<T*>(p.sum_g)[set] = sums.g;
  static_cast<T*>(p.sum_gh)[set] = sums.gh;
}

template <typename T>
__device__ __forceinline__ void sums(const NormParams& p) {
  const u64 set = blockIdx.x;
  const T* x = static_cast<const T*>(p.x);
  const T* g = static_cast<const T*>(p.g);
  Sums<T> sums = {T(0), T(0)};
  each_of_set(p, set, [&](u64 i, u64 row_number) {
    const RowIndex row = row_index(p, row_number);
    const Statistics<T> of = read_statistics<T>(p, row.mean);
    const T factor = p.weighted ? at_or(p.w, row.channel, T(1)) : T(1);
    if (p.packed) {
      const Pack<T> px = *reinterpret_cast<const Pack<T>*>(x + i), pg = *reinterpret_cast<const Pack<T>*>(g + i);
      sums.g += factor * ((pg.v[0] + pg.v[1]) + (pg.v[2] + pg.v[3]));
      sums.gh += factor * ((pg.v[0] * of.normalized(px.v[0]) + pg.v[1] * of.normalized(px.v[1])) +
                           (pg.v[2] * of.normalized(px.v[2]) + pg.v[3] * of.normalized(px.v[3])));
    } else {
      sums.g += factor * g[i];
      sums.gh += factor * (g[i] * of.normalized(x[i]));
    }
  });
  sum_both<THREADS>(sums.g, sums.gh);
  if (gridDim.y > 1) {
    if (threadIdx.x == 0) *partial_of<T>(p, set, blockIdx.y) = sums;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    sums = {T(0), T(0)};
    for (u32 chunk = threadIdx.x; chunk < gridDim.y; chunk += THREADS) sums = AddSums()(sums, *partial_of<T>(p, set, chunk));
    sum_both<THREADS>(sums.g, sums.gh);
  }
  if (threadIdx.x == 0) write_sums(p, set, sums);
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
  Sums<T> sums = {T(0), T(0)};
  if (exists) {
#pragma unroll 4
    for (u64 i = first + row; i < end; i += rows) {
      sums.g += g[i * columns];
      sums.gh += g[i * columns] * read_statistics<T>(p, p.per_channel ? column : i).normalized(x[i * columns]);
    }
  }
  sums = column_merge(sums, width, AddSums());
  if (gridDim.y > 1) {
    if (row == 0 && exists) *partial_of<T>(p, column, blockIdx.y) = sums;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    sums = {T(0), T(0)};
    if (exists)
      for (u32 chunk = row; chunk < gridDim.y; chunk += rows) sums = AddSums()(sums, *partial_of<T>(p, column, chunk));
    sums = column_merge(sums, width, AddSums());
  }
  if (row == 0 && exists) write_sums(p, column, sums);
}

template <typename T>
__device__ __forceinline__ void apply(const NormParams& p) {
  const T* x = static_cast<const T*>(p.x);
  const T* g = static_cast<const T*>(p.g);
  T* out = static_cast<T*>(p.out);
  const u32 step = p.packed ? 4 : 1;
#pragma unroll 1
  for (u64 i = thread_index() * step; i < p.walk.numel; i += thread_count() * step) {
    const RowIndex row = row_index(p, divide(p.walk, 3, i));
    const Statistics<T> of = read_statistics<T>(p, row.mean);
    const T w = at_or(p.w, row.channel, T(1));
    // The sums of a group include the weights; a mean of a batch has one weight.
    const T share = (p.weighted ? T(1) : w) / T(p.count);
    const T shift = static_cast<const T*>(p.sum_g)[row.mean] * share;
    const T slope = static_cast<const T*>(p.sum_gh)[row.mean] * share;
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

#define NORM_GRAD(suffix, T)                                                                      \
  KERNEL(norm_grad_small_##suffix, NormParams, THREADS) { row<T, 4>(p); }                         \
  KERNEL(norm_grad_row_##suffix, NormParams, THREADS) { row<T, int(128 / sizeof(T))>(p); }        \
  KERNEL(norm_grad_long_##suffix, NormParams, LONG, 1) { long_row<T>(p); }                        \
  KERNEL(norm_grad_columns_##suffix, NormParams, THREADS) { columns<T>(p); }                      \
  KERNEL(norm_grad_sums_##suffix, NormParams, THREADS) { sums<T>(p); }                            \
  KERNEL(norm_grad_apply_##suffix, NormParams, THREADS) { apply<T>(p); }
NORM_GRAD(f32, float)
NORM_GRAD(f64, double)
