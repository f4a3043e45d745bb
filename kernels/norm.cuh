// What normalisation and its gradient share: their struct, and which mean, weight and set of elements an element belongs to.
//
// A tensor is seen as [images, groups, together, size]. A run is `size` neighbours, and has one channel:
//   batch  [n, c, 1, size]       a mean per channel: of the runs of all images
//   group  [n, g, c / g, size]   a mean per group: of neighbouring runs
//   layer  [1, rows, 1, d]       a mean per run; weight and bias lie along it
#pragma once
#include "rows.cuh"

// Mirrors `NormParams` in norm.rs.
struct NormParams {
  Walk walk;           // [images, groups, together, size]
  const void* x;       // [images][groups][together][size]
  const void* g;       // [images][groups][together][size], of a gradient
  const void* w;       // [channels], [size] of a layer, or nothing
  const void* b;       // [channels], [size] of a layer, or nothing
  void* out;           // [images][groups][together][size]
  void* statistics;    // [means][4]: see Statistics
  void* first;         // [sets]: sums of g
  void* second;        // [sets]: sums of g h
  void* partial;       // [sets][pieces][3], of double for moments
  u32* counters;       // one per block of the grid's x
  double eps;
  double count;        // elements of a mean
  u64 set;             // elements of a set
  u64 chunk;           // of them, how many a piece has: a multiple of 4
  u32 per_channel;     // whether a mean is a channel's
  u32 across;          // whether a set is a channel of all images, or neighbours
  u32 weighted;        // whether g is times w in the sums
  u32 packed;          // whether runs are whole packs of four, and aligned
  u32 team_log;
  u32 width_log;
};

// x / sizes[d] of the walk
__device__ __forceinline__ u64 divide(const Walk& walk, int d, u64 x) {
  return walk.wide ? x / walk.sizes[d] : (__umulhi(u32(x), walk.magics[d]) + u32(x)) >> walk.shifts[d];
}

struct Run {
  u64 mean;
  u64 channel;
};

__device__ __forceinline__ Run run_of(const NormParams& p, u64 run) {
  const u64 group = divide(p.walk, 2, run), image = divide(p.walk, 1, group);
  const u64 channel = run - image * p.walk.sizes[1] * p.walk.sizes[2];
  return {p.per_channel ? channel : group, channel};
}

template <typename T>
__device__ __forceinline__ T at_or(const void* data, u64 i, T otherwise) {
  return data ? static_cast<const T*>(data)[i] : otherwise;
}

// What is kept of a mean, as `Backend::normalize` says. The mean is a sum of two numbers, as around a large one its last digit may
// be as large as the differences.
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

// body(i, run) for the elements of this piece of a set that this thread takes; i counts in the whole tensor. If runs are
// packed it is called for the first of each pack only.
template <typename F>
__device__ __forceinline__ void each_of_set(const NormParams& p, u64 set, F body) {
  const u64 first = blockIdx.y * p.chunk, size = p.walk.sizes[3], channels = p.walk.sizes[1] * p.walk.sizes[2];
  const u64 end = p.set - first < p.chunk ? p.set : first + p.chunk;
  const u32 step = p.packed ? 4 : 1;
#pragma unroll 1
  for (u64 e = first + u64(threadIdx.x) * step; e < end; e += u64(THREADS) * step) {
    if (p.across) {
      const u64 image = divide(p.walk, 3, e), run = image * channels + set;
      body(run * size + (e - image * size), run);
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
