// The sum of exponentials in one pass, safe from overflow: the largest so far, and the sum of exp(x - max) over all elements but
// one of the largest, scaled anew whenever a larger comes. Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
//
// The element left out contributes exactly 1, so the whole sum is 1 + rest and its logarithm log1p(rest), which keeps its digits
// where the rest is small; and joining two parts takes one exponential.
#pragma once
#include "common.cuh"

template <typename T>
struct Online {
  T max;
  T rest;
};

// Of no elements.
template <typename T>
__device__ __forceinline__ Online<T> online_start() { return {T(-INFINITY), T(0)}; }

// A NaN of either side is one of the rest.
template <typename T>
__device__ __forceinline__ Online<T> online_join(Online<T> a, Online<T> b) {
  const bool first = a.max >= b.max;
  const Online<T> more = first ? a : b, less = first ? b : a;
  // -inf is not subtracted: of two parts that hold nothing else the difference would be NaN.
  const T shift = more.max == T(-INFINITY) ? T(0) : more.max;
  return {more.max, more.rest + (T(1) + less.rest) * exp_of(less.max - shift)};
}

// With one element more. -inf adds nothing.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, T x) { return online_join(a, Online<T>{x, T(0)}); }

// With four: four exponentials.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, const T (&x)[4]) {
  const Online<T> b = online_add(Online<T>{x[0], T(0)}, x[1]), c = online_add(Online<T>{x[2], T(0)}, x[3]);
  return online_join(a, online_join(b, c));
}

// The rest of a whole row: NaN if its maximum is infinite.
template <typename T>
__device__ __forceinline__ T rest_of(Online<T> a) { return fabs_of(a.max) == T(INFINITY) ? T(NAN) : a.rest; }

// Over the elements of x that this thread, `lane` of `step`, takes: packs, and single ones before and behind.
template <typename T>
__device__ __forceinline__ Online<T> online_row(const T* x, u64 n, u32 lane, u32 step) {
  Online<T> a = online_start<T>();
  const u32 to_aligned = u32(0ull - reinterpret_cast<u64>(x) / sizeof(T)) % 4;
  const u64 head = to_aligned < n ? to_aligned : n;
  const u64 packs = (n - head) / 4;
#pragma unroll (sizeof(T) == 4 ? 2 : 1)
  for (u64 i = lane; i < packs; i += step) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + head + 4 * i);
    a = online_add(a, pack.v);
  }
  // What no pack holds: at most three on each side.
  const u64 rest = n - 4 * packs;
#pragma unroll 1
  for (u64 i = lane; i < rest; i += step) a = online_add(a, x[i < head ? i : 4 * packs + i]);
  return a;
}

// Over `count` neighbouring lanes of a warp, a power of two, in each of them. All 32 lanes call it.
template <typename T>
__device__ __forceinline__ Online<T> online_team(Online<T> a, u32 count) {
#pragma unroll 1
  for (u32 d = count / 2; d > 0; d /= 2)
    a = online_join(a, {__shfl_xor_sync(FULL_WARP, a.max, d), __shfl_xor_sync(FULL_WARP, a.rest, d)});
  return a;
}

// Over a block of COUNT threads in one dimension, in every thread.
template <int COUNT, typename T>
__device__ __forceinline__ Online<T> online_block(Online<T> a) {
  __shared__ T maxima[COUNT / WARP];
  __shared__ T rests[COUNT / WARP];
  a = online_team(a, WARP);
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (lane == 0) {
    maxima[warp] = a.max;
    rests[warp] = a.rest;
  }
  __syncthreads();
  a = online_start<T>();
  if (lane < COUNT / WARP) a = {maxima[lane], rests[lane]};
  a = online_team(a, WARP);
  __syncthreads();  // before a second call writes them again
  return a;
}
