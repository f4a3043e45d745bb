// The sum of exponentials in one pass without overflow: the running maximum, and the sum of exp(x - max) over all elements but
// one maximum, rescaled whenever the maximum grows. Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
//
// The excluded element contributes exactly 1, so the sum is 1 + rest and its logarithm is log1p(rest), which is accurate where
// the rest is small; and merging two parts takes one exponential.
#pragma once
#include "common.cuh"

template <typename T>
struct Online {
  T max;
  T rest;
};

// The identity of online_merge: no elements.
template <typename T>
__device__ __forceinline__ Online<T> online_identity() { return {T(-INFINITY), T(0)}; }

// Merges two parts. A NaN is counted in the rest.
template <typename T>
__device__ __forceinline__ Online<T> online_merge(Online<T> a, Online<T> b) {
  const bool ordered = a.max >= b.max;
  const Online<T> high = ordered ? a : b, low = ordered ? b : a;
  // If both maxima are -inf their difference would be NaN.
  const T shift = high.max == T(-INFINITY) ? T(0) : high.max;
  return {high.max, high.rest + (T(1) + low.rest) * exp_of(low.max - shift)};
}

// Adds one element; -inf adds nothing.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, T x) { return online_merge(a, Online<T>{x, T(0)}); }

// Adds four elements, with four exponentials.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, const T (&x)[4]) {
  const Online<T> b = online_add(Online<T>{x[0], T(0)}, x[1]), c = online_add(Online<T>{x[2], T(0)}, x[3]);
  return online_merge(a, online_merge(b, c));
}

// The rest of a complete row: NaN if its maximum is infinite.
template <typename T>
__device__ __forceinline__ T rest_of(Online<T> a) { return fabs_of(a.max) == T(INFINITY) ? T(NAN) : a.rest; }

// The part of thread `lane` of `step` in a row: packs, and the unaligned elements before and after them.
template <typename T>
__device__ __forceinline__ Online<T> online_row(const T* x, u64 n, u32 lane, u32 step) {
  Online<T> a = online_identity<T>();
  const u32 to_aligned = u32(0ull - reinterpret_cast<u64>(x) / sizeof(T)) % 4;
  const u64 head = to_aligned < n ? to_aligned : n;
  const u64 packs = (n - head) / 4;
#pragma unroll (sizeof(T) == 4 ? 2 : 1)
  for (u64 i = lane; i < packs; i += step) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + head + 4 * i);
    a = online_add(a, pack.v);
  }
  // The elements outside of packs: at most three before and three after them.
  const u64 rest = n - 4 * packs;
#pragma unroll 1
  for (u64 i = lane; i < rest; i += step) a = online_add(a, x[i < head ? i : 4 * packs + i]);
  return a;
}

template <typename T>
__device__ __forceinline__ Online<T> exchange(Online<T> a, u32 lanes) { return {exchange(a.max, lanes), exchange(a.rest, lanes)}; }

struct OnlineMerge {
  template <typename T>
  __device__ __forceinline__ Online<T> operator()(Online<T> a, Online<T> b) const { return online_merge(a, b); }
};
