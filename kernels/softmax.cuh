// The sum of exponentials in one pass, safe from overflow: the largest so far, and the sum of exp(x - shift) by it, scaled anew
// whenever a larger comes. Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
#pragma once
#include "common.cuh"

template <typename T>
struct Online {
  T max;
  T sum;
};

// What exponents are shifted by. An infinite maximum is not subtracted: inf - inf would be NaN.
template <typename T>
__device__ __forceinline__ T shift_of(T max) { return fabs_of(max) == T(INFINITY) ? T(0) : max; }

template <typename T>
__device__ __forceinline__ Online<T> online_start() { return {T(-INFINITY), T(0)}; }

template <typename T>
__device__ __forceinline__ Online<T> online_join(Online<T> a, Online<T> b) {
  const T max = maximum(a.max, b.max), shift = shift_of(max);
  return {max, a.sum * exp_of(a.max - shift) + b.sum * exp_of(b.max - shift)};
}

// With one element more. -inf adds nothing.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, T x) {
  const T max = maximum(a.max, x), shift = shift_of(max);
  return {max, a.sum * exp_of(a.max - shift) + exp_of(x - shift)};
}

// With four: five exponentials.
template <typename T>
__device__ __forceinline__ Online<T> online_add(Online<T> a, const T (&x)[4]) {
  const T max = maximum(a.max, maximum(maximum(x[0], x[1]), maximum(x[2], x[3]))), shift = shift_of(max);
  T sum = a.sum * exp_of(a.max - shift);
#pragma unroll
  for (int k = 0; k < 4; ++k) sum += exp_of(x[k] - shift);
  return {max, sum};
}

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
    a = online_join(a, {__shfl_xor_sync(FULL_WARP, a.max, d), __shfl_xor_sync(FULL_WARP, a.sum, d)});
  return a;
}

// Over a block of COUNT threads in one dimension, in every thread.
template <int COUNT, typename T>
__device__ __forceinline__ Online<T> online_block(Online<T> a) {
  __shared__ T maxima[COUNT / WARP];
  __shared__ T sums[COUNT / WARP];
  a = online_team(a, WARP);
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (lane == 0) {
    maxima[warp] = a.max;
    sums[warp] = a.sum;
  }
  __syncthreads();
  a = online_start<T>();
  if (lane < COUNT / WARP) a = {maxima[lane], sums[lane]};
  a = online_team(a, WARP);
  __syncthreads();  // before a second call writes them again
  return a;
}
