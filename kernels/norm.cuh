// Shared by normalization and its gradient: the parameters, and the mapping from elements to means, channels and sets.
//
// A tensor is seen as [images, groups, channels per group, size]; a row is the innermost dimension:
//   batch  [n, c, 1, size]       a mean per channel, over the rows of all images
//   group  [n, g, c / g, size]   a mean per group, over adjacent rows
//   layer  [1, rows, 1, d]       a mean per row; weight and bias are along the row
// A set is the elements of one sum: of a mean, or of a channel.
#pragma once
#include "rows.cuh"

// Mirrors `NormParams` in norm.rs.
struct NormParams {
  Walk walk;           // [images, groups, channels per group, size]
  const void* x;       // the walk's shape
  const void* g;       // the walk's shape, for a gradient
  const void* w;       // [channels], [size] for a layer, or null
  const void* b;       // [channels], [size] for a layer, or null
  void* out;           // the walk's shape
  void* statistics;    // [means][4]: see Statistics
  void* sum_g;         // [sets]: sums of g
  void* sum_gh;        // [sets]: sums of g h
  void* partial;       // [sets][chunks] Moments, or Sums for a gradient
  u32* counters;       // one per block of the grid's x
  double eps;
  double count;        // elements of a mean
  u64 set;             // elements of a set
  u64 chunk;           // elements of a chunk of a set: a multiple of 4
  u32 per_channel;     // whether there is a mean per channel
  u32 across;          // whether a set is a channel of all images, or else contiguous
  u32 weighted;        // whether the sums multiply g by w
  u32 packed;          // whether rows consist of aligned packs of four
  u32 team_log;
  u32 width_log;
};

// The mean and the channel of a row.
struct RowIndex {
  u64 mean;
  u64 channel;
};

__device__ __forceinline__ RowIndex row_index(const NormParams& p, u64 row) {
  const u64 group = divide(p.walk, 2, row), image = divide(p.walk, 1, group);
  const u64 channel = row - image * p.walk.sizes[1] * p.walk.sizes[2];
  return {p.per_channel ? channel : group, channel};
}

template <typename T>
__device__ __forceinline__ T at_or(const void* data, u64 i, T otherwise) {
  return data ? static_cast<const T*>(data)[i] : otherwise;
}

// The statistics of a mean, as `NormOps::normalize` documents them. The mean is mean + rest: the rounding error of a large mean
// may be as large as the differences from it.
template <typename T>
struct Statistics {
  T mean;
  T rest;
  T var;
  T root;  // 1 / sqrt(var + eps)

  __device__ __forceinline__ T normalized(T x) const { return ((x - mean) - rest) * root; }
};
// The mean is origin + shift.
template <typename T>
__device__ __forceinline__ Statistics<T> statistics_of(double origin, double shift, double var, double eps) {
  const T mean = T(origin + shift);
  return {mean, T((origin - double(mean)) + shift), T(var), T(1.0 / sqrt(var + eps))};
}
template <typename T>
__device__ __forceinline__ Statistics<T> read_statistics(const NormParams& p, u64 at) {
  const Pack<T> pack = static_cast<const Pack<T>*>(p.statistics)[at];
  return {pack.v[0], pack.v[1], pack.v[2], pack.v[3]};
}
template <typename T>
__device__ __forceinline__ void write_statistics(const NormParams& p, u64 at, Statistics<T> of) {
  static_cast<Pack<T>*>(p.statistics)[at] = {{of.mean, of.rest, of.var, of.root}};
}

// Calls body(i, row) for this thread's elements of this block's chunk of a set, where i is the offset in the tensor. If rows are
// packed, it is called for the first element of each pack only.
template <typename F>
__device__ __forceinline__ void each_of_set(const NormParams& p, u64 set, F body) {
  const u64 first = blockIdx.y * p.chunk, size = p.walk.sizes[3], channels = p.walk.sizes[1] * p.walk.sizes[2];
  const u64 end = p.set - first < p.chunk ? p.set : first + p.chunk;
  const u32 step = p.packed ? 4 : 1;
#pragma unroll 1
  for (u64 e = first + u64(threadIdx.x) * step; e < end; e += u64(THREADS) * step) {
    if (p.across) {
      const u64 image = divide(p.walk, 3, e), row = image * channels + set;
      body(row * size + (e - image * size), row);
    } else {
      const u64 i = set * p.set + e;
      body(i, divide(p.walk, 3, i));
    }
  }
}

// a and b summed over a block, in every thread.
template <int COUNT, typename T>
__device__ __forceinline__ void sum_both(T& a, T& b) {
  a = block_reduce<COUNT>(a, T(0), Sum());
  b = block_reduce<COUNT>(b, T(0), Sum());
}
